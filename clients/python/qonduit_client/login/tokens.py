# SPDX-License-Identifier: Apache-2.0
"""Responses of a token endpoint, and the claims of tokens."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from qonduit_client.errors import LoginFailed
from qonduit_client.login.identity_provider import IdentityProvider, printable
from qonduit_client.named_servers import OidcClient

#: Seconds by which the clock of this machine may differ from the provider's.
CLOCK_SKEW: Final = 300.0
#: Claims of an ID token that are kept: who the user is.
_KEPT: Final = ("sub", "preferred_username", "name", "email")


@dataclass(frozen=True)
class Tokens:
    """The tokens of a response.

    Attributes:
        access_token: sent to the server.
        refresh_token: requests the next access token; may be empty.
        lifetime: seconds for which the access token is valid; None if the provider does not report it.
        scope: the granted scopes; empty if they are those requested.
        claims: who the user is, from the ID token; empty without one.
    """

    access_token: str = field(repr=False)
    refresh_token: str = field(repr=False)
    lifetime: float | None
    scope: str
    claims: Mapping[str, str]


def request_tokens(provider: IdentityProvider, form: Mapping[str, str], *, now: float) -> Tokens:
    """Request tokens at the token endpoint.

    Args:
        provider: the identity provider.
        form: the grant.
        now: seconds since the epoch.

    Raises:
        OAuthError: the provider rejects the grant.
        LoginFailed: its response is invalid.
        ServerUnavailable: it is unreachable.
    """
    response = provider.post("token_endpoint", form)
    issuer = provider.client.issuer
    access, refresh = response.get("access_token"), response.get("refresh_token") or ""
    if not _is_token(access) or not (refresh == "" or _is_token(refresh)):
        raise LoginFailed(f"the response of {issuer} contains no valid access token")
    if str(response.get("token_type")).lower() != "bearer":
        kind = printable(response.get("token_type"))
        raise LoginFailed(f"the tokens of {issuer} must be bearer tokens, got {kind!r}")
    lifetime = response.get("expires_in")
    if isinstance(lifetime, str) and lifetime.isdecimal() and len(lifetime) < 12:
        lifetime = int(lifetime)  # some providers send a string
    if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or not 0 < lifetime < 1e10:
        expiry = claims_of(str(access)).get("exp")
        lifetime = float(expiry) - now if isinstance(expiry, int | float) else None
    claims: Mapping[str, str] = {}
    if response.get("id_token") is not None:
        claims = _identity(provider.client, str(response["id_token"]), now)
    return Tokens(str(access), str(refresh), lifetime, printable(response.get("scope")), claims)


def claims_of(token: str) -> Mapping[str, Any]:
    """Return the claims of a JWT without checking its signature, for display; empty for other tokens."""
    parts = token.split(".")
    if len(parts) != 3:
        return {}
    try:
        claims = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
    except (ValueError, binascii.Error, RecursionError):
        return {}
    return claims if isinstance(claims, dict) else {}


def _identity(client: OidcClient, token: str, now: float) -> Mapping[str, str]:
    """Return who the user is.

    The token comes from the provider itself over TLS, which replaces the check of the signature (OpenID Connect Core,
    section 3.1.3.7).
    """
    claims = claims_of(token)
    audience = claims.get("aud")
    expiry = claims.get("exp")
    if (
        claims.get("iss") != client.issuer
        or client.client_id not in (audience if isinstance(audience, list) else [audience])
        or not isinstance(expiry, int | float)
        or expiry + CLOCK_SKEW < now
        or not isinstance(claims.get("sub"), str)
    ):
        raise LoginFailed(
            f"the ID token of {client.issuer} is not valid: check its issuer, audience and expiry, "
            "and the clock of this machine"
        )
    return {name: printable(claims[name]) for name in _KEPT if claims.get(name)}


def _is_token(value: object) -> bool:
    return isinstance(value, str) and bool(value) and value.isascii() and value.isprintable() and " " not in value
