"""Keeps the places of MLflow's artifacts relative to the home folder, so that a home can be moved and copied.

MLflow keeps whole URIs with every experiment, run and model version. `mlflow-artifacts:/…` names a place below whatever
folder the server that is asked keeps artifacts in (`carsdepo dev`: home/mlartifacts), and what runs without a server
writes there itself (see tracking.py).
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

ROOT = "mlflow-artifacts:/"
FOLDER = "mlartifacts"
# Column by column what MLflow 3.17 derives from an experiment's location.
_BELOW = (
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "source"),
    ("model_versions", "storage_location"),
)
_LOCAL = "(artifact_location LIKE 'file:%' OR artifact_location LIKE '/%')"
_OURS = f"{_LOCAL} AND rtrim(artifact_location, '/') LIKE '%/{FOLDER}'"
# MLflow makes its "Default" with a place below the working folder, and nothing of ours is logged there.
_DEFAULT = f"{_LOCAL} AND experiment_id = 0 AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.experiment_id = 0)"


def path_below(artifacts: Path, uri: str) -> Path | None:
    """The file or folder below `artifacts` that an artifact's URI names; None where the URI names another place."""
    return artifacts / uri.removeprefix(ROOT) if uri.startswith(ROOT) else None


def make_relative(database: Path) -> int:
    """Replaces absolute places below any home's artifact folder, in one transaction.

    Such places were written by an earlier version of this package, or are MLflow's own default. What was logged
    elsewhere stays as it is.

    Args:
        database: MLflow's SQLite file.

    Returns:
        How many places were replaced.
    """
    with closing(sqlite3.connect(database, timeout=60, isolation_level=None)) as connection:
        wanted = connection.execute(f"SELECT 1 FROM experiments WHERE ({_OURS}) OR ({_DEFAULT}) LIMIT 1").fetchone()
        if wanted is None:
            return 0
        connection.execute("BEGIN IMMEDIATE")
        try:
            count = _rewrite(connection)
            connection.execute("COMMIT")
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        return count


def _rewrite(connection: sqlite3.Connection) -> int:
    def update(sql: str, *values: object) -> int:
        return connection.execute(sql, values).rowcount

    count = 0
    for (place,) in connection.execute(f"SELECT DISTINCT artifact_location FROM experiments WHERE {_OURS}").fetchall():
        prefix = place.rstrip("/") + "/"
        for table, column in _BELOW:
            sql = f"UPDATE {table} SET {column} = ? || substr({column}, ?) WHERE substr({column}, 1, ?) = ?"
            count += update(sql, ROOT, len(prefix) + 1, len(prefix), prefix)
        count += update("UPDATE experiments SET artifact_location = ? WHERE artifact_location = ?", ROOT, place)
    count += update(f"UPDATE experiments SET artifact_location = ? || experiment_id WHERE {_DEFAULT}", ROOT)
    # Keys below the lake, where a version's tags named its folder.
    tags = "key IN ('lake_uri', 'lineage_uri') AND value LIKE '/%/models/%'"
    for (value,) in connection.execute(f"SELECT DISTINCT value FROM model_version_tags WHERE {tags}").fetchall():
        key = f"models/{value.rpartition('/models/')[2]}"
        count += update(f"UPDATE model_version_tags SET value = ? WHERE value = ? AND {tags}", key, value)
    return count
