# SPDX-License-Identifier: Apache-2.0
"""Identity providers that are faulty, slow, hostile or overloaded: each response is bounded, and each error is clear."""

# ruff: noqa: E501 (http.server's method names; a case a line)

from __future__ import annotations

import base64
import json
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl

import pytest

from qonduit_client.cli.error_messages import exit_code, explain
from qonduit_client.errors import LoginFailed, ServerUnavailable
from qonduit_client.login import identity_provider
from qonduit_client.login.device_authorization import DeviceCode, request_code, wait_for_tokens
from qonduit_client.login.identity_provider import MOST_BYTES, IdentityProvider, printable
from qonduit_client.login.sessions import log_in
from qonduit_client.login.stored_login import Login, LoginFile
from qonduit_client.login.tokens import claims_of
from qonduit_client.named_servers import NamedServer, OidcClient

WAIT: Final = 100.0
SECRET: Final = "secret-device-code"
#: A response: status and body; a function writes it itself.
Response = tuple[int, Any] | Callable[[BaseHTTPRequestHandler], None]


class Scripted(ThreadingHTTPServer):
    """An HTTP server on loopback that sends scripted responses; the last one of each path is repeated."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.issuer = f"http://127.0.0.1:{self.server_port}"
        self.responses: dict[str, deque[Response]] = {}
        self.forms: list[tuple[str, dict[str, str]]] = []
        self.respond("/.well-known/openid-configuration", (200, self.metadata()))
        self.respond("/device", (200, self.code()))
        self.respond("/token", (200, tokens()))

    def metadata(self, **changed: Any) -> dict[str, Any]:
        """Return the discovery document."""
        own = {
            "issuer": self.issuer,
            "device_authorization_endpoint": f"{self.issuer}/device",
            "token_endpoint": f"{self.issuer}/token",
        }
        return {**own, **changed}

    def code(self, **changed: Any) -> dict[str, Any]:
        """Return a response of the device authorization endpoint."""
        own = {
            "device_code": SECRET,
            "user_code": "AB-CD",
            "verification_uri": f"{self.issuer}/enter",
            "expires_in": 600,
        }
        return {**own, **changed}

    def respond(self, path: str, *responses: Response) -> None:
        """Set the responses of a path."""
        self.responses[path] = deque(responses)


class _Handler(BaseHTTPRequestHandler):
    server: Scripted

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        text = self.rfile.read(int(self.headers["Content-Length"])).decode()
        self.server.forms.append((self.path, dict(parse_qsl(text, keep_blank_values=True))))
        self._respond()

    def _respond(self) -> None:
        waiting = self.server.responses[self.path]
        response = waiting.popleft() if len(waiting) > 1 else waiting[0]
        if callable(response):
            response(self)
            return
        status, body = response
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body if isinstance(body, bytes) else json.dumps(body).encode())

    def log_message(self, *_: object) -> None:
        pass


def tokens(**changed: Any) -> dict[str, Any]:
    """Return a response of the token endpoint."""
    return {"access_token": "secret-access", "token_type": "Bearer", "expires_in": 3600, **changed}


def jwt(**claims: Any) -> str:
    """Return a token with these claims, and no valid signature."""
    return f"e30.{base64.urlsafe_b64encode(json.dumps(claims).encode()).decode().rstrip('=')}.c2ln"


@pytest.fixture
def scripted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Scripted]:
    """A scripted provider, and a state folder of its own."""
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    with Scripted() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join(WAIT)


def provider_of(scripted: Scripted, **options: Any) -> IdentityProvider:
    """Return the client of the provider."""
    return IdentityProvider(OidcClient(scripted.issuer, "qonduit", "openid", "https://q.example.org"), **options)


def login_at(scripted: Scripted) -> Login:
    """Log in without waiting between polls."""
    server = NamedServer("lab", "127.0.0.1:1", oidc=provider_of(scripted).client)
    return log_in(server, lambda _: None, sleep=lambda _: None)


def pending(code: str = "authorization_pending") -> Response:
    """Return the response to a poll that has no tokens yet."""
    return 400, {"error": code}


def test_the_requests_contain_client_scope_and_audience(scripted: Scripted) -> None:
    login_at(scripted)
    audience = {"audience": "https://q.example.org", "resource": "https://q.example.org"}
    assert scripted.forms == [
        ("/device", {"client_id": "qonduit", "scope": "openid", **audience}),
        (
            "/token",
            {
                "client_id": "qonduit",
                "grant_type": "urn:ietf:params:oauth:grant-type:device_code",
                "device_code": SECRET,
                **audience,
            },
        ),
    ]


def polled(scripted: Scripted, *responses: Response, **code: Any) -> list[float]:
    """Poll until the tokens arrive or the code expires; return the waits in between, by a clock that they advance."""
    scripted.respond("/device", (200, scripted.code(**code)))
    scripted.respond("/token", *responses)
    waits: list[float] = []
    provider = provider_of(scripted)
    wait_for_tokens(provider, request_code(provider), sleep=waits.append, clock=lambda: sum(waits))
    return waits


def test_the_interval_of_the_provider_is_kept_and_grows_when_it_asks_for_that(scripted: Scripted) -> None:
    done: Response = (200, tokens())
    assert polled(scripted, pending(), pending(), done) == [5, 5, 5]
    assert polled(scripted, pending("slow_down"), pending(), pending("slow_down"), done, interval=2) == [2, 7, 7, 12]
    assert polled(scripted, done, interval=0) == [1]
    assert polled(scripted, done, interval=10_000) == [60]
    assert polled(scripted, (503, b""), (429, {}), pending(), done, interval=3) == [3, 6, 12, 12]


def test_polls_end_when_the_code_expires(scripted: Scripted) -> None:
    with pytest.raises(LoginFailed, match="the code expired: it was not confirmed within 30 s"):
        polled(scripted, pending(), expires_in=30)
    assert len(scripted.forms) == 1 + 5
    with pytest.raises(LoginFailed, match="the code expired"):
        polled(scripted, pending(), pending("expired_token"), expires_in=600)
    with pytest.raises(ServerUnavailable, match="HTTP status 503"):
        polled(scripted, pending(), (503, b""), expires_in=60)


def dribble(handler: BaseHTTPRequestHandler) -> None:
    """Send a byte now and then, each within the timeout of a socket, until the client leaves."""
    handler.send_response(200)
    handler.end_headers()
    leaving = threading.Event()
    try:
        for _ in range(2000):
            handler.wfile.write(b" ")
            leaving.wait(0.05)
    except OSError:
        pass


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Send nothing until the client leaves."""
    handler.connection.settimeout(WAIT)
    handler.connection.recv(1)


