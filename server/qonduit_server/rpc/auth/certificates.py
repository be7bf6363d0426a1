# SPDX-License-Identifier: Apache-2.0
"""TLS: the server's certificate, reloaded when its files change, and the principals of client certificates."""

from __future__ import annotations

import hashlib
import ssl
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import grpc
import structlog

from qonduit_server.errors import StartError, Unauthenticated
from qonduit_server.process.file_stamp import Stamp, stamp_of
from qonduit_server.rpc.auth.principal import Principal, Role, is_name, with_lower_roles

_log = structlog.get_logger("qonduit.tls")
#: The properties of a client certificate that name its principal, in order of preference.
_SPIFFE_ID: Final = "peer_spiffe_id"
_ALTERNATIVE_NAMES: Final = "x509_subject_alternative_name"
_COMMON_NAME: Final = "x509_common_name"
_CERTIFICATE: Final = "x509_pem_cert"


class Certificates:
    """The files of TLS. gRPC asks for them at each handshake, so a renewed certificate needs no restart.

    While the files are incomplete or invalid (a renewal replaces one after the other), handshakes use the previous
    ones.

    Args:
        certificate: the path of the server's certificate chain, in PEM.
        key: the path of its private key, in PEM.
        client_ca: the path of the CAs of client certificates, in PEM; each client must then have a certificate.

    Raises:
        StartError: a file cannot be read, or is invalid.
    """

    def __init__(self, certificate: str, key: str, client_ca: str = "") -> None:
        self._paths = [Path(path) for path in (certificate, key, client_ca) if path]
        self._lock = threading.Lock()
        self._stamp: tuple[Stamp, ...] | None = self._stamps()
        self._loaded = self._load()

    def adopt(self, other: Certificates) -> None:
        """Use the files of another object from the next handshake on; either both or none have `client_ca`."""
        with self._lock:
            self._paths = other._paths
            self._stamp = None

    def credentials(self) -> grpc.ServerCredentials:
        """Return the credentials of a port."""
        return grpc.dynamic_ssl_server_credentials(
            self._loaded,
            self._changed,  # type: ignore[arg-type]  # None means unchanged
            require_client_authentication=len(self._paths) > 2,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return the certificates if their files have changed; gRPC calls this at each handshake."""
        with self._lock:
            stamp = self._stamps()
            if stamp == self._stamp:
                return None
            try:
                loaded = self._load()
            except StartError as error:
                # The stamp stays, so that the next handshake reads the files again.
                _log.error("certificates not reloaded", why=str(error))
                return None
            self._stamp, self._loaded = stamp, loaded
        _log.info("certificates reloaded", certificate=str(self._paths[0]))
        return loaded

    def _stamps(self) -> tuple[Stamp, ...]:
        return tuple(stamp_of(path) for path in self._paths)

    def _load(self) -> grpc.ServerCertificateConfiguration:
        chain, key, *client_ca = (_read(path) for path in self._paths)
        _check_pair(self._paths[0], self._paths[1])
        for path in self._paths[2:]:
            _check_ca(path)
        return grpc.ssl_server_certificate_configuration(
            [(key, chain)], root_certificates=client_ca[0] if client_ca else None
        )


class CertificateRoles:
    """The principals of client certificates.

    A principal has the name of the certificate: its SPIFFE id, else its first alternative name, else its common name.

    Args:
        roles: the role of each name; others are users.
    """

    def __init__(self, roles: Mapping[str, Role]) -> None:
        self._roles = roles

    def principal(self, properties: Mapping[str, Any]) -> Principal:
        """Return the principal of a connection with a verified client certificate.

        Raises:
            Unauthenticated: the certificate has no usable name.
        """
        for key in (_SPIFFE_ID, _ALTERNATIVE_NAMES, _COMMON_NAME):
            for value in properties.get(key, ()):
                name = value.decode("utf-8", "replace")
                if is_name(name):
                    roles = with_lower_roles([self._roles.get(name, Role.USER)])
                    return Principal(name, roles, "certificate", _fingerprint(properties))
        raise Unauthenticated(
            "the client certificate contains no usable name: it needs a SPIFFE id, an alternative name or a common "
            "name of 1 to 128 visible ASCII characters",
            reason="AUTHENTICATION_REQUIRED",
        )


def _fingerprint(properties: Mapping[str, Any]) -> str:
    """Return the SHA-256 of a client's certificate, in hexadecimal, as `openssl x509 -fingerprint` computes it."""
    for pem in properties.get(_CERTIFICATE, ()):
        return hashlib.sha256(ssl.PEM_cert_to_DER_cert(pem.decode("ascii"))).hexdigest()
    return ""


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise StartError(f"cannot read {path}: {error.strerror} (tls_certificate, tls_key, tls_client_ca)") from error


def _check_pair(certificate: Path, key: Path) -> None:
    """Raise StartError unless the key belongs to the certificate; gRPC reports neither a bad file nor a mismatch."""
    try:
        # Without a callback, OpenSSL would ask for the password of an encrypted key on the terminal.
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
    except (ssl.SSLError, OSError) as error:
        raise StartError(
            f"cannot use {certificate} and {key} for TLS: the files must be a certificate and its unencrypted private "
            f"key, in PEM (tls_certificate, tls_key): {error}"
        ) from error


def _check_ca(path: Path) -> None:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_verify_locations(path)
    except (ssl.SSLError, OSError) as error:
        raise StartError(f"{path} must contain CA certificates in PEM (tls_client_ca): {error}") from error
