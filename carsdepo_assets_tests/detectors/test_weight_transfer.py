"""detectors/weight_transfer.py and what families start from: heads that grow with the class map, published weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from carsdepo_assets.detectors.catalogue import get_detector
from carsdepo_assets.detectors.checkpoints import DetectorError, write_weights
from carsdepo_assets.detectors.weight_transfer import ClassRows, known_classes, taken_over
from carsdepo_assets_tests.detectors.family_contract import initial_state, recipe_of

NAMES = ("scratch", "dent")


@pytest.mark.parametrize(
    ("learnt", "wanted", "n_known"),
    [
        ("scratch dent", "scratch dent", 2),
        ("scratch dent", "scratch dent crack", 2),
        ("person bicycle", "scratch dent", 0),
        ("scratch dent", "dent scratch", None),
        ("scratch dent", "crack scratch dent", None),
        ("scratch dent crack", "scratch dent", None),
        ("scratch", "dent", 0),
    ],
)
def test_known_classes_are_the_first_ones_or_none(learnt: str, wanted: str, n_known: int | None) -> None:
    if n_known is None:
        with pytest.raises(DetectorError, match=r"champion\.pt was trained on the classes scratch.*not the first of"):
            known_classes("champion.pt", learnt.split(), wanted.split())
    else:
        assert known_classes("champion.pt", learnt.split(), wanted.split()) == n_known


@pytest.mark.parametrize(
    ("rows", "n_known", "expected"),
    [
        (ClassRows("head"), 2, [1, 1, 0, 0, 0, 0]),
        (ClassRows("head", before=1), 2, [1, 1, 1, 0, 0, 0]),
        (ClassRows("head", after=1), 2, [1, 1, 0, 0, 0, 1]),
        (ClassRows("head", each=2), 2, [1, 1, 1, 1, 0, 0]),
        (ClassRows("head"), 0, [0, 0, 0, 0, 0, 0]),
    ],
)
def test_rows_of_known_classes_are_taken_and_new_ones_stay_fresh(
    rows: ClassRows, n_known: int, expected: list[int]
) -> None:
    import torch

    own = {"body": torch.zeros(2), "head": torch.zeros(6), "wider": torch.zeros(3)}
    given = {"body": torch.ones(2), "head": torch.ones(5), "wider": torch.ones(4), "unknown": torch.ones(1)}
    state = taken_over(own, given, (rows,), n_known, "champion.pt")
    assert state["body"].tolist() == [1, 1]
    assert state["head"].tolist() == expected
    assert state["wider"].tolist() == [0, 0, 0]
    assert own["head"].tolist() == [0] * 6
    with pytest.raises(DetectorError, match=r"none of the weights of champion\.pt fits"):
        taken_over(own, {"head": torch.ones(5)}, (rows,), 2, "champion.pt")
    larger = {"narrow": torch.zeros(2), "wide": torch.zeros(60)}
    with pytest.raises(DetectorError, match=r"3\.2 % of the weights of yolov8s\.pt fits this family"):
        taken_over(larger, {"narrow": torch.ones(2), "wide": torch.ones(120)}, (), 0, "yolov8s.pt")


def test_weights_of_another_size_of_a_family_are_refused(tmp_path: Path) -> None:
    import torch

    write_weights(tmp_path / "w.pt", "yolov8n", {"a": torch.zeros(1)}, NAMES, 64)
    with pytest.raises(DetectorError, match="weights of yolov8n, not of yolov8s"):
        get_detector("yolov8s").initial_model(recipe_of("yolov8s", init=str(tmp_path / "w.pt")), NAMES)  # type: ignore[attr-defined]


@pytest.mark.slow
def test_published_weights_of_resnet50_are_below_fresh_heads(tmp_path: Path) -> None:
    import torch
    from torchvision.models.detection import fasterrcnn_resnet50_fpn_v2

    file = tmp_path / "fasterrcnn_resnet50_fpn_v2_coco-dd69338a.pth"
    torch.manual_seed(7)
    published = fasterrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None).state_dict()
    torch.save(published, file)
    recipe = recipe_of("faster_rcnn_resnet50", init=str(file))
    state = initial_state("faster_rcnn_resnet50", recipe, NAMES)
    assert_taken(state, published, heads="roi_heads.box_predictor")
    file.write_bytes(file.read_bytes()[:-100])
    with pytest.raises(DetectorError, match="not torchvision's file of weights"):
        initial_state("faster_rcnn_resnet50", recipe, NAMES)


@pytest.mark.slow
def test_published_weights_of_dfine_are_read_without_pickle_under_older_names_too(tmp_path: Path) -> None:
    import re

    import torch
    from safetensors.torch import load_file, save_file

    from carsdepo_assets.detectors.dfine.model import COCO_CLASSES, build_model

    torch.manual_seed(7)
    model = build_model("n", COCO_CLASSES, 640)
    model.save_pretrained(tmp_path / "saved")
    saved = load_file(tmp_path / "saved" / "model.safetensors")
    older = {
        re.sub(r"encoder\.aifi\.(\d+)\.layers", r"encoder.encoder.\1.layers", k).replace("o_proj", "out_proj"): v
        for k, v in saved.items()
    }
    recipe = recipe_of("dfine_n", init=str(tmp_path / "dfine_n.safetensors"))
    for tensors in (saved, older):
        save_file(tensors, tmp_path / "dfine_n.safetensors", {"format": "pt"})
        state = initial_state("dfine_n", recipe, NAMES)
        assert_taken(state, model.state_dict(), heads="class_embed|enc_score_head|denoising_class_embed")
    save_file({"a": torch.zeros(1)}, tmp_path / "dfine_n.safetensors", {"format": "pt"})
    with pytest.raises(DetectorError, match="tensors are absent"):
        initial_state("dfine_n", recipe, NAMES)
    (tmp_path / "dfine_n.safetensors").write_bytes(b"\x80\x04 a pickle")
    with pytest.raises(DetectorError, match="not the published weights of D-FINE N"):
        initial_state("dfine_n", recipe, NAMES)


def assert_taken(state: dict[str, Any], published: dict[str, Any], heads: str) -> None:
    import re

    import torch

    below = [name for name in state if not re.search(heads, name)]
    assert len(below) > 50
    assert all(torch.equal(state[name], published[name]) for name in below)
    of_heads = [name for name in state if re.search(heads, name)]
    assert of_heads
    assert all(state[name].shape != published[name].shape for name in of_heads)
