"""What explains that a model comes out otherwise: code, libraries, processor, threads; and what it is made of."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField, FieldState, compared
from carsdepo_assets.detectors.numerics import numerics
from carsdepo_assets.detectors.weights_for_workers import FOLDER
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import digest_of, read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, running_code, this_environment

_NOT_COMPARED = {"platform", "mlflow", "dagster-pipes", "deltalake", "pyarrow", "cores", "carsdepo", "threads"}
_OF_A_GPU = ("gpu", "cudnn")  # recorded of a training on one; a machine without one has neither


def environment_fields(lineage: Lineage) -> list[ComparedField]:
    """Compares the code and the machine of then with those of now. Neither decides whether a model is the same."""
    import torch

    code, recorded = running_code(), lineage.environment
    here = {**this_environment(), **numerics(recorded.get("device", "cpu"))}
    if "+" in recorded.get("torch", ""):  # its build (CPU, CUDA), which torch alone tells
        here["torch"] = str(torch.__version__)
    fields = [compared("environment", "code, by its source digest", lineage.code.source_digest, code.source_digest)]
    names = [n for n in dict.fromkeys((*here, *_OF_A_GPU)) if n not in _NOT_COMPARED]
    fields += [
        compared("environment", name.replace("_", " "), recorded.get(name), here.get(name))
        for name in names
        if name in recorded or name == "cpu_flags"
    ]
    cores = str(len(os.sched_getaffinity(0)))
    threads = recorded.get("threads")
    fields.append(compared("environment", "threads of torch", threads, threads or cores))
    return fields


def threads_of(lineage: Lineage) -> int:
    """The threads with which the model was trained; as many as the cores it had, where they were not recorded."""
    extra = lineage.recipe.get("extra") or {}
    text = lineage.environment.get("threads") or extra.get("threads") or lineage.environment.get("cores") or ""
    return int(text) if str(text).isdecimal() else len(os.sched_getaffinity(0))


def policy_of(lineage: Lineage, now: Policy) -> tuple[Policy, ComparedField]:
    """The policy of the model's training; the present one where it was not recorded.

    Args:
        lineage: of the model.
        now: the installation's policy.
    """
    if lineage.policy is None:
        state: FieldState = "same" if now.digest() == lineage.policy_digest else "not recorded"
        what = "" if state == "same" else "only its digest was kept: the present policy is used"
        return now, ComparedField("environment", "policy", state, lineage.policy_digest, now.digest(), what)
    stored = hashlib.sha256(json.dumps(lineage.policy, sort_keys=True).encode()).hexdigest()[:12]
    # Values that a later release added have their defaults, which that release acts by.
    return Policy.model_validate(lineage.policy), compared("training", "policy", lineage.policy_digest, stored)


def recipe_digest_of(recipe: dict[str, Any]) -> str:
    """The digest of a recipe as it was stored; a release that has more fields would give it another one."""
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]


def initial_weights(source: Lake, clean: Lake, lineage: Lineage) -> tuple[str | None, ComparedField | None]:
    """Copies the weights that the training started from into the clean lake, by their digest.

    Args:
        source: the lake of the model.
        clean: the one in which it is made again.
        lineage: of the model.

    Returns:
        The key of the file that the training started from, None where it started from none; and the field of the
        comparison, None where there are no weights to compare.
    """
    init = str(lineage.recipe.get("init", "scratch"))
    name = f"initial weights ({init})"
    if init == "champion" and lineage.initialised_from:
        return None, _parent(source, clean, lineage.initialised_from)
    recorded = lineage.initial_weights
    if recorded is None and "/" not in init:
        return None, None
    keys = [recorded.key] if recorded else [o.key for o in source.list(FOLDER) if o.key.endswith(f"/{Path(init).name}")]
    note = "" if recorded else "which file it was is not recorded: the one in the lake of that name is taken"
    if len(keys) != 1:
        what = f"the lake has {len(keys)} files of that name, and which one it was is not recorded"
        return None, ComparedField("training", name, "missing", init, "", what)
    try:
        content = source.get(keys[0])
    except LakeError as error:
        return None, ComparedField("training", name, "missing", keys[0], "", str(error))
    digest = hashlib.sha256(content).hexdigest()
    clean.put(keys[0], content)
    expected = recorded.sha256[:16] if recorded else None
    return keys[0], compared("training", name, expected, digest[:16], note)


def _parent(source: Lake, clean: Lake, digest: str) -> ComparedField:
    """The model that the training went on from: its weights are taken as they are, and not trained again."""
    name = f"initial weights (model {digest})"
    try:
        card = read_card(source, digest)
        files = {n: source.get(f"models/{digest}/{n}") for n in (card.weights, "model.json", "lineage.json")}
    except LakeError as error:
        return ComparedField("training", name, "missing", digest, "", f"the lake has this model no more: {error}")
    now = digest_of(files[card.weights])
    for file, content in files.items():
        clean.put(f"models/{digest}/{file}", content)
    return compared("training", name, digest, now, "taken by their digest, and not trained again")
