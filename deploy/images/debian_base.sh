#!/usr/bin/env bash
# A base image without a registry of images: Debian 12 with its Python 3.11, from Debian's packages. As root.
# debian_base.sh NAME makes the image NAME with mmdebstrap and buildah, whose variables are those of build.sh.
set -euo pipefail
name=${1:?name of the image}
for tool in mmdebstrap buildah; do
  command -v "$tool" >/dev/null || { echo "debian_base.sh needs $tool: install it with apt." >&2; exit 1; }
done
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mmdebstrap --quiet --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$folder/rootfs.tar"
printf 'FROM scratch\nADD rootfs.tar /\nCMD ["python3"]\n' >"$folder/Dockerfile"
buildah bud --quiet --tag "$name" "$folder"
