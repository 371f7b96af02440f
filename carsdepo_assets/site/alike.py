"""Finds photographs that look like one, by the features that an exploration has measured."""

from __future__ import annotations

import threading
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.lake.photograph_features import CODE_BITS, TABLE, read_features

_CANDIDATES = 400  # by their codes, of which the vectors are compared
# Of 534 real photographs, 96 % of the twelve nearest are among the fifty nearest by the codes.


@dataclass(frozen=True)
class _Codes:
    version: int
    ids: pa.Array
    bits: NDArray[np.uint64]
    extractors: pa.DictionaryArray


class AlikePhotographs:
    """Keeps the codes of one lake's photographs in memory: 64 bytes and an id of 64 characters each."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._codes: _Codes | None = None

    def of(self, lake: Lake, image_id: str, most: int) -> list[tuple[str, float]] | None:
        """The photographs most like one.

        Args:
            lake: The lake.
            image_id: Of the photograph.
            most: How many.

        Returns:
            Ids with their likeness (the cosine of the features, at most 1), the most alike first; None where the
            photograph was not measured.
        """
        codes = self._read(lake)
        itself = pc.equal(codes.ids, image_id).to_numpy(zero_copy_only=False)
        if not itself.any():
            return None
        at = int(np.flatnonzero(itself)[-1])
        extractors = codes.extractors.indices.to_numpy()
        differing = np.bitwise_count(codes.bits ^ codes.bits[at]).sum(axis=1).astype(np.int64)
        differing[itself | (extractors != extractors[at])] = CODE_BITS + 1
        nearest = np.argsort(differing, kind="stable")[:_CANDIDATES]
        chosen = codes.ids.take(pa.array(nearest[differing[nearest] <= CODE_BITS])).to_pylist()
        ids, vectors = read_features(lake, codes.extractors[at].as_py(), [image_id, *chosen])
        if image_id not in ids:  # what is stored of it is damaged
            return None
        likeness = vectors @ vectors[ids.index(image_id)]
        order = np.argsort(-likeness, kind="stable")
        return [(ids[n], float(likeness[n])) for n in order if ids[n] != image_id][:most]

    def _read(self, lake: Lake) -> _Codes:
        version = lake.version(TABLE)
        with self._lock:
            if self._codes is None or self._codes.version != version:
                table = lake.read(TABLE, ["image_id", "extractor", "code"])
                table = table.filter(pc.equal(pc.binary_length(table["code"]), CODE_BITS // 8))  # others are damaged
                packed = b"".join(table["code"].to_pylist())
                self._codes = _Codes(
                    version,
                    table["image_id"].combine_chunks(),
                    np.frombuffer(packed, np.uint64).reshape(table.num_rows, CODE_BITS // 64),
                    table["extractor"].combine_chunks().dictionary_encode(),
                )
            return self._codes
