# SPDX-License-Identifier: Apache-2.0
"""Turn the settings of TLS and authentication into the components that the gRPC server uses."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from qonduit_server.errors import StartError
from qonduit_server.rpc.auth.exposure import check_exposure
from qonduit_server.settings import Settings

if TYPE_CHECKING:
    import grpc

    from qonduit_server.rpc.auth.authenticator import Authenticator, TokenVerifier
    from qonduit_server.rpc.auth.principal import Role


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
    check_exposure(
        settings.listen,
        tls=bool(settings.tls_certificate),
        authentication=_is_required(settings),
        allow_insecure=settings.allow_insecure_remote_access == "on",
    )


def credentials(settings: Settings) -> grpc.ServerCredentials | None:
    """Return the credentials of TLS; None without TLS. Raises StartError for unusable files."""
    from qonduit_server.rpc.auth.certificates import Certificates

    if not settings.tls_certificate:
        return None
    return Certificates(settings.tls_certificate, settings.tls_key, settings.tls_client_ca).credentials()


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
    return Authenticator(tuple(verifiers), CertificateRoles(roles) if settings.tls_client_ca else None)


def _is_required(settings: Settings) -> bool:
    return bool(settings.tls_client_ca or settings.token_file)


def _roles(setting: str, named: Mapping[str, str]) -> dict[str, Role]:
    """Parse the roles of a setting. Raises StartError for an unknown one."""
    from qonduit_server.rpc.auth.principal import Role

    known = [role.value for role in Role]
    if wrong := sorted({value for value in named.values() if value not in known}):
        raise StartError(f"{setting}: roles are {', '.join(known)}, got {', '.join(wrong)}")
    return {name: Role(value) for name, value in named.items()}
