"""The columns of the table `photograph_features`; see `lake.schemas` for the others and for their rules."""

from __future__ import annotations

import pyarrow as pa

# One row per photograph and extractor: what a network sees in the photograph as a whole. A row follows from the
# photograph's bytes and the extractor alone, so that it is measured once, whatever dataset or report asks for it.
PHOTOGRAPH_FEATURES = pa.schema(
    [
        ("image_id", pa.string()),
        ("extractor", pa.string()),  # network, weights, input size and version of the code between them
        ("vector", pa.binary()),  # unit vector, float16, little-endian
        ("code", pa.binary()),  # 512 signs of its products with fixed directions: near vectors differ in few bits
    ]
)
