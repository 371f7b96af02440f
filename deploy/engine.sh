# shellcheck shell=bash
# Sourced by the scripts beside it: where the server's files are, and `compose` on whichever engine there is.
#
#   COMPOSE           the compose command; default: `docker compose`, or podman-compose where docker has no compose
#   COMPOSE_OVERRIDE  a further compose file that changes this one, for example for a GPU

DEPLOY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SECRETS=$DEPLOY/secrets
SETTINGS=$SECRETS/server.env
COMPOSE_COMMAND=()
ENGINE=

fail() {
    echo "$*" >&2
    exit 1
}

# The comment at the head of the script that sources this file says how it is called.
usage() { sed -n '2,${/^#/!q; s/^# \{0,1\}//; p}' "$0"; }

# What a script says to arguments that it does not take.
wrong() {
    { echo "$*" && echo && usage; } >&2
    exit 2
}

case ${1:-} in # of the script, as no other arguments are given to this file
-h | --help)
    usage
    exit 0
    ;;
esac

# Whether a text matches an expression as a whole; ranges such as a-z are those of ASCII in every language.
matches() {
    local LC_ALL=C
    [[ $1 =~ ^($2)$ ]]
}

# Sets COMPOSE_COMMAND and ENGINE, the container engine that it uses. Once: both must be of one kind.
choose_engine() {
    [ -z "$ENGINE" ] || return 0
    local first
    if [ -n "${COMPOSE:-}" ]; then
        read -ra COMPOSE_COMMAND <<<"$COMPOSE"
        first=${COMPOSE_COMMAND[0]:-}
        command -v "$first" >/dev/null || fail "COMPOSE names '$first', which is no command here: correct it, or leave it out."
        case ${first##*/} in
        podman*) ENGINE=podman ;;
        docker*) ENGINE=docker ;;
        *) if command -v docker >/dev/null; then ENGINE=docker; else ENGINE=podman; fi ;;
        esac
    elif docker compose version >/dev/null 2>&1; then
        COMPOSE_COMMAND=(docker compose) ENGINE=docker
    elif command -v podman-compose >/dev/null; then
        COMPOSE_COMMAND=(podman-compose) ENGINE=podman
    elif command -v docker >/dev/null; then
        fail "docker is there without its compose plugin, and podman-compose is not there: install one of them, or name your compose command in COMPOSE."
    else
        fail "Neither 'docker compose' nor podman-compose is there: install one, or name yours in COMPOSE."
    fi
    command -v "$ENGINE" >/dev/null || fail "${COMPOSE_COMMAND[*]} needs $ENGINE, which is not there: install it."
}

# The locks of the scripts are on descriptor 9; a container's monitor that kept it open would keep them locked.
compose() {
    choose_engine
    [ -f "$SETTINGS" ] || fail "$SETTINGS is missing: run deploy/setup first."
    local override command=("${COMPOSE_COMMAND[@]}" --env-file "$SETTINGS" --file "$DEPLOY/compose.yaml")
    override=$(override_file)
    if [ -n "$override" ]; then
        [ -f "$override" ] || fail "COMPOSE_OVERRIDE names $override, which is not there: correct it in $SETTINGS, or remove it."
        command+=(--file "$override")
    fi
    "${command[@]}" "$@" 9>&-
}

engine() {
    choose_engine
    "$ENGINE" "$@" 9>&-
}

# The value of a key of server.env there, as compose reads it: without quotes around it, the last line counts.
written() {
    [ -f "$SETTINGS" ] || return 0
    sed -n "s/^$1=//p" "$SETTINGS" | tail -n 1 | sed -e 's/[[:space:]]*$//' -e "s/^'\(.*\)'\$/\1/" -e 's/^"\(.*\)"$/\1/'
}

# The value of a setting of this server, or what is given as its default. The environment comes first, as for compose.
setting() {
    local value=${!1:-}
    [ -n "$value" ] || value=$(written "$1")
    printf '%s' "${value:-$2}"
}

# The compose file that COMPOSE_OVERRIDE names: in server.env from the repository's root, otherwise from here.
override_file() {
    local file=${COMPOSE_OVERRIDE:-}
    if [ -z "$file" ]; then
        file=$(written COMPOSE_OVERRIDE)
        case $file in "" | /*) ;; *) file=$(dirname "$DEPLOY")/$file ;; esac
    fi
    printf '%s' "$file"
}

# Waits until no other script changes the secrets; the folder itself is locked, until this process ends or unlocks.
lock_secrets() {
    exec 9<"$SECRETS"
    flock --wait 60 9 || fail "Another deploy/setup, users or restore has been at work in $SECRETS for a minute: try again when it is over."
}
unlock() { exec 9<&-; }

# write_file FILE MODE TEXT: whole or not at all, since nginx may read it at any moment.
write_file() {
    if ! { printf '%s' "$3" >"$1.new" && chmod "$2" "$1.new" && mv -f "$1.new" "$1"; }; then
        rm -f "$1.new"
        fail "$1 could not be written: see above. It is as it was; run this again when there is room and it may be written."
    fi
}

# Waits until a command succeeds: wait_for SECONDS "what it waits for" COMMAND...
wait_for() {
    local limit=$((SECONDS + $1)) what=$2
    shift 2
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$limit" ] || fail "$what did not come: see deploy/compose logs."
        sleep 2
    done
}

# Gives the volumes to the containers' users, and starts the database before what asks it.
start_postgres() {
    compose --profile setup run --rm volumes
    compose up --detach postgres
    wait_for 300 "Postgres' first answer" compose exec -T postgres pg_isready --host 127.0.0.1 --username dagster \
        --dbname dagster
}
