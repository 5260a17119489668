#!/bin/sh
# Installs the programs of others that tests and measurements compare with, as
# far as this machine's Debian archive has them. corten itself needs none of
# them: tests that miss one are skipped and say so.
set -u
PEERS="iperf3 docker.io docker-cli docker-registry podman skopeo buildah runc crun erofs-utils containernetworking-plugins"

command -v apt-get >/dev/null && [ "$(id -u)" = 0 ] || {
    echo "peers: left out: this takes root on Debian" >&2
    exit 0
}
wanted=
for package in $PEERS; do
    status=$(dpkg-query -W -f='${db:Status-Status}' "$package" 2>/dev/null) || status=
    [ "$status" = installed ] || wanted="$wanted $package"
done
# a client that is there already stays
command -v docker >/dev/null && wanted=$(echo "$wanted" | sed 's/ docker-cli//')
[ -n "$wanted" ] || exit 0

echo "peers: installing$wanted"
export DEBIAN_FRONTEND=noninteractive
# Services of the packages are not started: every test starts what it needs.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && trap 'rm -f "$policy"' EXIT
fi
apt-get update -qq >/dev/null 2>&1
for package in $wanted; do
    apt-get install -qq -y --no-install-recommends "$package" >/dev/null 2>&1 ||
        echo "peers: $package cannot be installed here" >&2
done
exit 0
