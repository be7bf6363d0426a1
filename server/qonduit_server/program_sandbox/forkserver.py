# SPDX-License-Identifier: Apache-2.0
"""The fork server of an environment: imports the packages of programs once, and forks a process for each program.

It confines itself before it imports them, as a source does. It runs no source, and knows no program: a program arrives
on the socket that only its own process reads.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import importlib
import os
import random
import select
import signal
import socket
import sys
import traceback
from collections import deque
from collections.abc import Sequence
from typing import Final, NoReturn

from qonduit.execution.v1.program_pb2 import ProgramForkReply, ProgramForkRequest
from qonduit_server.languages.python.sandbox.confinement import Confinement
from qonduit_server.process import framing
from qonduit_server.program_sandbox import program_run

#: What most programs import, in this order. An environment may lack all but the first.
_PACKAGES: Final = (
    "numpy",
    "qonduit_client.client",
    "qonduit_client.qiskit",
    "scipy.optimize",
    "qiskit.circuit.library",
    "qonduit_server.json_schemas",
)
_NULL: Final = "/dev/null"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve as a fork server until the server closes the socket."""
    parser = argparse.ArgumentParser(prog="qonduit_server.program_sandbox.forkserver")
    parser.add_argument("--provider", required=True, help="the name of the environment")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--parent", type=int, required=True, help="the process id of the server")
    parser.add_argument("--cache", required=True, help="the folder of files that packages write at import")
    parser.add_argument("--readable", action="append", default=[], help="a further folder that programs may read")
    options = parser.parse_args(arguments)
    server = socket.socket(fileno=options.socket)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            confinement = Confinement(options.parent, options.cache, options.readable)
            _import_packages()
        except (OSError, ImportError) as error:
            server.sendall(framing.pack(ProgramForkReply(loaded=str(error) or type(error).__name__)))
            return os.EX_UNAVAILABLE
        _ForkServer(server, confinement).serve()
    return os.EX_OK


def _import_packages() -> None:
    """Import the packages. Raises ImportError if the client cannot be imported."""
    for name in _PACKAGES:
        try:
            importlib.import_module(name)
        except ImportError:
            if name == "qonduit_client.client":
                raise
    program_run.warm()
    # Objects alive now stay: keep the collector from touching, and thereby copying, pages shared with the programs.
    gc.collect()
    gc.freeze()


class _ForkServer:
    """The main loop: handles requests of the server and exits of programs."""

    def __init__(self, server: socket.socket, confinement: Confinement) -> None:
        self._server = server
        self._confinement = confinement
        self._buffer = framing.FrameBuffer()
        self._descriptors: deque[int] = deque()
        #: The process id of each program, by its number.
        self._programs: dict[int, int] = {}
        self._null = os.open(_NULL, os.O_RDWR)

    def serve(self) -> None:
        # Only the server decides when programs end.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        self._wakeup = os.pipe()
        for descriptor in self._wakeup:
            os.set_blocking(descriptor, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wakeup[1], warn_on_full_buffer=False)
        self._send(ProgramForkReply(loaded=""))
        poll = select.poll()
        poll.register(self._server, select.POLLIN)
        poll.register(self._wakeup[0], select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if self._wakeup[0] in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._wakeup[0], 4096)
                self._reap()
            if self._server.fileno() in ready:
                piece, descriptors, _, _ = socket.recv_fds(self._server, 65536, 64)
                if not piece:
                    return
                self._descriptors.extend(descriptors)
                for body in self._buffer.feed(piece):
                    request = ProgramForkRequest.FromString(body)
                    if request.kill:
                        self._kill(request.id)
                    else:
                        self._fork(request.id)

    def _send(self, reply: ProgramForkReply) -> None:
        self._server.sendall(framing.pack(reply))

    def _kill(self, number: int) -> None:
        # It has not been reaped, so its process id is still its own.
        if (pid := self._programs.get(number)) is not None:
            os.kill(pid, signal.SIGKILL)

    def _fork(self, number: int) -> None:
        """Fork a program; the request carried its socket."""
        link = self._descriptors.popleft()
        forkserver = os.getpid()
        try:
            pid = os.fork()
        except OSError as error:
            print(f"cannot fork: {error}", file=sys.stderr)
            pid = -1
        if pid == 0:
            self._become_program(forkserver, link)
        os.close(link)
        if pid < 0:
            self._send(ProgramForkReply(exited=ProgramForkReply.Exited(id=number, exit_code=os.EX_OSERR)))
        else:
            self._programs[number] = pid
            self._send(ProgramForkReply(forked=ProgramForkReply.Forked(id=number, pid=pid)))

    def _become_program(self, forkserver: int, link: int) -> NoReturn:
        code = os.EX_SOFTWARE
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            self._confinement.follow(forkserver)
            # What libraries write themselves is dropped: a program's own output is sent as events.
            for descriptor in (0, 1, 2):
                os.dup2(self._null, descriptor)
            for descriptor in (self._server.detach(), *self._wakeup, *self._descriptors, self._null):
                os.close(descriptor)
            random.seed()
            if numpy := sys.modules.get("numpy"):
                numpy.random.seed()
            program_run.run(link, self._confinement)
            code = os.EX_OK
        except BaseException:  # noqa: BLE001 - the process of a fault ends, and the server learns its exit code
            traceback.print_exc()
        finally:
            os._exit(code)

    def _reap(self) -> None:
        for number, pid in list(self._programs.items()):
            ended, status, used = os.wait4(pid, os.WNOHANG)
            if ended:
                del self._programs[number]
                code = os.waitstatus_to_exitcode(status)
                exited = ProgramForkReply.Exited(id=number, exit_code=code, cpu_seconds=used.ru_utime + used.ru_stime)
                self._send(ProgramForkReply(exited=exited))
