#!/usr/bin/env bash
# Lints what is below deploy/: the Dockerfiles, the shell scripts, the compose file, CloudFormation's templates, the images'
# requirements; and the workflows of GitHub Actions.
#
#   deploy/lint.sh
#
# PYTHON's folder (default .venv/bin) has hadolint, shellcheck, check-jsonschema and cfn-lint, which moto brings along. A tool
# that is absent is named and skipped; so is actionlint unless it is on the PATH: its package on PyPI downloads it elsewhere.
set -euo pipefail
. "$(dirname "${BASH_SOURCE[0]}")/engine.sh"
[ $# -eq 0 ] || wrong "deploy/lint.sh takes no arguments, not: $*"
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python=${PYTHON:-.venv/bin/python}
bin=$(cd "$(dirname "$python")" && pwd)

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
if schema=$(tool check-jsonschema); then
  # The compose specification's own schema, which the tool carries; podman-compose would read unknown keys without a word.
  "$schema" --quiet --builtin-schema vendor.compose-spec deploy/compose.yaml
  echo "compose file: it agrees with the schema of the compose specification."
  "$schema" --quiet --builtin-schema vendor.github-workflows .github/workflows/*.yaml
  echo "workflows: they agree with the schema of GitHub's workflows."
fi
if actionlint=$(tool actionlint); then
  "$actionlint" .github/workflows/*.yaml
  echo "actionlint: the workflows are clean."
fi
if cfn=$(tool cfn-lint); then
  "$cfn" --include-checks I -- deploy/aws/*.yaml
  echo "cfn-lint: the templates are clean."
fi
"$python" deploy/images/requirements.py --check
echo "requirements: each image's lock is current."
