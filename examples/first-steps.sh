#!/bin/sh
# corten in two minutes. It makes an engine of its own below a temporary folder,
# shows each command before it runs it, and removes everything at the end.
#
#     sh examples/first-steps.sh
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || {
    echo "demo: an engine needs root: run it as root" >&2
    exit 1
}

PATH=$(pwd)/.venv/bin:$PATH
work=$(mktemp -d "${TMPDIR:-/tmp}/corten-demo.XXXXXX")
CORTEN_ROOT=$work/root CORTEN_RUN=$work/run
export PATH CORTEN_ROOT CORTEN_RUN
unset CORTEN_HOST
COUNT=100

finish() {
    status=$?
    trap - EXIT
    corten system reset --force >/dev/null || status=1
    rm -rf "$work"
    exit $status
}
trap finish EXIT
trap 'exit 130' INT TERM HUP

if [ -t 1 ]; then bold=$(printf '\033[1m') plain=$(printf '\033[0m'); else bold='' plain=''; fi

say() { printf '\n%s%s%s\n' "$bold" "$*" "$plain"; }

# Shows a command as one would type it, then runs it.
show() {
    printf '$'
    for word in "$@"; do
        case $word in
            *[!a-zA-Z0-9_./:=@%+,-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
    "$@"
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# Kilobytes of the processes whose command line names this engine's run folder:
# memory of its own, plus a fair share of what is shared (proc_pid_smaps(5), Pss).
engine_memory() {
    total=0
    for folder in /proc/[0-9]*; do
        [ "$folder" != "/proc/$$" ] || continue
        case $(tr '\0' ' ' <"$folder/cmdline" 2>/dev/null) in
            *"$CORTEN_RUN"*)
                share=$(sed -n 's/^Pss: *\([0-9]*\) kB/\1/p' "$folder/smaps_rollup" 2>/dev/null) || share=
                total=$((total + ${share:-0}))
                ;;
        esac
    done
    echo "$total"
}

say "1. A base image, made from Debian's own packages: no registry is needed."
if [ -f .cache/debian.tar ]; then
    show corten load --input .cache/debian.tar
else
    show corten image bootstrap debian
fi
show corten images

say "2. A container is a process with a file tree, a network and limits of its own."
show corten run --rm debian sh -c '. /etc/os-release; echo "hello from $PRETTY_NAME, process $$ on $(hostname)"'

say "3. One that stays: run a command in it, read what it wrote, ask about it."
show corten run -d --name clock debian sh -c 'while date +%T; do sleep 0.2; done' >"$work/id"
cat "$work/id"
show corten exec clock sh -c 'echo "in the container: $(hostname)"; cat /proc/1/comm'
sleep 1
show corten logs --tail 3 clock
show corten ps
show corten stop --timeout 1 clock
show corten rm clock

say "4. Limits: what asks for more than its share is refused, and nobody else notices."
status=0
show corten run --rm --memory 64m --cpus 0.5 debian sh -c 'head -c 256m /dev/zero | tail >/dev/null' || status=$?
echo "exit status $status: the kernel ended it when it passed 64 MB (137 is 128 + signal 9)"
status=0
show corten run --rm --pids-limit 20 debian \
    sh -c 'for i in $(seq 30); do sleep 1 & done' || status=$?
echo "exit status $status: the 20th process was one too many"

say "5. $COUNT containers: how fast do they start, and what do they cost?"
before=$(engine_memory)
start=$(milliseconds)
number=0
while [ "$number" -lt "$COUNT" ]; do
    number=$((number + 1))
    corten run -d --name "sleeper-$number" debian sleep infinity >/dev/null
done
took=$(($(milliseconds) - start))
running=$(corten ps --quiet | wc -l)
after=$(engine_memory)
echo "$running containers run, started in $took ms one after another: $((took / COUNT)) ms each, the command included"
echo "memory of the engine's own processes: $before kB before the first, $after kB with all of them"

say "6. All of it goes again."
start=$(milliseconds)
corten ps --all --quiet | xargs corten rm --force >/dev/null
echo "$COUNT containers removed in $(($(milliseconds) - start)) ms"
show corten ps --all
say "The engine stops, and the folder $work with it. Nothing is left behind."
