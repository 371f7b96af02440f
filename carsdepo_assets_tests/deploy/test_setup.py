"""deploy/setup: what it takes, what it keeps, and what it never leaves behind."""

from __future__ import annotations

import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from cryptography import x509

from carsdepo_assets_tests.deploy.server_copy import ServerCopy

pytestmark = pytest.mark.slow

SCRIPTS = ("setup", "users", "up", "down", "backup", "restore", "inside", "compose", "lint.sh")
EDITED = ("server.env", "CARSDEPO_ALERT_WEBHOOK", "CARSDEPO_ALERT_URLS", "nginx/tls.crt", "nginx/tls.key")


def subject(server: ServerCopy) -> str:
    """The name that the server's certificate is for."""
    certificate = x509.load_pem_x509_certificate((server.secrets / "nginx/tls.crt").read_bytes())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return str(next(iter(names)).value)


@pytest.fixture
def server(tmp_path: Path) -> ServerCopy:
    return ServerCopy(tmp_path)


def test_every_script_says_how_it_is_called(server: ServerCopy) -> None:
    for script in SCRIPTS:
        told = server.do(script, "--help")
        assert (told.returncode, told.stderr) == (0, ""), script
        assert f"deploy/{script}" in told.stdout
        assert "set -euo" not in told.stdout
    assert not server.secrets.exists()


@pytest.mark.parametrize(
    ("script", "arguments"),
    [
        *(("setup", name) for name in ([""], ["https://cars.example"], ["cars.example/x"], ["two words"], ["a;b"])),
        *(("setup", name) for name in (["-x"], ["1.2.3"], ["1.2.3.256"], ["cars.example."], ["a" * 64], ["a", "b"])),
        *(("users", given) for given in ([], ["add"], ["add", "Ann"], ["add", "ann", "--boss"], ["list", "extra"])),
        *(("users", given) for given in (["add", "ann", "--approver", "x"], ["remove"], ["remove", "a.*"], ["who"])),
        *(("users", ["add", name]) for name in ("a b", "../x", 'a"b', "é", "-x", "a:b", "a\nb", "")),
        ("up", ["a", "b"]),
        ("down", ["--volume"]),
        ("down", ["--volumes", "x"]),
        ("backup", ["a", "b"]),
        ("backup", ["--all"]),
        ("backup", [""]),
        ("restore", []),
        ("restore", ["nosuch"]),
        ("restore", ["a", "b"]),
        ("inside", ["code"]),
        ("inside", ["nosuch", "true"]),
        ("compose", []),
        ("lint.sh", ["x"]),
    ],
)
def test_wrong_arguments_are_answered_with_the_usage_and_write_nothing(
    server: ServerCopy, script: str, arguments: list[str]
) -> None:
    told = server.do(script, *arguments)
    assert told.returncode == 2, told
    assert f"  deploy/{script}" in told.stderr
    assert not server.secrets.exists()
    assert not (server.folder / "backups").exists()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("HTTPS_PORT", "70000"),
        ("STAGING_PORT", "8001x"),
        ("LISTEN", "localhost!"),
        ("WORKER", "gpu"),
        ("CARSDEPO_LAKE", "/home/ann/lake"),
        ("COMPOSE_OVERRIDE", "nosuch.yaml"),
        ("TAG", "1.2\nLISTEN=0.0.0.0"),
    ],
)
def test_a_wrong_setting_is_named_before_anything_is_written(server: ServerCopy, name: str, value: str) -> None:
    told = server.do("setup", "cars.example", **{name: value})
    assert told.returncode == 1
    assert told.stderr.startswith(f"{name} is '{value}'")
    assert not server.secrets.exists()


def test_a_wrong_name_does_not_stick(server: ServerCopy) -> None:
    assert server.do("setup", "https://cars.example").returncode == 2
    assert server.do("setup", "cars.example").returncode == 0
    assert server.settings()["SERVER_NAME"] == subject(server) == "cars.example"


def test_another_name_is_told_that_the_first_one_stays(server: ServerCopy) -> None:
    server.do("setup", "cars.example")
    told = server.do("setup", "other.example")
    assert "The name stays cars.example" in told.stdout
    assert server.settings()["SERVER_NAME"] == "cars.example"


def test_a_name_that_is_changed_in_the_settings_gets_a_certificate(server: ServerCopy) -> None:
    server.do("setup", "cars.example")
    file = server.secrets / "server.env"
    file.write_text(file.read_text().replace("cars.example", "new.example"))
    assert "Made a certificate for new.example" in server.do("setup").stdout
    assert subject(server) == "new.example"
    ssl.create_default_context().load_cert_chain(server.secrets / "nginx/tls.crt", server.secrets / "nginx/tls.key")
    assert server.do("setup").stdout == ""


