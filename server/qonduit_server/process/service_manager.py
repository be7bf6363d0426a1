# SPDX-License-Identifier: Apache-2.0
"""Reports the state of this process to the service manager that started it: systemd, or one with its protocol."""

from __future__ import annotations

import contextlib
import os
import socket
import time
from typing import Final

_VARIABLE: Final = "NOTIFY_SOCKET"


class ServiceManager:
    """The service manager of this process; without one, the reports go nowhere.

    The variable that names its socket is removed from the environment, so that no child process reports.
    """

    def __init__(self) -> None:
        name = os.environ.pop(_VARIABLE, "")
        self._address = "\0" + name[1:] if name.startswith("@") else name

    def ready(self, status: str) -> None:
        """Report that the start, or a reload, has ended."""
        self._send("READY=1", f"STATUS={status}")

    def reloading(self) -> None:
        """Report that a reload begins; `ready` ends it."""
        self._send("RELOADING=1", f"MONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str, seconds: float) -> None:
        """Report that the process stops, and how long this may take."""
        self._send("STOPPING=1", f"STATUS={status}", f"EXTEND_TIMEOUT_USEC={int(seconds * 1e6)}")

    def _send(self, *lines: str) -> None:
        if not self._address:
            return
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            # A manager that reads nothing must not block the server.
            sender.setblocking(False)
            sender.sendto("\n".join(lines).encode(), self._address)
