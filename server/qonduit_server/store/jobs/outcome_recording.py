# SPDX-License-Identifier: Apache-2.0
"""How the events of running tasks become results, job events and states."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramSucceeded, TaskEvent, TaskFinished
from qonduit.v1.event_pb2 import Progress, ResultReady
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_INTERNAL, Failure
from qonduit.v1.job_pb2 import ProgramRun
from qonduit_server.lifecycle import CANCELLED, CANCELLING, FAILED, LEASED, QUEUED, RUNNING, SUCCEEDED, is_terminal
from qonduit_server.store.bulk_statements import BulkInsert
from qonduit_server.store.id_allocation import new_ids
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork
from qonduit_server.store.results import large_results
from qonduit_server.store.results.buffers import name_of
from qonduit_server.store.schema import results
from qonduit_server.store.writer import Transaction

_INSERT_RESULTS: Final = BulkInsert(results, ("id", "job_id", "position", "size", "result"))
#: The longest text of an event, and what the texts of all failures of a job may have together, in bytes: no event and
#: no job may be larger than a response.
_TEXT_BYTES: Final = 8192
_FAILURES_BYTES: Final = 1024**2
#: What a failure may have in any case.
_FEW_BYTES: Final = 128
#: The reason with which a worker says that it stopped because it was told to.
_CANCELLED_REASON: Final = "CANCELLED"


class OutcomeRecorder:
    """What one transaction stores of running tasks.

    The first outcome of a program stands: when a job is run again after its server was lost, what had ended before the
    loss stays as it was, and the second outcome is ignored.

    Large results have their ids, and their pieces are there.

    Args:
        events: all events that will be taken, so that jobs are read and ids reserved at once.
    """

    def __init__(self, transaction: Transaction, events: Collection[TaskEvent]) -> None:
        self._ledger = UnitOfWork(transaction)
        self._ledger.load({event.job_id for event in events})
        given = sum(len(large_results.given_by(event)) for event in events if not large_results.is_large(event))
        self._result_ids: Iterator[int] = iter(new_ids(transaction, (results, given))[0])
        self._results: list[tuple[int, int, int, int, bytes]] = []
        self._transaction = transaction
        #: The large results that were taken, by their ids.
        self.stored: set[int] = set()

    def take(self, owner: str, events: Sequence[TaskEvent]) -> set[tuple[int, int]]:
        """Take an owner's events, in order; return the (job, attempt) pairs that are not leased to it."""
        refused: set[tuple[int, int]] = set()
        ended = {
            (event.job_id, event.attempt, _outcome_index(event))
            for event in events
            if event.HasField("program_succeeded") or event.HasField("program_failed")
        }
        for event in events:
            entry = self._ledger.entries.get(event.job_id)
            if (
                entry is None
                or entry.owner != owner
                or entry.job.attempt != event.attempt
                or entry.job.state not in LEASED
            ):
                refused.add((event.job_id, event.attempt))
                continue
            kind = event.WhichOneof("event")
            if kind == "program_succeeded":
                self._succeeded(entry, event.program_succeeded)
            elif kind == "finished":
                self._finished(entry, event.finished)
            elif kind == "progress":
                self._progress(entry, event.progress.progress, event.progress.message)
            elif kind == "program_failed":
                self._failed(entry, event.program_failed.index, event.program_failed.failure)
            elif kind == "program_started":
                index = event.program_started.index
                # Nobody needs to hear that a program began when its outcome is told in the same breath.
                if (event.job_id, event.attempt, index) not in ended:
                    self._started(entry, index)
            elif kind == "log":
                event.log.message = _cut(event.log.message, _TEXT_BYTES)
                self._ledger.append(entry, log=event.log)
        return refused

    def close(self) -> None:
        """Write everything."""
        if self._results:
            _INSERT_RESULTS(self._transaction.connection, self._results)
        self._ledger.flush()

    def _succeeded(self, entry: JobChange, succeeded: ProgramSucceeded) -> None:
        run = _open_run(entry, succeeded.index)
        if run is None:
            return
        gave = large_results.given_with(succeeded)
        reserved = large_results.has_buffer(gave)
        ids = [self._result(entry, run, each, reserved) for each in gave]
        run.state = SUCCEEDED
        run.result_ids.extend(ids)
        self._ledger.append(entry, program_run=run)
        for result_id in ids:
            self._ledger.append(entry, result_ready=ResultReady(result_id=result_id, program_id=run.program_id))

    def _result(
        self, entry: JobChange, run: ProgramRun, given: ProgramSucceeded | FurtherResult, reserved: bool
    ) -> int:
        """Take a result; return its id."""
        result = given.result
        if not reserved:
            result.id = next(self._result_ids)
        result.job_id = entry.job.id
        result.program_id = run.program_id
        if result.HasField("buffer"):
            result.buffer.name = name_of(result.id)
            self.stored.add(result.id)
        payload = result.SerializeToString()
        self._results.append((result.id, result.job_id, run.index, len(payload), payload))
        return result.id

    def _failed(self, entry: JobChange, index: int, failure: Failure) -> None:
        run = _open_run(entry, index)
        if run is not None:
            run.state = FAILED
            run.failure.CopyFrom(failure)
            _shorten(run.failure, _share(entry))
            self._ledger.append(entry, program_run=run)

    def _started(self, entry: JobChange, index: int) -> None:
        run = _open_run(entry, index)
        if run is not None and run.state == QUEUED:
            run.state = RUNNING
            self._ledger.append(entry, program_run=run)

    def _progress(self, entry: JobChange, progress: float, message: str) -> None:
        if entry.job.progress < progress <= 1.0:
            entry.job.progress = progress
            self._ledger.append(entry, progress=Progress(progress=progress, message=_cut(message, _TEXT_BYTES)))

    def _finished(self, entry: JobChange, finished: TaskFinished) -> None:
        job = entry.job
        failure = finished.failure if finished.HasField("failure") else _first_failure(entry)
        if failure is None:
            self._progress(entry, 1.0, "")
            self._ledger.move(entry, SUCCEEDED)
        elif job.state == CANCELLING and finished.failure.reason == _CANCELLED_REASON:
            self._ledger.settle_programs(entry, CANCELLED)
            self._ledger.move(entry, CANCELLED)
        else:
            job.failure.CopyFrom(failure)
            _shorten(job.failure, _TEXT_BYTES)
            each = Failure()
            each.CopyFrom(job.failure)
            _shorten(each, _share(entry))
            self._ledger.settle_programs(entry, FAILED, each)
            self._ledger.move(entry, FAILED)


