# SPDX-License-Identifier: Apache-2.0
"""JSON web tokens: forged and malformed ones are refused with bounded work, and key servers cannot do harm."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st

from qonduit_server.errors import Unauthenticated, Unavailable
from qonduit_server.rpc.auth import key_server, oidc_tokens
from qonduit_server.rpc.auth.authenticator import Authenticator, sha256_of
from qonduit_server.rpc.auth.key_server import KeyServerError, fetch_keys
from qonduit_server.rpc.auth.key_set import KeySet
from qonduit_server.rpc.auth.oidc_tokens import OidcRules, OidcTokens
from qonduit_server.rpc.auth.principal import Principal, Role

ISSUER = "https://id.example.org"
AUDIENCE = "qonduit"
PRIVATE = rsa.generate_private_key(65537, 2048)
PUBLIC: dict[str, Any] = jwt.algorithms.RSAAlgorithm.to_jwk(PRIVATE.public_key(), as_dict=True) | {"kid": "one"}
WAIT = 60.0


def claims(**changes: Any) -> dict[str, Any]:
    now = int(time.time())
    made = {"iss": ISSUER, "aud": AUDIENCE, "sub": "anna", "iat": now, "exp": now + 600, "jti": "1"} | changes
    return {name: value for name, value in made.items() if value is not None}


def signed(key: Any = PRIVATE, algorithm: str = "RS256", kid: str | None = "one", **changes: Any) -> str:
    return jwt.encode(claims(**changes), key, algorithm, {"kid": kid} if kid is not None else {})


def raw(header: object, payload: object, signature: bytes = b"x") -> str:
    parts = (json.dumps(header).encode(), json.dumps(payload).encode(), signature)
    return ".".join(base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)


@pytest.fixture(scope="module")
def tokens() -> OidcTokens:
    keys = KeySet(lambda: {"one": jwt.PyJWK(PUBLIC)})
    verifier = OidcTokens(OidcRules(ISSUER, AUDIENCE), keys)
    keys.key("one")
    return verifier


def principal(tokens: OidcTokens, token: str) -> Principal:
    return tokens.principal(token, sha256_of(token))


def refused(tokens: OidcTokens, token: str) -> Unauthenticated:
    with pytest.raises(Unauthenticated) as raised:
        principal(tokens, token)
    assert token not in raised.value.message
    return raised.value


def test_a_correct_token_names_its_principal(tokens: OidcTokens) -> None:
    assert principal(tokens, signed()) == Principal("anna")
    assert principal(tokens, signed(aud=["other", AUDIENCE])) == Principal("anna")
    assert principal(tokens, signed(kid=None)) == Principal("anna")  # the issuer has one key


@pytest.mark.parametrize(
    ("changes", "reason", "message"),
    [
        ({"exp": int(time.time()) - 5}, "TOKEN_EXPIRED", "expired"),  # within the leeway of clocks
        ({"exp": int(time.time()) - 500}, "TOKEN_EXPIRED", "expired"),
        ({"nbf": int(time.time()) + 100_000}, "TOKEN_EXPIRED", "not valid yet"),
        ({"exp": None}, "INVALID_TOKEN", "lacks the claim exp"),
        ({"aud": None}, "INVALID_TOKEN", "lacks the claim aud"),
        ({"iss": None}, "INVALID_TOKEN", "lacks the claim iss"),
        ({"aud": "other"}, "INVALID_TOKEN", "another audience"),
        ({"aud": []}, "INVALID_TOKEN", "lacks the claim aud"),
        ({"iss": f"{ISSUER}/"}, "INVALID_TOKEN", "another issuer"),
        ({"sub": None}, "INVALID_TOKEN", "claim sub"),
        ({"sub": ""}, "INVALID_TOKEN", "claim sub"),
        ({"sub": "two words"}, "INVALID_TOKEN", "claim sub"),
        ({"sub": "x" * 129}, "INVALID_TOKEN", "claim sub"),
    ],
)
def test_a_wrong_claim_is_refused_with_its_name(
    tokens: OidcTokens, changes: dict[str, Any], reason: str, message: str
) -> None:
    error = refused(tokens, signed(**changes))
    assert error.reason == reason
    assert message in error.message


def test_a_token_that_another_key_signed_is_refused(tokens: OidcTokens) -> None:
    assert "signature" in refused(tokens, signed(rsa.generate_private_key(65537, 2048))).message
    # An algorithm of the token's choice, with the right kid.
    elliptic = signed(ec.generate_private_key(ec.SECP256R1()), "ES256")
    assert refused(tokens, elliptic).reason == "INVALID_TOKEN"
    assert refused(tokens, signed(algorithm="RS512")).reason == "INVALID_TOKEN"  # the key is for RS256


def test_the_public_key_is_no_shared_secret(tokens: OidcTokens) -> None:
    """The classic confusion: HS256 with the public key as its secret."""
    secret = PRIVATE.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    head = raw({"alg": "HS256", "kid": "one"}, claims()).rpartition(".")[0]
    signature = hmac.digest(secret, head.encode(), hashlib.sha256)
    token = f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert "algorithm 'HS256'" in refused(tokens, token).message
    for algorithm in ("none", "None", "", None, 7):
        assert refused(tokens, raw({"alg": algorithm, "kid": "one"}, claims())).reason == "INVALID_TOKEN"


def test_keys_of_a_token_itself_are_ignored(tokens: OidcTokens) -> None:
    own = rsa.generate_private_key(65537, 2048)
    jwk = jwt.algorithms.RSAAlgorithm.to_jwk(own.public_key(), as_dict=True)
    token = jwt.encode(claims(), own, "RS256", {"kid": "one", "jwk": jwk, "jku": "https://evil.example.org"})
    assert "signature" in refused(tokens, token).message


@given(st.text(max_size=200), st.text(max_size=200), st.text(max_size=200))
def test_any_text_is_refused_as_an_invalid_token(a: str, b: str, c: str) -> None:
    keys = KeySet(lambda: {"one": jwt.PyJWK(PUBLIC)})
    tokens = OidcTokens(OidcRules(ISSUER, AUDIENCE), keys)
    keys.key("one")
    for token in (f"{a}.{b}.{c}", raw({"alg": "RS256", "kid": "one", a: b}, {b: c}), raw(a, b), raw([a], {"exp": c})):
        if tokens.accepts(token):
            assert refused(tokens, token).reason in ("INVALID_TOKEN", "TOKEN_EXPIRED")


@pytest.mark.parametrize(
    "payload", ["[" * 2000, '{"exp": 1e999}', '{"exp": NaN}', "7", '{"exp": "x"}', '{"exp": ' + "9" * 900 + "}"]
)
def test_a_signed_payload_of_any_form_is_refused(tokens: OidcTokens, payload: str) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","kid":"one"}').decode().rstrip("=")
    head = f"{header}.{base64.urlsafe_b64encode(payload.encode()).decode().rstrip('=')}"
    signature = jwt.algorithms.RSAAlgorithm(jwt.algorithms.RSAAlgorithm.SHA256).sign(head.encode(), PRIVATE)
    token = f"{head}.{base64.urlsafe_b64encode(signature).decode().rstrip('=')}"
    assert refused(tokens, token).reason == "INVALID_TOKEN"


def test_a_deeply_nested_header_is_refused(tokens: OidcTokens) -> None:
    header = base64.urlsafe_b64encode(b'{"alg":"RS256","x":' + b"[" * 3000).decode()
    token = f"{header}.e30.eA"
    assert tokens.reject_early(token, sha256_of(token)) is not None
    assert refused(tokens, token).reason == "INVALID_TOKEN"


def test_a_token_is_verified_once_and_so_is_a_forged_one(monkeypatch: pytest.MonkeyPatch) -> None:
    verified = []
    original: Callable[..., Any] = jwt.decode
    monkeypatch.setattr(oidc_tokens.jwt, "decode", lambda *a, **k: (verified.append(1), original(*a, **k))[1])
    now = [0.0]
    keys = KeySet(lambda: {"one": jwt.PyJWK(PUBLIC)})
    tokens = OidcTokens(OidcRules(ISSUER, AUDIENCE), keys, monotonic=lambda: now[0])
    good, forged = signed(), signed(rsa.generate_private_key(65537, 2048))
    for _ in range(5):
        principal(tokens, good)
        refused(tokens, forged)
    assert len(verified) == 2
    assert tokens.reject_early(forged, sha256_of(forged)) is not None
    now[0] += oidc_tokens.CACHE_SECONDS + 1
    principal(tokens, good)
    refused(tokens, forged)
    assert len(verified) == 4


def test_the_caches_of_tokens_are_bounded(tokens: OidcTokens, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(oidc_tokens, "MAX_CACHED", 5)
    monkeypatch.setattr(oidc_tokens, "MAX_REFUSED", 5)
    for number in range(20):
        principal(tokens, signed(jti=str(number)))
        refused(tokens, signed(aud="other", jti=str(number)))
    assert len(tokens._verified) == len(tokens._refused) == 5


def test_roles_of_claims_in_any_form() -> None:
    keys = KeySet(lambda: {"one": jwt.PyJWK(PUBLIC)})
    rules = OidcRules(ISSUER, AUDIENCE, role_claim="https://x.example.org/roles")
    tokens = OidcTokens(rules, keys)
    for value, roles in (
        ("admin", set(Role)),
        (["operator"], {Role.USER, Role.OPERATOR}),
        (["root", 7, None, {}], {Role.USER}),
        ({"admin": True}, {Role.USER}),
        (None, {Role.USER}),
    ):
        assert principal(tokens, signed(**{"https://x.example.org/roles": value})).roles == roles


def test_an_authenticator_takes_no_token_of_an_unknown_form(tokens: OidcTokens) -> None:
    authenticate = Authenticator((tokens,), None)
    for token in ("x", "a.b", "a.b.c.d"):
        with pytest.raises(Unauthenticated):
            authenticate([("authorization", f"Bearer {token}")], dict)


# The key server.


class _KeyServer(http.server.ThreadingHTTPServer):
    """Serves whatever a test wants."""

    daemon_threads = True

    def __init__(self, respond: Callable[[http.server.BaseHTTPRequestHandler], None]) -> None:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                respond(self)

            def log_message(self, *_: Any) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def key_server_of() -> Iterator[Callable[..., str]]:
    """Return a function that starts a key server and returns its URL."""
    servers: list[_KeyServer] = []

    def start(respond: Callable[[http.server.BaseHTTPRequestHandler], None]) -> str:
        server = _KeyServer(respond)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return server.url

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def sending(body: bytes, status: int = 200, **headers: str) -> Callable[[http.server.BaseHTTPRequestHandler], None]:
    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in headers.items():
            handler.send_header(name, value)
        handler.end_headers()
        with contextlib.suppress(OSError):
            handler.wfile.write(body)

    return respond


def test_keys_for_signatures_alone_are_taken(key_server_of: Callable[..., str]) -> None:
    weak = jwt.algorithms.RSAAlgorithm.to_jwk(rsa.generate_private_key(65537, 1024).public_key(), as_dict=True)
    shared = {"kty": "oct", "k": "c2VjcmV0", "kid": "shared", "alg": "HS256"}
    listed = [PUBLIC, weak | {"kid": "weak"}, shared, PUBLIC | {"kid": "enc", "use": "enc"}, {"kty": "??"}, 7, None]
    url = key_server_of(sending(json.dumps({"keys": listed}).encode()))
    assert list(fetch_keys(ISSUER, url)) == ["one"]
    with pytest.raises(KeyServerError, match="no asymmetric key"):
        fetch_keys(ISSUER, key_server_of(sending(json.dumps({"keys": [shared]}).encode())))


@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (sending(b"x" * (key_server.MAX_BYTES + 10)), "more than 262144 bytes"),
        (sending(b"<html>"), "Expecting value"),
        (sending(b"[]"), "not a JSON object"),
        (sending(b'{"keys": 7}'), "no JSON web key set"),
        (sending(b"[" * 100_000), "recursion"),
        (sending(b"", 500), "status 500"),
        (sending(b"", 302, Location="http://169.254.169.254/"), "status 302"),
    ],
)
def test_a_key_server_that_answers_anything_else_is_an_error(
    key_server_of: Callable[..., str], respond: Callable[..., None], message: str
) -> None:
    with pytest.raises(KeyServerError, match=message):
        fetch_keys(ISSUER, key_server_of(respond))


@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_key_server_that_sends_a_byte_now_and_then_is_cut_off(
    key_server_of: Callable[..., str], monkeypatch: pytest.MonkeyPatch, part: str
) -> None:
    monkeypatch.setattr(key_server, "FETCH_SECONDS", 1.0)
    stop = threading.Event()

    def drip(handler: http.server.BaseHTTPRequestHandler) -> None:
        if part == "body":
            handler.send_response(200)
            handler.end_headers()
        else:
            handler.wfile.write(b"HTTP/1.0 200 OK\r\nX: ")
        try:
            while not stop.wait(0.1):
                handler.wfile.write(b"x")
        except OSError:
            pass

    url = key_server_of(drip)
    begun = time.monotonic()
    with pytest.raises(KeyServerError):
        fetch_keys(ISSUER, url)
    stop.set()
    assert time.monotonic() - begun < WAIT


def test_discovery_of_another_issuer_is_refused(key_server_of: Callable[..., str]) -> None:
    url = key_server_of(sending(json.dumps({"issuer": ISSUER, "jwks_uri": "https://x.example.org"}).encode()))
    with pytest.raises(KeyServerError, match="is of the issuer 'https://id"):
        fetch_keys(url)


def test_discovery_cannot_lead_to_an_untrusted_url(key_server_of: Callable[..., str]) -> None:
    urls: list[str] = []

    def respond(handler: http.server.BaseHTTPRequestHandler) -> None:
        sending(json.dumps({"issuer": urls[0], "jwks_uri": "http://192.0.2.1/keys"}).encode())(handler)

    urls.append(key_server_of(respond))
    with pytest.raises(KeyServerError, match="must be an https:// URL"):
        fetch_keys(urls[0])


def test_unknown_keys_cause_a_bounded_number_of_fetches() -> None:
    now = [0.0]
    fetched: list[float] = []

    def fetch() -> Mapping[str, jwt.PyJWK]:
        fetched.append(now[0])
        return {"one": jwt.PyJWK(PUBLIC)}

    keys = KeySet(fetch, lambda: now[0])
    keys.key("one")
    for tenth in range(600):
        now[0] = tenth / 10
        with pytest.raises((Unauthenticated, Unavailable)):
            keys.key(f"unknown{tenth}")
        keys.key("one")
    assert len(fetched) == 6  # in a minute


def test_keys_are_fetched_again_after_a_while_without_a_wait() -> None:
    now = [0.0]
    again = threading.Event()
    release = threading.Event()

    def fetch() -> Mapping[str, jwt.PyJWK]:
        if now[0]:
            again.set()
            assert release.wait(WAIT)
        return {"one": jwt.PyJWK(PUBLIC)}

    keys = KeySet(fetch, lambda: now[0])
    keys.key("one")
    now[0] = 301.0
    assert keys.key("one")  # although the fetch has not ended
    assert again.wait(WAIT)
    release.set()
