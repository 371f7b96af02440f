"""Reads COCO JSON: images, categories, and annotations with `bbox` [x, y, width, height] in pixels.

An image without annotations was reviewed and shows no damage, unless the file shows that it does not know: Label Studio
exports unfinished tasks as such images, and where annotations name no image of the file one of them may be this one's.
"""

from __future__ import annotations

from typing import Any

from carsdepo_assets.data.folders.class_names import same_name
from carsdepo_assets.data.folders.photograph_names import names_behind_dates
from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import around, points_of
from carsdepo_assets.data.labels.formats.json_values import identifier, loads, number, numbers, shown, text
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.rle import rle_box
from carsdepo_assets.data.labels.formats.scores import has_score


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a COCO file.

    Raises:
        NotReadable: It is no COCO, or its meaning is not certain.
    """
    document = loads(data, "COCO")
    if not isinstance(document, dict):
        raise NotReadable("COCO: an object with images, annotations and categories is expected")
    for part in ("images", "annotations"):
        if not isinstance(document.get(part), list):
            raise NotReadable(
                f"COCO: {part} is {shown(document.get(part), 40) if part in document else 'missing'}, a list is "
                "expected. Where photographs were looked at and show nothing, annotations is []."
            )
    result = LabelDocument(class_names=_class_names(document.get("categories")))
    by_id: dict[str, LabelledPhotograph] = {}
    for image in document["images"]:
        image_id, photograph = _image(image)
        if image_id in by_id and by_id[image_id].file_name != photograph.file_name:
            raise NotReadable(f"COCO: two images have the id {image_id[:40]}: whose annotations are whose?")
        by_id.setdefault(image_id, photograph)
    for note in document["annotations"]:
        owner = identifier(note.get("image_id")) if isinstance(note, dict) else None
        if owner is None or owner not in by_id:
            result.problems.append(Problem("no_photograph", f"annotation of no image in this file: {shown(note, 100)}"))
        else:
            _annotation(by_id[owner], note)
    result.photographs = list(by_id.values())
    result.origin = _origin(document)
    names = {p.file_name: p.file_name.replace("\\", "/").rpartition("/")[2] for p in result.photographs}
    behind = names_behind_dates(list(names.values()), of_label_studio=_is_of_label_studio(document))
    for photograph in result.photographs:
        photograph.behind_date = behind.get(names[photograph.file_name])
    _doubt(document, result)
    return result


def _is_of_label_studio(document: dict[str, Any]) -> bool:
    info = document.get("info")
    return isinstance(info, dict) and same_name(str(info.get("contributor"))) == "label studio"


def _origin(document: dict[str, Any]) -> str:
    """What tells one export from another in a file's info; dates differ within one."""
    info = document.get("info")
    told = [text(info.get(name)) for name in ("contributor", "description", "url")] if isinstance(info, dict) else []
    return ", ".join(same_name(one) for one in told if one)


def _doubt(document: dict[str, Any], result: LabelDocument) -> None:
    """Marks images without annotations as unreviewed where these may be missing."""
    doubt = ""
    if _is_of_label_studio(document):
        doubt = (
            "Label Studio's COCO has no annotations for unfinished tasks and for photographs without damage alike: "
            "export JSON, which tells them apart"
        )
    elif result.problems:
        doubt = "the file has annotations of no image in it, which may be of this one"
    for photograph in result.photographs if doubt else ():
        if not photograph.shapes and not photograph.problems:
            photograph.reviewed = False
            photograph.notes.append(doubt)
            photograph.doubt = doubt