def _share(entry: JobChange) -> int:
    """How long the text of one program's failure may be: a job is sent whole, with those of all its programs."""
    return max(_FEW_BYTES, min(_TEXT_BYTES, _FAILURES_BYTES // len(entry.job.program_runs)))


def _shorten(failure: Failure, size: int) -> None:
    failure.message = _cut(failure.message, size)
    failure.reason = _cut(failure.reason, _FEW_BYTES)
    failure.provider_code = _cut(failure.provider_code, _FEW_BYTES)


def _cut(text: str, size: int) -> str:
    """Return a text of at most so many bytes; three dots mark a cut."""
    if len(text) * 4 <= size or len(data := text.encode()) <= size:
        return text
    return data[: size - 3].decode(errors="ignore") + "..."


def _outcome_index(event: TaskEvent) -> int:
    return event.program_succeeded.index if event.HasField("program_succeeded") else event.program_failed.index


def _open_run(entry: JobChange, index: int) -> ProgramRun | None:
    """Return the run of a program that has not ended; None when it has, or when there is no such program."""
    if not 0 <= index < len(entry.job.program_runs):
        return None
    run = entry.job.program_runs[index]
    return None if is_terminal(run.state) else run


def _first_failure(entry: JobChange) -> Failure | None:
    """Return why a job failed whose task ended by itself, or None when all of its programs succeeded."""
    for run in entry.job.program_runs:
        if run.state == FAILED:
            return run.failure
        if run.state != SUCCEEDED:
            return Failure(
                category=FAILURE_CATEGORY_INTERNAL,
                reason="PROGRAM_NOT_RUN",
                message=f"program {run.index} of the job was never run, and its worker did not say why",
            )
    return None
