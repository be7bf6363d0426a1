# SPDX-License-Identifier: Apache-2.0
"""Find the principal of a call: by its bearer token, else by its client certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final, Protocol

from qonduit_server.errors import Unauthenticated
from qonduit_server.rpc.auth.certificates import CertificateRoles
from qonduit_server.rpc.auth.principal import Metadata, Principal, ReadPeer

#: Longer tokens are refused before anything reads them. gRPC refuses metadata of more than about 8 KiB.
MAX_TOKEN_BYTES: Final = 8192
_MISSING: Final = "authentication required: set QONDUIT_TOKEN or pass --token-file"


class TokenVerifier(Protocol):
    """Verifies one kind of tokens."""

    def accepts(self, token: str) -> bool:
        """Return whether a token has the form of this kind; must be fast."""
        ...

    def reject_early(self, token: str, sha256: bytes) -> Unauthenticated | None:
        """Return the error of a token that is certainly invalid; takes microseconds and does no I/O over a network."""
        ...

    def principal(self, token: str, sha256: bytes) -> Principal:
        """Return the principal of a token. Raises Unauthenticated, or Unavailable if it cannot be verified now."""
        ...


class Authenticator:
    """Authenticates calls with tokens and client certificates.

    A token identifies the caller if there is one, also on a connection with a certificate: a proxy or a shared machine
    then has the certificate, and its users have tokens.

    Args:
        verifiers: one for each kind of tokens; tokens are ignored if it is empty.
        certificates: the principals of client certificates; None if clients have none.
        denied: returns the names of principals that are refused, with the time; each call asks for them.
    """

    def __init__(
        self,
        verifiers: tuple[TokenVerifier, ...],
        certificates: CertificateRoles | None,
        denied: Callable[[], Mapping[str, str]] = dict,
    ) -> None:
        self._verifiers = verifiers
        self._certificates = certificates
        self._denied = denied

    def __call__(self, metadata: Metadata, peer: ReadPeer) -> Principal:
        """Return the principal of a call.

        Raises:
            Unauthenticated: the call has no valid token or certificate.
            Unavailable: the token cannot be verified now.
        """
        principal = self._authenticated(metadata, peer)
        if (since := self._denied().get(principal.name)) is not None:
            raise Unauthenticated(
                f"{principal.name} has no access since {since}: ask the operator", reason="TOKEN_REVOKED"
            )
        return principal

    def _authenticated(self, metadata: Metadata, peer: ReadPeer) -> Principal:
        token = self._token(metadata)
        if token is not None:
            return self._verifier(token).principal(token, sha256_of(token))
        if self._certificates is not None:
            return self._certificates.principal(peer())
        raise Unauthenticated(_MISSING, reason="AUTHENTICATION_REQUIRED")

    def reject_early(self, metadata: Metadata) -> Unauthenticated | None:
        """Return the error of a call that certainly has no valid token, before its request is received."""
        try:
            token = self._token(metadata)
            if token is not None:
                return self._verifier(token).reject_early(token, sha256_of(token))
        except Unauthenticated as error:
            return error
        if self._certificates is not None:
            return None
        return Unauthenticated(_MISSING, reason="AUTHENTICATION_REQUIRED")

    def _token(self, metadata: Metadata) -> str | None:
        """Return the bearer token of a call; None without one, and if the server takes no tokens."""
        if not self._verifiers:
            return None
        values = [value for key, value in metadata if key == "authorization"]
        if not values:
            return None
        (value, *others) = values
        scheme, _, token = value.partition(" ") if isinstance(value, str) else ("", "", "")
        if others or scheme.lower() != "bearer" or not token or len(token) > MAX_TOKEN_BYTES:
            raise Unauthenticated(
                "the metadata authorization must occur once, as 'Bearer TOKEN' with a token of at most "
                f"{MAX_TOKEN_BYTES} bytes"
            )
        return token

    def _verifier(self, token: str) -> TokenVerifier:
        for verifier in self._verifiers:
            if verifier.accepts(token):
                return verifier
        raise Unauthenticated(
            "the token has not the form of a token of this server: set QONDUIT_TOKEN or pass --token-file"
        )


def sha256_of(token: str) -> bytes:
    """Return the hash under which the server knows a token; a fast hash, because tokens are random or signed."""
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
