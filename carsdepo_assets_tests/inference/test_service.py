"""inference/app.py, inference/answers.py, inference/requests.py: the service as its clients see it."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from carsdepo_assets.inference.ingest import ingest, waiting
from carsdepo_assets.inference.segments import closed
from carsdepo_assets.lake.lake import Lake
from carsdepo_assets_tests.imaging.files import animated, jpeg_claiming
from carsdepo_assets_tests.inference.served_models import (
    CLIENT,
    ROOT,
    Running,
    deploy,
    photograph,
    service,
    settings_of,
)
from carsdepo_assets_tests.inference.service_process import put_model

pytestmark = pytest.mark.slow

POLICY = """
[inference]
max_photographs = 3
max_request_bytes = 400000
max_photograph_bytes = 200000
segment_age_s = 0.3
"""
KEY = {"X-API-Key": "schlüssel".encode()}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Running, Lake, str]]:
    """A production service with one model, threshold 0.5."""
    settings = settings_of(tmp_path_factory.mktemp("service"), POLICY)
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "first")
    deploy(lake, "production", digest, version=7)
    with service(settings) as running:
        running.serves(digest)
        yield running, lake, digest


def with_share(share: float) -> bytes:
    """A lossless photograph whose one box is red to this share."""
    import io

    import numpy as np
    from PIL import Image

    rgb = np.full((120, 160, 3), 120, np.uint8)
    rgb[20:60, 20:120] = (230, 30, 30)
    rgb[21 : 60 - 1, 21 : 21 + round((1 - share) * 40 * 100 / 38)] = 120
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


def test_answers_follow_the_contract(served: tuple[Running, Lake, str]) -> None:
    running, lake, digest = served
    first, second = photograph(1), photograph(2, damage=None)
    answer = running.send(
        first, second, source="web", metadata=json.dumps([{"camera": "A"}, {"source": "mobile"}])
    ).json()
    assert answer["model"] == {
        "version": 7,
        "digest": digest,
        "runtime": "numpy",
        "threshold": 0.5,
        "class_names": ["scratch", "dent"],
    }
    damaged, clear = answer["photographs"]
    assert (damaged["file_name"], damaged["width"], damaged["height"]) == ("0.jpg", 160, 120)
    assert damaged["decision"] == "damage"
    assert [set(b) for b in damaged["boxes"]] == [{"class_id", "class", "score", "box"}]
    assert damaged["boxes"][0]["class"] == "scratch"
    assert damaged["boxes"][0]["box"] == pytest.approx([40, 40, 64, 64], abs=2)
    assert (clear["decision"], clear["boxes"]) == ("clear", [])
    running.wait(lambda _: len(waiting(lake)) > 0)
    ingest(lake, waiting(lake))
    rows = {r["prediction_id"]: r for r in lake.read("inferences").to_pylist()}
    one, two = rows[damaged["prediction_id"]], rows[clear["prediction_id"]]
    assert (one["source"], one["camera"], two["source"], two["camera"]) == ("web", "A", "mobile", None)
    assert lake.get(one["photograph_key"]) == first
    assert (one["image_id"], one["digest"], one["version"], one["stage"]) == (
        damaged["image_id"],
        digest,
        7,
        "production",
    )
    assert (one["n_boxes"], one["max_score"]) == (1, damaged["boxes"][0]["score"])
    assert one["request_id"] == two["request_id"] == answer["request_id"]
    assert one["milliseconds"] > 0


@pytest.mark.parametrize(
    ("share", "decision", "captured"),
    [(1.0, "damage", 1), (0.52, "damage", 1), (0.45, "needs_person", 1), (0.25, "clear", 1)],
)
def test_decision_by_best_score(served: tuple[Running, Lake, str], share: float, decision: str, captured: int) -> None:
    """Threshold 0.5 and unsure_share 0.6: a person looks at [0.3, 0.5). What the answer leaves out is captured."""
    running, lake, _ = served
    answer = running.send(with_share(share)).json()["photographs"][0]
    assert answer["decision"] == decision
    assert len(answer["boxes"]) == (decision == "damage")
    running.wait(lambda _: len(waiting(lake)) > 0)
    ingest(lake, waiting(lake))
    row = next(r for r in lake.read("inferences").to_pylist() if r["prediction_id"] == answer["prediction_id"])
    assert len(row["boxes"]) == captured
    assert row["max_score"] == pytest.approx(share, abs=0.03)
    assert row["n_boxes"] == len(answer["boxes"])


def test_invocations_takes_one_photograph_as_the_body(served: tuple[Running, Lake, str]) -> None:
    running, _, digest = served
    answer = CLIENT.post(f"{running.url}/invocations", content=photograph(3), headers={"Content-Type": "image/jpeg"})
    assert answer.status_code == 200
    assert answer.json()["model"]["digest"] == digest
    assert [p["decision"] for p in answer.json()["photographs"]] == ["damage"]
    assert CLIENT.get(f"{running.url}/ping").status_code == 200


def captured(lake: Lake) -> set[str]:
    """Segments, closed or not, and photographs."""
    return {o.key.removesuffix(".open") for o in lake.list("capture")}


GOOD = ("photographs", ("good.jpg", photograph(5), "image/jpeg"))


def part(data: bytes, name: str = "bad.jpg") -> tuple[str, tuple[str, bytes, str]]:
    return ("photographs", (name, data, "image/jpeg"))


BAD: dict[str, tuple[dict[str, Any], int, str]] = {
    "empty": ({"files": [GOOD, part(b"")]}, 422, "empty"),
    "text": ({"files": [GOOD, part(b"hello, I am a car")]}, 415, "not_an_image"),
    "truncated": ({"files": [GOOD, part(photograph(6)[:-900])]}, 422, "truncated"),
    "huge header": ({"files": [GOOD, part(jpeg_claiming(30000, 30000))]}, 413, "too_many_pixels"),
    "tiny": ({"files": [part(photograph(6, None, (20, 20)))]}, 422, "too_small"),
    "animated": ({"files": [part(animated("GIF"))]}, 422, "animated"),
    "heic": ({"files": [part(b"\0\0\0\x18ftypheic" + b"\0" * 64)]}, 415, "unsupported"),
    "too many": ({"files": [GOOD] * 4}, 413, "too_many_photographs"),
    "one too large": ({"files": [GOOD, part(b"\xff" * 200_001)]}, 413, "too_large"),
    "body too large": ({"files": [part(b"\xff" * 190_000)] * 3}, 413, "too_large"),
    "no photographs": ({"files": {"source": (None, "web")}}, 422, "no_photographs"),
    "wrong field": ({"files": {"image": ("a.jpg", photograph(1))}}, 422, "unknown_field"),
    "photographs as text": ({"files": {"photographs": (None, "abc")}}, 422, "not_a_file"),
    "field twice": ({"files": [GOOD, ("source", (None, "a")), ("source", (None, "b"))]}, 422, "field_twice"),
    "metadata no JSON": ({"files": [GOOD], "data": {"metadata": "{"}}, 400, "bad_metadata"),
    "metadata too short": ({"files": [GOOD], "data": {"metadata": "[]"}}, 422, "bad_metadata"),
    "metadata unknown": ({"files": [GOOD], "data": {"metadata": '[{"price": "1"}]'}}, 422, "bad_metadata"),
    "metadata number": ({"files": [GOOD], "data": {"metadata": '[{"camera": 1}]'}}, 422, "bad_metadata"),
    "field too long": ({"files": [GOOD], "data": {"listing": "L" * 201}}, 422, "bad_metadata"),
    "control characters": ({"files": [GOOD], "data": {"listing": "a\x07b"}}, 422, "bad_metadata"),
    "not multipart": ({"json": {"photographs": []}}, 415, "not_multipart"),
    "garbage": (
        {"content": b"garbage \0\xff", "headers": {"Content-Type": "multipart/form-data; boundary=x"}},
        400,
        "bad_form",
    ),
    "no boundary": ({"content": b"--x\r\n", "headers": {"Content-Type": "multipart/form-data"}}, 400, "bad_form"),
}


@pytest.mark.parametrize("case", BAD)
def test_bad_requests_are_refused_with_a_reason_and_leave_nothing(served: tuple[Running, Lake, str], case: str) -> None:
    running, lake, _ = served
    before = captured(lake)
    request, status, reason = BAD[case]
    answer = CLIENT.post(f"{running.url}/v1/inspections", **request)
    assert (answer.status_code, answer.json()["error"]["reason"]) == (status, reason), answer.text
    assert answer.json()["error"]["detail"]
    assert len(answer.json()["request_id"]) == 32
    if case in ("empty", "text", "truncated", "huge header", "one too large"):
        assert "photograph 2" in answer.json()["error"]["detail"]
        assert "bad.jpg" in answer.json()["error"]["detail"]
    assert captured(lake) == before
    assert running.send(photograph(4)).status_code == 200


def test_a_body_without_length_is_cut_off_at_the_limit(served: tuple[Running, Lake, str]) -> None:
    running, _, _ = served
    given = []

    def endless() -> Iterator[bytes]:
        for _ in range(10_000):  # 640 MB, if anyone read them all
            given.append(0)
            yield b"\xff" * 65536

    try:
        answer = CLIENT.post(f"{running.url}/invocations", content=endless())
        assert (answer.status_code, answer.json()["error"]["reason"]) == (413, "too_large")
    except httpx.WriteError:
        assert len(given) < 10_000
    assert running.send(photograph(4)).status_code == 200


@pytest.mark.parametrize(
    ("path", "status", "words"), [("/v2/inspections", 404, "/openapi.json"), ("/v1/inspections", 405, "send POST")]
)
def test_errors_of_the_router_are_json_too(
    served: tuple[Running, Lake, str], path: str, status: int, words: str
) -> None:
    answer = CLIENT.get(f"{served[0].url}{path}")
    assert answer.status_code == status
    assert set(answer.json()) == {"error", "request_id"}
    assert words in answer.json()["error"]["detail"]


def test_metrics_count_what_happened(served: tuple[Running, Lake, str]) -> None:
    running, _, digest = served

    def value(line: str) -> float:
        lines = CLIENT.get(f"{running.url}/metrics").text.splitlines()
        return sum(float(text.rpartition(" ")[2]) for text in lines if text.startswith(line))

    def outcome(name: str) -> float:
        return value(f'carsdepo_requests_total{{outcome="{name}",path="/v1/inspections"')

    before = outcome("ok"), outcome("refused"), value("carsdepo_request_seconds_count")
    running.send(photograph(8))
    running.send(b"no image")
    assert (outcome("ok"), outcome("refused")) == (before[0] + 1, before[1] + 1)
    assert value("carsdepo_request_seconds_count") == before[2] + 2
    assert value("carsdepo_in_flight{") == 0
    assert value(f'carsdepo_model_info{{digest="{digest}"') == 1
    assert value("carsdepo_photographs_total{") >= 1
    assert value("carsdepo_capture_lag_seconds{") >= 0


def test_documentation_has_the_examples(served: tuple[Running, Lake, str]) -> None:
    from carsdepo_assets.inference.answers import Inspection

    running, _, _ = served
    schema = CLIENT.get(f"{running.url}/openapi.json").json()
    assert {"/v1/inspections", "/healthz", "/ping", "/invocations", "/metrics"} <= set(schema["paths"])
    post = schema["paths"]["/v1/inspections"]["post"]
    assert {"200", "400", "401", "413", "415", "422", "503"} <= set(post["responses"])
    form = post["requestBody"]["content"]["multipart/form-data"]["schema"]
    assert set(form["properties"]) == {"photographs", "source", "camera", "uploader", "region", "listing", "metadata"}
    Inspection.model_validate(running.send(photograph(9)).json())  # the documented type is what is answered
    assert CLIENT.get(f"{running.url}/docs").status_code == 200


def test_production_has_the_pages_too(served: tuple[Running, Lake, str]) -> None:
    page = CLIENT.get(f"{served[0].url}/alerts")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")


@pytest.mark.slow
def test_key_is_asked_for_and_a_second_service_cannot_take_the_port(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    settings = settings_of(tmp_path_factory.mktemp("keyed"), api_key="schlüssel")
    lake = Lake.open(settings.lake)
    digest = put_model(lake, "keyed")
    deploy(lake, "staging", digest)
    with service(settings, "staging") as running:
        running.serves(digest)
        for headers in ({}, {"X-API-Key": "wrong"}):
            for path in ("/v1/inspections", "/invocations"):
                answer = CLIENT.post(f"{running.url}{path}", files=[GOOD], headers=headers)
                assert (answer.status_code, answer.json()["error"]["reason"]) == (401, "unauthorized")
        assert CLIENT.get(f"{running.url}/alerts").status_code == 404  # the pages are production's
        right = [(b"X-API-Key", KEY["X-API-Key"])]
        assert CLIENT.post(f"{running.url}/v1/inspections", files=[GOOD], headers=right).status_code == 200
        code = (
            "import sys\nfrom carsdepo_assets.commands.dev import PortTaken\n"
            "from carsdepo_assets.commands.serving import run\nfrom carsdepo_assets.settings import Settings\n"
            f"try: run(Settings.read(), 'staging', port={running.url.rpartition(':')[2]})\n"
            "except PortTaken as error: sys.exit(str(error))"
        )
        second = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
        assert second.returncode == 1
        assert "CARSDEPO_STAGING_PORT" in second.stderr
        assert running.end() == 0  # SIGTERM is no failure
    assert len(list(closed(lake, "staging"))) == 1
    assert not [o.key for o in lake.list("capture") if o.key.endswith(".open")]


def test_the_service_needs_no_dagster() -> None:
    code = (
        "import sys\nimport carsdepo_assets.inference.app, carsdepo_assets.site.app\n"
        "sys.exit(', '.join(m for m in ('dagster', 'torch', 'mlflow') if m in sys.modules) or 0)"
    )
    completed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=60)
    assert (completed.returncode, completed.stderr) == (0, "")


def test_head_is_answered_as_get_without_the_body(served: tuple[Running, Lake, str]) -> None:
    running, _, _ = served
    for path in ("/healthz", "/readyz", "/ping", "/metrics", "/docs", "/openapi.json", "/", "/predictions", "/nowhere"):
        get, head = CLIENT.get(running.url + path), CLIENT.head(running.url + path)
        assert (head.status_code, head.content) == (get.status_code, b""), path
        assert head.headers.get("content-type") == get.headers.get("content-type"), path
    assert CLIENT.head(f"{running.url}/v1/inspections").status_code == 405


@pytest.mark.parametrize(
    ("part", "text"),
    [
        (b'name="photographs"; filename="T\xfcr.jpg"\r\nContent-Type: image/jpeg', None),
        (b'name="camera"', b"Pixel \xff"),
        (b'name="cam\xe9ra"', b"Pixel"),
    ],
)
def test_text_that_is_not_utf8_is_refused(served: tuple[Running, Lake, str], part: bytes, text: bytes | None) -> None:
    running, _, _ = served
    whole = b'--b\r\nContent-Disposition: form-data; name="photographs"; filename="a.jpg"\r\n\r\n' + photograph(1)
    odd = b"--b\r\nContent-Disposition: form-data; " + part + b"\r\n\r\n" + (photograph(1) if text is None else text)
    answer = CLIENT.post(
        f"{running.url}/v1/inspections",
        content=whole + b"\r\n" + odd + b"\r\n--b--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=b"},
    )
    assert (answer.status_code, answer.json()["error"]["reason"]) == (400, "bad_form")
    assert "is not UTF-8" in answer.json()["error"]["detail"]


def test_a_utf8_file_name_is_kept_exactly(served: tuple[Running, Lake, str]) -> None:
    running, _, _ = served
    files = [("photographs", ("Tür links 車.jpg", photograph(1), "image/jpeg"))]
    answer = CLIENT.post(f"{running.url}/v1/inspections", files=files)
    assert answer.json()["photographs"][0]["file_name"] == "Tür links 車.jpg"
