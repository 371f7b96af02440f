"""data/photographs/profiling.py: profiles agree with the frame, and merge over batches as if they were one."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from carsdepo_assets.data.photographs.profiling import FEATURES, merged, profile


def frame(rows: int, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    return pd.DataFrame(
        {
            "luma_mean": rng.normal(120, 30, rows),
            "sharpness": rng.gamma(2, 50, rows),
            "camera": rng.choice(["one", "two"], rows),
            "image_id": [f"{seed}-{i}" for i in range(rows)],
        }
    )


def test_a_profile_says_what_the_frame_says() -> None:
    data = frame(500)
    table = merged([profile(data)])
    for name in ("luma_mean", "sharpness"):
        assert table.loc[name, "count"] == 500
        assert table.loc[name, "mean"] == pytest.approx(data[name].mean())
        assert table.loc[name, "stddev"] == pytest.approx(data[name].std())
        assert table.loc[name, "min"] == pytest.approx(data[name].min())
        assert table.loc[name, "max"] == pytest.approx(data[name].max())
        rank = (data[name] < table.loc[name, "median"]).mean()  # a sketch: near the middle, not at it
        assert 0.45 < rank < 0.55


def test_only_features_are_profiled() -> None:
    assert sorted(merged([profile(frame(5))]).index) == ["camera", "luma_mean", "sharpness"]
    assert "image_id" not in FEATURES


def test_batches_merge_as_if_they_were_one() -> None:
    parts = [frame(n, seed) for seed, n in enumerate((3, 40, 1))]
    together, apart = merged([profile(pd.concat(parts))]), merged([profile(p) for p in parts])
    columns = ["count", "mean", "stddev", "min", "max"]
    assert apart.loc["luma_mean", "count"] == 44
    np.testing.assert_allclose(
        apart.loc[["luma_mean", "sharpness"], columns].astype(float),
        together.loc[["luma_mean", "sharpness"], columns].astype(float),
    )


def test_text_has_counts_only() -> None:
    row = merged([profile(frame(7))]).loc["camera"]
    assert row["count"] == 7
    assert row[["min", "max", "median"]].isna().all()


def test_unknown_cameras_are_counted_as_rows_and_spoil_nothing() -> None:
    data = frame(4)
    data["camera"] = None
    data.loc[1, "luma_mean"] = np.nan
    table = merged([profile(data)])
    assert table.loc["sharpness", "mean"] == pytest.approx(data["sharpness"].mean())
    assert table.loc["luma_mean", "min"] == pytest.approx(data["luma_mean"].min())


def test_nothing_to_merge_is_an_error() -> None:
    with pytest.raises(ValueError, match="no profiles"):
        merged([])
