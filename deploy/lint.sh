#!/usr/bin/env bash
# Lints what is below deploy/: the Dockerfiles, the shell scripts, the compose file, and the images' requirements.
# PYTHON's folder (default .venv/bin) has hadolint and podman-compose. A tool that is absent is named and skipped.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
bin=$(dirname "$python")

tool() { # prints the path of a tool; fails where it is not installed
  if [ -x "$bin/$1" ]; then echo "$bin/$1"; elif ! command -v "$1"; then
    echo "lint-deploy: $1 is not installed: its check is skipped." >&2
    return 1
  fi
}

if hadolint=$(tool hadolint); then
  "$hadolint" deploy/images/*.Dockerfile
  echo "hadolint: the Dockerfiles are clean."
fi
if shellcheck=$(tool shellcheck); then
  mapfile -t scripts < <(grep -rlE --include='*' '^#!.*(ba)?sh$' deploy)
  (cd deploy && "$shellcheck" -x -P . "${scripts[@]#deploy/}")
  echo "shellcheck: the scripts are clean."
fi
if [ ! -e deploy/compose.yaml ]; then
  echo "lint-deploy: there is no deploy/compose.yaml: its check is skipped." >&2
elif ! command -v podman >/dev/null; then # podman-compose asks it for its version even to read a file
  echo "lint-deploy: podman is not installed: the check of compose.yaml by podman-compose is skipped." >&2
elif compose=$(tool podman-compose); then
  "$compose" --file deploy/compose.yaml config >/dev/null
  echo "podman-compose: the compose file can be read."
fi
"$python" deploy/images/requirements.py --check
echo "requirements: each image's lock is current."
