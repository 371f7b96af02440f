#!/usr/bin/env bash
# Builds images: deploy/images/build.sh [orchestrator|service|worker-cuda|worker-cpu ...]; without a name the first three.
# Tags are [REGISTRY/]carsdepo-IMAGE:VERSION. Variables:
#   REGISTRY       where the images are to be pushed: a prefix of their names
#   VERSION        the tag (default: the version in pyproject.toml)
#   BASE           another base image, with Python 3.11 as python3, its venv module, and apt; give it with its digest
#   BUILDER        docker, buildah or podman (default: the first of them that is installed)
#   BUILDER_FLAGS  more flags for the build, such as "--network host" or "--secret id=pip.conf,src=FILE"
# buildah and podman read their own variables besides: CONTAINERS_STORAGE_CONF, CONTAINERS_CONF, BUILDAH_ISOLATION.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

builder=${BUILDER:-}
for candidate in docker buildah podman; do
  if [ -z "$builder" ] && command -v "$candidate" >/dev/null; then builder=$candidate; fi
done
if [ -z "$builder" ]; then
  echo "There is no docker, buildah or podman on the PATH to build images with: install one, or name it in BUILDER." >&2
  exit 1
fi
case $(basename "$builder") in
  # Docker's format, since OCI's has no place for a health check.
  buildah) command=("$builder" bud --format docker --layers) ;;
  podman) command=("$builder" build --format docker --layers) ;;
  *) command=("$builder" build) ;;
esac
if [ -n "${BUILDER_FLAGS:-}" ]; then
  read -r -a flags <<<"$BUILDER_FLAGS"
  command+=("${flags[@]}")
fi
version=${VERSION:-$(sed -n 's/^version = "\(.*\)"$/\1/p' pyproject.toml | head -n 1)}
revision=$(git rev-parse HEAD 2>/dev/null || echo unknown)
# As flags: in the Dockerfile, buildah's cache of layers can bring back those of another version.
label=org.opencontainers.image
command+=(--label "$label.version=$version" --label "$label.revision=$revision")
if [ -n "${BASE:-}" ]; then command+=(--build-arg "BASE=$BASE"); fi

if [ $# -eq 0 ]; then set -- orchestrator service worker-cuda; fi
for image in "$@"; do
  case $image in
    orchestrator | service) file=$image arguments=() name=$image ;;
    worker-cuda) file=worker arguments=(--build-arg VARIANT=cuda) name=worker ;;
    worker-cpu) file=worker arguments=(--build-arg VARIANT=cpu) name=worker-cpu ;;
    *)
      echo "There is no image $image: there are orchestrator, service, worker-cuda and worker-cpu." >&2
      exit 2
      ;;
  esac
  tag=${REGISTRY:+${REGISTRY%/}/}carsdepo-$name:$version
  start=$SECONDS
  "${command[@]}" "${arguments[@]}" --file "deploy/images/$file.Dockerfile" --tag "$tag" .
  echo "$tag: built in $((SECONDS - start)) s."
done