@pytest.mark.parametrize("response", [dribble, silent])
def test_a_response_is_bounded_in_time_as_a_whole(scripted: Scripted, response: Response) -> None:
    scripted.respond("/.well-known/openid-configuration", response)
    begun = time.monotonic()
    with pytest.raises(ServerUnavailable, match=r"did not respond within 0.5 s|timed out"):
        request_code(provider_of(scripted, timeout=0.5))
    assert time.monotonic() - begun < 5


def endless(handler: BaseHTTPRequestHandler) -> None:
    """Send more than any response may have, until the client leaves."""
    handler.send_response(200)
    handler.end_headers()
    try:
        for _ in range(1000):
            handler.wfile.write(b" " * 65536)
    except OSError:
        pass


def redirect(handler: BaseHTTPRequestHandler) -> None:
    """Redirect to another path."""
    handler.send_response(307)
    handler.send_header("Location", "/elsewhere")
    handler.send_header("Content-Length", "0")
    handler.end_headers()


def garbage(handler: BaseHTTPRequestHandler) -> None:
    """Send no HTTP."""
    handler.wfile.write(b"SSH-2.0-x\r\n")


#: The path, its response, and the error of the login.
FAULTS: dict[str, tuple[str, Callable[[Scripted], Response], type[Exception], str]] = {
    "no discovery document": ("/.well-known/openid-configuration", lambda _: (404, b"no"), LoginFailed, "openid-configuration responded with HTTP status 404: check the issuer"),
    "a page for a document": ("/.well-known/openid-configuration", lambda _: (200, b"<html>"), LoginFailed, "HTTP status 200 and no JSON object"),
    "a list for a document": ("/.well-known/openid-configuration", lambda _: (200, []), LoginFailed, "no JSON object"),
    "a document nested too deeply": ("/.well-known/openid-configuration", lambda _: (200, b"[" * 100_000), LoginFailed, "no JSON object"),
    "another issuer": ("/.well-known/openid-configuration", lambda s: (200, s.metadata(issuer="https://evil.example")), LoginFailed, "is for another issuer: expected 'http://127.0.0.1:.* got 'https://evil.example'"),
    "no device flow": ("/.well-known/openid-configuration", lambda s: (200, s.metadata(device_authorization_endpoint=None)), LoginFailed, "offers no device_authorization_endpoint"),
    "an endpoint without TLS": ("/.well-known/openid-configuration", lambda s: (200, s.metadata(token_endpoint="http://evil.example/")), LoginFailed, "token_endpoint of .* must be an https:// URL"),
    "an endpoint that is a file": ("/.well-known/openid-configuration", lambda s: (200, s.metadata(token_endpoint="file:///etc/passwd")), LoginFailed, "token_endpoint of .* must be an https:// URL"),
    "an endpoint that is no text": ("/.well-known/openid-configuration", lambda s: (200, s.metadata(token_endpoint=["a"])), LoginFailed, "token_endpoint of .* must be an https:// URL"),
    "a document that is too large": ("/.well-known/openid-configuration", lambda _: endless, LoginFailed, f"more than {MOST_BYTES} bytes"),
    "a redirect": ("/token", lambda _: redirect, LoginFailed, "redirects .HTTP status 307., which is not allowed"),
    "no HTTP": ("/token", lambda _: garbage, ServerUnavailable, "no connection to the identity provider at .*SSH-2.0"),
    "no code": ("/device", lambda s: (200, s.code(user_code=None)), LoginFailed, "user_code in the response of the identity provider is not valid"),
    "a code that controls the terminal": ("/device", lambda s: (200, s.code(user_code="\x1b]0;x\x07")), LoginFailed, "user_code in the response"),
    "a page that is no URL": ("/device", lambda s: (200, s.code(verification_uri="javascript:alert(1)")), LoginFailed, "verification_uri of .* must be an https:// URL"),
    "a page without TLS": ("/device", lambda s: (200, s.code(verification_uri_complete="http://evil.example")), LoginFailed, "must be an https:// URL"),
    "an expiry that is a text": ("/device", lambda s: (200, s.code(expires_in="soon")), LoginFailed, "expires_in .* must be seconds, got 'soon'"),
    "no expiry": ("/device", lambda s: (200, s.code(expires_in=None)), LoginFailed, "expires_in .* must be seconds"),
    "an interval that is no number": ("/device", lambda s: (200, s.code(interval=float("nan"))), LoginFailed, "interval .* must be seconds, got 'nan'"),
    "a client that is refused": ("/device", lambda _: (401, {"error": "invalid_client", "error_description": "no\x1b[31m client"}), LoginFailed, r"refuses the login of client 'qonduit' for scope 'openid': invalid_client: no\[31m client"),
    "an error without a code": ("/device", lambda _: (400, {"message": "bad"}), LoginFailed, "HTTP status 400 and no error code"),
    "an unknown error": ("/token", lambda _: (400, {"error": "odd"}), LoginFailed, "refuses the login: odd"),
    "no token": ("/token", lambda _: (200, {"token_type": "Bearer"}), LoginFailed, "contains no valid access token"),
    "a token with a line break": ("/token", lambda _: (200, tokens(access_token="a\r\nx: y")), LoginFailed, "contains no valid access token"),
    "a refresh token that is no text": ("/token", lambda _: (200, tokens(refresh_token=["a"])), LoginFailed, "contains no valid access token"),
    "another type of token": ("/token", lambda _: (200, tokens(token_type="DPoP")), LoginFailed, "must be bearer tokens, got 'DPoP'"),
    "an ID token of another issuer": ("/token", lambda _: (200, tokens(id_token=jwt(iss="https://evil.example", aud="qonduit", sub="x", exp=9e9))), LoginFailed, "the ID token of .* is not valid"),
    "an ID token of another client": ("/token", lambda s: (200, tokens(id_token=jwt(iss=s.issuer, aud=["other"], sub="x", exp=9e9))), LoginFailed, "the ID token of .* is not valid"),
    "an ID token that has expired": ("/token", lambda s: (200, tokens(id_token=jwt(iss=s.issuer, aud="qonduit", sub="x", exp=1))), LoginFailed, "the ID token of .* is not valid"),
    "an ID token that is no JWT": ("/token", lambda _: (200, tokens(id_token="x")), LoginFailed, "the ID token of .* is not valid"),
}  # fmt: skip


