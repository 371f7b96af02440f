"""Images in an emulated ECR: their names alone, as who asks whether an image is there looks at no more."""

from __future__ import annotations

import json
from typing import Any


def name_image(ecr: Any, repository: str, tag: str) -> None:
    """Has a repository hold an image of a tag, as a push does.

    Args:
        ecr: a boto3 client.
        repository: its name; it must be there.
        tag: of the image.
    """
    layer = {"mediaType": "application/vnd.docker.image.rootfs.diff.tar.gzip", "size": 1, "digest": f"sha256:{0:064x}"}
    form = "application/vnd.docker.distribution.manifest.v2+json"
    manifest = {"schemaVersion": 2, "mediaType": form, "config": layer, "layers": [layer]}
    ecr.put_image(repositoryName=repository, imageManifest=json.dumps(manifest), imageTag=tag)
