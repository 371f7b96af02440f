"""What a person can do about a file in quarantine, by what it is and by the reason of its refusal."""

from __future__ import annotations

from collections.abc import Mapping

_AGAIN = "and have it looked at again: carsdepo quarantine readmit"
_LIMIT = f"Send another size; or change the limit in the section [data] of carsdepo.toml {_AGAIN}"
_CORRECT = "Correct the file and send it again under its name"
_NUMBER = "Write the number with a decimal point and no sign between thousands, and send the file again"
_ORIGINAL = "Send the original again: the file cannot be decoded as one photograph"
_PHOTOGRAPH: Mapping[str, str] = {
    "empty": "Send the photograph again: the file has no bytes",
    "changed": "Nothing: it was written while it was read, and another batch has it as it is now",
    "missing": "Send the photograph again: it was removed before it was read",
    "too_small": _LIMIT,
    "too_large": _LIMIT,
    "too_many_pixels": _LIMIT,
    "too_costly": "Send it in another form, such as a plain JPEG: decoding it takes more than a photograph is given",
    "not_an_image": _ORIGINAL,
    "truncated": _ORIGINAL,
    "unsupported": "Save it in a form that is read, such as JPEG, and send it again",
    "animated": "Send the one frame or page that is the photograph",
}
_LABEL: Mapping[str, str] = {
    "no_photograph": "Send the photograph: the label is then tried again by itself",
    "ambiguous_photograph": "Give the photographs other names, or write whole paths in the label file",
    "unknown_class": "Import it with --map OLD=NEW, or correct the class",
    "classes_unknown": "Put a classes.txt with the names of 0, 1 and so on beside the labels, or import them "
    "with --classes NAME,NAME",
    "prediction": "Have a person check the boxes in the labelling tool and export them as labels, without scores",
    "size_differs": "Label the photograph that was sent, or send the one that was labelled: the sizes are not the same",
    "ambiguous_line": "Export boxes alone (class x_center y_center width height): the line can be read in two ways",
    "incomplete": "Correct the photograph's other label file, which is in quarantine: this one is then taken, too",
    "malformed": _CORRECT,
    "not_a_number": _CORRECT,
    "no_area": _CORRECT,
    "outside_image": _CORRECT,
    "decimal_comma": "Write the numbers with a decimal point, as in 0.5, and send the file again under its name",
    "too_small": "Draw the box larger, or take it out, and send the file again; data.min_box_px is the limit",
    "unsupported_shape": "Draw a box or a polygon in its place, and send the file again",
    "gone": "Send the label file again: it was removed before it was read",
    "contradiction": "Two entries say different things of one photograph: correct one of them",
    "crowd": "Draw the single boxes, or take the crowd region out",
}
_BUSINESS: Mapping[str, str] = {
    "decimal_comma": f"Set decimal_comma under [business] in carsdepo.toml {_AGAIN}",
    "thousands_separator": _NUMBER,
    "not_a_number": _NUMBER,
    "excel_serial": "Format the column as YYYY-MM-DD in Excel, save the file as CSV, and send it again",
    "ambiguous_date": "Write dates as YYYY-MM-DD, and send the file again",
    "not_a_time": "Write times as ISO 8601, such as 2026-07-01T09:30:00Z, and send the file again",
    "other_currency": f"Correct the currency; or change business.currency in carsdepo.toml {_AGAIN}",
    "columns": "Give the file the columns of its kind, and each row as many cells as the header",
    "too_large": "Split the file",
    "unsupported_format": "Save it as CSV or Parquet",
    "encoding": "Save it as UTF-8",
    "repeated_id": "Nothing, where the later line is right; else take it out and send the file again",
}
_OF_KIND: Mapping[str, tuple[Mapping[str, str], str]] = {
    "photograph": (_PHOTOGRAPH, _ORIGINAL),
    "label": (_LABEL, _CORRECT),
    "business": (_BUSINESS, _CORRECT),
    "capture": ({}, "Look at the service that wrote the line; the captured file keeps it"),
}

REASONS = frozenset(reason for by_reason, _ in _OF_KIND.values() for reason in by_reason)
"""The reasons that there is advice on, of all kinds of files."""


def advice(kind: str, reason: str) -> str:
    """What to do about a file of a kind that was refused for a reason, as a sentence without its full stop."""
    by_reason, otherwise = _OF_KIND.get(kind, ({}, _CORRECT))
    return by_reason.get(reason, otherwise)
