# SPDX-License-Identifier: Apache-2.0
"""Settings: the guide lists all of them, and the error of a wrong value names the setting."""

from __future__ import annotations

import dataclasses
import json
import re
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from qonduit_client import Client, PreconditionFailed
from qonduit_server import cli, examination
from qonduit_server.errors import StartError
from qonduit_server.settings import Settings
from qonduit_server.store.engines import parse_url
from tests.server_process import configuration_of, serving

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def _read(monkeypatch: pytest.MonkeyPatch, arguments: list[str], **environment: str) -> Settings:
    """Return the settings of `qonduit serve` for a command line and an environment."""
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    return configuration_of(*arguments).settings


def test_the_guide_lists_every_setting_and_no_other() -> None:
    section = GUIDE.read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert listed == [setting.name for setting in dataclasses.fields(Settings)]


def test_without_anything_the_defaults_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, []) == Settings()


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = _read(
        monkeypatch,
        [],
        QONDUIT_WORKERS="7",
        QONDUIT_PROVIDERS="IBM, AWS",
        QONDUIT_PROVIDER_PYTHON="AWS=/opt/python,IBM=/usr/bin/python",
    )
    assert settings.workers == 7
    assert settings.providers == ("IBM", "AWS")
    assert settings.provider_python == {"AWS": "/opt/python", "IBM": "/usr/bin/python"}


def test_an_option_overrides_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, ["--max-shots", "5"], QONDUIT_MAX_SHOTS="6").max_shots == 5


def test_a_deprecated_name_still_works(monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, [], QONDUIT_SLOW_READER_SECONDS="3").stream_send_timeout_seconds == 3
    assert _read(monkeypatch, ["--python-source", "QISKIT"]).enable_python_source == ("QISKIT",)
    # The new name wins.
    settings = _read(monkeypatch, ["--stream-send-timeout-seconds", "4"], QONDUIT_SLOW_READER_SECONDS="3")
    assert settings.stream_send_timeout_seconds == 4


def test_a_server_logs_deprecated_names(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", slow_request_seconds="60", log=log):
        pass
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (line,) = (line for line in lines if line["event"] == "deprecated setting")
    assert (line["setting"], line["use"]) == ("slow_request_seconds", "request_receive_timeout_seconds")


def test_a_disabled_device_is_listed_and_refuses_jobs(tmp_path: Path) -> None:
    log = tmp_path / "log"
    disabled = "IBM/fake_manila,IBM/fake_manilla"
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, providers="IBM", disabled_devices=disabled, log=log) as server, Client(server.target) as it:
        devices = it.named_devices()
        manila = devices["IBM/fake_manila"]
        assert (manila.available, manila.status_message) == (False, "disabled (disabled_devices)")
        assert devices["IBM/fake_lima"].available
        program = "OPENQASM 3; qubit q; bit c; c = measure q;"
        with pytest.raises(
            PreconditionFailed, match=r"IBM/fake_manila is not available: disabled \(disabled_devices\)"
        ):
            it.run(program, device="IBM/fake_manila")
        assert it.calibration(manila).qubits
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (line,) = (line for line in lines if line["event"] == "unknown devices in disabled_devices")
    assert line["devices"] == ["IBM/fake_manilla"]
    with serving(database, providers="IBM") as server, Client(server.target) as it:
        assert it.named_devices()["IBM/fake_manila"].available


def test_the_doctor_reports_disabled_devices_that_do_not_exist(tmp_path: Path) -> None:
    settings = Settings(
        database=f"sqlite:///{tmp_path / 'q.sqlite3'}",
        providers=("IBM",),
        disabled_devices=("IBM/fake_manila", "IBM/fake_manilla"),
        fake_backends=("default", "fake_oslo", "fake_osslo"),
    )
    found = [each.what for each in examination.examine(settings)]
    assert "disabled_devices names devices that no provider has: IBM/fake_manilla" in found
    (offers,) = (what for what in found if what.startswith("provider IBM offers"))
    assert "IBM/fake_manila" not in offers
    assert "IBM/fake_lima" in offers
    assert "IBM/fake_oslo" in offers
    assert "fake_backends names backends that do not exist: fake_osslo" in found


