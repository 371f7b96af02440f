"""inference/service.py: the service keeps the policy of its start, and says when the files have another one."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from carsdepo_assets.commands.status import read_status, show
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.policy import Policy
from carsdepo_assets.settings import Settings
from carsdepo_assets_tests.inference.served_models import CLIENT, deploy, photograph, service, settings_of
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow

TWO = "[inference]\nmax_photographs = 2\nsegment_age_s = 0.2\n"


def printed(settings: Settings) -> str:
    out = io.StringIO()
    show(read_status(settings), Console(file=out, width=300))
    return out.getvalue()


def test_an_edit_that_a_service_has_not_read_is_said(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, TWO)
    policy = settings.policy_files[-1].path
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "one")
    deploy(lake, "production", digest)
    with service(settings) as running:
        health = running.serves(digest)
        in_use = settings.policy().digest()
        assert (health["policy"], health["policy_on_disk"], health["policy_note"]) == (in_use, in_use, None)
        assert f"policy {in_use}" in CLIENT.get(running.url).text
        assert "older policy" not in CLIENT.get(running.url).text
        seen_by = settings.model_copy(update={"production_url": running.url})
        assert "production policy" not in printed(seen_by)

        policy.write_text(TWO.replace("2\n", "1\n", 1))
        now = settings.policy().digest()
        health = running.health()
        assert (health["policy"], health["policy_on_disk"]) == (in_use, now)
        assert now != in_use
        sentence = (
            f"The policy's files were edited since this service started: they hold policy {now}, and policy {in_use} "
            "is in use. Restart the service to put the edit in force."
        )
        assert health["policy_note"] == sentence
        page = CLIENT.get(running.url).text
        assert "The production service uses an older policy" in page
        assert sentence.replace("'", "&#39;") in page
        assert sentence in printed(seen_by)
        assert running.send(photograph(1), photograph(2)).status_code == 200  # two, as before the edit

        (settings.home / "carsdepo.toml").write_text("[data]\nmax_group = 9\n")  # a layer that was not there
        assert running.health()["policy_on_disk"] == settings.policy().digest() not in (now, in_use)

        for broken in ("[inference]\nmax_photograph = 1\n", "[inference", None):
            if broken is None:
                policy.unlink()
            else:
                policy.write_text(broken)
            answer = CLIENT.get(f"{running.url}/healthz")
            assert answer.status_code == 200
            health = answer.json()
            assert (health["status"], health["policy"], health["policy_on_disk"]) == ("serving", in_use, None)
            assert f"policy {in_use} stays in use" in health["policy_note"]
            assert str(policy) in health["policy_note"]
            for path in ("/", "/predictions", "/queues"):
                assert CLIENT.get(f"{running.url}{path}").status_code == 200, path
            assert str(policy) in CLIENT.get(running.url).text
            assert running.send(photograph(3)).status_code == 200
        policy.write_text(TWO.replace("2\n", "1\n", 1))
    with service(settings) as running:
        health = running.serves(digest)
        assert health["policy"] == health["policy_on_disk"] == settings.policy().digest()
        assert running.send(photograph(1), photograph(2)).status_code == 413


def test_a_service_started_in_another_folder_reads_the_same_files(tmp_path: Path) -> None:
    settings = settings_of(tmp_path, TWO).model_copy(update={"policy_named": None, "policy_folder": tmp_path})
    settings.home.mkdir(parents=True)
    (settings.home / "carsdepo.toml").write_text("[inference]\nmax_photographs = 9\nsegment_lines = 7\n")
    with service(settings, "staging") as running:  # in the repository's folder
        assert running.health()["policy"] == settings.policy().digest() != Policy().digest()
    assert (settings.policy().inference.max_photographs, settings.policy().inference.segment_lines) == (2, 7)
