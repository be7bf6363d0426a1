# SPDX-License-Identifier: Apache-2.0
"""Tokens of a real OIDC provider over the wire: keys rotate, tokens expire and are revoked, roles come from claims."""

from __future__ import annotations

import base64
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import jwt
import pytest

from qonduit.v1.job_service_pb2 import ListJobsRequest
from qonduit_server import authentication
from qonduit_server.errors import StartError
from qonduit_server.rpc.auth import key_set, static_tokens, token_file
from qonduit_server.rpc.auth.authenticator import Authenticator, sha256_of
from qonduit_server.rpc.auth.principal import Principal, Role
from qonduit_server.settings import Settings
from tests.both_clients import BOTH_CLIENTS
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, refused, rpc_fixture, until
from tests.rotating_oidc import AUDIENCE, RotatingProvider


@pytest.fixture(autouse=True)
def _look_at_each_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look at the file of tokens at each call, so that no test depends on time."""
    monkeypatch.setattr(static_tokens, "CHECK_SECONDS", 0.0)


def bearer(token: str) -> list[tuple[str, str]]:
    return [("authorization", f"Bearer {token}")]


def settings(provider: RotatingProvider, **more: object) -> Settings:
    return Settings(oidc_issuer=provider.issuer, oidc_audience=AUDIENCE, **more)  # type: ignore[arg-type]


@contextmanager
def serving(folder: Path, chosen: Settings) -> Iterator[RpcFixture]:
    authenticate = authentication.authenticator(chosen)
    assert authenticate is not None
    with rpc_fixture(folder, authenticate=authenticate, reject_early=authenticate.reject_early) as rpc:
        yield rpc


def header_of(key_id: str) -> str:
    """Return the header of a token that claims to be signed with a key."""
    return base64.urlsafe_b64encode(json.dumps({"alg": "ES256", "kid": key_id}).encode()).decode().rstrip("=")


def owner(rpc: RpcFixture, token: str) -> str:
    """Submit a job with a token; return its owner."""
    events = rpc.jobs.RunJob(bell(), metadata=bearer(token), timeout=WAIT)
    name: str = next(events).event.created.executed_by
    events.cancel()
    return name


def reason(rpc: RpcFixture, token: str) -> tuple[str, str]:
    code, details = refused(lambda: rpc.jobs.ListJobs(ListJobsRequest(), metadata=bearer(token), timeout=WAIT))
    return code, details["ErrorInfo"].reason


def principal(authenticate: Authenticator, token: str) -> Principal:
    return authenticate(bearer(token), dict)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256", "PS256", "EdDSA"])
def test_tokens_of_the_provider_are_accepted(oidc_provider: RotatingProvider, tmp_path: Path, algorithm: str) -> None:
    oidc_provider.restart(algorithm)
    token = oidc_provider.token("anna")
    with serving(tmp_path, settings(oidc_provider)) as rpc:
        assert owner(rpc, token) == "anna"
        assert owner(rpc, token) == "anna"  # from the cache
        assert owner(rpc, oidc_provider.token("ben")) == "ben"


def test_a_token_for_another_server_is_refused(oidc_provider: RotatingProvider, tmp_path: Path) -> None:
    with serving(tmp_path, settings(oidc_provider)) as rpc:
        assert reason(rpc, oidc_provider.token("anna", "https://other.example.org")) == (
            "UNAUTHENTICATED",
            "INVALID_TOKEN",
        )


def test_a_changed_token_is_refused(oidc_provider: RotatingProvider, tmp_path: Path) -> None:
    token = oidc_provider.token("anna")
    header, payload, signature = token.split(".")
    other = oidc_provider.token("ben").split(".")
    unsigned = jwt.encode(jwt.decode(token, options={"verify_signature": False}), None, algorithm="none")
    with serving(tmp_path, settings(oidc_provider)) as rpc:
        assert owner(rpc, token) == "anna"
        for forged in (f"{header}.{other[1]}.{signature}", f"{header}.{payload}.{other[2]}", f"{token}A", unsigned):
            for _ in range(2):
                assert reason(rpc, forged) == ("UNAUTHENTICATED", "INVALID_TOKEN")


def test_roles_come_from_a_claim(oidc_provider: RotatingProvider) -> None:
    roles = {"qonduit-operators": "operator", "qonduit-admins": "admin"}
    authenticate = authentication.authenticator(
        settings(oidc_provider, oidc_role_claim="realm.groups", oidc_roles=roles)
    )
    assert authenticate is not None
    names = {name: principal(authenticate, oidc_provider.token(name)).roles for name in ("anna", "olga", "adam")}
    assert names == {
        "anna": {Role.USER},
        "olga": {Role.USER, Role.OPERATOR},
        "adam": {Role.USER, Role.OPERATOR, Role.ADMIN},
    }
    without = authentication.authenticator(settings(oidc_provider))
    assert without is not None
    assert principal(without, oidc_provider.token("adam")) == Principal("adam")


def test_a_rotated_key_is_found_and_a_withdrawn_one_ends(
    oidc_provider: RotatingProvider, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_set, "MIN_INTERVAL_SECONDS", 0.0)
    with serving(tmp_path, settings(oidc_provider)) as rpc:
        old = oidc_provider.token("anna")
        assert owner(rpc, old) == "anna"
        oidc_provider.restart(keep_keys=True)
        assert owner(rpc, oidc_provider.token("ben")) == "ben"
        assert owner(rpc, old) == "anna"
        oidc_provider.restart()
        assert owner(rpc, oidc_provider.token("ben")) == "ben"
        # The keys were fetched again, without the first one: also the cached token ends.
        assert reason(rpc, old) == ("UNAUTHENTICATED", "INVALID_TOKEN")


def test_known_keys_stay_valid_while_the_key_server_is_away(oidc_provider: RotatingProvider, tmp_path: Path) -> None:
    provider = RotatingProvider()
    try:
        anna, ben = provider.token("anna"), provider.token("ben")
        with serving(tmp_path, settings(provider)) as rpc:
            assert owner(rpc, anna) == "anna"
            provider.close()
            assert owner(rpc, anna) == "anna"
            assert owner(rpc, ben) == "ben"  # not verified before
    finally:
        provider.close()


def test_a_server_starts_without_its_key_server_and_asks_clients_to_retry(
    oidc_provider: RotatingProvider, tmp_path: Path
) -> None:
    provider = RotatingProvider()
    token = provider.token("anna")
    provider.close()
    with serving(tmp_path, settings(provider)) as rpc:
        assert reason(rpc, token) == ("UNAVAILABLE", "KEYS_UNAVAILABLE")


def test_a_token_ends_at_its_expiry_although_it_is_cached(oidc_provider: RotatingProvider) -> None:
    oidc_provider.restart(seconds=120)
    token = oidc_provider.token("anna")
    authenticate = authentication.authenticator(settings(oidc_provider))
    assert authenticate is not None
    assert principal(authenticate, token).name == "anna"
    (verifier,) = authenticate._verifiers
    expires = jwt.decode(token, options={"verify_signature": False})["exp"]
    verifier._clock = lambda: expires - 1.0  # type: ignore[attr-defined]
    assert principal(authenticate, token).name == "anna"
    verifier._clock = lambda: float(expires)  # type: ignore[attr-defined]
    error = authenticate.reject_early(bearer(token))
    assert error is not None
    assert error.reason == "TOKEN_EXPIRED"


@pytest.mark.parametrize("by", ["jti", "hash"])
def test_a_revoked_token_is_refused_at_once(oidc_provider: RotatingProvider, tmp_path: Path, by: str) -> None:
    file = tmp_path / "tokens.json"
    static, _ = token_file.create(file, "olga", Role.OPERATOR, timedelta(hours=1))
    token, other = oidc_provider.token("anna"), oidc_provider.token("anna")
    with serving(tmp_path, settings(oidc_provider, token_file=str(file))) as rpc:
        assert owner(rpc, token) == owner(rpc, other) == "anna"
        assert owner(rpc, static) == "olga"
        if by == "jti":
            token_file.revoke(file, jti=jwt.decode(token, options={"verify_signature": False})["jti"])
        else:
            token_file.revoke(file, start=sha256_of(token).hex())
        assert reason(rpc, token) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
        assert owner(rpc, other) == "anna"


def test_forged_key_ids_neither_flood_the_key_server_nor_hold_threads(
    oidc_provider: RotatingProvider, tmp_path: Path
) -> None:
    token = oidc_provider.token("anna")
    _, payload, signature = token.split(".")
    fetched = []
    with serving(tmp_path, settings(oidc_provider)) as rpc:
        assert owner(rpc, token) == "anna"
        authenticate = rpc.server._options.authenticate
        keys = authenticate._verifiers[0]._keys
        original = keys._fetch
        release = threading.Event()

        def slow() -> object:
            fetched.append(1)
            assert release.wait(WAIT)
            return original()

        keys._fetch = slow
        keys._attempted_at = float("-inf")
        forged = [f"{header_of(f'forged-{number}')}.{payload}.{signature}" for number in range(200)]
        calls = [rpc.jobs.ListJobs.future(ListJobsRequest(), metadata=bearer(one), timeout=WAIT) for one in forged]
        # Meanwhile a valid token is served, although the fetch hangs.
        assert owner(rpc, token) == "anna"
        until(lambda: sum(call.done() for call in calls) >= len(calls) - key_set.MAX_WAITING)
        release.set()
        codes = {call.exception(timeout=WAIT).code() for call in calls}
        assert codes <= {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}
        assert len(fetched) == 1


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"oidc_issuer": "http://id.example.org"}, "oidc_issuer must be an https:// URL"),
        ({"oidc_issuer": "https://id.example.org?x=1"}, "oidc_issuer must be a URL without query and fragment"),
        ({"oidc_issuer": "id.example.org"}, "oidc_issuer must be"),
        ({"oidc_jwks_url": "ftp://id.example.org"}, "oidc_jwks_url must be an https:// URL"),
        ({"oidc_role_claim": "groups", "oidc_roles": {"staff": "root"}}, "oidc_roles: roles are user, operator, admin"),
    ],
)
def test_settings_that_cannot_be_trusted_are_refused(wrong: dict[str, object], message: str) -> None:
    chosen = Settings(**{"oidc_issuer": "https://id.example.org", "oidc_audience": "x"} | wrong)  # type: ignore[arg-type]
    with pytest.raises(StartError, match=message):
        authentication.authenticator(chosen)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"oidc_issuer": "https://id.example.org"}, "oidc_issuer and oidc_audience belong together"),
        ({"oidc_audience": "x"}, "oidc_issuer and oidc_audience belong together"),
        ({"oidc_roles": {"staff": "user"}}, "set oidc_role_claim"),
    ],
)
def test_incomplete_settings_are_refused(wrong: dict[str, object], message: str) -> None:
    with pytest.raises(StartError, match=message):
        authentication.check(Settings(**wrong))  # type: ignore[arg-type]


def test_a_denied_name_is_refused_with_each_of_its_tokens(oidc_provider: RotatingProvider, tmp_path: Path) -> None:
    file = tmp_path / "tokens.json"
    static, _ = token_file.create(file, "anna", Role.USER, None)
    with serving(tmp_path, settings(oidc_provider, token_file=str(file))) as rpc:
        cached = oidc_provider.token("anna")
        assert owner(rpc, cached) == owner(rpc, static) == "anna"
        assert token_file.deny(file, "anna")
        for token in (cached, oidc_provider.token("anna"), static):
            assert reason(rpc, token) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
        assert owner(rpc, oidc_provider.token("ben")) == "ben"
        assert token_file.admit(file, "anna")
        assert owner(rpc, cached) == "anna"
        assert reason(rpc, static) == ("UNAUTHENTICATED", "TOKEN_REVOKED")
        assert not token_file.admit(file, "anna")


@pytest.mark.parametrize("kind", BOTH_CLIENTS)
def test_a_watch_outlives_the_expiry_of_its_token(oidc_provider: RotatingProvider, tmp_path: Path, kind: str) -> None:
    oidc_provider.restart(seconds=3)
    used: list[str] = []

    def token() -> str:
        used.append(oidc_provider.token("anna"))
        return used[-1]

    with serving(tmp_path, settings(oidc_provider)) as rpc, BOTH_CLIENTS[kind](rpc.target, token=token) as client:
        handle = client.run(BELL, "IBM/aer_simulator", 100)
        events = handle.events()
        seen = [next(events).sequence]
        rpc.claim()
        seen.append(next(events).sequence)
        streams = len(used)
        rest = threading.Thread(target=lambda: seen.extend(event.sequence for event in events))
        rest.start()
        # The client opens another stream with a new token after each expiry.
        until(lambda: len(used) >= streams + 2)
        rpc.finish(handle.id)
        rest.join(WAIT)
    assert seen == list(range(1, len(seen) + 1))
    assert len(seen) > 4