def test_a_certificate_of_ones_own_is_left_alone(server: ServerCopy) -> None:
    server.do("setup", "cars.example")
    certificate, key = server.secrets / "nginx/tls.crt", server.secrets / "nginx/tls.key"
    make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]
    subprocess.run(
        [*make, "-subj", "/CN=elsewhere", "-keyout", key, "-out", certificate], check=True, capture_output=True
    )
    own = certificate.read_bytes()
    told = server.do("setup")
    assert told.returncode == 0
    assert "is not for cars.example" in told.stderr
    assert certificate.read_bytes() == own


@pytest.mark.parametrize("name", ["10.1.2.3", "a" * 60 + "." + "b" * 60 + ".example", "Cars-1"])
def test_addresses_and_long_names_get_certificates(server: ServerCopy, name: str) -> None:
    told = server.do("setup", name)
    assert told.returncode == 0, told.stderr
    assert subject(server) == name


def test_settings_that_are_missing_are_added(server: ServerCopy) -> None:
    server.secrets.mkdir()
    (server.secrets / "server.env").write_text("# ours\nCARSDEPO_LAKE=s3://cars/lake")  # no line's end
    assert server.do("setup", "cars.example").returncode == 0
    text = (server.secrets / "server.env").read_text()
    assert text.startswith("# ours\nCARSDEPO_LAKE=s3://cars/lake\nSERVER_NAME=cars.example\n")
    for name in ("LISTEN", "HTTPS_PORT", "MLFLOW_PORT", "PRODUCTION_PORT", "STAGING_PORT", "WORKER", "CODE_MEMORY"):
        assert f"\n{name}=" in text


def test_settings_of_the_environment_are_kept(server: ServerCopy) -> None:
    (server.folder / "my gpu.yaml").write_text("services: {}\n")
    server.do("setup", "cars.example")
    told = server.do("setup", COMPOSE_OVERRIDE="my gpu.yaml", REGISTRY="r.example/team", TAG="1.2", HTTPS_PORT="9443")
    assert "HTTPS_PORT is 9443 from now on" in told.stdout
    assert server.do("setup").stdout == ""
    kept = {"COMPOSE_OVERRIDE": "my gpu.yaml", "REGISTRY": "r.example/team", "TAG": "1.2", "HTTPS_PORT": "9443"}
    assert server.settings().items() >= kept.items()


def test_what_people_edit_can_be_written_to_and_nobody_else_gets_in(server: ServerCopy) -> None:
    server.do("setup", "cars.example")
    for file in EDITED:
        (server.secrets / file).chmod(0o444)  # as earlier releases made them
    server.do("setup")
    assert [oct((server.secrets / file).stat().st_mode & 0o777) for file in EDITED] == ["0o644"] * len(EDITED)
    assert server.secrets.stat().st_mode & 0o777 == 0o700


def test_setups_at_once_make_one_server(server: ServerCopy) -> None:
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda number: server.do("setup", f"n{number}.example"), range(4)))
    assert [one.returncode for one in told] == [0] * 4, told
    assert sum("Made a certificate" in one.stdout for one in told) == 1
    assert server.settings()["SERVER_NAME"] == subject(server)
    key = (server.secrets / "CARSDEPO_API_KEY").read_text().strip()
    assert key in (server.secrets / "nginx/api_key.map").read_text()
    assert not list(server.secrets.rglob("*.new"))


def test_a_file_that_cannot_be_written_is_named_and_left_as_it_was(server: ServerCopy) -> None:
    server.do("setup", "cars.example")
    before = (server.secrets / "server.env").read_text()
    limited = f"ulimit -f 0; trap '' XFSZ; exec '{server.deploy / 'setup'}'"  # a file of no bytes, as on a full disk
    environment = {"PATH": server.path, "TAG": "1.2"}
    told = subprocess.run(["bash", "-c", limited], env=environment, capture_output=True, text=True, timeout=60)
    assert told.returncode == 1
    assert "server.env could not be written" in told.stderr
    assert (server.secrets / "server.env").read_text() == before
    assert not list(server.secrets.rglob("*.new"))


def test_what_openssl_says_is_shown(server: ServerCopy) -> None:
    (Path(server.path) / "openssl").unlink()
    (Path(server.path) / "openssl").write_text(
        '#!/bin/bash\n[ "$1" = req ] && echo "no such curve" >&2 && exit 1\nexec /usr/bin/openssl "$@"\n'
    )
    (Path(server.path) / "openssl").chmod(0o755)
    told = server.do("setup", "cars.example")
    assert told.returncode == 1
    assert "openssl made no certificate for cars.example:\nno such curve" in told.stderr
    assert not list(server.secrets.rglob("tls.*"))
