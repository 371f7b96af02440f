"""Keeps secrets out of logs and messages: which environment variables hold secrets, and how texts are freed of them.

Secrets stay in the environment. After `install`, neither the log of a process nor the trace with which it ends shows
them, whoever wrote the message: errors of HTTP and database libraries quote whole URLs.
"""

from __future__ import annotations

import json
import logging
import os
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

API_KEY = ("CARSDEPO_API_KEY",)
ALERTS = ("CARSDEPO_ALERT_WEBHOOK", "CARSDEPO_ALERT_URLS")
MLFLOW = (
    "CARSDEPO_MLFLOW", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI",
    "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN",
)  # fmt: skip
AWS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_CONTAINER_AUTHORIZATION_TOKEN")
STUDIES = ("CARSDEPO_STUDIES",)
SECRETS = (*API_KEY, *ALERTS, *MLFLOW, *STUDIES, *AWS)  # a child process gets only those that it needs

_WHOLE = (*API_KEY, "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", *AWS)
_TOKEN_URLS = ALERTS  # the path is as secret as a password
_URLS = (
    "CARSDEPO_MLFLOW", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI", "CARSDEPO_LAKE",
    *STUDIES, "CARSDEPO_PRODUCTION_URL", "CARSDEPO_STAGING_URL", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY",
)  # fmt: skip
_READ = (*_WHOLE, *_TOKEN_URLS, *_URLS)

HIDDEN = "***"
SHORTEST = 6  # characters: shorter secrets are not hidden, since they occur in texts by chance
# A password with a raw / ? or # makes a URL invalid but occurs: all up to the last @ counts as user and password.
_USERINFO = re.compile(r"(?<=://)\S*(?=@)")


def environment(env: Mapping[str, str], needed: tuple[str, ...] = ()) -> dict[str, str]:
    """Returns the variables for a child process: all but the secrets that it does not need.

    Args:
        env: the variables of this process.
        needed: names of the secrets that the child needs, as in API_KEY or MLFLOW.
    """
    return {name: value for name, value in env.items() if name not in SECRETS or name in needed}


def secret_names(variables: Mapping[str, str]) -> list[str]:
    """The variables whose values are secret, sorted: keys and tokens by their names, URLs that hold a password."""
    named = {*_WHOLE, *_TOKEN_URLS}
    return sorted(name for name, value in variables.items() if name in named or has_credentials(value))


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user or a password. AWS's keys may hold slashes, so an s3:// URL is searched as a whole."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return ":" in parts.netloc or "@" in parts.netloc
    return bool(parts.scheme) and _USERINFO.search(url) is not None


def without_credentials(url: str) -> str:
    """Returns a URL for people, with its user and password hidden."""
    return _USERINFO.sub(HIDDEN, url)


def redact(text: str, env: Mapping[str, str] | None = None) -> str:
    """Returns a text with every secret of the environment replaced by ***.

    Args:
        text: the text.
        env: the variables whose secrets are hidden; None: those of this process.
    """
    env = os.environ if env is None else env
    for secret in _pieces(tuple(env.get(name, "") for name in _READ)):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def scrub(error: BaseException) -> None:
    """Removes secrets from an error in place: from its message, its notes, and those of the errors that caused it."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(_clean(argument) for argument in one.args)
        for name in ("message", "__notes__"):  # MLflow's errors keep their message there too
            if name in vars(one):
                setattr(one, name, _clean(vars(one)[name]))
        waiting += [one.__cause__, one.__context__]


def _clean(value: Any) -> Any:
    if isinstance(value, list):
        return [_clean(v) for v in value]
    text = str(value)
    cleaned = redact(text)
    return value if cleaned == text else cleaned


def install() -> None:
    """Removes secrets from all later log records of this process and from the traces of uncaught errors.

    A second call changes nothing.
    """
    if not isinstance(logging.getLogRecordFactory(), _Records):
        logging.setLogRecordFactory(_Records(logging.getLogRecordFactory()))
    if sys.excepthook is not _uncaught:
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread


class _Records:
    """Makes log records as the factory before it did, without secrets."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*args, **kwargs)
        try:
            message = record.getMessage()
        except Exception:
            return record  # logging itself reports a message that does not fit its arguments
        cleaned = redact(message)
        if cleaned != message:
            record.msg, record.args = cleaned, ()
        if record.exc_info and record.exc_info[0] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            if redact(trace) != trace:
                record.exc_text = redact(trace)  # formatters take it where it is there
        return record


def _uncaught(kind: type[BaseException], error: BaseException, trace: Any) -> None:
    sys.stderr.write(redact("".join(traceback.format_exception(kind, error, trace))))


def _uncaught_in_thread(given: threading.ExceptHookArgs) -> None:
    if given.exc_value is not None and given.exc_type is not SystemExit:
        _uncaught(given.exc_type, given.exc_value, given.exc_traceback)


@lru_cache(maxsize=16)
def _pieces(values: tuple[str, ...]) -> tuple[str, ...]:
    """Every text to look for, the longest first, so that no part of a longer one is left over."""
    pieces: set[str] = set()
    for name, value in zip(_READ, values, strict=True):
        if name in _WHOLE:
            pieces |= {value.strip(), quote(value), *_spellings(value)}
        else:
            for url in value.split():
                pieces.update(_of_url(url, tokens=name in _TOKEN_URLS))
    return tuple(sorted((s for s in pieces if len(s) >= SHORTEST), key=lambda s: (-len(s), s)))


def _of_url(url: str, *, tokens: bool) -> Iterator[str]:
    """The secret parts of a URL: user and password; with `tokens` also all that follows the host, as in a webhook's."""
    try:
        parts = urlsplit(url)
    except ValueError:
        yield url
        return
    if not parts.scheme:
        return
    user, _, address = parts.netloc.rpartition("@")
    written = _USERINFO.search(url)
    for one in {user, written[0]} if written is not None else {user}:
        name, _, password = one.partition(":")
        yield from _spellings(password)
        if one:
            yield from (url, f"{one}@")
            if not password or tokens:
                yield from _spellings(name)
    values = [v for _, v in parse_qsl(parts.query, keep_blank_values=True)]
    if tokens:
        yield url
        segments = [s for s in parts.path.split("/") if s]
        if "." not in address and not parts.scheme.startswith(("http", "json", "xml", "form", "mailto")):
            segments.append(address)  # slack://token/token/token: the first one stands where a host would
        for value in (*segments, *values, parts.fragment):
            if _like_a_token(value):
                yield from _spellings(value)
    elif parts.scheme not in ("sqlite", "file"):
        for value in values:
            if _like_a_token(value):
                yield from _spellings(value)


def _spellings(value: str) -> set[str]:
    """A value as it is, as in a URL, as in JSON, and as Python shows a text and its bytes."""
    plain = {value, unquote(value)}
    shown = {f(v)[1:-1] for v in plain for f in (json.dumps, repr)} | {repr(v.encode())[2:-1] for v in plain}
    return plain | shown | {quote(v, safe="") for v in plain}


def _like_a_token(value: str) -> bool:
    """Whether a part of a path is long or mixed enough to be a token; words such as `services` are not hidden."""
    return len(value) >= 20 or (len(value) >= 8 and any(c.isdigit() for c in value))


def legible(text: str) -> str:
    """The text as UTF-8 has it: what is none, from JSON or a file's name, is shown as an escape."""
    return text.encode(errors="backslashreplace").decode()
