"""The columns of the tables about inspections, transactions and disputes; see schemas.py for the rules."""

from __future__ import annotations

import pyarrow as pa

_ts = pa.timestamp("us", tz="UTC")

# The business's own tables, from files in raw/business/. A row with an id that stands already corrects it: the highest
# (sequence, line) of an id counts.
_FROM_FILE = [
    ("file", pa.string()),
    ("line", pa.int64()),  # of the file, 1-based; of Parquet: the row
    ("sequence", pa.int64()),  # of the file's ingestion, in order of commit
    ("ingested_at", _ts),
]
INSPECTIONS = pa.schema(
    [
        ("inspection_id", pa.string()),
        ("listing", pa.string()),
        ("at", _ts),
        ("images", pa.int32()),
        ("images_by_ml", pa.int32()),  # of them: decided by the model, without a person
        ("minutes", pa.float64()),  # of a person's work; null: not measured
        ("cost", pa.float64()),
        ("currency", pa.string()),
        *_FROM_FILE,
    ]
)
TRANSACTIONS = pa.schema(
    [
        ("transaction_id", pa.string()),
        ("listing", pa.string()),
        ("listed_at", _ts),
        ("sold_at", _ts),  # null: not sold yet
        ("price", pa.float64()),  # null: not sold yet
        ("currency", pa.string()),
        *_FROM_FILE,
    ]
)
DISPUTES = pa.schema(
    [
        ("dispute_id", pa.string()),
        ("transaction_id", pa.string()),
        ("opened_at", _ts),
        ("cause", pa.string()),  # damage | price | other
        ("amount", pa.float64()),  # null: not known yet
        ("currency", pa.string()),
        *_FROM_FILE,
    ]
)
