#!/bin/sh
# The picture: one base image, an Nginx and a MariaDB image on it, and from these two
# images three web sites and three databases, each with its own configuration and data.
# It makes an engine of its own below a temporary folder, shows each command before it
# runs it, and removes everything at the end.
#
#     make demo            or: sh examples/picture.sh [--keep]
#
# --keep leaves all of it running, and says where.
set -eu
cd "$(dirname "$0")/.."
[ "$(id -u)" = 0 ] || {
    echo "demo: an engine needs root: run it as root" >&2
    exit 1
}
keep=''
[ "${1-}" != --keep ] || keep=1

PATH=$(pwd)/.venv/bin:$PATH
files=$(pwd)/examples/picture
python=$(pwd)/.venv/bin/python
work=$(mktemp -d "${TMPDIR:-/tmp}/corten-demo.XXXXXX")
CORTEN_ROOT=$work/root CORTEN_RUN=$work/run
export PATH CORTEN_ROOT CORTEN_RUN
unset CORTEN_HOST
SITES='shop blog wiki'
first=${DEMO_PORT:-8081} # of the ports that the sites are published at

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

# Prints a command as one would type it.
print() {
    printf '$'
    for word in "$@"; do
        case $word in
            *[!a-zA-Z0-9_./:=@%+,-]*) printf " '%s'" "$word" ;;
            *) printf ' %s' "$word" ;;
        esac
    done
    printf '\n'
}
show() {
    print "$@"
    "$@"
}
# Shows a command but not what it prints.
quiet() {
    print "$@"
    "$@" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        return 1
    }
}

milliseconds() { echo $(($(date +%s%N) / 1000000)); }

# GET of an address, by the standard library: a minimal machine has no curl.
fetch() {
    "$python" -c 'import sys, urllib.request as r; sys.stdout.write(r.urlopen(sys.argv[1], timeout=10).read().decode())' "$1"
}

# Tries a command until it works, for half a minute.
wait_for() {
    tries=0
    until "$@" >"$work/wait" 2>&1; do
        tries=$((tries + 1))
        [ $tries -lt 150 ] || {
            echo "demo: this did not work for 30 seconds: $*" >&2
            cat "$work/wait" >&2
            return 1
        }
        sleep 0.2
    done
}

# A statement for the database of one site, from a client container on its network.
query() {
    corten run --rm --network "$1" database mariadb --host db --user "$1" --password="$1-secret" --batch --skip-column-names "$1" --execute "$2"
}

say "1. One base image, made from Debian's own packages: no registry is needed."
if [ -f .cache/debian.tar ]; then
    show corten load --input .cache/debian.tar
else
    show corten image bootstrap debian
fi

say "2. Two images on it: a web server and a database. What both share is stored once."
install='apt-get update -q && DEBIAN_FRONTEND=noninteractive apt-get install -yq --no-install-recommends'
tidy='apt-get clean && rm -rf /var/lib/apt/lists/* /var/cache/debconf/*-old'
quiet corten run --name make-site debian sh -c "$install nginx-light && rm -f /etc/nginx/sites-enabled/default && ln -sf /dev/stdout /var/log/nginx/access.log && $tidy"
quiet corten commit --change 'CMD ["nginx", "-g", "daemon off;"]' --change 'EXPOSE 80' make-site site
quiet corten run --name make-database --volume "$files/start-database:/start-database:ro" debian sh -c "$install mariadb-server mariadb-client && install /start-database /usr/local/bin/start-database && rm -rf /var/lib/mysql/* && $tidy"
quiet corten commit --change 'ENTRYPOINT ["start-database"]' --change 'CMD ["mariadbd"]' --change 'EXPOSE 3306' --change 'VOLUME /var/lib/mysql' make-database database
quiet corten rm make-site make-database
show corten images --tree