def test_the_doctor_reports_settings_with_which_a_server_does_not_start(tmp_path: Path) -> None:
    settings = Settings(database=f"sqlite:///{tmp_path / 'q.sqlite3'}", providers=("IBM",))
    for wrong, message in (
        ({"listen": "0.0.0.0:1"}, "refusing to listen on 0.0.0.0:1 without TLS"),
        ({"token_file": str(tmp_path / "none")}, "does not exist; create it"),
        ({"tls_certificate": str(tmp_path / "c"), "tls_key": str(tmp_path / "k")}, "cannot read"),
    ):
        found = examination.examine(dataclasses.replace(settings, **wrong))  # type: ignore[arg-type]
        assert [each for each in found if each.level == "error" and message in each.what], message


def test_a_server_offers_the_fake_backends_of_the_settings(tmp_path: Path) -> None:
    log = tmp_path / "log"
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    chosen = "fake_kyiv,fake_manila,fake_manilla"
    with serving(database, providers="IBM", fake_backends=chosen, log=log) as server, Client(server.target) as client:
        devices = client.named_devices()
        assert sorted(name for name in devices if "/fake_" in name) == ["IBM/fake_kyiv", "IBM/fake_manila"]
        assert len(client.calibration("IBM/fake_kyiv").qubits) == 127
        bell = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'
        counts = client.run(bell, "IBM/fake_kyiv", 200, seed=1).result(timeout=120).counts
        assert sum(counts.values()) == 200
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    (line,) = (line for line in lines if line["event"] == "unknown backends in fake_backends")
    assert line["backends"] == ["fake_manilla"]


def test_settings_do_not_change() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings().workers = 3  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("MAX_SHOTS", "many"),
        ("WORKERS", "0"),
        ("LOG_LEVEL", "loud"),
        ("PROVIDER_PYTHON", "AWS"),
        ("LEASE_SECONDS", "-1"),
    ],
)
def test_a_wrong_setting_is_a_usage_error_that_names_it(name: str, value: str) -> None:
    done = CliRunner().invoke(cli.main, ["serve"], env={f"QONDUIT_{name}": value})
    assert done.exit_code == cli.EXIT_USAGE
    assert name.lower().replace("_", "-") in done.output


@pytest.mark.parametrize("listen", ["127.0.0.1:99999", "127.0.0.1:65536", "127.0.0.1", "h:", ":1", "h:-1", "h:²"])
def test_an_address_that_would_be_changed_is_refused(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(click.BadParameter) as refused:
        _read(monkeypatch, ["--listen", listen])
    assert "from 0 (a free one) to 65535" in refused.value.message
    assert repr(listen) in refused.value.message


@pytest.mark.parametrize("listen", ["[::1]:0", "localhost:65535", "0.0.0.0:50051"])
def test_addresses_of_each_kind_are_taken(listen: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _read(monkeypatch, ["--listen", listen]).listen == listen


@pytest.mark.parametrize("port", ["notaport", "99999", "0"])
def test_an_invalid_database_port_is_refused_with_its_value(port: str) -> None:
    with pytest.raises(StartError, match="must be a number from 1 to 65535, got") as refused:
        parse_url(f"postgresql://alice:s3cret@127.0.0.1:{port}/x")
    assert port in str(refused.value)
    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("command", [["serve", "--listen", "127.0.0.1:0", "--providers", "IBM"], ["migrate"]])
def test_an_invalid_database_port_is_reported_without_a_traceback(command: list[str]) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "qonduit_server", *command, "--database", "postgresql://127.0.0.1:notaport/x"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == cli.EXIT_FAILED
    assert done.stderr.startswith("qonduit: the port of the database URL")
    assert "Traceback" not in done.stderr
