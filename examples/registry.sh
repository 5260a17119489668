#!/bin/sh
# Images travel, in a quarter of a minute: a registry with a user, two engines,
# a download that is killed half-way, retention and garbage collection.
# All of it lives below a temporary folder and on loopback. Each command is
# shown before it runs, with the machine that it would be typed on.
#
#     make setup image     once
#     sh examples/registry.sh
set -eu
repository=$(cd "$(dirname "$0")/.." && pwd)
image=$repository/.cache/debian.tar

fail() {
    echo "registry: $*" >&2
    exit 1
}
[ "$(id -u)" = 0 ] || fail "an engine needs root: run it as root"
[ -f "$image" ] || fail "there is no image to send: run 'make setup image' first"

PATH=$repository/.venv/bin:$PATH
export PATH
unset CORTEN_HOST
work=$(mktemp -d "${TMPDIR:-/tmp}/corten-registry.XXXXXX")
server='' daemon=''

# From now on commands are typed on that machine: a folder, an engine and a user of its own.
on() {
    machine=$1
    mkdir -p "$work/$1"
    cd "$work/$1"
    CORTEN_ROOT=$work/$1/root CORTEN_RUN=$work/$1/run DOCKER_CONFIG=$work/$1/docker
    export CORTEN_ROOT CORTEN_RUN DOCKER_CONFIG
}

finish() {
    status=$?
    trap - EXIT
    for process in $server $daemon; do kill "$process" 2>/dev/null || true; done
    wait
    for name in office home; do
        on $name
        corten system reset --force >/dev/null || status=1
    done
    cd /
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Shows a command as one would type it, then runs it.
show() {
    printf '%s$' "$machine"
    for word in "$@"; do
        case $word in
            *[!a-zA-Z0-9_./:=@%+,-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

# Waits until the process $1, which writes to the file "log", is ready.
until_ready() {
    until grep -q 'ready at' log; do
        kill -0 "$1" 2>/dev/null || fail "it did not start: $(tail -n 1 log)"
        sleep 0.05
    done
}

# Prints what has arrived of a large layer and is not yet complete, as find(1) is told to.
arrived() { find "$CORTEN_ROOT/content/partial" -size +20M "$@" 2>/dev/null; }

# Prints how many bytes the registry has sent, by its own count.
sent() {
    python -c '
import sys, urllib.request
for line in urllib.request.urlopen(sys.argv[1]).read().decode().splitlines():
    if line.startswith("corten_registry_sent_bytes_total "): print(line.split()[1])
' "http://$registry/metrics"
}

say "1. A registry is a folder and a few settings. Here everybody may pull, and ann may push."
on server
cat >registry.toml <<END
listen = "127.0.0.1:0"  # any port that is free
data = "data"
grace = "1s"            # so that the last step need not wait; a day unless you say otherwise

[access]
htpasswd = "users"
anonymous_pull = true

[[retention]]           # the two newest tags of each repository stay
keep_last = 2
delete_untagged_after = "0s"
END
show cat registry.toml
printf 'secret\n' | show corten registry user add ann --config registry.toml
corten registry serve --config registry.toml >log 2>&1 &
server=$!
until_ready $server
registry=localhost:$(sed -n 's/.*ready at .*:\([0-9]*\)$/\1/p' log)
echo "the registry is ready at $registry"

say "2. The office has an image of Debian, and makes a small one on top of it."
on office
show corten load --quiet --input "$image"
show corten run --name writer debian sh -c 'echo "hello from the office" >/etc/motd; rm /etc/issue'
show corten diff writer
show corten commit --change 'CMD ["cat", "/etc/motd"]' writer "$registry/team/hello:1"
show corten image ls --tree

say "3. It logs in and pushes. Of the second image only what is new travels."
printf 'secret\n' | show corten login --username ann --password-stdin "$registry"
show corten tag debian "$registry/team/debian"
show corten push "$registry/team/debian"
show corten push "$registry/team/hello:1"
name=$(corten image inspect --format '{{index .RepoDigests 0}}' "$registry/team/hello:1")

say "4. At home the image is pulled by its digest. Half-way the engine is killed, with kill -9."
on home
corten daemon --limit-rate 25M >log 2>&1 &
daemon=$!
until_ready $daemon
corten pull --quiet "$name" >/dev/null 2>&1 &
pull=$!
until [ "$(arrived)" ]; do
    kill -0 $pull 2>/dev/null || fail "the pull was over before the engine could be killed"
    sleep 0.05
done
kill -9 $daemon
wait $daemon $pull 2>/dev/null || true
daemon=''
echo "$(arrived -printf '%s') bytes of the large layer had arrived. The next engine goes on behind them:"
before=$(sent)
show corten pull "$name"
size=$(corten manifest inspect "$name" | awk '/"size"/ { sum += $2 } END { print sum }')
echo "the image has $size bytes; this pull fetched $(($(sent) - before)) of them"
show corten run --rm "$name"

say "5. The office pushes two more versions. Of three tags two stay, and what nothing needs is freed."
on office
for version in 2 3; do
    corten commit --message "version $version" writer "$registry/team/hello:$version" >/dev/null
    show corten push --quiet "$registry/team/hello:$version"
done
on server
sleep 2 # the grace of what was just pushed
show corten registry retention --config registry.toml
show corten registry gc --config registry.toml

say "6. What lies on the disks: every byte of the engine at home, and all that the registry has."
on home
show corten system df
on server
show du -sh data

say "Registry and engines stop, and the folder $work goes. Nothing is left behind."
