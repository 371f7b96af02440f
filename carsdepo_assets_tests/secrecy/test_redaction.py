"""redaction.py: the environment's secrets are removed from texts, errors and logs, and nothing else is."""

from __future__ import annotations

import io
import json
import logging
import subprocess
import sys
import textwrap
import traceback
from pathlib import Path

import pytest

from carsdepo_assets import redaction
from carsdepo_assets.lake.lake import Lake, LakeError
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.secrecy import planted
from carsdepo_assets_tests.secrecy.planted import Planted, seen

PLANTED = Planted(hook=1, mlflow=2)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in PLANTED.environment().items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize("secret", sorted(planted.SPELLED))
def test_each_secret_is_hidden_wherever_it_stands(environment: None, secret: str) -> None:
    text = redaction.redact(f"before{secret}after")
    assert not seen(text)
    assert text.startswith("before")
    assert text.endswith("after")


@pytest.mark.parametrize("url", [PLANTED.webhook, PLANTED.alert_url, PLANTED.mlflow_uri])
def test_urls_are_hidden_whole_and_in_parts(environment: None, url: str) -> None:
    parts = url.partition("@")[2]
    assert not seen(redaction.redact(f"POST {url} failed; url: /{parts.partition('/')[2]}"))


@pytest.mark.parametrize("mark", ["#", "/", "?", "@", ":", "%23"])
def test_a_password_is_hidden_whatever_it_is_made_of(mark: str) -> None:
    """A raw # / ? ends the host by the rules of URLs: the password then stands in the path."""
    url = f"postgres://user:pa{mark}Sss3cr3t@127.0.0.1:1/db"
    environment = {"CARSDEPO_MLFLOW": url}
    assert redaction.has_credentials(url)
    for text in (url, url.removeprefix("postgres://"), f"host user:pa{mark}Sss3cr3t@127.0.0.1", f"/Sss3cr3t{url}"):
        assert f"pa{mark}Sss3cr3t" not in redaction.redact(text, environment)
    assert "Sss3cr3t" not in redaction.without_credentials(url)


def test_variables_that_are_secret() -> None:
    """The address of MLflow's server is one only where it holds a password; a webhook's path is as secret as one."""
    open_ones = {
        "CARSDEPO_MLFLOW": "http://mlflow.internal:5000",
        "CARSDEPO_LAKE": "s3://b/lake",
        "OMP_NUM_THREADS": "1",
    }
    assert redaction.secret_names(open_ones) == []
    secret = {
        "CARSDEPO_MLFLOW": "http://u:p@mlflow.internal:5000",
        "CARSDEPO_API_KEY": "k",
        "AWS_SECRET_ACCESS_KEY": "k",
        "CARSDEPO_ALERT_WEBHOOK": "https://hooks.example/T/B/x",
        "MLFLOW_TRACKING_TOKEN": "t",
    }
    assert redaction.secret_names({**open_ones, **secret}) == sorted(secret)


@pytest.mark.parametrize("key", ['quo"ted-key', "back\\slash-key", "schlüssel-key", "it's-a-key"])
def test_a_key_is_hidden_as_json_and_python_write_it(key: str) -> None:
    for text in (json.dumps({"key": key}), repr([key]), repr(key.encode()), f"key={key}"):
        hidden = redaction.redact(text, {"CARSDEPO_API_KEY": key})
        assert redaction.HIDDEN in hidden
        assert "-key" not in hidden


def test_an_address_in_the_query_does_not_hide_the_password() -> None:
    url = "mailtos://user:hunter22@mail.example?to=ann@cars.example"
    text = redaction.redact(f"hunter22 and {url}", {"CARSDEPO_ALERT_URLS": url})
    assert "hunter22" not in text


def test_what_is_no_secret_stays(environment: None) -> None:
    text = "GET http://127.0.0.1:1/services/ and 127.0.0.1:2, tracker, AKIAEXAMPLE, eu-west-1, services, token, json"
    assert redaction.redact(text) == text


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"CARSDEPO_API_KEY": "key"},
        {"CARSDEPO_MLFLOW": "sqlite:////srv/carsdepo2024/mlflow.db"},
        {"CARSDEPO_ALERT_URLS": ""},
    ],
)
def test_without_secrets_no_text_changes(environment: dict[str, str]) -> None:
    text = "a key to /srv/carsdepo2024/mlflow.db, sqlite:////srv/carsdepo2024/mlflow.db"
    assert redaction.redact(text, environment) == text


def test_tokens_in_the_place_of_a_host_are_secret() -> None:
    env = {
        "CARSDEPO_ALERT_URLS": "slack://T1JJ3T3L2/A1BRTD4JD/TIiajkdnlazkcOXrIdevi7FQ mailto://me:pass-word@gmail.com"
    }
    text = redaction.redact("T1JJ3T3L2 A1BRTD4JD TIiajkdnlazkcOXrIdevi7FQ pass-word gmail.com", env)
    assert text == "*** *** *** *** gmail.com"


