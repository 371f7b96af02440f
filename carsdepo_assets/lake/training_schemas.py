"""The columns of the tables that training writes; see `lake.schemas` for the others and for their rules."""

from __future__ import annotations

import pyarrow as pa

_ts = pa.timestamp("us", tz="UTC")

# What came of the trainings of one state of the labels: one row a judged model, and one a fallback that was not tried.
TRAININGS = pa.schema(
    [
        ("label_state", pa.int64()),  # annotation revisions that the dataset's build had seen
        ("at", _ts),
        ("asked_by", pa.string()),  # retrain (the sensor) | person
        ("fallback", pa.string()),  # name of the policy's fallback; null: the recipe itself
        ("outcome", pa.string()),  # met | under_floor | hopeless | skipped | did_not_finish
        ("dataset", pa.string()),
        ("recipe", pa.string()),
        ("digest", pa.string()),  # of the model; null where none was judged
        ("version", pa.int32()),
        ("map50", pa.float64()),
        ("floor", pa.float64()),  # policy.evaluation.floor_map50 then
        ("reason", pa.string()),
    ]
)

# One row per model that became the candidate, for each state of the labels and each reason to train it. A figure that
# the training did not report is null.
CANDIDATES = pa.schema(
    [
        ("digest", pa.string()),
        ("at", _ts),
        ("dataset", pa.string()),  # version of the dataset that it was trained on
        ("recipe", pa.string()),  # the recipe's digest
        ("detector", pa.string()),
        ("label_state", pa.int64()),  # annotation revisions that the dataset's build had seen
        ("seen_at", _ts),  # when that build looked at the labels
        ("fallback", pa.string()),  # name of the policy's fallback; null: the usual recipe
        ("asked_by", pa.string()),  # retrain (the sensor) | person
        ("threshold", pa.float64()),
        ("val_map50", pa.float64()),
        ("epochs", pa.int64()),
        ("steps", pa.int64()),
        ("seconds", pa.float64()),
        ("ended", pa.string()),  # how the training ended, in words
    ]
)

CLASS_FIGURES = pa.struct(
    [
        ("name", pa.string()),
        ("boxes", pa.int64()),
        *[pa.field(name, pa.float64()) for name in ("ap50", "ap75", "ap50_95", "precision", "recall", "f1")],
    ]
)

# False alarms of one cause; cause null: they lie in no hard negative. share: of all false alarms.
CAUSE_FIGURES = pa.struct(
    [
        ("cause", pa.string()),
        ("negatives", pa.int64()),  # labelled hard negatives of the cause
        ("false_alarms", pa.int64()),
        ("share", pa.float64()),
    ]
)

# One row per evaluation of a model on a golden set. A figure that cannot be computed is null, never 0.
EVALUATIONS = pa.schema(
    [
        ("evaluation_id", pa.string()),
        ("at", _ts),
        ("digest", pa.string()),  # of the model
        ("trained_on", pa.string()),  # version of the dataset that the model was trained on
        ("dataset", pa.string()),  # version of the dataset whose labels are the truth
        ("golden", pa.int32()),  # version of the golden set; 0: the dataset's test split
        ("policy_digest", pa.string()),
        ("photographs", pa.int64()),
        ("boxes", pa.int64()),
        ("groups", pa.int64()),
        ("tp", pa.int64()),
        ("fp", pa.int64()),
        ("fn", pa.int64()),
        *[
            pa.field(name, pa.float64())
            for name in (
                "map50", "map75", "map50_95", "precision", "recall", "f1", "threshold", "map50_low", "map50_high",
            )
        ],
        ("floor_met", pa.bool_()),
        ("verdict", pa.string()),
        ("champion", pa.string()),  # the model in production that was scored beside it; null: none
        ("champion_map50", pa.float64()),
        ("classes", pa.list_(CLASS_FIGURES)),
        ("report_key", pa.string()),
        ("dagster_run_id", pa.string()),
        ("false_alarm_causes", pa.list_(CAUSE_FIGURES)),  # empty or null: no hard negative is labelled
    ]
)  # fmt: skip

# The ledger of studies: what became of each trial, in the order of events; see lake/trials.py. A figure that there is
# not is null, never 0.
TRIALS = pa.schema(
    [
        ("study", pa.string()),
        ("at", _ts),
        ("state", pa.string()),  # opened | asked | interrupted | complete | pruned | failed | concluded | pinned
        ("number", pa.int32()),  # of the trial, from 0; of the winner; null: none
        ("dataset", pa.string()),
        ("report_id", pa.string()),  # the drift report that asked for the study; null: none
        ("params", pa.string()),  # JSON: what the sampler chose
        ("changes", pa.string()),  # JSON: what that changes of the usual recipe
        ("recipe", pa.string()),  # JSON: the whole recipe that the trial is trained by
        ("recipe_digest", pa.string()),
        ("value", pa.float64()),  # mAP@.5 on val, of our evaluator
        ("low", pa.float64()),  # of the value's interval, by bootstrap over groups
        ("high", pa.float64()),
        ("groups", pa.int64()),
        ("curve", pa.string()),  # JSON: val mAP@.5 by tenths of the trial's length
        ("steps", pa.int64()),
        ("seconds", pa.float64()),
        ("money", pa.float64()),
        ("currency", pa.string()),
        ("place", pa.string()),
        ("digest", pa.string()),  # of the model; null: none was left
        ("mlflow_run_id", pa.string()),
        ("message", pa.string()),  # why, in whole sentences
        ("actor", pa.string()),  # user@host of a pin; auto:<policy digest>
        ("policy_digest", pa.string()),
        ("dagster_run_id", pa.string()),
    ]
)
