# shellcheck shell=bash
# Sourced by the scripts beside it: where the server's files are, and `compose` on whichever engine there is.
#
#   COMPOSE           the compose command; default: `docker compose`, or podman-compose where there is no docker
#   COMPOSE_OVERRIDE  a further compose file that changes this one, for example for a GPU

DEPLOY=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
SECRETS=$DEPLOY/secrets
SETTINGS=$SECRETS/server.env

fail() {
    echo "$*" >&2
    exit 1
}

compose() {
    local command=()
    if [ -n "${COMPOSE:-}" ]; then
        read -ra command <<<"$COMPOSE"
    elif docker compose version >/dev/null 2>&1; then
        command=(docker compose)
    elif command -v podman-compose >/dev/null; then
        command=(podman-compose)
    else
        fail "Neither 'docker compose' nor podman-compose is there: install one, or name yours in COMPOSE."
    fi
    [ -f "$SETTINGS" ] || fail "$SETTINGS is missing: run deploy/setup first."
    command+=(--env-file "$SETTINGS" --file "$DEPLOY/compose.yaml")
    if [ -n "${COMPOSE_OVERRIDE:-}" ]; then command+=(--file "$COMPOSE_OVERRIDE"); fi
    "${command[@]}" "$@"
}

# The container engine that compose uses.
engine() {
    if [[ ${COMPOSE:-} == *podman* ]] || ! command -v docker >/dev/null; then
        podman "$@"
    else
        docker "$@"
    fi
}

# The value of a setting of this server, or what is given as its default.
setting() {
    local value
    value=$(sed -n "s/^$1=//p" "$SETTINGS" | tail -n 1)
    printf '%s' "${value:-$2}"
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