def test_errors_and_those_behind_them_are_scrubbed(environment: None) -> None:
    from mlflow.exceptions import MlflowException

    cause = ConnectionError(PLANTED.webhook)
    cause.add_note(planted.AWS_SECRET)
    error = MlflowException(f"API request to {PLANTED.mlflow_uri} failed")
    error.__cause__ = cause
    assert len(seen("".join(traceback.format_exception(error)))) > 3
    redaction.scrub(error)
    assert not seen("".join(traceback.format_exception(error)) + error.message + repr(cause))
    assert str(error) == "API request to *** failed"


def test_logs_and_last_traces_of_a_process_show_none(tmp_path: Path) -> None:
    code = textwrap.dedent(
        """
        import logging, os, threading
        from carsdepo_assets import redaction
        redaction.install(); redaction.install()
        logging.basicConfig(level=logging.DEBUG)
        url = os.environ["CARSDEPO_ALERT_WEBHOOK"]
        logging.getLogger("a.library").info("HTTP Request: %s %s", "POST", url)
        try:
            raise RuntimeError(f"no answer from {url}")
        except RuntimeError:
            logging.exception("it failed")
        def work(): raise KeyError(url)
        thread = threading.Thread(target=work); thread.start(); thread.join()
        raise ValueError(url)
        """
    )
    process = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env={**PLANTED.environment(), "PYTHONPATH": ":".join(sys.path)},
    )
    assert process.returncode == 1
    assert not seen(process.stdout + process.stderr)
    for words in ("HTTP Request: POST ***", "RuntimeError: no answer from ***", "KeyError: '***'", "ValueError: ***"):
        assert words in process.stderr
    assert "KeyError" in process.stderr


def test_a_record_that_logging_cannot_format_is_left_to_logging(
    environment: None, capsys: pytest.CaptureFixture[str]
) -> None:
    before = logging.getLogRecordFactory()
    redaction.install()
    try:
        stream = io.StringIO()
        logger = logging.Logger("broken")
        logger.addHandler(logging.StreamHandler(stream))
        logger.warning("%s and %s", "one")
        logger.warning("fine: %s", planted.KEY)
        assert stream.getvalue() == "fine: ***\n"
    finally:
        logging.setLogRecordFactory(before)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CARSDEPO_LAKE", f"s3://AKIAEXAMPLE:{planted.AWS_SECRET}@bucket/prefix"),
        ("CARSDEPO_LAKE", f"s3://{planted.KEY}@bucket"),
        ("CARSDEPO_PRODUCTION_URL", f"http://me:{planted.KEY}@127.0.0.1:8000"),
        ("CARSDEPO_STAGING_URL", f"https://{planted.KEY}@staging"),
        ("CARSDEPO_API_KEY", f"{planted.KEY}\n"),
        ("CARSDEPO_API_KEY", f"{planted.KEY}\r\nX-Other: 1"),
    ],
)
def test_settings_refuse_secrets_where_they_would_be_shown(tmp_path: Path, name: str, value: str) -> None:
    with pytest.raises(ValueError, match=name) as error:
        Settings.read({name: value}, home=tmp_path)
    assert not seen(str(error.value))


@pytest.mark.parametrize("url", [f"s3://a:{planted.AWS_SECRET}@bucket/p", f"ftp://me:{planted.KEY}@host/lake"])
def test_a_lake_refuses_credentials_without_showing_them(url: str) -> None:
    with pytest.raises(LakeError) as error:
        Lake.open(url)
    assert not seen(str(error.value))


def test_a_bucket_that_does_not_answer_is_named_without_the_keys(environment: None) -> None:
    lake = Lake.open("s3://bucket/prefix")
    for use in (
        lambda: lake.get("a"),
        lambda: lake.put("a", b"b"),
        lambda: list(lake.list("raw")),
        lambda: lake.read("images"),
    ):
        with pytest.raises(LakeError) as error:
            use()
        assert not seen(str(error.value))


def test_settings_show_no_secret(tmp_path: Path) -> None:
    settings = Settings.read(PLANTED.environment(), home=tmp_path)
    shown = f"{settings!r} {settings} {settings.model_dump()} {settings.model_dump_json()} {settings.variables()}"
    assert not seen(shown)
    assert seen(str(settings.secrets())) >= {
        planted.KEY,
        planted.WEBHOOK_PATH,
        planted.ALERT_PATH,
        planted.MLFLOW_PASSWORD,
    }
    assert Settings.read(settings.variables() | settings.secrets()) == settings


def test_a_child_gets_what_it_needs(environment: None, tmp_path: Path) -> None:
    settings = Settings.read(home=tmp_path)
    assert planted.given(settings.child_environment()) == {"AWS_ENDPOINT_URL"}
    assert planted.given(settings.child_environment("CARSDEPO_API_KEY")) == {"AWS_ENDPOINT_URL", "CARSDEPO_API_KEY"}
    service = planted.given(settings.child_environment(*settings.service_secrets()))
    assert not service & set(redaction.ALERTS)
    assert {"CARSDEPO_API_KEY", "CARSDEPO_MLFLOW", "AWS_SECRET_ACCESS_KEY"} <= service
    alone = Settings.read({}, home=tmp_path)
    assert alone.worker_secrets() == ()
    assert Settings.read({"CARSDEPO_LAKE": "s3://b"}, home=tmp_path).worker_secrets() == redaction.AWS
