# SPDX-License-Identifier: Apache-2.0
"""The fork server (`python -m qonduit_server.worker.forkserver`): loads one SDK once and forks workers.

It runs with the Python environment of the provider's SDK, reports the provider's description at once, and loads the SDK
on request. Forking a loaded process takes tens of milliseconds instead of seconds. It has one thread, so that forking
is safe, and exits with its workers when the server closes its socket or dies.
"""

from __future__ import annotations

import argparse
import contextlib
import faulthandler
import gc
import json
import os
import random
import resource
import select
import signal
import socket
import sys
import time
import traceback
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, NoReturn

from qonduit.execution.v1.worker_pb2 import (
    Exited,
    Fork,
    Forked,
    ForkServerReply,
    ForkServerRequest,
    Loaded,
    ProviderDescription,
)
from qonduit.v1.provider_pb2 import Provider as ProviderMessage
from qonduit_server.errors import ProviderError
from qonduit_server.process import framing, parent_death
from qonduit_server.process.core_dumps import forbid_core_dumps
from qonduit_server.process.cores import usable_cores
from qonduit_server.providers import registry
from qonduit_server.providers.provider import SimulatorProvider, limit_task_memory, offer_fake_backends
from qonduit_server.worker import loop
from qonduit_server.worker.assembly import RunnerOptions, describe_provider, make_runner

#: Defaults set before the SDK is imported; existing values take precedence. OpenMP and Rayon do not know the CPU quota
#: of a container, waiting threads would spin on cores that other workers need, and BLAS threads do not survive a fork.
_ENVIRONMENT: Final = {
    "OMP_NUM_THREADS": str(usable_cores()),
    "OMP_WAIT_POLICY": "PASSIVE",
    "OPENBLAS_NUM_THREADS": "1",
    "RAYON_NUM_THREADS": str(usable_cores()),
}
#: The kernel kills the process with the highest score, from 0 to 1000: its share of the memory plus this value.
_OOM_SCORE: Final = 500
_WORST_OOM_SCORE: Final = 1000

#: Loads a provider's SDK; returns the function that a worker calls to run tasks, and the maximum number of tasks a
#: call. Without a provider, workers only translate.
RunnerOf = Callable[[SimulatorProvider | None], tuple[loop.Run, int]]
#: The maximum number of small tasks in one call of the SDK: what the server sends to a worker ahead.
_MAX_TOGETHER: Final = 16


def main(
    arguments: Sequence[str] | None = None,
    provider_of: Callable[[str], SimulatorProvider] = registry.get,
    runner_of: RunnerOf | None = None,
) -> int:
    """Serve as a fork server until the server closes the socket."""
    parser = argparse.ArgumentParser(
        prog="qonduit_server.worker.forkserver", description="Started by the server; not for direct use."
    )
    parser.add_argument("--provider", required=True, help="the provider's name; empty: only translate")
    parser.add_argument("--socket", type=int, required=True, help="file descriptor of the socket to the server")
    parser.add_argument("--languages", type=json.loads, default={}, help="the fields of RunnerOptions, as JSON")
    parser.add_argument("--task-memory", type=int, default=0, help="memory limit of a task, in bytes; 0: no limit")
    parser.add_argument("--fake-backends", default="default", help="the fake backends of IBM to describe")
    options = parser.parse_args(arguments)
    # The parent may be an operator's wrapper: the wrapper is tied to the server, and this process to the wrapper.
    parent_death.set_death_signal(os.getppid())
    limit_task_memory(options.task_memory)
    offer_fake_backends(options.fake_backends.split(","))
    faulthandler.enable()  # if an SDK crashes, its stack goes to stderr, which the server logs
    set_library_defaults()
    server = socket.socket(fileno=options.socket)
    with contextlib.suppress(BrokenPipeError, ConnectionResetError):
        try:
            provider = provider_of(options.provider) if options.provider else None
        except ProviderError as error:
            missing = ProviderDescription(provider=ProviderMessage(name=options.provider), unavailable=error.message)
            server.sendall(framing.pack(ForkServerReply(description=missing)))
            server.recv(1)
            return os.EX_UNAVAILABLE
        runner_options = RunnerOptions(**options.languages)
        _ForkServer(
            server,
            provider,
            runner_of or (lambda found: (make_runner(found, runner_options), _MAX_TOGETHER)),
            runner_options,
        ).serve()
    return os.EX_OK


def set_library_defaults() -> None:
    """Set the variables that the libraries of SDKs read when they are imported."""
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)


