"""Reads CVAT XML 1.1: `image` elements with shapes in pixels, and `track` elements of videos.

A track goes on from one frame to the next until the object is outside; between two frames of its own, boxes are
interpolated as CVAT shows them. Photographs of a video's frames are called frame_000000 and so on, as CVAT writes them.
"""

from __future__ import annotations

from collections.abc import Iterator
from xml.etree.ElementTree import Element

from carsdepo_assets.data.labels.formats.documents import LabelDocument, LabelledPhotograph, Shape
from carsdepo_assets.data.labels.formats.geometry import Point, around, around_ellipse, around_rotated
from carsdepo_assets.data.labels.formats.parsed import NotReadable, Problem, Xyxy
from carsdepo_assets.data.labels.formats.scores import element_has_score
from carsdepo_assets.data.labels.formats.xml_values import parse_xml, to_number, to_size

# polyline, points, cuboid and skeleton have no area that is certain to be the damage's.
_REFUSED = ("polyline", "points", "cuboid", "skeleton")
_NO_SHAPE = ("tag", "attribute")  # about the photograph as a whole
_SHAPES = ("box", "polygon", "ellipse", "mask", *_REFUSED)
_UNFINISHED = {"annotation", "new", "in progress", "in_progress", "rejected"}
_FINISHED = {"completed", "acceptance"}


def read(name: str, data: bytes) -> LabelDocument:
    """Reads a CVAT file. An image without shapes was reviewed, unless its task or job is called unfinished.

    Raises:
        NotReadable: It is no CVAT XML.
    """
    root = parse_xml(data, "CVAT XML")
    if root.tag != "annotations":
        raise NotReadable(f"CVAT XML: the root is {root.tag[:40]}, not annotations")
    names = [label.findtext("name") or "" for label in root.iterfind("./meta//labels/label")]
    result = LabelDocument(class_names={one: one for one in names if one.strip()})
    states = {
        (element.text or "").strip().casefold()
        for meta in root.iterfind("meta")
        for tag in ("status", "state", "stage")
        for element in meta.iter(tag)
    }
    completed = bool(states & _FINISHED) and not states & _UNFINISHED
    for image in root.iter("image"):
        photograph = LabelledPhotograph(
            image.get("name") or "",
            width=to_size(image.get("width")),
            height=to_size(image.get("height")),
            reviewed=not states & _UNFINISHED,
            split=image.get("subset"),
            doubt="its task or job is called unfinished" if states & _UNFINISHED else "",
        )
        if not photograph.file_name.strip("/. \\"):
            detail = f"image {(image.get('id') or 'without id')[:40]} has no name"
            result.problems.append(Problem("no_photograph", detail))
            continue
        photograph.stated = [label for tag in image.iter("tag") if (label := (tag.get("label") or "").strip())]
        for number, element in enumerate((e for e in image if e.tag not in _NO_SHAPE), 1):
            _shape(photograph, element, element.get("label"), f"{element.tag} {number}", completed)
        result.photographs.append(photograph)
    tracks = list(root.iter("track"))
    if tracks:
        result.photographs += _frames(root, tracks, result, completed)
    if not result.photographs and not result.problems and any(one.tag not in ("version", "meta") for one in root):
        raise NotReadable("CVAT XML: neither an image nor a track with a frame is in it")
    for photograph in result.photographs:
        for shape in photograph.shapes:
            result.class_names.setdefault(shape.source_class, shape.source_class)
    return result


def _shape(photograph: LabelledPhotograph, element: Element, label: str | None, which: str, completed: bool) -> None:
    def problem(reason: str, detail: str) -> None:
        photograph.problems.append(Problem(reason, f"{which}: {detail}"))

    if element_has_score(element):
        problem("prediction", "it has a score: it is a prediction, not a label")
    elif _is_auto(element) and not completed:
        problem("prediction", "source is auto: a model drew it, and nobody completed the job")
    elif element.tag not in _SHAPES or element.tag in _REFUSED:
        problem("unsupported_shape", f"{element.tag[:40]} has no area of its own: draw a box or a polygon")
    elif label is None or not label.strip():
        problem("unknown_class", "it has no label")
    else:
        box, note = _box(element)
        if box is None:
            problem("malformed", note)
        else:
            photograph.shapes.append(Shape(label, box, which, note=note))


def _is_auto(element: Element) -> bool:
    return (element.get("source") or "").strip().casefold() == "auto"