say "3. Three sites and three databases: each pair on a network of its own, with its own configuration and data."
port=$first
: >"$work/times"
for name in $SITES; do
    mkdir -p "$work/$name"
    echo "<h1>Welcome to the $name</h1>" >"$work/$name/index.html"
    quiet corten network create "$name"
    quiet corten volume create "$name-data"
    start=$(milliseconds)
    quiet corten run --detach --name "$name-db" --network "$name" --network-alias db \
        --volume "$name-data:/var/lib/mysql" --volume "$files/$name/database.cnf:/etc/mysql/mariadb.conf.d/90-own.cnf:ro" \
        --env "MARIADB_DATABASE=$name" --env "MARIADB_USER=$name" --env "MARIADB_PASSWORD=$name-secret" database
    middle=$(milliseconds)
    quiet corten run --detach --name "$name-web" --network "$name" --publish "$port:80" \
        --volume "$work/$name:/srv/www:ro" --volume "$files/$name/site.conf:/etc/nginx/conf.d/site.conf:ro" site
    printf '%s-db\t%s\n%s-web\t%s\n' "$name" $((middle - start)) "$name" $(($(milliseconds) - middle)) >>"$work/times"
    port=$((port + 1))
done
show corten ps

say "4. Each site answers at its own port, with its own pages and its own configuration."
port=$first
for name in $SITES; do
    wait_for fetch "http://127.0.0.1:$port/"
    echo "http://127.0.0.1:$port/       $(fetch "http://127.0.0.1:$port/")"
    echo "http://127.0.0.1:$port/about  $(fetch "http://127.0.0.1:$port/about")"
    port=$((port + 1))
done

say "5. Each database is found by name, and only on its own network."
for name in $SITES; do
    wait_for query "$name" 'SELECT 1'
    query "$name" "CREATE TABLE visits (who TEXT); INSERT INTO visits VALUES ('somebody at the $name')"
done
print corten run --rm --network shop database mariadb --host db --user shop ... --execute 'SELECT who FROM visits'
query shop 'SELECT who FROM visits'
for name in $SITES; do
    echo "$name: $(query "$name" "SELECT CONCAT(COUNT(*), ' row, at most ', @@max_connections, ' connections') FROM visits")"
done
echo "from the network of the blog, the shop's database is not even a name:"
print corten run --rm --network blog debian getent hosts shop-db
corten run --rm --network blog debian getent hosts shop-db || echo "(exit status $?: no such host)"

say "6. Everything is stopped and started again: the data is still there."
containers=$(for name in $SITES; do echo "$name-db $name-web"; done)
# shellcheck disable=SC2086 # a list of names
quiet corten stop $containers
start=$(milliseconds)
# shellcheck disable=SC2086
quiet corten start $containers
echo "six services started in $(($(milliseconds) - start)) ms"
port=$first
for name in $SITES; do
    wait_for query "$name" 'SELECT 1'
    echo "$name: $(fetch "http://127.0.0.1:$port/") and $(query "$name" 'SELECT who FROM visits')"
    port=$((port + 1))
done

say "7. What it costs."
printf '%-10s  %14s  %16s\n' SERVICE 'START (ms)' 'MEMORY (MB)'
while IFS="$(printf '\t')" read -r name took; do
    memory=$("$python" examples/picture/memory.py "$CORTEN_RUN/corten.sock" "$name")
    printf '%-10s  %14s  %16s\n' "$name" "$took" "$memory"
done <"$work/times"
show corten system df
show corten network ports

if [ -n "$keep" ]; then
    trap - EXIT INT TERM HUP
    say "All of it goes on running. The sites are at http://127.0.0.1:$first/ to :$((first + 2))/."
    echo "To look around:  export CORTEN_ROOT=$CORTEN_ROOT CORTEN_RUN=$CORTEN_RUN"
    echo "To remove it:    corten system reset --force && rm -rf $work"
    exit 0
fi
say "8. All of it goes again: containers, networks, volumes, images, the engine, the folder $work."