class _ForkServer:
    """The main loop: handles requests of the server and exits of children."""

    def __init__(
        self,
        server: socket.socket,
        provider: SimulatorProvider | None,
        runner_of: RunnerOf,
        options: RunnerOptions,
    ) -> None:
        self._server = server
        self._options = options
        self._provider = provider
        self._runner_of = runner_of
        self._run: loop.Run | None = None
        self._batch_size = 1
        self._buffer = framing.FrameBuffer()
        self._descriptors: deque[int] = deque()
        self._children: dict[int, int] = {}

    def serve(self) -> None:
        # Ctrl-C, a closed terminal and a service manager's SIGTERM reach every process of the group; only the server
        # decides when tasks end.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_IGN)
        wakeup_read, wakeup_write = os.pipe()
        os.set_blocking(wakeup_read, False)
        os.set_blocking(wakeup_write, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(wakeup_write, warn_on_full_buffer=False)
        self._wakeup = (wakeup_read, wakeup_write)
        provider = self._provider
        description = describe_provider(provider, self._options) if provider else ProviderDescription()
        # The credentials of vendors are for the processes that call them.
        self._takes_credentials = description.provider.with_token and not description.HasField("vendor")
        self._send(ForkServerReply(description=description))
        poll = select.poll()
        poll.register(self._server, select.POLLIN)
        poll.register(wakeup_read, select.POLLIN)
        while True:
            ready = {descriptor for descriptor, _ in poll.poll()}
            if wakeup_read in ready:
                with contextlib.suppress(BlockingIOError):
                    os.read(wakeup_read, 4096)
                self._reap()
            if self._server.fileno() in ready:
                piece, descriptors, _, _ = socket.recv_fds(self._server, 65536, 16)
                if not piece:
                    return
                self._descriptors.extend(descriptors)
                for body in self._buffer.feed(piece):
                    request = ForkServerRequest.FromString(body)
                    if request.HasField("fork"):
                        self._fork(request.fork)
                    elif self._run is None:
                        self._load()

    def _send(self, reply: ForkServerReply) -> None:
        self._server.sendall(framing.pack(reply))

    def _load(self) -> loop.Run | None:
        began = time.monotonic()
        # An import makes a million objects that stay: traversing them takes a tenth of its time.
        gc.disable()
        try:
            self._run, self._batch_size = self._runner_of(self._provider)
        except (ProviderError, ImportError, OSError) as error:
            self._send(ForkServerReply(loaded=Loaded(seconds=time.monotonic() - began, error=str(error))))
            return None
        finally:
            gc.enable()
        # Objects alive now stay: keep the collector from touching, and thereby copying, pages shared with the workers.
        gc.collect()
        gc.freeze()
        self._send(ForkServerReply(loaded=Loaded(seconds=time.monotonic() - began)))
        return self._run

    def _fork(self, request: Fork) -> None:
        """Fork a worker; the request carried its socket, the read end of its token pipe and its standard error."""
        link, tokens, errors = (self._descriptors.popleft() for _ in range(3))
        try:
            run = self._run or self._load()
            forkserver = os.getpid()
            pid = os.fork() if run is not None else -1
        except OSError as error:
            print(f"cannot fork: {error}", file=sys.stderr)
            pid = -1
        if pid == 0:
            assert run is not None
            self._become_worker(forkserver, link, tokens, errors, request.memory_limit_bytes, run)
        for descriptor in (link, tokens, errors):
            os.close(descriptor)
        if pid < 0:
            self._send(ForkServerReply(exited=Exited(worker_id=request.worker_id, exit_code=os.EX_OSERR)))
        else:
            self._children[pid] = request.worker_id
            self._send(ForkServerReply(forked=Forked(worker_id=request.worker_id, pid=pid)))

    def _become_worker(
        self, forkserver: int, link: int, tokens: int, errors: int, memory_limit_bytes: int, run: loop.Run
    ) -> NoReturn:
        code = os.EX_SOFTWARE
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            parent_death.set_death_signal(forkserver)
            os.dup2(errors, sys.stderr.fileno())
            os.close(errors)
            for descriptor in (self._server.detach(), *self._wakeup, *self._descriptors):
                os.close(descriptor)
            _reseed()
            _prefer_for_oom_kill()
            if self._takes_credentials:
                forbid_core_dumps()
            if memory_limit_bytes:
                _limit_memory(memory_limit_bytes)
            with socket.socket(fileno=link) as server:
                loop.serve(server, tokens, run, self._batch_size, getattr(run, "joins", None))
            code = os.EX_OK
        finally:
            if code:
                traceback.print_exc()
            sys.stderr.flush()
            os._exit(code)

    def _reap(self) -> None:
        """Report workers that exited. Other children are not reaped: an SDK may have started them."""
        for pid in list(self._children):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                code = os.waitstatus_to_exitcode(status)
                self._send(ForkServerReply(exited=Exited(worker_id=self._children.pop(pid), exit_code=code)))


def _reseed() -> None:
    """Reseed the random generators: all workers are forked with the same state."""
    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()


def _prefer_for_oom_kill() -> None:
    """Make the kernel's OOM killer prefer a worker over the server: a worker's task can be retried."""
    with contextlib.suppress(OSError, ValueError):  # not Linux
        score = Path("/proc/self/oom_score_adj")
        score.write_text(str(min(_WORST_OOM_SCORE, int(score.read_text()) + _OOM_SCORE)))


def _limit_memory(limit_bytes: int) -> None:
    """Limit the growth of this process's address space."""
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123
        now = int(statm.read().split()[0]) * resource.getpagesize()
    _, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = now + limit_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


if __name__ == "__main__":
    sys.exit(main())
