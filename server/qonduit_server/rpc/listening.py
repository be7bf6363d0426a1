# SPDX-License-Identifier: Apache-2.0
"""Bind a gRPC server to its address: a TCP port, or a Unix socket that only its owner can use."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import grpc

from qonduit_server.errors import StartError

_OWNER_ONLY = 0o600
_PROBE_SECONDS = 5.0


def bind(server: grpc.Server, listen: str, credentials: grpc.ServerCredentials | None) -> int:
    """Bind a server to an address.

    Args:
        server: the gRPC server, before its start.
        listen: HOST:PORT or unix:PATH.
        credentials: those of TLS; None for plain text.

    Returns:
        The port; 0 for a Unix socket.

    Raises:
        StartError: the address cannot be used.
    """
    path = Path(listen.removeprefix("unix:")) if listen.startswith("unix:") else None
    if path is not None:
        _remove_stale_socket(path)
    # Restricted before the socket exists: with a chmod after it, others could connect meanwhile.
    umask = os.umask(0o777 & ~_OWNER_ONLY) if path is not None else None
    try:
        port = server.add_secure_port(listen, credentials) if credentials else server.add_insecure_port(listen)
    except RuntimeError as error:
        why = "the address is in use, or does not belong to this machine"
        if path is not None:
            why = "its folder must exist and be writable, and the path must have at most 107 bytes"
        raise StartError(f"cannot listen on {listen} (HOST:PORT or unix:PATH): {why}") from error
    finally:
        if umask is not None:
            os.umask(umask)
    return 0 if path is not None else port


def _remove_stale_socket(path: Path) -> None:
    """Remove the socket of a server that has ended without removing it; gRPC would replace any socket."""
    try:
        mode = path.lstat().st_mode
    except OSError:
        return
    if not stat.S_ISSOCK(mode):
        raise StartError(f"cannot listen on unix:{path}: the file exists and is not a socket")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.settimeout(_PROBE_SECONDS)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
        except OSError as error:
            raise StartError(f"cannot listen on unix:{path}: {error.strerror or error}") from error
    raise StartError(f"cannot listen on unix:{path}: another server listens there")
