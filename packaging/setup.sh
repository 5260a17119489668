#!/bin/sh
# Makes the development environment in the folder given: Debian packages that
# are missing, a virtual environment, this package in it (editable), the tools.
# Idempotent: what is there is not made again.
set -eu
target=${1:?usage: packaging/setup.sh FOLDER}

# python3-venv: the environment; libseccomp2, libnftables1, nftables: run time;
# mmdebstrap: base images; iproute2, procps, util-linux: the tests; tini: run --init
PACKAGES="python3-venv libseccomp2 libnftables1 nftables mmdebstrap iproute2 procps util-linux tini"

fail() {
    echo "setup: $*" >&2
    exit 1
}

missing() {
    for package in $PACKAGES; do
        status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
        [ "$status" = installed ] || echo "$package"
    done
}

install_packages() {
    command -v dpkg-query >/dev/null || fail "this is not Debian: install these by hand: $PACKAGES"
    wanted=$(missing | tr '\n' ' ')
    [ -n "$wanted" ] || return 0
    [ "$(id -u)" = 0 ] || fail "as root, run: apt-get install $wanted"
    echo "setup: installing $wanted"
    export DEBIAN_FRONTEND=noninteractive
    # shellcheck disable=SC2086 # a list of words
    apt-get install -qq -y --no-install-recommends $wanted >/dev/null 2>&1 && return 0
    apt-get update -qq || fail "apt-get update failed: check the network and /etc/apt"
    # shellcheck disable=SC2086
    apt-get install -qq -y --no-install-recommends $wanted >/dev/null ||
        fail "apt-get could not install $wanted: see its lines above"
}

# The first interpreter that is new enough and can make environments; Debian's own before others.
interpreter() {
    for candidate in /usr/bin/python3 python3 python3.14 python3.13 python3.12 python3.11; do
        program=$(command -v "$candidate") || continue
        if "$program" -I -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            echo "$program"
            return 0
        fi
    done
    return 1
}

usable() {
    [ -x "$target/bin/python" ] &&
        "$target/bin/python" -I -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
}

pip() {
    "$target/bin/python" -I -m pip -qq --disable-pip-version-check --no-input "$@"
}

install_packages
if ! usable; then
    python=$(interpreter) || fail "no Python of version 3.11 or later found: apt install python3 python3-venv"
    echo "setup: making $target with $python"
    rm -rf "$target"
    "$python" -I -m venv "$target"
fi

# Old versions of pip cannot read dependency groups, so their names are read here.
tools=$("$target/bin/python" -I -c 'import tomllib
with open("pyproject.toml", "rb") as file:
    print("\n".join(tomllib.load(file)["dependency-groups"]["dev"]))')
echo "setup: installing corten and its tools into $target"
# shellcheck disable=SC2086 # one requirement a word; none of them has a space
pip install --editable . $tools || fail "pip could not install the packages: see its lines above"
"$target/bin/python" -I -m compileall -q src
