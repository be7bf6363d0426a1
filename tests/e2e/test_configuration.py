# SPDX-License-Identifier: Apache-2.0
"""The configuration file of a real server: its check without a start, and its reload by SIGHUP."""

from __future__ import annotations

import os
import re
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from qonduit_client import Client, QonduitError, Refused
from qonduit_server.cli import main
from qonduit_server.setting_values import settings_by_name
from tests.certificate_authority import CertificateAuthority
from tests.server_process import SERVE, Server, log_lines, serving

ROOT = Path(__file__).resolve().parents[2]
BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def qonduit(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run `qonduit` with arguments and variables."""
    return subprocess.run(
        [sys.executable, "-m", "qonduit_server", *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment,
    )


@dataclass
class Configured:
    """A server with a configuration file."""

    server: Server
    file: Path
    reloads: int = 0

    def reload(self, text: str) -> dict[str, Any]:
        """Write the file, send SIGHUP, and return the log line of the reload."""
        self.file.write_text(text)
        self.server.process.send_signal(signal.SIGHUP)
        self.reloads += 1
        found = log_lines(self.server, lambda line: line["event"].startswith("configuration "), self.reloads)
        return found[self.reloads - 1]


@contextmanager
def configured(tmp_path: Path, text: str, **settings: str) -> Iterator[Configured]:
    """Start a server with a configuration file."""
    file = tmp_path / "server.toml"
    file.write_text(text)
    log = tmp_path / "log"
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(database, log=log, command=(*SERVE, "--config", str(file)), providers="IBM", **settings) as server:
        yield Configured(server, file)


def test_a_server_reads_its_file_and_adopts_changes_of_it(tmp_path: Path) -> None:
    with configured(tmp_path, "max_shots = 100\nworkers = 1\n") as it, Client(it.server.target) as client:
        assert client.info().limits.max_shots == 100
        first = """
        max_shots = 50
        max_program_bytes = 500
        max_programs = 3
        max_queued_jobs = 70
        max_streams = 7
        workers = 2
        retention_days = 2
        default_quotas = {stored_bytes = 0}
        log_level = "warning"
        """
        line = it.reload(first)
        # The new level holds at once.
        assert line["level"] == "warning"
        assert line["needs_restart"] == ["max_streams"]
        assert line["changed"] == [
            "default_quotas",
            "log_level",
            "max_program_bytes",
            "max_programs",
            "max_queued_jobs",
            "max_shots",
            "retention_days",
            "workers",
        ]
        limits = client.info().limits
        assert (limits.max_shots, limits.max_program_bytes, limits.max_programs) == (50, 500, 3)
        assert (limits.max_queued_jobs, limits.max_streams) == (70, 20_000)
        assert limits.job_retention.seconds == 2 * 86_400
        with pytest.raises(QonduitError, match=r"max_shots"):
            client.run(BELL, "IBM/aer_simulator", 51)
        with pytest.raises(QonduitError, match=r"stored_bytes"):
            client.deploy([BELL], name="refused")
        line = it.reload("workers = 1\n")
        assert line["level"] == "info"
        assert line["needs_restart"] == []
        assert client.info().limits.max_shots == 10_000_000
        client.deploy([BELL], name="accepted")
        counts = client.run(BELL, "IBM/aer_simulator", 51).result(timeout=120).counts
        assert sum(counts.values()) == 51
        # The level held: of the calls between the reloads, none was logged.
        last = log_lines(it.server, lambda line: line.get("method") == "SystemService/GetServerInfo", 2)
        assert len(last) == 2


def test_a_hangup_during_the_start_is_a_reload_after_it(tmp_path: Path) -> None:
    """A provider process waits in a pipe until the signal was sent; the server waits for its description."""
    begun, proceed = tmp_path / "begun", tmp_path / "proceed"
    os.mkfifo(begun)
    os.mkfifo(proceed)
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\necho x > {begun}\nread x < {proceed}\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    file = tmp_path / "server.toml"
    file.write_text("max_shots = 100\n")
    log = tmp_path / "log"
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "manager"))
    manager.settimeout(100)
    command = [*SERVE, "--config", str(file), "--listen", "127.0.0.1:0", "--log-format", "json"]
    command += ["--database", f"sqlite:///{tmp_path / 'q.sqlite3'}", "--providers", "IBM"]
    command += ["--provider-python", f"IBM={python}"]
    environment = os.environ | {"NOTIFY_SOCKET": str(tmp_path / "manager")}
    with manager, log.open("w") as errors:
        process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=errors, text=True)
        try:
            assert process.stdout is not None
            begun.read_text()
            file.write_text("max_shots = 50\n")
            process.send_signal(signal.SIGHUP)
            proceed.write_text("x\n")
            line = process.stdout.readline()
            assert line.startswith("serving on ")
            server = Server(line.split()[-1], process, 0, log)
            (reloaded,) = log_lines(server, lambda line: line["event"] == "configuration reloaded")
            assert reloaded["changed"] == ["max_shots"]
            with Client(server.target) as client:
                assert client.info().limits.max_shots == 50
            process.send_signal(signal.SIGTERM)
            assert process.wait(100) == 0
            process.stdout.close()
        finally:
            process.kill()
            process.wait()
        # What a service manager receives meanwhile.
        states = [manager.recv(1000).decode().split("\n")[0] for _ in range(4)]
    assert states == ["READY=1", "RELOADING=1", "READY=1", "STOPPING=1"]


def test_a_file_with_an_error_changes_nothing(tmp_path: Path) -> None:
    with configured(tmp_path, "max_shots = 100\n") as it, Client(it.server.target) as client:
        line = it.reload("max_shots = 50\nmax_shot = 7\n")
        assert line["event"] == "configuration not reloaded"
        assert line["why"].startswith(f"{it.file}, line 2: max_shot: is not a setting; did you mean max_shots?")
        assert client.info().limits.max_shots == 100
        line = it.reload("max_shots = 50\ndefault_quotas = {jobs = 7}\n")
        assert (line["event"], "jobs=7" in line["why"]) == ("configuration not reloaded", True)
        line = it.reload('max_shots = 50\ntoken_file = "none.json"\n')
        assert (line["event"], "none.json" in line["why"]) == ("configuration not reloaded", True)
        assert client.info().limits.max_shots == 100
        assert it.reload("max_shots = 50\n")["changed"] == ["max_shots"]
        assert client.info().limits.max_shots == 50


def test_authentication_is_turned_on_and_its_file_is_replaced_without_a_restart(tmp_path: Path) -> None:
    tokens = []
    for name in ("first", "second"):
        done = qonduit("token", "create", "anna", "--token-file", str(tmp_path / f"{name}.json"))
        tokens.append(done.stdout.strip())
    with configured(tmp_path, "") as it:
        target = it.server.target
        with Client(target) as anyone:
            assert anyone.info()
            assert it.reload('token_file = "first.json"\n')["changed"] == ["token_file"]
            with pytest.raises(Refused):
                anyone.devices()
        with Client(target, token=tokens[0]) as anna, Client(target, token=tokens[1]) as later:
            assert anna.devices()
            with pytest.raises(Refused):
                later.devices()
            assert it.reload('token_file = "second.json"\n')["changed"] == ["token_file"]
            assert later.devices()
            with pytest.raises(Refused):
                anna.devices()


def test_other_files_of_tls_are_used_for_new_connections(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.issue("old", common_name="old")
    authority.issue("new", common_name="new")

    def text(name: str) -> str:
        return f'tls_certificate = "{name}.pem"\ntls_key = "{name}.key"\n'

    def presented(target: str) -> str:
        context = ssl.create_default_context(cafile=authority.file)
        context.set_alpn_protocols(["h2"])
        host, _, port = target.rpartition(":")
        with (
            socket.create_connection((host, int(port)), 60) as plain,
            context.wrap_socket(plain, server_hostname="localhost") as secured,
        ):
            certificate: Any = secured.getpeercert()
        return str(dict(part for (part,) in certificate["subject"])["commonName"])

    with configured(tmp_path, text("old")) as it:
        assert presented(it.server.target) == "old"
        assert it.reload(text("new"))["changed"] == ["tls_certificate", "tls_key"]
        assert presented(it.server.target) == "new"
        line = it.reload('tls_certificate = "new.pem"\ntls_key = "old.key"\n')
        assert (line["event"], "belong" in line["why"] or "certificate" in line["why"]) == (
            "configuration not reloaded",
            True,
        )
        # A server does not stop to encrypt while it runs.
        assert it.reload("")["needs_restart"] == ["tls_certificate", "tls_key"]
        assert presented(it.server.target) == "new"


def test_the_health_of_a_server_by_its_own_settings(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    authority.issue("server")
    with configured(tmp_path, 'tls_certificate = "server.pem"\ntls_key = "server.key"\n') as it:
        own = {"QONDUIT_SERVER_CONFIG": str(it.file), "QONDUIT_LISTEN": it.server.target}
        # A container may have a proxy, which does not reach the server.
        own |= {"http_proxy": "http://127.0.0.1:1", "no_proxy": ""}
        done = qonduit("health", **own)
        assert (done.returncode, done.stdout) == (0, "SERVING\n"), done.stderr
        assert qonduit("health", "--service", "qonduit.v1.JobService", **own).stdout == "SERVING\n"
        done = qonduit("health", "--service", "other", **own)
        assert (done.returncode, done.stdout[:10]) == (1, "NOT_FOUND:")
    done = qonduit("health", **own)
    assert (done.returncode, done.stdout[:12]) == (1, "UNAVAILABLE:")
    nameless = str(authority.issue("nameless", dns="").certificate)
    done = qonduit("health", **own | {"QONDUIT_TLS_CERTIFICATE": nameless})
    assert done.stdout.startswith(f"cannot read {nameless} (tls_certificate)"), done.stderr


def test_the_check_prints_settings_with_origins_and_without_secrets(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('database = "postgresql://anna:s3cret@db.example.org/q"\nmax_shots = 7\nproviders = ["IBM"]\n')
    file.chmod(0o600)
    done = qonduit("serve", "--check-config", "--config", str(file), "--workers", "3", QONDUIT_MAX_PROGRAMS="9")
    assert done.returncode == 0, done.stderr
    assert done.stderr == "the configuration is valid\n"
    assert "s3cret" not in done.stdout
    rows = dict(re.fullmatch(r"(\w+) +(.*)", line).groups() for line in done.stdout.splitlines())  # type: ignore
    assert list(rows)[1:] == list(settings_by_name())
    assert re.split(" {2,}", rows["database"]) == ["postgresql://anna:***@db.example.org/q", f"{file}, line 1"]
    assert re.split(" {2,}", rows["max_shots"]) == ["7", f"{file}, line 2"]
    assert re.split(" {2,}", rows["workers"]) == ["3", "--workers"]
    assert re.split(" {2,}", rows["max_programs"]) == ["9", "QONDUIT_MAX_PROGRAMS"]
    assert re.split(" {2,}", rows["max_streams"]) == ["20000", "default"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('tls_certificate = "none.pem"\ntls_key = "none.key"', "cannot read "),
        ('tls_key = "none.key"', "tls_certificate and tls_key belong together"),
        ('token_file = "none.json"', "none.json does not exist; create it"),
        ('oidc_issuer = "ftp://x"\noidc_audience = "y"', "oidc_issuer "),
        ('credential_key_file = "none.keys"', "credential_key_file"),
        ('database = "mysql://host/q"', "the database URL must be"),
        ('database = "sqlite:///none/q.sqlite3"', "none does not exist"),
        ('listen = "unix:none/socket"', "none does not exist"),
        ('listen = "0.0.0.0:50051"', "refusing to listen"),
        ('providers = ["NONE"]', "unknown provider NONE"),
        ('executor = "none"', "there is no executor 'none'"),
        ('executor = "celery"\nbroker = "amqp://host:rabbit/"', "the URL of the broker is invalid"),
        ('executor = "celery"\nbroker = "amqps://host"\nbroker_ca = "none.pem"', "none.pem: No such file or directory"),
        ('retention_archive = "server.toml/archive"', "server.toml is not a folder"),
        ("default_quotas = {jobs = 3}", "default_quotas must be"),
        ('provider_python = {AWS = "none"}', "for AWS, cannot be executed"),
    ],
)
def test_the_check_reports_what_a_server_would_fail_with(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "server.toml"
    file.write_text(f"{text}\n")
    # In this process: a start of Python for each of them would take most of the time.
    done = CliRunner().invoke(main, ["serve", "--check-config", "--config", str(file)])
    assert done.exit_code == 1, done.exception
    assert any(line.startswith("error: ") and message in line for line in done.stderr.splitlines()), done.stderr
    assert not list(tmp_path.glob("*.sqlite3*"))


def test_the_check_of_a_machine_has_its_settings_alone(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('broker = "amqp://anna:s3cret@host"\nmax_shots = 7\nlisten = "0.0.0.0:1"\n')
    file.chmod(0o600)
    checked = ["worker", "--check-config", "--config", str(file)]
    done = CliRunner().invoke(main, checked)
    assert (done.exit_code, done.stderr) == (0, "the configuration is valid\n"), done.stderr
    names = {line.split()[0] for line in done.stdout.splitlines()}
    assert {"broker", "workers", "drain_seconds"} < names
    assert not {"max_shots", "listen", "database"} & names
    assert "s3cret" not in done.stdout
    done = CliRunner().invoke(main, [*checked, "--broker", ""])
    assert done.exit_code == 1
    assert "error: the executor celery needs the URL of a RabbitMQ" in done.stderr


def test_the_commands_for_files_and_databases_read_the_same_file(tmp_path: Path) -> None:
    file = tmp_path / "server.toml"
    file.write_text('database = "sqlite:///q.sqlite3"\ntoken_file = "tokens.json"\ncredential_key_file = "keys"\n')
    where = {"QONDUIT_SERVER_CONFIG": str(file)}
    assert qonduit("migrate", **where).returncode == 0
    assert (tmp_path / "q.sqlite3").exists()
    assert qonduit("credential-key", "create", **where).returncode == 0
    assert (tmp_path / "keys").exists()
    assert qonduit("token", "create", "anna", **where).stdout.startswith("qdt_")
    assert "anna" in qonduit("token", "list", **where).stdout
    entries = qonduit("audit", "export", **where)
    # The database of the file is also where the creation of the token is recorded.
    assert "qonduit token create" in entries.stdout, entries.stderr
    refused = qonduit("token", "list")
    assert refused.returncode == 2
    assert "--token-file, QONDUIT_TOKEN_FILE or token_file in the configuration file is required" in refused.stderr


def test_the_guide_says_for_each_setting_whether_a_reload_adopts_it() -> None:
    section = (ROOT / "docs" / "operating.md").read_text().partition("\n## Settings\n")[2].partition("\n## ")[0]
    listed = dict(re.findall(r"^\| `(\w+)` \|.*\| ([\w ]+) \|$", section, re.MULTILINE))
    rules = {None: "restart"}
    assert listed == {
        name: rules.get(rule := setting.metadata.get("reload"), rule) for name, setting in settings_by_name().items()
    }
