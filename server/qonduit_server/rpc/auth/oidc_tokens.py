# SPDX-License-Identifier: Apache-2.0
"""Verify the JSON web tokens of an OIDC issuer, and find their principals."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

import jwt

from qonduit_server.errors import Unauthenticated
from qonduit_server.rpc.auth.key_server import ALGORITHMS
from qonduit_server.rpc.auth.key_set import KeySet
from qonduit_server.rpc.auth.principal import Principal, Role, is_name, with_lower_roles
from qonduit_server.rpc.auth.token_file import ID_DIGITS, TokenTable

#: How long a verified token is not verified again; never beyond its own expiry.
CACHE_SECONDS: Final = 300.0
#: How long a token with a wrong signature or claim is refused without a new verification.
REFUSED_SECONDS: Final = 60.0
MAX_CACHED: Final = 10_000
MAX_REFUSED: Final = 1_000
#: The clocks of issuer and server may differ by this; it does not extend a token's expiry.
_LEEWAY_SECONDS: Final = 30.0
_AGAIN: Final = "sign in again, and set QONDUIT_TOKEN or pass --token-file"
_PARTS: Final = 3


@dataclass(frozen=True)
class OidcRules:
    """What a token must contain.

    Attributes:
        issuer: its claim `iss`.
        audience: a value of its claim `aud`.
        name_claim: the claim that names the principal.
        role_claim: the claim with roles or groups, a text or a list; dots lead into objects. If empty, all are users.
        roles: the roles of its values.
    """

    issuer: str
    audience: str
    name_claim: str = "sub"
    role_claim: str = ""
    roles: Mapping[str, Role] = field(default_factory=lambda: {role.value: role for role in Role})


class _Verified(NamedTuple):
    principal: Principal
    jti: str
    expires: float  #: seconds since 1970
    until: float  #: monotonic seconds
    generation: int


class OidcTokens:
    """Verifies tokens, and remembers the result for a short time: a verification takes about half a millisecond.

    Args:
        rules: what tokens must contain.
        keys: the keys of the issuer.
        revoked: returns the revoked tokens; each call asks for them.
        clock: seconds since 1970.
        monotonic: monotonic seconds.
    """

    def __init__(
        self,
        rules: OidcRules,
        keys: KeySet,
        revoked: Callable[[], TokenTable] = TokenTable,
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rules = rules
        self._keys = keys
        self._revoked = revoked
        self._clock = clock
        self._monotonic = monotonic
        self._lock = threading.Lock()
        self._verified: dict[bytes, _Verified] = {}
        self._refused: dict[bytes, tuple[float, Unauthenticated]] = {}
        keys.refresh()

    def accepts(self, token: str) -> bool:
        """Return whether a token has the three parts of a JSON web token."""
        return token.count(".") == _PARTS - 1

    def reject_early(self, token: str, sha256: bytes) -> Unauthenticated | None:
        """Return the error of a token that was refused before, or whose header is wrong; verifies no signature."""
        try:
            if self._cached(sha256) is None:
                self._header(token)
        except Unauthenticated as error:
            return error
        return None

    def principal(self, token: str, sha256: bytes) -> Principal:
        """Return the principal of a token.

        Raises:
            Unauthenticated: the token is invalid, expired or revoked.
            Unavailable: the keys of the issuer cannot be read now.
        """
        known = self._cached(sha256)
        if known is None:
            known = self._verify(token, sha256)
            self._check_revocation(sha256, known.jti)
        return known.principal

    def _cached(self, sha256: bytes) -> _Verified | None:
        """Return a token that was verified a short time ago, and is still valid. Raises as `principal`."""
        known = self._verified.get(sha256)
        if known is not None:
            self._check_revocation(sha256, known.jti)
            if self._clock() >= known.expires:
                raise _expired(known.expires)
            if self._monotonic() < known.until and known.generation == self._keys.generation:
                return known
        refused = self._refused.get(sha256)
        if refused is not None and self._monotonic() < refused[0]:
            raise Unauthenticated(refused[1].message, reason=refused[1].reason)
        return None

    def _check_revocation(self, sha256: bytes, jti: str) -> None:
        if self._revoked().revokes(sha256, jti):
            raise Unauthenticated(f"the token was revoked: {_AGAIN}", reason="TOKEN_REVOKED")

    def _header(self, token: str) -> tuple[str, str]:
        """Return the key id and the algorithm of a token. Raises Unauthenticated."""
        try:
            header = jwt.get_unverified_header(token)
        except (jwt.PyJWTError, ValueError, TypeError, RecursionError):
            raise Unauthenticated(f"the token is not a JSON web token: {_AGAIN}") from None
        key_id, algorithm = header.get("kid", ""), header.get("alg")
        if not isinstance(key_id, str) or algorithm not in ALGORITHMS:
            raise Unauthenticated(
                f"the token has the algorithm {algorithm!r:.40}; allowed are {', '.join(sorted(ALGORITHMS))}"
            )
        return key_id, algorithm

    def _verify(self, token: str, sha256: bytes) -> _Verified:
        key_id, _ = self._header(token)
        generation = self._keys.generation
        key = self._keys.key(key_id)
        try:
            claims = self._claims(token, key)
            verified = _Verified(
                principal=replace(self._principal(claims), authentication="oidc", credential=_id_of(claims, sha256)),
                jti=claims["jti"] if isinstance(claims.get("jti"), str) else "",
                expires=float(claims["exp"]),
                until=self._monotonic() + CACHE_SECONDS,
                generation=generation,
            )
        except Unauthenticated as error:
            if error.reason == "INVALID_TOKEN":
                with self._lock:
                    _remember(self._refused, sha256, (self._monotonic() + REFUSED_SECONDS, error), MAX_REFUSED)
            raise
        with self._lock:
            _remember(self._verified, sha256, verified, MAX_CACHED)
        return verified

    def _claims(self, token: str, key: jwt.PyJWK) -> dict[str, Any]:
        """Return the claims of a token after the check of its signature, issuer, audience and times."""
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                # Of the key, not of the token: the token does not choose how it is verified.
                algorithms=[key.algorithm_name],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                leeway=_LEEWAY_SECONDS,
                options={"require": ["exp", "iss", "aud"]},
            )
            # Without the leeway.
            if self._clock() >= float(claims["exp"]):
                raise _expired(float(claims["exp"]))
        except jwt.ExpiredSignatureError:
            raise Unauthenticated(f"the token has expired: {_AGAIN}", reason="TOKEN_EXPIRED") from None
        except jwt.ImmatureSignatureError:
            raise Unauthenticated(
                "the token is not valid yet: compare the clocks of the issuer and the server", reason="TOKEN_EXPIRED"
            ) from None
        except jwt.InvalidAudienceError:
            raise Unauthenticated(
                f"the token is for another audience; this server requires {self._rules.audience} (oidc_audience)"
            ) from None
        except jwt.InvalidIssuerError:
            raise Unauthenticated(
                f"the token is of another issuer; this server requires {self._rules.issuer} (oidc_issuer)"
            ) from None
        except jwt.MissingRequiredClaimError as error:
            raise Unauthenticated(f"the token lacks the claim {error.claim}") from None
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError):
            raise Unauthenticated(f"the signature of the token is invalid: {_AGAIN}") from None
        return claims

    def _principal(self, claims: Mapping[str, Any]) -> Principal:
        name = claims.get(self._rules.name_claim)
        if not is_name(name):
            raise Unauthenticated(
                f"the claim {self._rules.name_claim} of the token must be 1 to 128 visible ASCII characters "
                "(oidc_name_claim)"
            )
        values = _claim(claims, self._rules.role_claim) if self._rules.role_claim else None
        listed = values if isinstance(values, list) else [values]
        roles = [self._rules.roles[value] for value in listed if isinstance(value, str) and value in self._rules.roles]
        return Principal(str(name), with_lower_roles([Role.USER, *roles]))


def _id_of(claims: Mapping[str, Any], sha256: bytes) -> str:
    """Return the id of a token: its claim `jti`, else the start of its hash."""
    jti = claims.get("jti")
    return str(jti) if is_name(jti) else sha256.hex()[:ID_DIGITS]


def _claim(claims: Mapping[str, Any], path: str) -> object:
    """Return a claim by its name, or by the names of objects and claim, separated by dots."""
    if path in claims:
        return claims[path]
    found: object = claims
    for name in path.split("."):
        found = found.get(name) if isinstance(found, dict) else None
    return found


def _expired(at: float) -> Unauthenticated:
    moment = datetime.fromtimestamp(max(0, int(at)), UTC).isoformat()
    return Unauthenticated(f"the token expired at {moment}: {_AGAIN}", reason="TOKEN_EXPIRED")


def _remember(known: dict[bytes, Any], sha256: bytes, value: Any, most: int) -> None:
    """Add an entry, and drop the oldest ones beyond a number."""
    known.pop(sha256, None)
    known[sha256] = value
    while len(known) > most:
        del known[next(iter(known))]
