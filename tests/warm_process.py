# SPDX-License-Identifier: Apache-2.0
"""Processes that have imported modules and fork on request, and handles of the processes that they fork.

A start of a program by `exec` takes a second of a processor, most of it for imports, and the tests start hundreds of
programs. A forked process runs the same function with the same arguments, variables, output and signals.
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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

#: A request: the arguments, the variables and the folder of a process.
_MOST_BYTES: Final = 1 << 20
_MOST_FILES: Final = 4


class ForkedProcess:
    """A process that a warm process has forked: the members of `subprocess.Popen` that are used.

    Attributes:
        pid: its process id.
        status: the socket on which the process that forked it sends the exit code.
        returncode: its exit code, negative for a signal; None while it runs.
    """

    def __init__(self, pid: int, status: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self.status = status
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """Return the exit code, or None while the process runs."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Wait for the end of the process and return its exit code.

        Raises:
            subprocess.TimeoutExpired: it still runs.
        """
        if self.returncode is None:
            end = select.poll()
            end.register(self.status, select.POLLIN)
            if not end.poll(None if timeout is None else timeout * 1000):
                raise subprocess.TimeoutExpired(f"process {self.pid}", timeout or 0)
        with self._lock:
            if self.returncode is None:
                # Without an exit code, its parent is dead, and the kernel kills it.
                self.returncode = int(self.status.recv(32) or -signal.SIGKILL)
                self.status.close()
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def terminate(self) -> None:
        """Send SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """Send SIGKILL."""
        self.send_signal(signal.SIGKILL)


def request_fork(to: socket.socket, request: Mapping[str, Any], files: Sequence[int]) -> ForkedProcess:
    """Request a process from a warm process, which kills it when the handle is dropped or this process ends.

    Args:
        to: a socket to the warm process; a connection to it serves for one request, a socket pair for any number.
        request: its arguments, in JSON.
        files: file descriptors for it.

    Raises:
        ConnectionError: the warm process has ended.
    """
    status, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        socket.send_fds(to, [json.dumps(request).encode()], [theirs.fileno(), *files])
    if not (answer := status.recv(32)):
        raise ConnectionError("the warm process has ended")
    return ForkedProcess(int(answer), status)


def receive_request(control: socket.socket) -> tuple[bytes, list[int]]:
    """Receive a request and its files, the socket for the answers first; an empty request means the end."""
    body, files, _, _ = socket.recv_fds(control, _MOST_BYTES, _MOST_FILES)
    return body, files


class Forks:
    """The main loop of a warm process, which has one thread.

    Args:
        control: the socket from which it reads requests, until its other end is closed.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._selector = selectors.DefaultSelector()
        self._handlers: dict[socket.socket, Callable[[], object]] = {}
        #: The process id, the process descriptor and the socket for the answers of each process.
        self._running: list[tuple[int, int, socket.socket]] = []

    def also_read(self, source: socket.socket, handler: Callable[[], object]) -> None:
        """Call a handler when a socket can be read."""
        self._handlers[source] = handler
        self._selector.register(source, selectors.EVENT_READ, handler)

    def serve(self) -> tuple[dict[str, Any], list[int]] | None:
        """Fork a process for each request.

        Returns:
            in a forked process: the request, and its files; None at the end.
        """
        self._selector.register(self._control, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if callable(key.data):
                    key.data()
                elif key.data is not None:
                    self._continue(key.data)
                elif (body := receive_request(self._control))[0]:
                    if self._fork(body[1]):
                        return json.loads(body[0]), body[1][1:]
                else:
                    return None

    def _fork(self, files: Sequence[int]) -> bool:
        """Fork; return whether this is the new process."""
        assert threading.active_count() == 1
        pid = os.fork()
        if pid == 0:
            self._close_all()
            os.close(files[0])
            random.seed()
            if numpy := sys.modules.get("numpy"):
                numpy.random.seed()
            return True
        answers, *others = files
        for each in others:
            os.close(each)
        process = pid, os.pidfd_open(pid), socket.socket(fileno=answers)
        self._running.append(process)
        self._selector.register(process[1], selectors.EVENT_READ, process)
        self._selector.register(process[2], selectors.EVENT_READ, process)
        with contextlib.suppress(ConnectionError):
            process[2].send(str(pid).encode())
        return False

    def _continue(self, process: tuple[int, int, socket.socket]) -> None:
        """Report the end of a process, or kill it because its handle is gone."""
        if process not in self._running:
            return
        pid, descriptor, answers = process
        if not select.select([descriptor], [], [], 0)[0]:
            os.kill(pid, signal.SIGKILL)
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        self._running.remove(process)
        self._selector.unregister(descriptor)
        self._selector.unregister(answers)
        os.close(descriptor)
        with answers, contextlib.suppress(ConnectionError):
            answers.send(str(code).encode())

    def _close_all(self) -> None:
        """Close what belongs to the warm process, in a new process."""
        self._selector.close()
        self._control.close()
        for source in self._handlers:
            source.close()
        for _, descriptor, answers in self._running:
            os.close(descriptor)
            answers.close()


def become(variables: Mapping[str, str], folder: str, arguments: Sequence[str]) -> None:
    """Set the variables, the folder and the arguments of a forked process."""
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(variables)
    sys.argv = list(arguments)
