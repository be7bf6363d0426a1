# SPDX-License-Identifier: Apache-2.0
"""The processes that call vendors' SDKs: one for each provider and credential at a time, ended when idle or late."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, NamedTuple

from qonduit.execution.v1.vendor_pb2 import VendorCall, VendorErrorKind, VendorReply
from qonduit_server.execution.socket_program import start_program
from qonduit_server.execution.stderr_log import Output, StderrLog
from qonduit_server.process import framing
from qonduit_server.process.redaction import Redaction

_PROGRAM: Final = ("-m", "qonduit_server.worker.vendor_process")
#: The time for a process to start and to import the SDK.
_START_SECONDS: Final = 180.0
#: An idle process ends after this time: an SDK may take hundreds of megabytes.
IDLE_SECONDS: Final = 60.0
#: The maximum number of idle processes; the oldest ends first.
_MAX_IDLE: Final = 8
#: The largest reply, in bytes.
_MAX_REPLY_BYTES: Final = 256 * 1024**2
_READ_BYTES: Final = 1024**2


class Account(NamedTuple):
    """A provider and a credential."""

    provider: str
    credential: str

    def __repr__(self) -> str:
        """Return the account without its credential."""
        return f"Account({self.provider!r})"


class CallLost(Exception):
    """A call has no reply, and its process is dead: it is not known what the call changed.

    Args:
        message: the reason.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.error = VendorReply.Error(message=message)


class CallNotMade(Exception):
    """A call was not made: the process did not start, or the server stops.

    Args:
        message: the reason.
        error: that of the provider, if it has one.
    """

    def __init__(self, message: str, error: VendorReply.Error | None = None) -> None:
        super().__init__(message)
        self.error = VendorReply.Error(message=message)
        if error is not None and (error.message or error.kind):
            self.error.CopyFrom(error)
        # An SDK may fail in any way before the call: nothing was sent nevertheless.
        self.error.kind = self.error.kind or VendorErrorKind.VENDOR_ERROR_KIND_NOT_SENT


class VendorProcess:
    """One process, which makes one call at a time."""

    def __init__(self, account: Account, python: str, environment: Mapping[str, str] | None, output: Output) -> None:
        self._credential = account.credential
        self.used_at = time.monotonic()
        self._process, self._socket, stderr = start_program(
            "vendor process", account.provider, [python, *_PROGRAM], output, environment
        )
        if stderr is not None:
            stderr.redaction = Redaction(account.credential)
        self.alive = True
        self.pid = self._process.pid

    def call(self, call: VendorCall, until: float) -> VendorReply:
        """Make a call.

        Args:
            call: the call.
            until: the time of the monotonic clock at which the process ends.

        Raises:
            CallLost: there is no reply, and the process is dead.
        """
        call.credential, call.until = self._credential, until
        buffer, size = framing.FrameBuffer(), 0
        try:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            self._socket.sendall(framing.pack(call))
            while True:
                self._socket.settimeout(max(0.001, until - time.monotonic()))
                piece = self._socket.recv(_READ_BYTES)
                size += len(piece)
                if not piece or size > _MAX_REPLY_BYTES:
                    break
                for body in buffer.feed(piece):
                    self.used_at = time.monotonic()
                    return VendorReply.FromString(body)
        except TimeoutError:
            self.end()
            raise CallLost("the vendor did not answer in time") from None
        except OSError:
            pass
        self.end()
        code = self._process.returncode
        raise CallLost(
            f"the process that called the vendor ended ({code})" if size <= _MAX_REPLY_BYTES else "too large"
        )

    def end(self) -> None:
        """Kill the process, and wait for its death."""
        self.alive = False
        self._process.kill()
        self._process.wait()
        self._socket.close()


class VendorProcesses:
    """Makes calls in processes. Thread-safe; the threads that call must live as long as the processes.

    Args:
        pythons: the Python of a provider's processes, by provider name; default: this one.
        environment: of the processes; default: the one of this process.
        stderr: logs their standard error.
    """

    def __init__(
        self,
        pythons: Mapping[str, str] | None = None,
        environment: Mapping[str, str] | None = None,
        stderr: StderrLog | None = None,
    ) -> None:
        self._pythons = dict(pythons or {})
        self._environment = environment
        self._output = Output(stderr, shown=False)
        self._lock = threading.Lock()
        #: Oldest first.
        self._idle: list[tuple[Account, VendorProcess]] = []
        self._busy: set[VendorProcess] = set()
        self._stopped = threading.Event()

    def call(self, account: Account, call: VendorCall, seconds: float) -> VendorReply:
        """Make a call in a process of the account. Its failure is the error of the reply."""
        try:
            with self.process(account) as process:
                return process.call(call, time.monotonic() + seconds)
        except (CallLost, CallNotMade) as failed:
            return VendorReply(error=failed.error)

    @contextmanager
    def process(self, account: Account) -> Iterator[VendorProcess]:
        """Yield a process of the account that has imported the SDK, for a call.

        Raises:
            CallNotMade: no process starts, or the SDK refuses the credential.
        """
        process = self._take(account)
        try:
            yield process
        finally:
            with self._lock:
                self._busy.discard(process)
                if process.alive and not self._stopped.is_set():
                    self._idle.append((account, process))
            self.end_idle()

    def _take(self, account: Account) -> VendorProcess:
        with self._lock:
            if self._stopped.is_set():
                raise CallNotMade("the server stops")
            for place in range(len(self._idle) - 1, -1, -1):
                if self._idle[place][0] == account:
                    _, process = self._idle.pop(place)
                    self._busy.add(process)
                    return process
        python = self._pythons.get(account.provider, sys.executable)
        try:
            process = VendorProcess(account, python, self._environment, self._output)
        except OSError as error:
            raise CallNotMade(f"the process of {account.provider} cannot start: {error}") from error
        with self._lock:
            self._busy.add(process)
        try:
            # Not part of the time limit of a call: an import may take half a minute.
            reply = process.call(VendorCall(connect=VendorCall.Connect()), time.monotonic() + _START_SECONDS)
            if not reply.HasField("error") and not self._stopped.is_set():
                return process
            raise CallNotMade(reply.error.message or "the server stops", reply.error)
        except CallLost as lost:
            raise CallNotMade(f"the process of {account.provider} does not start: {lost}") from lost
        except CallNotMade:
            process.end()
            raise
        finally:
            if not process.alive:
                with self._lock:
                    self._busy.discard(process)

    def end_idle(self, seconds: float = IDLE_SECONDS) -> None:
        """End the processes that were idle for so long, and those beyond the maximum."""
        before = time.monotonic() - seconds
        with self._lock:
            late = [each for each in self._idle if each[1].used_at <= before]
            rest = [each for each in self._idle if each[1].used_at > before]
            extra = max(0, len(rest) - _MAX_IDLE)
            late, self._idle = [*late, *rest[:extra]], rest[extra:]
        for _, process in late:
            process.end()

    def pids(self) -> Sequence[int]:
        """Return the process ids, of busy ones too."""
        with self._lock:
            return [each.pid for each in (*self._busy, *(process for _, process in self._idle))]

    def stop(self) -> None:
        """Kill all processes. Calls that are under way are lost."""
        with self._lock:
            self._stopped.set()
            ended = [*self._busy, *(process for _, process in self._idle)]
            self._idle = []
        for process in ended:
            process.end()
