"""The state of one installation, read from the lake and the registry; changes nothing."""

from __future__ import annotations

from typing import Any

from carsdepo_assets.settings import Settings


def read_status(settings: Settings) -> dict[str, Any]:
    """Counts of the lake's tables, the latest dataset, labels not yet trained on, and every model version."""
    from carsdepo_assets.environments import resources
    from carsdepo_assets.lake.datasets import latest
    from carsdepo_assets.lake.label_state import label_state, trained_state
    from carsdepo_assets.lake.lake import Lake
    from carsdepo_assets.registry.models import versions

    if not settings.lake.startswith("s3://") and not settings.home.exists():
        return {"home": str(settings.home), "state": "nothing here yet: `make demo`, or `carsdepo import FOLDER`"}
    lake = Lake.open(settings.lake)
    reasons = lake.query("select reason, count(*) n from quarantine group by reason order by reason").to_pylist()
    labels = label_state(lake)
    return {
        "home": str(settings.home),
        "lake": settings.lake,
        "photographs": lake.read("images", columns=["image_id"]).num_rows,
        "processed": lake.read("processed", columns=["image_id"]).num_rows,
        "label_revisions": labels,
        "labels_not_trained_on": labels - trained_state(lake),
        "quarantine": {r["reason"]: r["n"] for r in reasons},
        "dataset": latest(lake),
        "models": [
            {"version": v.version, "digest": v.digest, "aliases": list(v.aliases), "map50": v.figures.get("map50")}
            for v in versions(resources(settings)["tracking"].tracking())
        ],
    }
