#!/bin/sh
# Puts a Debian base image, as `corten save` writes it, at the path given.
# One that is younger than a week is kept.
set -eu
image=${1:?usage: packaging/image.sh FILE}
corten=$(pwd)/.venv/bin/corten

[ -z "$(find "$image" -mtime -7 2>/dev/null)" ] || exit 0
[ "$(id -u)" = 0 ] || {
    echo "image: making $image takes root: run make as root" >&2
    exit 1
}

mkdir -p "$(dirname "$image")"
work=$(mktemp -d "${TMPDIR:-/tmp}/corten-image.XXXXXX")
CORTEN_ROOT=$work/root CORTEN_RUN=$work/run
export CORTEN_ROOT CORTEN_RUN
unset CORTEN_HOST

finish() {
    status=$?
    trap - EXIT
    "$corten" system reset --force >/dev/null || status=1
    rm -rf "$work" "$image.new"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

echo "image: bootstrapping Debian into $image (once a week, about half a minute)"
"$corten" image bootstrap debian >/dev/null
"$corten" save --output "$image.new" debian:latest
mv "$image.new" "$image"
