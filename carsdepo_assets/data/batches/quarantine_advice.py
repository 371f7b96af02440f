"""What a person can do about a file in quarantine, by what it is and by the reason of its refusal."""

from __future__ import annotations

from collections.abc import Mapping

_AGAIN = "and have it looked at again: carsdepo quarantine readmit"
_LIMIT = f"Send another size; or change the limit in the section [data] of carsdepo.toml {_AGAIN}"
_CORRECT = "Correct the file and send it again under its name"
_NUMBER = "Write the number with a decimal point and no sign between thousands, and send the file again"
_PHOTOGRAPH: Mapping[str, str] = {
    "empty": "Send the photograph again: the file has no bytes",
    "changed": "Nothing: it was written while it was read, and another batch has it as it is now",
    "missing": "Send the photograph again: it was removed before it was read",
    "too_small": _LIMIT,
    "too_large": _LIMIT,
    "too_many_pixels": _LIMIT,
    "too_costly": "Send it in another form, such as a plain JPEG: decoding it takes more than a photograph is given",
    "animated": "Send the one frame or page that is the photograph",
}
_LABEL: Mapping[str, str] = {
    "no_photograph": "Send the photograph: the label is then tried again by itself",
    "ambiguous_photograph": "Give the photographs other names, or write whole paths in the label file",
    "unknown_class": "Import it with --map OLD=NEW, or correct the class",
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
    "photograph": (_PHOTOGRAPH, "Send the original again: the file cannot be decoded as one photograph"),
    "label": (_LABEL, _CORRECT),
    "business": (_BUSINESS, _CORRECT),
    "capture": ({}, "Look at the service that wrote the line; the captured file keeps it"),
}


def advice(kind: str, reason: str) -> str:
    """What to do about a file of a kind that was refused for a reason, as a sentence without its full stop."""
    by_reason, otherwise = _OF_KIND.get(kind, ({}, _CORRECT))
    return by_reason.get(reason, otherwise)
