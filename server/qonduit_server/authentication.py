# SPDX-License-Identifier: Apache-2.0
"""Turn the settings of TLS and authentication into the components that the gRPC server uses."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from qonduit_server.errors import CallError, StartError
from qonduit_server.rpc.auth.exposure import check_exposure
from qonduit_server.rpc.auth.principal import Metadata, Principal, ReadPeer, anonymous, reject_none
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    from qonduit_server.rpc.auth.authenticator import Authenticator, TokenVerifier
    from qonduit_server.rpc.auth.certificates import Certificates
    from qonduit_server.rpc.auth.principal import Role
    from qonduit_server.rpc.auth.static_tokens import TokenRegistry


def check(settings: Settings) -> None:
    """Check the settings before anything starts; the files are read later.

    Raises:
        StartError: settings contradict each other, or the server would be exposed without TLS or authentication.
    """
    if bool(settings.tls_certificate) != bool(settings.tls_key):
        raise StartError("tls_certificate and tls_key belong together: set both, or neither")
    if settings.tls_client_ca and not settings.tls_certificate:
        raise StartError("tls_client_ca requires TLS: set tls_certificate and tls_key")
    if settings.tls_client_roles and not settings.tls_client_ca:
        raise StartError("tls_client_roles requires client certificates: set tls_client_ca")
    if bool(settings.oidc_issuer) != bool(settings.oidc_audience):
        raise StartError(
            "oidc_issuer and oidc_audience belong together: tokens for other servers must not be valid here"
        )
    if settings.oidc_roles and not settings.oidc_role_claim:
        raise StartError("oidc_roles requires the claim with these values: set oidc_role_claim")
    check_exposure(
        settings.listen,
        tls=bool(settings.tls_certificate),
        authentication=_is_required(settings),
        allow_insecure=settings.allow_insecure_remote_access == "on",
    )


def certificates(settings: Settings) -> Certificates | None:
    """Return the files of TLS; None without TLS. Raises StartError for unusable files."""
    from qonduit_server.rpc.auth.certificates import Certificates

    if not settings.tls_certificate:
        return None
    return Certificates(settings.tls_certificate, settings.tls_key, settings.tls_client_ca)


class CallAuthentication:
    """Authenticates calls as the settings require; a server can adopt other settings while calls run.

    Raises:
        StartError: a file or a setting cannot be used.
    """

    def __init__(self, settings: Settings) -> None:
        self._used = authenticator(settings)

    def adopt(self, other: CallAuthentication) -> None:
        """Authenticate as another object does, from the next call on. Open streams are authorized again."""
        self._used = other._used

    def principal(self, metadata: Metadata, peer: ReadPeer) -> Principal:
        """Return the principal of a call. Raises Unauthenticated, or Unavailable if it cannot be verified now."""
        used = self._used
        return used(metadata, peer) if used else anonymous(metadata, peer)

    def reject_early(self, metadata: Metadata) -> CallError | None:
        """Return the error of a call that certainly has no valid token, before its request is received."""
        used = self._used
        return used.reject_early(metadata) if used else reject_none(metadata)


def authenticator(settings: Settings) -> Authenticator | None:
    """Return what authenticates calls; None on a server without authentication. Raises StartError."""
    from qonduit_server.rpc.auth.authenticator import Authenticator
    from qonduit_server.rpc.auth.certificates import CertificateRoles
    from qonduit_server.rpc.auth.static_tokens import StaticTokens, TokenRegistry

    if not _is_required(settings):
        return None
    registry = TokenRegistry(Path(settings.token_file)) if settings.token_file else None
    verifiers: list[TokenVerifier] = [StaticTokens(registry)] if registry else []
    roles = _roles("tls_client_roles", settings.tls_client_roles)
    if settings.oidc_issuer:
        verifiers.append(_oidc(settings, registry))
    certificates = CertificateRoles(roles) if settings.tls_client_ca else None
    if registry is None:
        return Authenticator(tuple(verifiers), certificates)
    return Authenticator(tuple(verifiers), certificates, lambda: registry.table().denied_names)


def check_files(settings: Settings) -> None:
    """Check the token file, the roles and the URLs, without a connection. Raises StartError."""
    from qonduit_server.rpc.auth.static_tokens import TokenRegistry

    if settings.token_file:
        TokenRegistry(Path(settings.token_file))
    _roles("tls_client_roles", settings.tls_client_roles)
    _roles("oidc_roles", settings.oidc_roles)
    _check_urls(settings)


def _check_urls(settings: Settings) -> None:
    from qonduit_server.rpc.auth.key_server import check_url

    for name in ("oidc_issuer", "oidc_jwks_url"):
        try:
            if url := getattr(settings, name):
                check_url(url)
        except ValueError as error:
            raise StartError(f"{name} {error}") from error


def _oidc(settings: Settings, registry: TokenRegistry | None) -> TokenVerifier:
    """Return the verifier of the issuer's tokens, and start to fetch its keys. Its libraries are loaded here alone."""
    from qonduit_server.rpc.auth.key_server import fetch_keys
    from qonduit_server.rpc.auth.key_set import KeySet
    from qonduit_server.rpc.auth.oidc_tokens import OidcRules, OidcTokens

    _check_urls(settings)
    rules = OidcRules(settings.oidc_issuer, settings.oidc_audience, settings.oidc_name_claim, settings.oidc_role_claim)
    if settings.oidc_roles:
        rules = replace(rules, roles=_roles("oidc_roles", settings.oidc_roles))
    keys = KeySet(partial(fetch_keys, settings.oidc_issuer, settings.oidc_jwks_url))
    return OidcTokens(rules, keys, registry.table) if registry else OidcTokens(rules, keys)


def _is_required(settings: Settings) -> bool:
    return bool(settings.tls_client_ca or settings.token_file or settings.oidc_issuer)


def _roles(setting: str, named: Mapping[str, str]) -> dict[str, Role]:
    """Parse the roles of a setting. Raises StartError for an unknown one."""
    from qonduit_server.rpc.auth.principal import Role

    known = [role.value for role in Role]
    if wrong := sorted({value for value in named.values() if value not in known}):
        raise StartError(f"{setting}: roles are {', '.join(known)}, got {', '.join(wrong)}")
    return {name: Role(value) for name, value in named.items()}