def _box(element: Element) -> tuple[Xyxy | None, str]:
    """The box with a note; None with what is wrong."""
    if element.tag == "polygon":
        points = _points(element.get("points"))
        if points is None or len(points) < 3:
            return None, "points must be three or more, as in 1,2;3,4;5,6"
        return around(points), "polygon, its bounding box taken"
    names = {"box": "xtl ytl xbr ybr", "ellipse": "cx cy rx ry", "mask": "left top width height"}[element.tag].split()
    values = [value for value in (to_number(element.get(one)) for one in names) if value is not None]
    rotation = to_number(element.get("rotation", "0"))
    if len(values) < 4 or rotation is None:
        return None, f"{', '.join(names)} must be numbers with a point"
    a, b, c, d = values
    if element.tag == "mask":
        return (a, b, a + c, b + d), "mask, its bounding box taken"
    if element.tag == "ellipse":
        return around_ellipse(a, b, c, d, rotation), "ellipse, its bounding box taken"
    if rotation == 0:
        return (a, b, c, d), ""
    box = around_rotated(a, b, c - a, d - b, rotation, ((a + c) / 2, (b + d) / 2))
    return box, "rotated box, its bounding box taken"


def _points(value: str | None) -> list[Point] | None:
    pairs = [pair.split(",") for pair in (value or "").split(";") if pair.strip()]
    points = [(to_number(pair[0]), to_number(pair[1])) for pair in pairs if len(pair) == 2]
    numbers = [(x, y) for x, y in points if x is not None and y is not None]
    return numbers if len(numbers) == len(pairs) else None


def _frames(
    root: Element, tracks: list[Element], result: LabelDocument, completed: bool
) -> Iterator[LabelledPhotograph]:
    """The photograph of each frame that any track names."""
    size = root.find("./meta//original_size")
    width, height = (to_size(size.findtext(side)) if size is not None else None for side in ("width", "height"))
    by_track: list[tuple[str, str | None, dict[int, Element]]] = []
    for number, track in enumerate(tracks, 1):
        which = f"track {(track.get('id') or str(number))[:40]}"
        frames: dict[int, Element] = {}
        for element in track:
            written = element.get("frame") or ""
            if element.tag in _SHAPES and written.isascii() and written.isdigit() and len(written) < 10:
                frames[int(written)] = element
            elif element.tag in _SHAPES:
                result.problems.append(Problem("malformed", f"{which}: frame {written[:40]!r} is no number"))
        by_track.append((which, track.get("label"), frames))
        of_model = {"source": "auto"} if _is_auto(track) else {}
        of_model |= {"score": "1"} if element_has_score(track) else {}
        for element in frames.values() if of_model else ():
            element.attrib.update(of_model)
    for frame in sorted({frame for _, _, frames in by_track for frame in frames}):
        photograph = LabelledPhotograph(f"frame_{frame:06d}", width=width, height=height)
        for which, label, frames in by_track:
            shape, note = _at(frames, frame)
            if shape is None and note:
                photograph.problems.append(Problem("unsupported_shape", f"{which}: {note}"))
            elif shape is not None and shape.get("outside") != "1":
                _shape(photograph, shape, label, which, completed)
        yield photograph


def _at(frames: dict[int, Element], frame: int) -> tuple[Element | None, str]:
    """A track's shape in a frame, interpolated where it has none of its own; None where the object is outside."""
    if frame in frames:
        return frames[frame], ""
    earlier, later = [f for f in frames if f < frame], [f for f in frames if f > frame]
    if not earlier or frames[max(earlier)].get("outside") == "1":
        return None, ""
    before = frames[max(earlier)]
    if not later or frames[min(later)].get("outside") == "1":
        return before, ""
    after = frames[min(later)]
    names = ("xtl", "ytl", "xbr", "ybr")
    pairs = [(to_number(before.get(one)), to_number(after.get(one))) for one in names]
    share = (frame - max(earlier)) / (min(later) - max(earlier))
    between = [a + (b - a) * share for a, b in pairs if a is not None and b is not None]
    if before.tag != "box" or after.tag != "box" or len(between) < 4 or {"rotation"} & {*before.keys(), *after.keys()}:
        return None, f"the {before.tag} between frames {max(earlier)} and {min(later)} is not in the file"
    return Element("box", before.attrib | {n: repr(v) for n, v in zip(names, between, strict=True)}), ""
