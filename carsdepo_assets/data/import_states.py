"""What ingestion has made of the files of an import, by their keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import pyarrow as pa

from carsdepo_assets.data.account import ImportState
from carsdepo_assets.data.take_over import taken_over_index
from carsdepo_assets.lake.lake import Lake


@dataclass(frozen=True)
class KeyState:
    """What became of the file at a key."""

    state: ImportState
    reason: str = ""
    detail: str = ""


def upload_states(lake: Lake, name: str) -> dict[str, KeyState]:
    """The state of each photograph below raw/uploads/NAME that a batch has read, by its key."""
    prefix = f"raw/uploads/{name}/"
    rows = lake.query(
        f"""
        with newest as (
            select key, max_by(struct_pack(batch_id, sha256, outcome, reason), batch_id) as u
            from uploads where starts_with(key, '{prefix}') group by key
        )
        select n.key, u.outcome as outcome, u.reason as reason, i.image_id is not null as in_images,
               q.reason as why, q.detail as detail
        from newest n
        left join (select image_id from images) i on i.image_id = u.sha256
        left join (
            select key, batch_id, any_value(reason) as reason, any_value(detail) as detail from quarantine
            where kind = 'photograph' and starts_with(key, '{prefix}') group by key, batch_id
        ) q on q.key = n.key and q.batch_id = u.batch_id
        """
    ).to_pylist()
    return {row["key"]: _upload(row) for row in rows}


def _upload(row: Mapping[str, str]) -> KeyState:
    if row["outcome"] == "quarantined":
        return KeyState(ImportState.QUARANTINED, row["reason"] or "", row["detail"] or "")
    if row["in_images"]:
        return KeyState(ImportState.DUPLICATE if row["outcome"] == "duplicate" else ImportState.ACCEPTED)
    if row["why"]:
        return KeyState(ImportState.QUARANTINED, row["why"], row["detail"] or "")
    return KeyState(ImportState.WAITING)


def label_states(lake: Lake, name: str) -> dict[str, KeyState]:
    """The state of each label file below raw/labels/NAME that a batch has read, by its key."""
    prefix = f"raw/labels/{name}/"
    with taken_over_index(lake) as index:
        states = index.states_of([entry.key for entry in lake.list(prefix)])
    newest = {key: state.batch_id for key, state in states.items()}
    batches = pa.table(
        {"key": pa.array(list(newest), pa.string()), "batch_id": pa.array(list(newest.values()), pa.string())}
    )
    rows = lake.query(
        f"""
        select n.key, n.batch_id, q.reason as reason, q.detail as detail, q.problems, a.key is not null as has_rows
        from newest_batches n
        left join (
            select key, batch_id, arg_min(reason, coalesce(line, 0)) as reason,
                   arg_min(concat_ws(': ', 'line ' || line, detail), coalesce(line, 0)) as detail, count(*) as problems
            from quarantine where kind = 'label' and starts_with(key, '{prefix}') group by key, batch_id
        ) q on q.key = n.key and q.batch_id = n.batch_id
        left join (
            select distinct key from annotations where starts_with(key, '{prefix}')
        ) a on a.key = n.key
        """,
        newest_batches=batches,
    ).to_pylist()
    ingested = {batch for batch in set(newest.values()) if lake.committed("annotations", batch)}
    return {row["key"]: _label(row) for row in rows if row["batch_id"] in ingested}


def _label(row: Mapping[str, str]) -> KeyState:
    if not row["reason"]:
        return KeyState(ImportState.ACCEPTED)
    # Of a file of many photographs some may be read while others are not.
    is_document = not row["key"].endswith(".txt")
    state = ImportState.PARTLY if is_document and row["has_rows"] else ImportState.QUARANTINED
    return KeyState(state, row["reason"], row["detail"] or "")


def label_figures(lake: Lake, name: str) -> dict[str, int]:
    """Of the photographs below raw/uploads/NAME: how many are with_damage, clean, unreviewed and unlabelled; boxes."""
    (row,) = lake.query(
        f"""
        with here as (
            select distinct u.sha256 as image_id from uploads u
            where starts_with(u.key, 'raw/uploads/{name}/') and u.sha256 in (select image_id from images)
        ),
        latest as (
            select image_id, count(*) as revisions,
                   max_by(len(boxes), sequence) filter (where state is distinct from 'unreviewed') as boxes
            from annotations where image_id in (select image_id from here) group by image_id
        )
        select count(*) filter (where boxes > 0) as with_damage, count(*) filter (where boxes = 0) as clean,
               count(*) filter (where boxes is null and revisions > 0) as unreviewed,
               count(*) filter (where revisions is null) as unlabelled, coalesce(sum(boxes), 0) as boxes
        from here left join latest using (image_id)
        """
    ).to_pylist()
    return {key: int(value) for key, value in row.items()}


def accepted_keys(lake: Lake, keys: Iterable[str]) -> set[str]:
    """Which of some keys of photographs have had bytes that became an image."""
    asked = pa.table({"key": pa.array(list(keys), pa.string())})
    if not asked.num_rows:
        return set()
    rows = lake.query(
        "select distinct u.key as key from uploads u join asked using (key) join images i on i.image_id = u.sha256",
        asked=asked,
    )
    return set(rows["key"].to_pylist())
