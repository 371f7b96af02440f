"""The error that says why a photograph is refused."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "empty",  # no bytes
    "not_an_image",  # its first bytes are those of no image format, whatever its name is
    "truncated",  # the file ends early, or its data is damaged
    "too_small",  # a side is shorter than the policy's minimum
    "too_large",  # the file has more bytes than the policy's maximum
    "too_many_pixels",  # the header names more pixels than the policy's maximum
    "animated",  # it has several frames or pages, and which one is the photograph is unknown
    "too_costly",  # decoding it takes more time or memory than a photograph is given
    "unsupported",  # an image in a form that is not read here
]


class BadImage(Exception):
    """A photograph cannot be used.

    Attributes:
        reason: one of Reason.
        detail: what is wrong with this file, for people.
    """

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail


class SwitchedOff(BadImage):
    """A photograph of a format that could be read and that the policy does not accept."""

    def __init__(self, detail: str) -> None:
        super().__init__("unsupported", detail)
