"""lake/model_files.py: every file of a model is named by its manifest, and what differs from it is named."""

from __future__ import annotations

import pytest

from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.lake.model_files import (
    ModelFilesError,
    adopt_model_files,
    check_model_files,
    model_manifest_key,
    record_exports,
)
from carsdepo_assets_tests.lake.stored_model import stored_model


def test_the_manifest_has_every_file(lake: Lake) -> None:
    digest = stored_model(lake)
    assert sorted(check_model_files(lake, digest).files) == ["lineage.json", "model.json", "result.json", "weights.bin"]


def test_a_flipped_bit_anywhere_is_named_by_file(folder_lake: Lake) -> None:
    digest = stored_model(folder_lake)
    for name in check_model_files(folder_lake, digest).files:
        key = f"models/{digest}/{name}"
        whole = folder_lake.get(key)
        for i in range(len(whole)):
            folder_lake.put(key, whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :])
            with pytest.raises(ModelFilesError, match=f"{key} was changed"):
                check_model_files(folder_lake, digest)
        folder_lake.put(key, whole)
    check_model_files(folder_lake, digest)


def test_files_that_are_missing_or_added_are_named_together(folder_lake: Lake) -> None:
    digest = stored_model(folder_lake)
    folder_lake.delete(f"models/{digest}/model.json")
    folder_lake.put(f"models/{digest}/exports/export.json", b"{}")
    with pytest.raises(ModelFilesError) as error:
        check_model_files(folder_lake, digest)
    assert f"models/{digest}/model.json is missing; models/{digest}/exports/export.json is not in" in str(error.value)
    with pytest.raises(ModelFilesError) as error:
        check_model_files(folder_lake, digest, with_exports=False)
    assert "export.json" not in str(error.value)


def test_exports_join_the_manifest_and_nothing_else_does(lake: Lake) -> None:
    digest = stored_model(lake)
    lake.put(f"models/{digest}/exports/export.json", b"{}")
    lake.put(f"models/{digest}/model.json", b"changed")
    record_exports(lake, digest)
    with pytest.raises(ModelFilesError) as error:
        check_model_files(lake, digest)
    assert "model.json was changed" in str(error.value)
    assert "export.json" not in str(error.value).partition(". Take")[0]


def test_the_same_model_trained_again_keeps_its_exports_in_the_manifest(lake: Lake) -> None:
    digest = stored_model(lake)
    lake.put(f"models/{digest}/exports/export.json", b"{}")
    record_exports(lake, digest)
    stored_model(lake)
    assert "exports/export.json" in check_model_files(lake, digest).files


def test_another_models_manifest_is_refused(folder_lake: Lake) -> None:
    first, second = stored_model(folder_lake), stored_model(folder_lake, b"others")
    folder_lake.put(model_manifest_key(first), folder_lake.get(model_manifest_key(second)))
    with pytest.raises(ModelFilesError, match=f"the manifest of another model, {second}"):
        check_model_files(folder_lake, first)


def test_other_weights_are_refused_though_the_manifest_has_them(folder_lake: Lake) -> None:
    digest = stored_model(folder_lake)
    folder_lake.delete(model_manifest_key(digest))
    folder_lake.put(f"models/{digest}/weights.bin", b"others")
    with pytest.raises(ModelFilesError, match=f"No file in models/{digest} has the digest"):
        adopt_model_files(folder_lake, digest)


def test_without_a_manifest_nothing_is_recorded_and_a_person_may_make_one(folder_lake: Lake) -> None:
    digest = stored_model(folder_lake)
    folder_lake.delete(model_manifest_key(digest))
    assert record_exports(folder_lake, digest) is None
    with pytest.raises(ModelFilesError, match=rf"`carsdepo sign {digest}` makes one"):
        check_model_files(folder_lake, digest)
    adopt_model_files(folder_lake, digest)
    check_model_files(folder_lake, digest)


def test_no_model_is_said_to_be_none(folder_lake: Lake) -> None:
    with pytest.raises(LakeError, match="the lake has no such model"):
        check_model_files(folder_lake, "0" * 16)
