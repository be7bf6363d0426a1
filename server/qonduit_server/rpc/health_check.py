# SPDX-License-Identifier: Apache-2.0
"""The client of `qonduit health`: asks a server on this machine, by its own settings, for its health."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import grpc
from cryptography import x509
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse

from qonduit_server.rpc.health import SERVICE

#: Addresses that a server listens on, and how this machine reaches them.
_REACHED: Final = {"0.0.0.0": "127.0.0.1", "[::]": "[::1]"}


def status_of(listen: str, certificate: str, service: str, seconds: float) -> str:
    """Return the status of a service, such as "SERVING", or why it is not known.

    Args:
        listen: the address on which the server listens.
        certificate: the file of its certificate, which alone is trusted; empty without TLS.
        service: the name of a service, for its readiness; empty for the liveness of the server.
        seconds: the time limit.
    """
    host, separator, port = listen.rpartition(":")
    target = listen if listen.startswith("unix:") else f"{_REACHED.get(host, host)}{separator}{port}"
    try:
        with _channel(target, certificate) as channel:
            check = channel.unary_unary(
                f"/{SERVICE}/Check",
                request_serializer=HealthCheckRequest.SerializeToString,
                response_deserializer=HealthCheckResponse.FromString,
            )
            response = check(HealthCheckRequest(service=service), timeout=seconds)
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details()}"
    except (OSError, ValueError, x509.ExtensionNotFound) as error:
        return f"cannot read {certificate} (tls_certificate): {error}"
    return HealthCheckResponse.ServingStatus.Name(response.status)


def _channel(target: str, certificate: str) -> grpc.Channel:
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]  # it does not leave this machine
    if not certificate:
        return grpc.insecure_channel(target, options)
    chain = Path(certificate).read_bytes()
    credentials = grpc.ssl_channel_credentials(root_certificates=chain)
    # The certificate is for the names by which others reach the server.
    return grpc.secure_channel(target, credentials, [*options, ("grpc.ssl_target_name_override", _name(chain))])


def _name(chain: bytes) -> str:
    """Return a host name for which a certificate is valid."""
    names = x509.load_pem_x509_certificate(chain).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    found = [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]
    if not found:
        raise ValueError("it has no host name")
    return found[0].replace("*", "any", 1)
