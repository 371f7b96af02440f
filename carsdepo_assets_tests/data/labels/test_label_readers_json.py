"""data/labels/formats/: LabelMe, Label Studio, Ground Truth and Datumaro, in forms that differ, and what is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest

from carsdepo_assets.data.labels.formats import fit
from carsdepo_assets_tests.data import label_documents as files
from carsdepo_assets_tests.data.label_results import BOX, TARGETS, boxes, labels, read, shape


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (shape("rectangle", [120, 70], [80, 30]), BOX),
        (shape("rectangle", [80, 70], [120, 30]), BOX),
        (shape("rectangle", [80, 30], [120, 30], [120, 70], [80, 70]), BOX),
        (shape("polygon", [80, 30], [120, 30], [100, 70]), BOX),
        (shape(None, [80, 30], [120, 30], [100, 70]), BOX),
        (shape("circle", [100, 50], [100, 70]), BOX),
        (shape("mask", [80, 30], [120, 70], mask="iVBORw0KGgo="), BOX),
        (shape("rectangle", [80, 30], [120, 70], label=" DENT ", score=None, group_id=None), BOX),
    ],
)
def test_labelme_shapes(one: dict[str, Any], expected: Any) -> None:
    assert boxes(labels("labelme", files.labelme(one))) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        (shape("linestrip", [1, 2], [3, 4]), "unsupported_shape"),
        (shape("line", [1, 2], [3, 4]), "unsupported_shape"),
        (shape("point", [1, 2]), "unsupported_shape"),
        (shape("rectangle", [1, 2]), "malformed"),
        (shape("rectangle", [1, 2], [3, "4"]), "malformed"),
        (shape("polygon", [1, 2], [3, 4]), "malformed"),
        (shape("rectangle", [1, 2], [30, 40], label=None), "unknown_class"),
        (shape("rectangle", [1, 2], [30, 40], score=0.9), "prediction"),
        (shape(7, [1, 2], [30, 40]), "unsupported_shape"),  # type: ignore[arg-type]
        (None, "malformed"),
    ],
)
def test_labelme_shapes_that_cannot_be_used(one: Any, reason: str) -> None:
    assert [p.reason for p in labels("labelme", files.labelme(one)).problems] == [reason]


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        (files.region("dent", 60, 70, -20, -40), BOX),
        (files.region("dent", 60, 30, 20, 40, rotation=90), (80, 30, 120, 70)),  # 40 x 40 px, about its corner
        (files.region("dent", 40, 20, 20, 20, rotation=90), (60, 20, 80, 60)),  # 40 x 20 px become 20 x 40
        (files.region("dent", 50, 50, 0, 0, rectanglelabels=[]) | {
            "value": {"x": 50, "y": 50, "radiusX": 10, "radiusY": 20, "ellipselabels": ["dent"]}}, BOX),
        ({"type": "polygonlabels", "value": {
            "points": [[40, 30], [60, 30], [50, 70]], "polygonlabels": ["dent"]}}, BOX),
    ],
)  # fmt: skip
def test_label_studio_regions(one: dict[str, Any], expected: Any) -> None:
    data = files.labelstudio(files.task(files.annotation(one)))
    assert boxes(labels("labelstudio", data)) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        ({"type": "brushlabels", "value": {"format": "rle", "rle": [1], "brushlabels": ["dent"]}}, "unsupported_shape"),
        ({"type": "keypointlabels", "value": {"x": 1, "y": 1, "width": 1, "keypointlabels": ["dent"]}}, "malformed"),
        (files.region("dent", 1, 1, 9, 9, rectanglelabels=[]), "unknown_class"),
        (files.region("dent", "1", 1, 9, 9), "malformed"),  # type: ignore[arg-type]
        ({"type": "rectanglelabels", "value": None}, "malformed"),
        (None, "malformed"),
        (files.region("dent", 1, 1, 9, 9) | {"item_index": 2}, "malformed"),
        (files.region("dent", 40, 30, 20, 40) | {"original_width": 400}, "size_differs"),
    ],
)
def test_label_studio_regions_that_cannot_be_used(one: Any, reason: str) -> None:
    parsed = labels("labelstudio", files.labelstudio(files.task(files.annotation(one))))
    assert [p.reason for p in parsed.problems] == [reason]


def test_label_studio_shape_and_label_may_be_two_entries() -> None:
    value = {"x": 40, "y": 30, "width": 20, "height": 40, "rotation": 0}
    entries = [
        {"id": "r1", "type": "rectangle", "value": value},
        {"id": "r1", "type": "labels", "value": value | {"labels": ["dent"]}},
        {"type": "choices", "value": {"choices": ["front"]}},
    ]
    assert boxes(labels("labelstudio", files.labelstudio(files.task(files.annotation(*entries))))) == [(1, BOX)]


@pytest.mark.parametrize(
    ("task", "reviewed"),
    [
        (files.task(), False),
        (files.task(predictions=[{"result": files.REGIONS, "score": 0.9}]), False),
        (files.task(files.annotation(*files.REGIONS, was_cancelled=True)), False),
        (files.task(files.annotation()), True),
        (files.task(files.annotation(), predictions=[{"result": files.REGIONS}]), True),
        (files.task(annotations=None, drafts=[{"result": files.REGIONS}]), False),
    ],
)
def test_an_unfinished_task_of_label_studio_is_not_clean(task: dict[str, Any], reviewed: bool) -> None:
    (photograph,) = read("labelstudio", files.labelstudio(task)).photographs
    assert (photograph.shapes, photograph.problems, photograph.reviewed) == ([], [], reviewed)


def test_label_studio_keeps_each_annotator() -> None:
    first, second = files.annotation(files.REGIONS[0], by=3), files.annotation(*files.REGIONS, by={"email": "b@x.org"})  # type: ignore[arg-type]
    document = read("labelstudio", files.labelstudio(files.task(first, second)))
    assert [(p.annotator, len(p.shapes)) for p in document.photographs] == [("3", 1), ("b@x.org", 2)]


def test_label_studios_json_min() -> None:
    regions = [r["value"] | {"original_width": 200, "original_height": 100} for r in files.REGIONS]
    row = {"id": 1, "image": "a.jpg", "annotator": 2, "annotation_id": 5, "created_at": "2026-01-01", "lead_time": 3}
    data = json.dumps(
        [row | {"label": regions}, row | {"image": "b.jpg"}, row | {"image": "c.jpg", "annotation_id": None}]
    )
    document = read("labelstudio", data.encode())
    assert [(p.file_name, len(p.shapes), p.reviewed) for p in document.photographs] == [
        ("a.jpg", 2, True),
        ("b.jpg", 0, True),
        ("c.jpg", 0, False),
    ]
    assert boxes(fit(document.photographs[0], 200, 100, TARGETS)) == [(0, BOX), (1, files.BOXES["dent"])]


def test_ground_truth_class_maps_of_one_line_are_sparse() -> None:
    line = files.manifest_line((5, 20, 10, 40, 40))
    bare = files.manifest_line((0, 80, 30, 40, 40))
    bare["damage-metadata"]["class-map"] = {}
    document = read("groundtruth", files.groundtruth(bare, line, files.manifest_line((0, 1, 1, 9, 9))))
    assert [[s.source_class for s in p.shapes] for p in document.photographs] == [["scratch"], ["dent"], ["scratch"]]
    (alone,) = read("groundtruth", files.groundtruth(bare)).photographs
    assert [(p.reason, p.line) for p in alone.problems] == [("unknown_class", 1)]


def other_job(line: dict[str, Any], attribute: str, *boxes: Any, **metadata: Any) -> dict[str, Any]:
    another = files.manifest_line(*boxes)
    return line | {
        attribute: another["damage"],
        f"{attribute}-metadata": another["damage-metadata"] | metadata,
    }


SCRATCH, DENT = (0, 80, 30, 40, 40), (5, 20, 10, 40, 40)


@pytest.mark.parametrize(
    ("line", "classes", "reasons", "reviewed"),
    [
        (files.manifest_line(), [], [], True),
        ({"source-ref": "s3://b/a.jpg"}, [], [], False),
        ({"source-ref": "s3://b/a.jpg", "damage-metadata": {"failure-reason": "ClientError"}}, [], [], False),
        ({"source-ref": "s3://b/a.jpg", "kind": 1, "kind-metadata": {"type": "groundtruth/image-classification"}},
         [], [], False),
        (other_job(files.manifest_line(SCRATCH), "again", SCRATCH), ["scratch"], [], True),
        (other_job(files.manifest_line(SCRATCH), "dents", DENT), ["scratch", "dent"], [], True),
        (other_job(files.manifest_line(SCRATCH), "again", (0, 1, 1, 9, 9)), None, ["contradiction"], True),
        (other_job(files.manifest_line(SCRATCH), "fixed", DENT, **{"adjustment-status": "adjusted"}),
         ["dent"], [], True),
        (other_job(files.manifest_line(SCRATCH), "damage", SCRATCH, **{"human-annotated": "no"}),
         [], ["prediction"], True),
    ],
)  # fmt: skip
def test_ground_truth_lines(line: Any, classes: list[str] | None, reasons: list[str], reviewed: bool) -> None:
    (photograph,) = read("groundtruth", files.groundtruth(line)).photographs
    assert [p.reason for p in photograph.problems] == reasons
    assert photograph.reviewed == reviewed
    if classes is not None:
        assert [s.source_class for s in photograph.shapes] == classes


ADJUSTED, FAILED = {"adjustment-status": "adjusted"}, {"failure-reason": "ClientError"}
BOTH = other_job(files.manifest_line(SCRATCH), "dents", DENT)


def verified(line: dict[str, Any], verdict: str, day: int = 2) -> dict[str, Any]:
    metadata = {"class-name": verdict, "type": "groundtruth/label-verification", "creation-date": f"2026-01-0{day}"}
    return line | {"check": 0, "check-metadata": metadata}


@pytest.mark.parametrize(
    ("line", "classes", "reasons", "reviewed"),
    [
        # A job that failed leaves the photograph unfinished, whatever another one says.
        (other_job(files.manifest_line(), "s", **FAILED), [], [], False),
        (other_job(files.manifest_line(DENT), "s", **FAILED), [], [], False),
        (other_job(files.manifest_line(DENT), "fixed", DENT, **ADJUSTED, **FAILED), [], [], False),
        # An adjustment replaces the job with its classes, the others are united with it.
        (other_job(BOTH, "fixed", (0, 1, 1, 9, 9), **ADJUSTED), ["dent", "scratch"], [], True),
        (other_job(other_job(BOTH, "fixed", SCRATCH, SCRATCH, **ADJUSTED, **{"creation-date": "2026-01-02"}),
                   "again", SCRATCH, **ADJUSTED, **{"creation-date": "2026-01-03"}), ["dent", "scratch"], [], True),
        (other_job(BOTH, "fixed", SCRATCH, DENT, **ADJUSTED), [], ["contradiction"], True),
        (other_job(BOTH, "fixed", **ADJUSTED), [], ["contradiction"], True),
        (other_job(other_job(BOTH, "fixed", SCRATCH, **ADJUSTED), "again", (0, 1, 1, 9, 9), **ADJUSTED),
         [], ["contradiction"], True),
        # A verification that does not accept.
        (verified(BOTH, "reject"), [], [], False),
        (verified(BOTH, "Bad"), [], [], False),
        (verified(BOTH, "Accept"), ["scratch", "dent"], [], True),
        (verified(other_job(files.manifest_line(SCRATCH), "fixed", SCRATCH, **ADJUSTED,
                            **{"creation-date": "2026-01-03"}), "reject"), ["scratch"], [], True),
        (verified(other_job(BOTH, "fixed", SCRATCH, **ADJUSTED, **{"creation-date": "2026-01-03"}), "reject"),
         [], [], False),
    ],
)  # fmt: skip
def test_ground_truth_lines_of_several_jobs(line: Any, classes: list[str], reasons: list[str], reviewed: bool) -> None:
    test_ground_truth_lines(line, classes, reasons, reviewed)


def test_a_line_that_lacks_a_job_of_other_lines_is_unfinished() -> None:
    first, second = files.manifest_line(SCRATCH), files.manifest_line()
    lacking = {"source-ref": "b.jpg"} | {
        k.replace("damage", "dents"): v for k, v in second.items() if k != "source-ref"
    }
    document = read("groundtruth", files.groundtruth(other_job(first, "dents", DENT), lacking))
    assert [photograph.reviewed for photograph in document.photographs] == [True, False]
    assert "damage, which labels other lines" in document.photographs[1].notes[0]
    # Two jobs with the same classes label a photograph each.
    alone = {k.replace("damage", "batch2"): v for k, v in files.manifest_line(SCRATCH).items()}
    document = read("groundtruth", files.groundtruth(first, alone))
    assert [len(photograph.shapes) for photograph in document.photographs] == [1, 1]


def test_a_broken_line_of_a_manifest_costs_no_other() -> None:
    data = files.groundtruth() + b'\n{"source-ref": "s3://b/b.jpg", "dam\n\n{"no": 1}\n3\n'
    document = read("groundtruth", data)
    assert len(document.photographs) == 1
    assert [(p.reason, p.line) for p in document.problems] == [
        ("malformed", 2), ("no_photograph", 4), ("no_photograph", 5)
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("one", "expected"),
    [
        ({"type": "bbox", "label_id": 1, "bbox": [80, 30, 40, 40]}, BOX),
        ({"type": "bbox", "label_id": 1, "bbox": [60, 40, 80, 20], "attributes": {"rotation": 90}}, (90, 10, 110, 90)),
        ({"type": "polygon", "label_id": 1, "points": [80, 30, 120, 30, 100, 70], "attributes": None}, BOX),
        ({"type": "ellipse", "label_id": 1, "points": [80, 30, 120, 70]}, BOX),
        ({"type": "rotated_bbox", "label_id": 1, "points": [100, 50, 40, 40, 180]}, BOX),
        ({"type": "mask", "label_id": 1, "rle": {"size": [100, 200], "counts": [8030, 40, 11930]}}, (80, 30, 81, 70)),
    ],
)
def test_datumaro_annotations(one: dict[str, Any], expected: Any) -> None:
    assert boxes(labels("datumaro", files.datumaro(one))) == [(1, expected)]


@pytest.mark.parametrize(
    ("one", "reason"),
    [
        ({"type": "bbox", "label_id": None, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": -1, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": 2, "bbox": [1, 1, 9, 9]}, "unknown_class"),
        ({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9]}, "malformed"),
        ({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9, 9], "attributes": {"score": 0.5}}, "prediction"),
        ({"type": "polyline", "label_id": 1, "points": [1, 1, 9, 9]}, "unsupported_shape"),
        ({"type": "points", "label_id": 1, "points": [1, 1]}, "unsupported_shape"),
        ({"type": "mask", "label_id": 1}, "malformed"),
        (3, "malformed"),
    ],
)
def test_datumaro_annotations_that_cannot_be_used(one: Any, reason: str) -> None:
    assert [p.reason for p in labels("datumaro", files.datumaro(one)).problems] == [reason]


def test_a_datumaro_item_beside_predictions_is_not_clean() -> None:
    document = json.loads(files.datumaro({"type": "bbox", "label_id": 1, "bbox": [1, 1, 9, 9]}))
    document["items"].append({"id": "b", "annotations": []})
    for attributes, reviewed in (({}, True), ({"score": 0.5}, False)):
        document["items"][0]["annotations"][0]["attributes"] = attributes
        assert read("datumaro", json.dumps(document).encode()).photographs[1].reviewed == reviewed


def test_datumaro_labels_of_the_whole_photograph_are_no_boxes() -> None:
    parsed = labels("datumaro", files.datumaro({"type": "label", "label_id": 1}))
    assert (parsed.boxes, parsed.problems, parsed.reviewed) == ([], [], False)
    assert "dent is said of the whole photograph" in parsed.notes[1]
