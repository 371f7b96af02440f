"""What explains that a model comes out otherwise: code, libraries, processor, threads; and what it is made of."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from carsdepo_assets.commands.reproduction.fields import ComparedField, FieldState, compared
from carsdepo_assets.detectors.numerics import cpu_flags
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.models import digest_of, read_card
from carsdepo_assets.policy import Policy
from carsdepo_assets.registry.lineage import Lineage, running_code, this_environment

_NOT_COMPARED = {"platform", "mlflow", "dagster-pipes", "deltalake", "pyarrow", "cores", "place", "carsdepo"}
WEIGHTS = "weights"  # folder of the lake with files of initial weights, and of the home with a user's own


def environment_fields(lineage: Lineage, policy: Policy) -> list[ComparedField]:
    """Compares the code and the machine of then with those of now. Neither decides whether a model is the same.

    Args:
        lineage: of the model.
        policy: the one that the model is made again with.
    """
    import torch

    code, here, recorded = running_code(), this_environment(), lineage.environment
    here["cpu_flags"] = " ".join(cpu_flags())
    if "+" in recorded.get("torch", ""):  # its build (CPU, CUDA), which torch alone tells
        here["torch"] = str(torch.__version__)
    fields = [
        compared("environment", "code, by its source digest", lineage.code.source_digest, code.source_digest),
        compared("environment", "policy", lineage.policy_digest, policy.digest()),
    ]
    names = [n for n in here if n not in _NOT_COMPARED and (n in recorded or n == "cpu_flags")]
    fields += [compared("environment", name.replace("_", " "), recorded.get(name), here[name]) for name in names]
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


def initial_weights(source: Lake, clean: Lake, home: Path, lineage: Lineage) -> tuple[str | None, ComparedField | None]:
    """Copies the weights that the training started from into the clean lake, by their digest.

    Args:
        source: the lake of the model.
        clean: the one in which it is made again.
        home: of the installation, in which a user may have put a file.
        lineage: of the model.

    Returns:
        The key of a file of initial weights, None where the recipe names none; and the field of the comparison, None
        where the training started from no weights.
    """
    init = str(lineage.recipe.get("init", "scratch"))
    name = f"initial weights ({init})"
    if init == "champion" and lineage.initialised_from:
        return None, _parent(source, clean, lineage.initialised_from)
    if "/" not in init:
        return None, None
    recorded = lineage.initial_weights
    keys = [recorded.key] if recorded else [o.key for o in source.list(WEIGHTS) if o.key.endswith(Path(init).name)]
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
