"""What it means that a file has no shapes of a photograph, where the file as a whole or its other words say more."""

from __future__ import annotations

import re

from carsdepo_assets.data.labels.formats.documents import LabelDocument

_NO_DAMAGE = {"clean", "nodamage", "nodamages", "undamaged", "notdamaged", "withoutdamage"}
_PREDICTED = "the file has predictions, so that a model may have found nothing here and nobody looked"


def doubt_silence(document: LabelDocument, format: str) -> None:
    """Marks photographs without shapes as unreviewed where that they show no damage is not certain.

    They are those of which a class is stated as a whole ("scratch", and no box says where), and all of a file that has
    predictions. Ground Truth says of each line who labelled it.

    Args:
        document: as its reader returned it.
        format: the file's.
    """
    doubt = _PREDICTED if document.has_predictions and format != "groundtruth" else ""
    for photograph in document.photographs:
        if photograph.shapes or photograph.problems:
            continue
        stated = [one for one in photograph.stated if re.sub(r"[\W_]", "", one.casefold()) not in _NO_DAMAGE]
        if stated:
            photograph.notes.append(f"{', '.join(stated)[:100]} is said of the whole photograph, and no shape shows it")
            photograph.doubt = "a class is said of the whole photograph, and no shape shows it"
        if doubt:
            photograph.notes.append(doubt)
            photograph.doubt = doubt
        photograph.reviewed = photograph.reviewed and not stated and not doubt