def _image(image: Any) -> tuple[str, LabelledPhotograph]:
    image_id = identifier(image.get("id")) if isinstance(image, dict) else None
    file_name = None
    if isinstance(image, dict):
        file_name = next((n for k in ("file_name", "path", "coco_url") if (n := text(image.get(k)))), None)
    if image_id is None or file_name is None or not file_name.strip("/. \\"):
        raise NotReadable(f"COCO: an image without id and file_name: {shown(image, 100)}")
    inside = next((key for key, value in image.items() if _has_annotations(key, value)), None)
    if inside is not None:
        raise NotReadable(
            f"COCO: {file_name[:80]} has annotations inside its entry ({inside[:40]}): they belong into the list "
            "annotations of the file, each with its image_id"
        )
    width, height = image.get("width"), image.get("height")
    sizes = [size if size is not None and size > 0 else None for size in map(number, (width, height))]
    photograph = LabelledPhotograph(file_name, width=sizes[0], height=sizes[1])
    for side, value in (("width", width), ("height", height)):
        if value is not None and number(value) is None:
            photograph.problems.append(Problem("size_differs", f"{side} {shown(value, 20)} is no number of pixels"))
    return image_id, photograph


def _has_annotations(key: str, value: Any) -> bool:
    """Whether a field of an image's entry has annotations, which COCO has in a list of the file."""
    if not isinstance(value, list | dict) or not value:
        return False
    entries = value if isinstance(value, list) else [value, *value.values()]
    shapes = {"bbox", "segmentation", "category_id"}
    if key.casefold() in ("annotations", "bbox", "bboxes", "boxes", "objects"):
        return True
    return any(isinstance(one, dict) and shapes & one.keys() for one in entries)


def _class_names(categories: Any) -> dict[str, str]:
    """The name by category id, where both are certain: COCO's list, or an object of id and name."""
    names: dict[str, str] = {}
    pairs: list[tuple[Any, Any]] = []
    if isinstance(categories, list):
        pairs = [(c.get("id"), c.get("name")) for c in categories if isinstance(c, dict)]
    elif isinstance(categories, dict):
        # {"1": "dent"} or {"dent": 1}
        pairs = [(k, v) if isinstance(v, str) else (v, k) for k, v in categories.items()]
    for key, value in pairs:
        category, name = identifier(key), text(value)
        if category is None or name is None:
            continue
        if names.setdefault(category, name) != name:
            raise NotReadable(f"COCO: category {category[:40]} is both {names[category][:40]} and {name[:40]}")
    return names


def _annotation(photograph: LabelledPhotograph, note: dict[str, Any]) -> None:
    which = f"annotation {shown(note.get('id', 'without id'), 40)}"
    category = identifier(note.get("category_id"))
    if has_score(note):
        photograph.problems.append(Problem("prediction", f"{which} has a score: it is a prediction, not a label"))
    elif category is None:
        detail = f"{which}: category {shown(note.get('category_id'), 40)} is no id"
        photograph.problems.append(Problem("unknown_class", detail))
    elif note.get("bbox") not in (None, []):
        _of_bbox(photograph, note, which, category)
    else:
        box, kind = _of_segmentation(note.get("segmentation"))
        if box is None:
            photograph.problems.append(Problem("malformed", f"{which}: neither a bbox nor a polygon nor a mask"))
        else:
            photograph.shapes.append(Shape(category, box, which, note=f"{kind}, its bounding box taken"))


def _of_bbox(photograph: LabelledPhotograph, note: dict[str, Any], which: str, category: str) -> None:
    values = numbers(note["bbox"])
    if values is None or len(values) != 4:
        detail = f"{which}: bbox {shown(note['bbox'])}: [x, y, width, height] expected"
        photograph.problems.append(Problem("malformed", detail))
        return
    x, y, w, h = values
    is_mask = note.get("iscrowd") not in (None, 0, False)
    told = "iscrowd, as for a mask: its bbox taken" if is_mask else ""
    photograph.shapes.append(Shape(category, (x, y, x + w, y + h), which, note=told))


def _of_segmentation(segmentation: Any) -> tuple[Xyxy | None, str]:
    if isinstance(segmentation, dict):
        return rle_box(segmentation), "mask"
    if not isinstance(segmentation, list) or not segmentation:
        return None, ""
    rings = [numbers(ring) for ring in segmentation]
    if any(ring is None or len(ring) < 6 or len(ring) % 2 for ring in rings):
        return None, ""
    return around([point for ring in rings if ring is not None for point in points_of(ring)]), "polygon"
