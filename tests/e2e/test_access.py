# SPDX-License-Identifier: Apache-2.0
"""Who reaches a real server: over TLS, over a Unix socket, and from other machines."""

from __future__ import annotations

import stat
import subprocess
from pathlib import Path

import pytest

from qonduit_client import Client
from qonduit_client.login.sessions import log_in
from qonduit_client.named_servers import NamedServer, OidcClient
from tests.certificate_authority import CertificateAuthority
from tests.command_line import qonduit
from tests.oidc_provider import CLIENT_ID, OidcProvider
from tests.rotating_oidc import AUDIENCE, RotatingProvider
from tests.server_process import SERVE, serving

BELL = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[2]; creg c[2]; h q[0]; cx q[0],q[1]; measure q -> c;'


def test_a_job_runs_over_tls(tmp_path: Path) -> None:
    authority = CertificateAuthority(tmp_path)
    pair = authority.issue("server")
    files = {"tls_certificate": str(pair.certificate), "tls_key": str(pair.key)}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", **files) as server:
        with Client(server.target, tls=authority.file) as client:
            counts = client.run(BELL, "IBM/aer_simulator", 100).result(timeout=120).counts
        assert sum(counts.values()) == 100
        done = qonduit("--server", server.target, "--tls-ca", str(authority.file), "jobs")
        assert done.returncode == 0, done.stderr
        assert "SUCCEEDED" in done.stdout
        assert "use tls=True if it requires TLS" in qonduit("--server", server.target, "jobs").stderr


def test_a_job_runs_over_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "q.sock"
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", listen=f"unix:{path}") as server:
        assert server.target == f"unix:{path}"
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        with Client(server.target) as client:
            counts = client.run(BELL, "IBM/aer_simulator", 100).result(timeout=120).counts
        assert sum(counts.values()) == 100
        assert "SUCCEEDED" in qonduit("jobs", QONDUIT_SERVER=server.target).stdout
    assert not path.exists()


def test_a_server_does_not_start_on_a_public_address_without_authentication(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SERVE, "--listen", "0.0.0.0:0", "--database", f"sqlite:///{tmp_path / 'q.sqlite3'}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 1
    assert "refusing to listen on 0.0.0.0:0 without TLS" in done.stderr
    assert "allow_insecure_remote_access=on" in done.stderr
    assert not (tmp_path / "q.sqlite3").exists()


def test_a_token_opens_a_server_until_it_is_revoked(tmp_path: Path) -> None:
    file = str(tmp_path / "tokens.json")
    anna, ben = (qonduit("token", "create", name, "--token-file", file).stdout.strip() for name in ("anna", "ben"))
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", token_file=file) as server:
        with Client(server.target, token=anna) as client:
            assert client.run(BELL, "IBM/aer_simulator", 100).result(timeout=120).counts
        refused = qonduit("--server", server.target, "jobs")
        assert refused.returncode == 4
        assert "authentication required: set QONDUIT_TOKEN or pass --token-file" in refused.stderr
        assert "SUCCEEDED" in qonduit("--server", server.target, "jobs", QONDUIT_TOKEN=anna).stdout
        (tmp_path / "ben").write_text(f"{ben}\n")
        others = qonduit("--server", server.target, "--token-file", str(tmp_path / "ben"), "jobs")
        assert others.returncode == 0
        assert "SUCCEEDED" not in others.stdout
        assert qonduit("token", "revoke", "--name", "anna", "--token-file", file).returncode == 0
        revoked = qonduit("--server", server.target, "jobs", QONDUIT_TOKEN=anna)
        assert revoked.returncode == 4
        assert "the token was revoked at" in revoked.stderr


def test_a_server_does_not_start_without_its_token_file(tmp_path: Path) -> None:
    done = subprocess.run(
        [*SERVE, "--listen", "127.0.0.1:0", "--token-file", str(tmp_path / "none"), "--providers", "IBM"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "create it with `qonduit token create NAME --token-file" in done.stderr


def test_a_token_of_an_oidc_provider_opens_a_server(tmp_path: Path, oidc_provider: RotatingProvider) -> None:
    issuer = {"oidc_issuer": oidc_provider.issuer, "oidc_audience": AUDIENCE}
    roles = {"oidc_role_claim": "realm.groups", "oidc_roles": "qonduit-operators=operator"}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", **issuer, **roles) as server:
        # A function: the client asks for the current token at each call.
        with Client(server.target, token=lambda: oidc_provider.token("anna")) as client:
            job = client.run(BELL, "IBM/aer_simulator", 100)
            assert job.result(timeout=120).counts
        assert qonduit("--server", server.target, "workers", QONDUIT_TOKEN=oidc_provider.token("olga")).returncode == 0
        denied = qonduit("--server", server.target, "workers", QONDUIT_TOKEN=oidc_provider.token("anna"))
        assert denied.returncode == 4
        assert "requires the role operator" in denied.stderr
        for name, code in (("olga", 0), ("ben", 3)):
            shown = qonduit("--server", server.target, "job", str(job.id), QONDUIT_TOKEN=oidc_provider.token(name))
            assert shown.returncode == code, shown.stderr


def test_a_person_who_logs_in_uses_a_server(
    tmp_path: Path, oidc: OidcProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QONDUIT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    rules = {"oidc_issuer": oidc.issuer, "oidc_audience": AUDIENCE}
    roles = {"oidc_role_claim": "groups", "oidc_roles": "admins=admin"}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", providers="IBM", **rules, **roles) as server:
        issuer = ["--issuer", oidc.issuer, "--client-id", CLIENT_ID, "--audience", AUDIENCE]
        scope = "openid offline_access profile"
        added = qonduit("config", "add", "lab", server.target, *issuer, "--scope", scope)
        assert added.returncode == 0, added.stderr
        lab = NamedServer("lab", server.target, oidc=OidcClient(oidc.issuer, CLIENT_ID, scope, AUDIENCE))
        log_in(
            lab, lambda code: oidc.user("alice").confirm(code.verification_uri, code.user_code), sleep=lambda _: None
        )
        with Client("lab") as client:
            job = client.run(BELL, "IBM/aer_simulator", 100)
            assert job.result(timeout=120).counts
        shown = qonduit("--server", "lab", "job", str(job.id), "--json")
        assert '"alice"' in shown.stdout
        assert qonduit("--server", "lab", "workers").returncode == 0  # alice is in the group admins
