"""What SageMaker's instance types have: the GPUs of each, by family and size.

Numbers of GPUs: Amazon EC2 instance types guide, "Specifications for Amazon EC2 accelerated computing instances". Which
types exist at all: SageMaker's own API model, which botocore carries.
"""

from __future__ import annotations

import re
from functools import lru_cache

from carsdepo_assets.compute.target import Hardware

_LIKE_G5 = {
    "xlarge": 1,
    "2xlarge": 1,
    "4xlarge": 1,
    "8xlarge": 1,
    "16xlarge": 1,
    "12xlarge": 4,
    "24xlarge": 4,
    "48xlarge": 8,
}
GPUS: dict[str, dict[str, int]] = {
    "g4dn": {"xlarge": 1, "2xlarge": 1, "4xlarge": 1, "8xlarge": 1, "16xlarge": 1, "12xlarge": 4},
    "g5": _LIKE_G5,
    "g6": _LIKE_G5,
    "g6e": _LIKE_G5,
    "p3": {"2xlarge": 1, "8xlarge": 4, "16xlarge": 8},
    "p3dn": {"24xlarge": 8},
    "p4d": {"24xlarge": 8},
    "p4de": {"24xlarge": 8},
    "p5": {"4xlarge": 1, "48xlarge": 8},
    "p5e": {"48xlarge": 8},
    "p5en": {"48xlarge": 8},
}
_TYPE = re.compile(r"ml\.([a-z0-9-]+)\.([a-z0-9]+)")
_ACCELERATED = re.compile(r"(g|p)\d|trn|inf|dl\d")


class UnknownInstance(ValueError):
    """An instance type that does not exist, or whose GPUs are not known."""


def hardware(instance_type: str, instances: int = 1) -> Hardware:
    """What a SageMaker instance type computes with.

    Raises:
        UnknownInstance: it is no type's name, or its accelerator is not one that this table has.
    """
    parts = _TYPE.fullmatch(instance_type)
    if parts is None:
        raise UnknownInstance(f"{instance_type!r} is no SageMaker instance type: one is named like ml.g5.xlarge.")
    family, size = parts.groups()
    gpus = GPUS.get(family, {}).get(size, 0)
    if gpus == 0 and _ACCELERATED.match(family):
        listed = ", ".join(f"ml.{f}.{s}" for f, sizes in GPUS.items() for s in sizes if f[0] == family[0])
        raise UnknownInstance(
            f"{instance_type} has an accelerator that compute/instances.py does not list. It lists: {listed or 'none'}."
        )
    device = "cuda:0" if gpus else "cpu"
    return Hardware(place="sagemaker", name=instance_type, device=device, gpus=gpus, instances=instances)


@lru_cache
def types_of(kind: str) -> frozenset[str]:
    """The instance types that SageMaker takes for a kind of job.

    Args:
        kind: `training` or `processing`.
    """
    import botocore.session  # type: ignore[import-untyped]

    model = botocore.session.get_session().get_service_model("sagemaker")
    shape = {"training": "TrainingInstanceType", "processing": "ProcessingInstanceType"}[kind]
    return frozenset(model.shape_for(shape).enum)
