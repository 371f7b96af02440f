"""What must not be seen: which environment variables hold secrets, and how texts and errors are freed of them.

Secrets stay in the environment. `install` sees to it that what a process logs, and the traces with which it ends, do
not show them, whoever wrote the message: errors of HTTP and database libraries quote whole URLs.
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
SECRETS = (*API_KEY, *ALERTS, *MLFLOW, *AWS)  # a child process gets only those that it needs

_WHOLE = (*API_KEY, "MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", *AWS)
_TOKEN_URLS = ALERTS  # the path is as secret as a password
_URLS = (
    "CARSDEPO_MLFLOW", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "MLFLOW_BACKEND_STORE_URI", "CARSDEPO_LAKE",
    "CARSDEPO_PRODUCTION_URL", "CARSDEPO_STAGING_URL", "AWS_ENDPOINT_URL", "HTTP_PROXY", "HTTPS_PROXY",
)  # fmt: skip
_READ = (*_WHOLE, *_TOKEN_URLS, *_URLS)

HIDDEN = "***"
SHORTEST = 6  # characters: what is shorter stands in texts by chance, and is not looked for
# A password with a raw / ? or # is no valid URL and is met all the same: all up to the last @ is taken for it.
_USERINFO = re.compile(r"(?<=://)\S*(?=@)")


def environment(env: Mapping[str, str], needed: tuple[str, ...] = ()) -> dict[str, str]:
    """The variables for a child process: all but the secrets that it does not need."""
    return {name: value for name, value in env.items() if name not in SECRETS or name in needed}


def has_credentials(url: str) -> bool:
    """Whether a URL holds a user or a password. AWS's keys may hold slashes, so s3:// is looked at as a whole."""
    parts = urlsplit(url)
    if parts.scheme == "s3":
        return ":" in parts.netloc or "@" in parts.netloc
    return bool(parts.scheme) and _USERINFO.search(url) is not None


def without_credentials(url: str) -> str:
    """The URL for people: its user and password hidden."""
    return _USERINFO.sub(HIDDEN, url)


def redact(text: str, env: Mapping[str, str] | None = None) -> str:
    """The text with every secret of the environment (default: this process's) replaced by ***."""
    env = os.environ if env is None else env
    for secret in _pieces(tuple(env.get(name, "") for name in _READ)):
        if secret in text:
            text = text.replace(secret, HIDDEN)
    return text


def scrub(error: BaseException) -> None:
    """Takes the secrets out of an error's words, its notes and those of the errors behind it, in place."""
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        one = waiting.pop()
        if one is None or id(one) in seen:
            continue
        seen.add(id(one))
        one.args = tuple(_clean(argument) for argument in one.args)
        for name in ("message", "__notes__"):  # MLflow's errors keep their words there as well
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
    """Frees this process's log records and the traces of uncaught errors of secrets; a second call changes nothing."""
    if not isinstance(logging.getLogRecordFactory(), _Records):
        logging.setLogRecordFactory(_Records(logging.getLogRecordFactory()))
    if sys.excepthook is not _uncaught:
        sys.excepthook = _uncaught
        threading.excepthook = _uncaught_in_thread


class _Records:
    """Makes log records as the factory before did, without secrets."""

    def __init__(self, before: Any) -> None:
        self._before = before

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        record: logging.LogRecord = self._before(*args, **kwargs)
        try:
            said = record.getMessage()
        except Exception:
            return record  # logging itself reports a message that does not fit its arguments
        cleaned = redact(said)
        if cleaned != said:
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
    found: set[str] = set()
    for name, value in zip(_READ, values, strict=True):
        if name in _WHOLE:
            found |= {value.strip(), quote(value), *_spellings(value)}
        else:
            for url in value.split():
                found.update(_of_url(url, tokens=name in _TOKEN_URLS))
    return tuple(sorted((s for s in found if len(s) >= SHORTEST), key=lambda s: (-len(s), s)))


def _of_url(url: str, *, tokens: bool) -> Iterator[str]:
    """What is secret of a URL. tokens: all that follows the host is, as in a webhook's; else user and password."""
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
    """As it is, in a URL, in JSON and as Python shows a text and its bytes."""
    plain = {value, unquote(value)}
    shown = {f(v)[1:-1] for v in plain for f in (json.dumps, repr)} | {repr(v.encode())[2:-1] for v in plain}
    return plain | shown | {quote(v, safe="") for v in plain}


def _like_a_token(value: str) -> bool:
    """Words of a path such as `services` are no secrets; hiding them everywhere would only make logs unreadable."""
    return len(value) >= 20 or (len(value) >= 8 and any(c.isdigit() for c in value))
