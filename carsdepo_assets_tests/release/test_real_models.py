"""release/staging.py and validation.py: exported models in the real service answer as the same model run here."""

from __future__ import annotations

import hashlib
from pathlib import Path

import httpx
import pytest

from carsdepo_assets.detectors.export.runtimes import load_served
from carsdepo_assets.evaluation.golden_photographs import GoldenPhotograph
from carsdepo_assets.imaging.encode import encode_jpeg
from carsdepo_assets.imaging.serving import decode_as_served
from carsdepo_assets.lake.capture_place import CapturePlace
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets.registry import ledger
from carsdepo_assets.release.run_gate import served_parity
from carsdepo_assets.release.validation import validate
from carsdepo_assets_tests.detectors.stored_models import photographs, store_model
from carsdepo_assets_tests.inference.served_models import exported_and_signed, service, settings_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("detector", ["yolov8n", "faster_rcnn"])
def test_served_equals_offline(detector: str, tmp_path: Path) -> None:
    settings = settings_of(tmp_path, "[inference]\nsegment_age_s = 1.0\n[gate]\nparity_share = 0.9\n")
    lake, policy = Lake.open(settings.lake), settings.policy()
    digest = store_model(lake, detector)
    sent = []
    for n, rgb in enumerate(photographs()):
        data = encode_jpeg(rgb, 92)
        rgb_as_served = decode_as_served(data, policy)[0].rgb
        sent.append(GoldenPhotograph(hashlib.sha256(data).hexdigest(), f"{n}.jpg", data, rgb_as_served))
    card = exported_and_signed(settings, digest)
    event = ledger.record(lake, "staging", "deploy", digest=digest, version=1, actor="test", reason="a test")
    with service(settings, "staging") as running:
        health = running.serves(digest)
        assert health["runtime"] in ("onnxruntime", "openvino")  # the faster one here
        result = validate(
            lake,
            policy,
            sent,
            load_served(lake, digest, policy, runtime=health["runtime"]).predictor,
            client=httpx.Client(base_url=running.url, timeout=60.0),
            url=None,  # it asks for no key
            captured=CapturePlace("capture/staging"),
            event=event,
            registered=digest,
            health=health,
        )
    assert [o.message for o in result.outcomes if not o.passed] == []
    assert result.boxes > 0
    parity = served_parity(card, result.runtime)
    assert parity is not None
    assert parity >= 0.9
