# SPDX-License-Identifier: Apache-2.0
"""Calls of a vendor that are answered as a test states, and a planned submission in a real ledger."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from qonduit.execution.v1.vendor_pb2 import Idempotency, NativeCircuit, Submission, VendorCall, VendorReply
from qonduit_server.execution.remote.vendor_processes import Account, CallNotMade, VendorProcesses
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import submissions
from qonduit_server.store.jobs.submission_entries import Holder
from tests.store_fixture import Clock, claim, submit

Answer = VendorReply | Exception


class ScriptedProcesses(VendorProcesses):
    """Answers calls as a test states; `start_seconds` pass before a process has started."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self.clock = clock
        self.answers: list[Answer] = []
        self.calls: list[VendorCall] = []
        self.refusal: CallNotMade | None = None
        self.start_seconds = 0.0

    @contextmanager
    def process(self, account: Account) -> Iterator[ScriptedProcess]:  # type: ignore[override]
        """Yield a process, unless it is refused."""
        self.clock.now += timedelta(seconds=self.start_seconds)
        if self.refusal is not None:
            raise self.refusal
        yield ScriptedProcess(self)


class ScriptedProcess:
    """Answers with the next answer."""

    def __init__(self, processes: ScriptedProcesses) -> None:
        self._processes = processes

    def call(self, call: VendorCall, until: float) -> VendorReply:
        self._processes.calls.append(call)
        answer = self._processes.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


def plan(db: Database, idempotency: Idempotency) -> Holder:
    """Return the holder of a leased job with one planned part."""
    submit(db)
    (task,) = claim(db, "me")
    holder = Holder(task.job_id, task.attempt, "me")
    wanted = Submission(key="k", device="d", circuits=[NativeCircuit(text="h 0")], shots=10)
    assert submissions.plan(db, holder, [wanted], idempotency)
    return holder
