"""Model versions read from MLflow's SQLite file without importing MLflow, whose import takes seconds.

For commands that only show what there is (`carsdepo status`). Everything that writes goes through MLflow itself. The
three tables are MLflow's own, of the version that pyproject pins; a test compares this reading with MLflow's answer.
"""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

from carsdepo_assets.registry.models import MODEL_NAME, ModelVersion

_VERSIONS = "select version, run_id from model_versions where name = ? and current_stage != 'Deleted_Internal'"
_TAGS = "select version, key, value from model_version_tags where name = ?"
_ALIASES = "select version, alias from registered_model_aliases where name = ?"


def stored_versions(database: Path) -> list[ModelVersion] | None:
    """Reads all model versions, oldest first.

    Args:
        database: MLflow's SQLite file.

    Returns:
        The versions; None where the file is not as expected, so that MLflow itself must be asked.
    """
    tags: dict[int, dict[str, str]] = {}
    aliases: dict[int, list[str]] = {}
    try:
        with closing(sqlite3.connect(f"{database.resolve().as_uri()}?mode=ro", uri=True)) as connection:
            connection.execute("begin")  # one state of the three tables
            rows = connection.execute(_VERSIONS, (MODEL_NAME,)).fetchall()
            for version, key, value in connection.execute(_TAGS, (MODEL_NAME,)):
                tags.setdefault(int(version), {})[key] = value
            for version, alias in connection.execute(_ALIASES, (MODEL_NAME,)):
                aliases.setdefault(int(version), []).append(alias)
        return [_version(int(v), run_id, tags[int(v)], aliases.get(int(v), [])) for v, run_id in sorted(rows)]
    except (sqlite3.Error, KeyError, ValueError):
        return None


def _version(number: int, run_id: str | None, tags: dict[str, str], aliases: list[str]) -> ModelVersion:
    return ModelVersion(
        version=number,
        digest=tags["digest"],
        dataset_version=tags["dataset_version"],
        lake_uri=tags["lake_uri"],
        lineage_uri=tags["lineage_uri"],
        figures=json.loads(tags["figures"]),
        run_id=run_id or None,
        aliases=tuple(sorted(aliases)),
    )