@pytest.mark.parametrize("case", FAULTS)
def test_a_faulty_provider(scripted: Scripted, case: str) -> None:
    path, response, error, message = FAULTS[case]
    scripted.respond(path, response(scripted))
    if error is ServerUnavailable:  # polls continue until the code expires
        scripted.respond("/device", (200, scripted.code(expires_in=1.2, interval=1)))
    with pytest.raises(error, match=message) as caught:
        login_at(scripted)
    for shown in (str(caught.value), explain(caught.value, "")):  # type: ignore[arg-type]
        assert "secret" not in shown
        assert "\x1b" not in shown
    assert exit_code(caught.value) == (5 if error is ServerUnavailable else 4)  # type: ignore[arg-type]
    server = NamedServer("lab", "127.0.0.1:1", oidc=provider_of(scripted).client)
    assert not LoginFile(server).path.exists()


def test_a_provider_that_is_not_there(scripted: Scripted) -> None:
    scripted.server_close()
    scripted.shutdown()
    with pytest.raises(ServerUnavailable, match=r"no connection to the identity provider .*refused") as caught:
        login_at(scripted)
    assert "check the network and the issuer" in explain(caught.value, "")


def test_lifetimes_and_users(scripted: Scripted, monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.time()
    of_jwt = jwt(exp=now + 50)
    for response, lifetime in (
        (tokens(), 3600),
        (tokens(expires_in="60"), 60),
        (tokens(expires_in=None), None),
        (tokens(expires_in=-1), None),
        (tokens(expires_in=None, access_token=of_jwt), 50),
    ):
        scripted.respond("/token", (200, response))
        login = login_at(scripted)
        assert (login.lifetime is None) == (lifetime is None)
        assert lifetime is None or abs((login.expires_at or 0) - now - lifetime) < 30
        assert not login.due(now) or lifetime == 50
    user = jwt(
        iss=scripted.issuer, aud=["qonduit", "x"], sub="u1", exp=now + 9, email="u@example.org", other=1, name="\x1bU"
    )
    scripted.respond("/token", (200, tokens(id_token=user, scope="a b")))
    login = login_at(scripted)
    assert login.claims == {"sub": "u1", "email": "u@example.org", "name": "U"}
    assert login.scope == "a b"


def test_messages_and_representations_contain_no_secret(scripted: Scripted) -> None:
    codes: list[DeviceCode] = [request_code(provider_of(scripted))]
    assert SECRET not in repr(codes)
    scripted.respond("/token", (200, tokens(refresh_token="secret-refresh")))
    assert "secret" not in repr(login_at(scripted))
    assert printable("a\x1b\u202eb" + "c" * 1000) == "ab" + "c" * 296


def test_tokens_that_are_no_jwt_have_no_claims() -> None:
    for token in ("", "opaque", "a.b.c", "a.\xff.c", f"a.{base64.urlsafe_b64encode(b'[1]').decode()}.c"):
        assert claims_of(token) == {}


def test_the_timeout_and_the_size_are_those_documented() -> None:
    assert (identity_provider.TIMEOUT, MOST_BYTES) == (10, 256 * 1024)
