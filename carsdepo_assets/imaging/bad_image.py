"""Why a photograph is refused."""

from __future__ import annotations

from typing import Literal

Reason = Literal[
    "empty",  # no bytes
    "not_an_image",  # no known signature, whatever the name says
    "truncated",  # the file ends early, or its data is damaged
    "too_small",  # a side under the policy's minimum
    "too_large",  # more bytes than the policy reads
    "too_many_pixels",  # the header promises more pixels than the policy decodes
    "animated",  # several frames or pages: which one is the photograph?
    "unsupported",  # an image, in a form that is not read here
]


class BadImage(Exception):
    """A photograph that cannot be used. `reason` is one of Reason; `detail` says what was found."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason: Reason = reason
        self.detail = detail
