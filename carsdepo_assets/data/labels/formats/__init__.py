"""Readers of label files, one module for each format; a file's content decides which one reads it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

from carsdepo_assets.data.labels.formats import coco, cvat, datumaro, groundtruth, labelme, labelstudio, voc, yolo
from carsdepo_assets.data.labels.formats.documents import LabelDocument
from carsdepo_assets.data.labels.formats.fitting import fit
from carsdepo_assets.data.labels.formats.parsed import NotReadable
from carsdepo_assets.data.labels.formats.recognition import Format, recognise
from carsdepo_assets.data.labels.formats.silence import doubt_silence

__all__ = ["Format", "NotReadable", "classes_used", "fit", "read_document", "recognise"]

_READERS: Mapping[Format, Callable[[str, bytes], LabelDocument]] = {
    "yolo": yolo.read,
    "coco": coco.read,
    "voc": voc.read,
    "cvat": cvat.read,
    "labelme": labelme.read,
    "labelstudio": labelstudio.read,
    "groundtruth": groundtruth.read,
    "datumaro": datumaro.read,
}


def read_document(format: Format, name: str, data: bytes) -> LabelDocument:
    """Reads a label file.

    Args:
        format: as `recognise` told it.
        name: the file's name or path.
        data: the file's bytes.

    Raises:
        NotReadable: It cannot be read, or it is a prediction; `problem` says why.
    """
    if format == "predictions":
        raise NotReadable(
            "predictions of a model (boxes with scores or with the numbers of a tracker) are not labels", "prediction"
        )
    document = _READERS[format](name, data)
    doubt_silence(document, format)
    return document


def classes_used(document: LabelDocument) -> Counter[str]:
    """The number of shapes by the file's class, as the file writes it."""
    return Counter(shape.source_class for photograph in document.photographs for shape in photograph.shapes)
