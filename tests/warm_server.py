# SPDX-License-Identifier: Apache-2.0
"""Starts `qonduit serve` by a fork of a process that has imported the server.

A start by `exec` takes over a second of a processor, most of it for imports, and the tests start more than a hundred
servers. A forked server runs the same command with the same arguments, variables, output and signals.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from tests import warm_workers
from tests.warm_process import ForkedProcess, Forks, become, request_fork

#: What `qonduit serve` imports late.
_MODULES: Final = (
    "email.parser",
    "grpc._utilities",
    "qonduit_server.app",
    "qonduit_server.cli",
    "qonduit_server.execution.dispatcher.dispatcher",
    "qonduit_server.execution.local.interactive_pools",
    "qonduit_server.execution.local.local_executor",
    "qonduit_server.execution.local.translator",
    "qonduit_server.execution.remote.device_listing",
    "qonduit_server.execution.remote.remote_executor",
    "qonduit_server.execution.wrapping_executor",
    "qonduit_server.job_log",
    "qonduit_server.languages.registry",
    "qonduit_server.logs",
    "qonduit_server.process.service_manager",
    "qonduit_server.process.standard_streams",
    "qonduit_server.reloading",
    "qonduit_server.rpc.auth.static_tokens",
    "qonduit_server.rpc.server",
    "qonduit_server.shutdown",
    "qonduit_server.store.admin.command_database",
    "qonduit_server.store.admin.retention",
    "qonduit_server.store.server_database",
    "sqlalchemy.dialects.postgresql.psycopg",
)


class ForkedServer(ForkedProcess):
    """A server.

    Attributes:
        stdout: its standard output.
    """

    def __init__(self, process: ForkedProcess, stdout: IO[str]) -> None:
        super().__init__(process.pid, process.status)
        self.stdout = stdout


class WarmServers:
    """Starts servers. The process that forks them starts with the first one."""

    def __init__(self) -> None:
        self._control: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()

    def can_start(self, variables: Mapping[str, str]) -> bool:
        """Return whether these variables change no module that a server imports; gRPC reads its own when imported."""
        if any(variables[name] != os.environ.get(name) for name in variables if name.startswith("GRPC_")):
            return False
        return not warm_workers.changes_python(variables)

    def start(self, arguments: Sequence[str], variables: Mapping[str, str], errors: IO[str]) -> ForkedServer:
        """Start a server.

        Args:
            arguments: those of `qonduit serve`.
            variables: all variables of its process.
            errors: a file for its standard error.
        """
        request = {"arguments": list(arguments), "variables": dict(variables), "folder": str(Path.cwd())}
        output, output_end = os.pipe()
        try:
            with self._lock:
                if self._control is None:
                    self._launch()
                assert self._control is not None
                process = request_fork(self._control, request, [output_end, errors.fileno()])
        finally:
            os.close(output_end)
        return ForkedServer(process, os.fdopen(output))

    def _launch(self) -> None:
        self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.warm_server", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            cwd=Path(__file__).parents[1],
        )
        theirs.close()

    def close(self) -> None:
        """End the process that forks; servers that still run continue."""
        if self._control is not None and self._process is not None:
            self._control.close()
            self._process.wait(60)


@contextlib.contextmanager
def warm_servers() -> Iterator[WarmServers]:
    """Make servers start by a fork, and end the process that forks them."""
    servers = WarmServers()
    try:
        yield servers
    finally:
        servers.close()


def _import_server() -> None:
    """Import what `qonduit serve` imports, so that a forked server imports nothing more."""
    gc.disable()
    for module in _MODULES:
        importlib.import_module(module)
    gc.freeze()
    gc.enable()


def _serve(request: Mapping[str, Any], output: int, errors: int) -> None:
    """Become the server."""
    from qonduit_server.cli import main
    from qonduit_server.execution import socket_program

    os.dup2(output, 1)
    os.dup2(errors, 2)
    os.close(output)
    os.close(errors)
    session, router = dict(os.environ), warm_workers.address(os.getppid())
    variables = request["variables"]
    become(variables, request["folder"], ["qonduit", "serve", *request["arguments"]])
    warm_workers.add_folders(variables)
    socket_program.launch = warm_workers.launcher(router, socket_program.launch, session)
    main()


if __name__ == "__main__":
    _import_server()
    forks = Forks(socket.socket(fileno=int(sys.argv[1])))
    warm_workers.Router().read_by(forks)
    if (wanted := forks.serve()) is not None:
        _serve(wanted[0], *wanted[1])
