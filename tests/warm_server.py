# SPDX-License-Identifier: Apache-2.0
"""Starts `qonduit serve` by a fork of a process that has imported the server.

A start by `exec` takes over a second of a processor, most of it for imports, and the tests start more than a hundred
servers. A forked server runs the same command with the same arguments, variables, output and signals.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import selectors
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

#: A request: the arguments, the variables and the folder of a process.
_MOST_BYTES: Final = 1 << 20


class ForkedServer:
    """A server: the members of `subprocess.Popen` that tests use.

    Attributes:
        pid: its process id.
        stdout: its standard output.
        returncode: its exit code, negative for a signal; None while it runs.
    """

    def __init__(self, pid: int, stdout: IO[str], status: int) -> None:
        self.pid = pid
        self.stdout = stdout
        self.returncode: int | None = None
        self._status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or None while the server runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the server and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        # The process that forked it writes its exit code there.
        if self.returncode is None:
            end = select.poll()
            end.register(self._status, select.POLLIN)
            if not end.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired("qonduit serve", timeout or 0)
        with self._lock:
            if self.returncode is None:
                self.returncode = int(os.read(self._status, 32))
                os.close(self._status)
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the server has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


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
        return not any((Path(folder) / "sitecustomize.py").exists() for folder in _folders(variables))

    def start(self, arguments: Sequence[str], variables: Mapping[str, str], errors: IO[str]) -> ForkedServer:
        """Start a server.

        Args:
            arguments: those of `qonduit serve`.
            variables: all variables of its process.
            errors: a file for its standard error.
        """
        request = {"arguments": list(arguments), "variables": dict(variables), "folder": str(Path.cwd())}
        output, output_end = os.pipe()
        status, status_end = os.pipe()
        with self._lock:
            if self._control is None:
                self._launch()
            assert self._control is not None
            socket.send_fds(self._control, [json.dumps(request).encode()], [output_end, errors.fileno(), status_end])
            pid = int(self._control.recv(32))
        os.close(output_end)
        os.close(status_end)
        return ForkedServer(pid, os.fdopen(output), status)

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


def _fork_servers(control: socket.socket) -> dict[str, Any] | None:
    """Fork a server for each request, and write the exit code of each server to its pipe.

    Returns:
        the request, in the process of a server; None at the end.
    """
    # What `qonduit serve` imports, so that a forked server imports nothing more.
    import qonduit_server.app
    import qonduit_server.cli
    import qonduit_server.execution.dispatcher.dispatcher
    import qonduit_server.job_log
    import qonduit_server.languages.registry
    import qonduit_server.logs
    import qonduit_server.process.standard_streams
    import qonduit_server.reloading
    import qonduit_server.rpc.server
    import qonduit_server.shutdown
    import qonduit_server.store.admin.retention  # noqa: F401

    assert threading.active_count() == 1
    statuses: dict[int, tuple[int, int]] = {}
    with selectors.DefaultSelector() as selector:
        selector.register(control, selectors.EVENT_READ)
        while True:
            for key, _ in selector.select():
                if key.fileobj is not control:
                    _report_end(*statuses.pop(key.fd))
                    selector.unregister(key.fd)
                    os.close(key.fd)
                    continue
                body, files, _, _ = socket.recv_fds(control, _MOST_BYTES, 3)
                if not body:
                    return None
                output, errors, status = files
                pid = os.fork()
                if pid == 0:
                    os.dup2(output, 1)
                    os.dup2(errors, 2)
                    for each in (*files, control.detach(), *statuses, *(pipe for _, pipe in statuses.values())):
                        os.close(each)
                    request: dict[str, Any] = json.loads(body)
                    return request
                os.close(output)
                os.close(errors)
                handle = os.pidfd_open(pid)
                statuses[handle] = (pid, status)
                selector.register(handle, selectors.EVENT_READ)
                control.send(str(pid).encode())


def _folders(variables: Mapping[str, str]) -> list[str]:
    """Return the further folders of modules."""
    return [each for each in variables.get("PYTHONPATH", "").split(os.pathsep) if each]


def _report_end(pid: int, status: int) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(BrokenPipeError):
        os.write(status, str(code).encode())
    os.close(status)


def _serve(arguments: Sequence[str], variables: Mapping[str, str], folder: str) -> None:
    """Become the server."""
    from qonduit_server.cli import main

    random.seed()
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.path[1:1] = [each for each in _folders(variables) if each not in sys.path]
    sys.argv = ["qonduit", "serve", *arguments]
    main()


if __name__ == "__main__":
    if (wanted := _fork_servers(socket.socket(fileno=int(sys.argv[1])))) is not None:
        _serve(**wanted)
