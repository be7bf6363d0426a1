# SPDX-License-Identifier: Apache-2.0
"""The rule of where a server may listen: beyond this machine only with TLS and authentication."""

from __future__ import annotations

from qonduit_client.addresses import is_loopback
from qonduit_server.errors import StartError


def check_exposure(listen: str, *, tls: bool, authentication: bool, allow_insecure: bool) -> None:
    """Check an address before the server listens on it.

    Args:
        listen: HOST:PORT or unix:PATH.
        tls: whether connections are encrypted.
        authentication: whether calls are authenticated.
        allow_insecure: whether the operator accepts a server without them.

    Raises:
        StartError: other machines could use the server without encryption or authentication.
    """
    missing = [
        *(() if tls else ("TLS (set tls_certificate and tls_key)",)),
        *(() if authentication else ("authentication (set token_file, oidc_issuer or tls_client_ca)",)),
    ]
    if missing and not allow_insecure and not is_local(listen):
        raise StartError(
            f"refusing to listen on {listen} without {' and without '.join(missing)}: other machines can connect. "
            "Listen on 127.0.0.1:PORT or unix:PATH, or set allow_insecure_remote_access=on if the network is trusted"
        )


def is_local(listen: str) -> bool:
    """Return whether only this machine can connect to an address: a loopback address or a Unix socket."""
    if listen.startswith("unix:"):
        return True
    host = listen.rpartition(":")[0].strip("[]")
    return is_loopback(host.lower())
