# SPDX-License-Identifier: Apache-2.0
"""Logins at a real OpenID Connect provider: the device flow, stored tokens, their refresh, logout."""

from __future__ import annotations

import base64
import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner, Result

from qonduit_client import Client
from qonduit_client.cli.commands import qonduit
from qonduit_client.errors import LoginFailed, LoginRequired, Refused, ServerUnavailable
from qonduit_client.login.device_authorization import DeviceCode
from qonduit_client.login.login_token import LoginToken
from qonduit_client.login.sessions import log_in, log_out
from qonduit_client.login.stored_login import Login, LoginFile
from qonduit_client.named_servers import NamedServer, OidcClient
from qonduit_client.retry import Retry
from tests.both_clients import Connect
from tests.interruptible import INTERRUPTIBLE
from tests.oidc_provider import CLIENT_ID, OidcProvider, serving_oidc
from tests.unit.client.peer import JOB, Peer, Refusal
from tests.unit.client.test_tls import certificate

AUDIENCE = "https://quantum.example.org"
SCOPE = "openid offline_access profile"
WAIT = 100.0


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a new folder with the configuration and the state of one user."""
    monkeypatch.setenv("QONDUIT_CONFIG", str(tmp_path / "config.toml"))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    for name in ("QONDUIT_SERVER", "QONDUIT_TOKEN", "QONDUIT_TLS"):
        monkeypatch.delenv(name, raising=False)
    return tmp_path


def server_of(
    oidc: OidcProvider, target: str = "127.0.0.1:1", scope: str = "openid offline_access profile"
) -> NamedServer:
    """Return a server whose users log in at the provider."""
    return NamedServer("lab", target, oidc=OidcClient(oidc.issuer, CLIENT_ID, scope, AUDIENCE))


def configured(oidc: OidcProvider, target: str) -> NamedServer:
    """Add the server to the configuration file."""
    server = server_of(oidc, target)
    assert server.oidc is not None
    arguments = ["add", "lab", target, "--issuer", oidc.issuer, "--client-id", CLIENT_ID, "--audience", AUDIENCE]
    done = CliRunner().invoke(qonduit, ["config", *arguments, "--scope", server.oidc.scope])
    assert done.exit_code == 0, done.output
    return server


def logged_in(oidc: OidcProvider, server: NamedServer, name: str = "alice") -> Login:
    """Log in as a user, who confirms the code before the first poll."""
    return log_in(server, lambda code: confirm(oidc, name, code), sleep=lambda _: None)


def confirm(oidc: OidcProvider, name: str, code: DeviceCode) -> None:
    """Confirm a login as a user."""
    oidc.user(name).confirm(code.verification_uri, code.user_code)


def claims(token: str) -> dict[str, object]:
    """Return the claims of a JWT."""
    middle = token.split(".")[1]
    found: dict[str, object] = json.loads(base64.urlsafe_b64decode(middle + "=" * (-len(middle) % 4)))
    return found


def due(server: NamedServer, login: Login, *, expired: bool = False) -> Login:
    """Store the login as if its access token were about to expire, or had expired."""
    import time

    older = replace(login, expires_at=time.time() + (-1 if expired else 30))
    LoginFile(server).write(older)
    return older


def test_a_login_yields_a_token_for_the_server(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    login = logged_in(oidc, server)
    found = claims(login.access_token)
    assert (found["iss"], found["sub"], found["aud"]) == (oidc.issuer, "alice", AUDIENCE)
    assert found["groups"] == ["admins"]
    assert login.claims == {"sub": "alice", "preferred_username": "alice"}
    assert login.refresh_token
    token = LoginToken(server)
    assert not token.fresh()
    assert token() == login.access_token
    assert token.fresh()


def test_tokens_are_stored_for_the_user_alone(oidc: OidcProvider, folder: Path) -> None:
    login = logged_in(oidc, server_of(oidc))
    file = folder / "state/qonduit/logins/lab.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(file.parent.stat().st_mode) == 0o700
    assert {each.name for each in file.parent.iterdir()} == {"lab.json", "lab.lock"}
    for secret in (login.access_token, login.refresh_token):
        assert secret in file.read_text()
        assert secret not in repr(login)
    file.chmod(0o640)
    with pytest.raises(LoginFailed, match=r"other users have access to .*lab.json \(mode 0640\): run `chmod 600"):
        LoginToken(server_of(oidc))()


@pytest.mark.parametrize("changed", ["target", "issuer", "client_id", "audience"])
def test_a_login_is_not_used_for_other_settings(oidc: OidcProvider, changed: str) -> None:
    """Its token would be sent to another server, or the refresh token to another identity provider."""
    server = server_of(oidc)
    logged_in(oidc, server)
    assert server.oidc is not None
    new: dict[str, str] = {changed: "https://elsewhere.example"}
    other = replace(server, **new) if changed == "target" else replace(server, oidc=replace(server.oidc, **new))  # type: ignore[arg-type]
    with pytest.raises(LoginRequired, match=f"{changed} of 'lab' has changed since the login .*qonduit login lab"):
        LoginToken(other)()


def test_the_client_polls_until_the_user_confirms(oidc: OidcProvider) -> None:
    codes: list[DeviceCode] = []
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            confirm(oidc, "alice", codes[0])

    log_in(server_of(oidc), codes.append, sleep=sleep)
    assert waits == [5, 5, 5]


def test_a_denied_login(oidc: OidcProvider) -> None:
    def deny(code: DeviceCode) -> None:
        oidc.user("alice").deny(code.verification_uri_complete)

    with pytest.raises(LoginFailed, match="the login was denied"):
        log_in(server_of(oidc), deny, sleep=lambda _: None)
    with pytest.raises(LoginRequired, match="not logged in to 'lab': run `qonduit login lab`"):
        LoginFile(server_of(oidc)).read()


def test_a_code_that_is_not_confirmed_expires() -> None:
    with serving_oidc(deviceCodeSeconds=2) as oidc:
        waits: list[float] = []
        with pytest.raises(LoginFailed, match="the code expired: it was not confirmed within 2 s"):
            log_in(server_of(oidc), lambda _: None, sleep=waits.append)
        assert waits == [], "no poll is due before the code expires"


@pytest.mark.parametrize(
    ("client_id", "scope", "message"),
    [("unknown", "openid", "invalid_client"), (CLIENT_ID, 'sc"ope', "invalid_scope")],
)
def test_a_client_that_the_provider_refuses(oidc: OidcProvider, client_id: str, scope: str, message: str) -> None:
    server = NamedServer("lab", "127.0.0.1:1", oidc=OidcClient(oidc.issuer, client_id, scope))
    with pytest.raises(LoginFailed, match=f"refuses the login of client {client_id!r} for scope .*{message}"):
        log_in(server, lambda _: None)


def test_a_token_is_refreshed_before_it_expires(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    first = due(server, logged_in(oidc, server))
    before = oidc.counts().get("refresh_token success", 0)
    token = LoginToken(server)
    assert not token.fresh()
    new = token()
    assert new != first.access_token
    assert claims(new)["sub"] == "alice"
    stored = LoginFile(server).read()
    assert stored.access_token == new
    assert stored.refresh_token != first.refresh_token, "the provider rotates refresh tokens"
    assert stored.claims == first.claims
    assert [token(), LoginToken(server)()] == [new, new]
    assert oidc.counts()["refresh_token success"] == before + 1


def test_threads_refresh_a_token_once(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    due(server, logged_in(oidc, server), expired=True)
    before = oidc.counts().get("refresh_token success", 0)
    shared = LoginToken(server)
    with ThreadPoolExecutor(8) as pool:
        tokens = list(pool.map(lambda number: (shared if number % 2 else LoginToken(server))(), range(16)))
    assert len(set(tokens)) == 1
    assert oidc.counts()["refresh_token success"] == before + 1


def test_processes_refresh_a_token_once(oidc: OidcProvider) -> None:
    """A second use of a refresh token would make the provider revoke the login."""
    server = configured(oidc, "127.0.0.1:1")
    due(server, logged_in(oidc, server), expired=True)
    before = oidc.counts().get("refresh_token success", 0)
    code = (
        "import sys; from qonduit_client.endpoint import Endpoint; endpoint = Endpoint('lab'); "
        "print('ready', flush=True); sys.stdin.readline(); print(endpoint.metadata()[0][1])"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=os.environ
        )
        for _ in range(4)
    ]
    for each in processes:
        assert each.stdout is not None
        assert each.stdout.readline() == "ready\n"
    outputs = []
    with ThreadPoolExecutor(len(processes)) as pool:
        outputs = list(pool.map(lambda each: each.communicate("go\n", timeout=WAIT)[0], processes))
    assert len(set(outputs)) == 1
    assert outputs[0].startswith("Bearer ")
    assert oidc.counts()["refresh_token success"] == before + 1
    assert "refresh_token error" not in oidc.counts()


def test_a_valid_token_is_used_while_another_process_refreshes_it(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    first = due(server, logged_in(oidc, server))
    token = LoginToken(server)
    with LoginFile(server).lock():
        assert [token(), token()] == [first.access_token] * 2
    assert LoginFile(server).read() == first


def test_a_lock_that_is_held_for_too_long(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    waits: list[float] = []
    with LoginFile(server).lock(), pytest.raises(LoginFailed, match=r"another process holds .*lab.lock; waited 30 s"):  # noqa: SIM117
        with LoginFile(server).lock(sleep=waits.append, clock=lambda: sum(waits)):
            pass
    assert 29 < sum(waits) < 31


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"target": 1}', "\xff"])
def test_a_stored_login_that_is_not_valid(oidc: OidcProvider, text: str) -> None:
    server = server_of(oidc)
    logged_in(oidc, server)
    file = LoginFile(server).path
    file.write_bytes(text.encode("latin-1"))
    with pytest.raises(LoginRequired, match=r"lab.json is not valid: run `qonduit login lab`"):
        LoginToken(server)()
    assert logged_in(oidc, server) == LoginFile(server).read()
    file.write_text(file.read_text().replace('"lifetime": ', '"lifetime": "soon", "x": '))
    with pytest.raises(LoginRequired):
        LoginToken(server)()


def test_a_revoked_login_requires_another(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    login = logged_in(oidc, server)
    log_out(server)
    due(server, login, expired=True)
    refused = oidc.counts().get("refresh_token error", 0)
    token = LoginToken(server)
    for _ in range(2):
        with pytest.raises(LoginRequired, match=r"the login to 'lab' has expired.*: run `qonduit login lab`"):
            token()
    assert oidc.counts()["refresh_token error"] == refused + 1, "a refused refresh token is not sent again"


def test_a_login_without_a_refresh_token_expires(oidc: OidcProvider) -> None:
    server = server_of(oidc, scope="openid")
    login = logged_in(oidc, server)
    assert not login.refresh_token
    assert LoginToken(server)() == due(server, login).access_token
    due(server, login, expired=True)
    with pytest.raises(LoginRequired, match="the login to 'lab' has expired: run `qonduit login lab`"):
        LoginToken(server)()


def test_a_token_is_used_until_it_expires_while_the_provider_is_away() -> None:
    with serving_oidc() as oidc:
        server = server_of(oidc)
        login = logged_in(oidc, server)
    clock = [float(login.expires_at or 0) - 30]
    token = LoginToken(server, now=lambda: clock[0])
    assert token() == login.access_token
    clock[0] += 31
    with pytest.raises(ServerUnavailable, match="no connection to the identity provider") as caught:
        token()
    assert caught.value.reason == "IDENTITY_PROVIDER_UNAVAILABLE"
    port = int(oidc.issuer.rpartition(":")[2])
    with serving_oidc(port=port):
        with pytest.raises(ServerUnavailable):
            token()  # not asked again at once
        clock[0] += 6
        with pytest.raises(LoginRequired):
            token()  # the new provider does not know the refresh token


def test_logout_revokes_the_tokens(oidc: OidcProvider) -> None:
    server = server_of(oidc)
    login = logged_in(oidc, server)
    assert log_out(server) is True
    assert not LoginFile(server).path.exists()
    due(server, login, expired=True)
    with pytest.raises(LoginRequired, match="expired or was revoked"):
        LoginToken(server)()


def test_logout_at_a_provider_without_revocation_or_without_a_provider() -> None:
    with serving_oidc(revocation=False) as oidc:
        server = server_of(oidc)
        logged_in(oidc, server)
        assert log_out(server) is False
        logged_in(oidc, server)
    with pytest.raises(ServerUnavailable, match="the tokens are deleted here, but not revoked: no connection"):
        log_out(server)
    assert not LoginFile(server).path.exists()


def test_a_provider_with_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = certificate(tmp_path, "provider", "DNS:localhost,IP:127.0.0.1")
    with serving_oidc(certificate=str(file), key=str(file.with_suffix(".key"))) as oidc:
        server = server_of(oidc)
        with pytest.raises(ServerUnavailable, match="CERTIFICATE_VERIFY_FAILED"):
            log_in(server, lambda _: None)
        monkeypatch.setenv("SSL_CERT_FILE", str(file))
        assert claims(logged_in(oidc, server).access_token)["iss"] == oidc.issuer
        assert oidc.issuer.startswith("https://127.0.0.1:")


# The client


def test_the_client_uses_and_refreshes_the_login(oidc: OidcProvider, peer: Peer, connect: Connect) -> None:
    server = configured(oidc, peer.target)
    login = logged_in(oidc, server)
    with connect("lab") as client:
        client.job(JOB).job()
        due(server, login, expired=True)
        client.job(JOB).job()  # the token in memory is still valid
    with connect("lab") as client:
        client.job(JOB).job()
    first, second, third = [authorization for _, authorization in peer.called]
    assert first == second == f"Bearer {login.access_token}"
    assert third == f"Bearer {LoginFile(server).read().access_token}" != first


def test_a_rejected_token_names_the_command_to_run(oidc: OidcProvider, peer: Peer, connect: Connect) -> None:
    server = configured(oidc, peer.target)
    logged_in(oidc, server)
    refusal = Refusal(grpc.StatusCode.UNAUTHENTICATED, "token expired", "TOKEN_INVALID")
    peer.refusals.append(refusal)
    with connect("lab") as client, pytest.raises(Refused, match=r"^token expired: run `qonduit login lab`$") as caught:
        client.job(JOB).job()
    assert caught.value.reason == "TOKEN_INVALID"
    peer.refusals.append(refusal)
    done = run("--server", "lab", "jobs")
    assert done.exit_code == 4
    assert done.stderr == "Error: token expired: run `qonduit login lab`\n"


def test_a_stream_resumes_when_the_provider_is_back(peer: Peer) -> None:
    """A broken stream needs a new token: an outage of the provider counts as one of the server."""
    with serving_oidc() as oidc:
        server = configured(oidc, peer.target)
        login = logged_in(oidc, server)
        due(server, login, expired=True)
        token = LoginToken(server)
        outage = [ServerUnavailable("away", reason="IDENTITY_PROVIDER_UNAVAILABLE")] * 3

        def sometimes() -> str:
            if outage:
                raise outage.pop()
            return token()

        with Client(peer.target, token=sometimes, retry=Retry(first=0.001, most=0.005)) as client:
            assert [event.sequence for event in client.job(JOB).events()] == list(range(1, len(peer.events) + 1))


def test_no_event_loop_waits_for_a_refresh(oidc: OidcProvider, peer: Peer) -> None:
    """While one call waits for the lock of another process, other tasks of the loop run."""
    import asyncio

    from qonduit_client import aio

    server = configured(oidc, peer.target)
    due(server, logged_in(oidc, server), expired=True)

    async def main() -> None:
        async with aio.Client("lab") as client:
            with LoginFile(server).lock():
                call = asyncio.create_task(client.job(JOB).job())
                for _ in range(50):
                    await asyncio.sleep(0)
                assert not call.done()
                assert peer.called == []
            await asyncio.wait_for(call, WAIT)

    asyncio.run(main())
    assert len(peer.called) == 1


# The command line


def run(*arguments: str) -> Result:
    """Run `qonduit`."""
    return CliRunner().invoke(qonduit, list(arguments))


def following(lines: Callable[[], str], act: Callable[[str], object]) -> None:
    """Read lines until one contains a URL, and act on it."""
    while line := lines():
        if "http" in line:
            act(next(word for word in line.split() if word.startswith("http")))
            return


def test_login_whoami_and_logout(oidc: OidcProvider, peer: Peer, folder: Path) -> None:
    configured(oidc, peer.target)
    process = subprocess.Popen(
        [sys.executable, "-m", "qonduit_client.cli", "login"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stderr is not None
    following(process.stderr.readline, oidc.user("bob").confirm)
    out, rest = process.communicate(timeout=WAIT)
    assert process.returncode == 0, rest
    assert out.startswith("logged in to lab as bob; the token is valid until 2")
    assert out.endswith("refreshed while in use\n")

    stored = json.loads((folder / "state/qonduit/logins/lab.json").read_text())
    for shown in (out, rest):
        assert stored["access_token"] not in shown
        assert stored["refresh_token"] not in shown

    facts = json.loads(run("whoami", "--json").stdout)
    assert (facts["server"], facts["user"], facts["subject"]) == ("lab", "bob", "bob")
    assert (facts["issuer"], facts["audience"], facts["refreshable"]) == (oidc.issuer, AUDIENCE, True)
    listed = run("whoami", "lab")
    assert "bob" in listed.stdout
    assert stored["access_token"] not in listed.stdout
    assert peer.called == [], "no command calls the server"

    assert run("jobs").exit_code == 0
    assert peer.called[-1][1] == f"Bearer {stored['access_token']}"

    removal = run("config", "remove", "lab")
    assert removal.exit_code == 2
    assert "run `qonduit logout lab` first" in removal.stderr
    assert run("logout").stdout == f"deleted the tokens of lab; revoked them at {oidc.issuer}\n"
    assert run("logout", "lab").stdout == "not logged in to lab\n"
    assert run("config", "remove", "lab").exit_code == 0


def test_completion_does_not_refresh_a_login(oidc: OidcProvider, peer: Peer) -> None:
    from click.shell_completion import ShellComplete

    from qonduit_client.cli import completion

    server = configured(oidc, peer.target)
    login = logged_in(oidc, server)
    completes: ShellComplete = completion.WholeLine(qonduit, {}, "qonduit", "_QONDUIT_COMPLETE")
    assert [each.value for each in completes.get_completions(["result"], "")] == [str(JOB)]
    older = due(server, login)
    assert completes.get_completions(["result"], "") == []
    assert LoginFile(server).read() == older


def test_commands_without_a_login(oidc: OidcProvider, peer: Peer) -> None:
    configured(oidc, peer.target)
    for arguments in (("jobs",), ("whoami",), ("--server", "lab", "info")):
        done = run(*arguments)
        assert (done.exit_code, done.stderr) == (4, "Error: not logged in to 'lab': run `qonduit login lab`\n")
    assert run("config", "add", "bare", "127.0.0.1:1").exit_code == 0
    done = run("login", "bare")
    assert done.exit_code == 4
    assert "add [servers.bare.oidc] with issuer and client_id" in done.stderr


def test_an_interrupted_login_stores_nothing(oidc: OidcProvider, folder: Path) -> None:
    configured(oidc, "127.0.0.1:1")
    process = subprocess.Popen(
        [*INTERRUPTIBLE, sys.executable, "-m", "qonduit_client.cli", "login", "lab"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ,
    )
    assert process.stderr is not None
    waiting = threading.Event()
    following(process.stderr.readline, lambda _: waiting.set())
    assert waiting.is_set()
    while "waiting" not in process.stderr.readline():
        pass
    process.send_signal(2)
    process.communicate(timeout=WAIT)
    assert process.returncode == 130
    assert not (folder / "state").exists()
