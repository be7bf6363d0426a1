# SPDX-License-Identifier: Apache-2.0
"""Convert the events of running tasks to results, job events and states."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Final

from sqlalchemy import BigInteger, bindparam, update

from qonduit.execution.v1.task_pb2 import (
    FurtherResult,
    PointsDone,
    ProgramPartial,
    ProgramSucceeded,
    TaskEvent,
    TaskFinished,
)
from qonduit.v1.event_pb2 import Progress, ResultReady
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_INTERNAL, Failure
from qonduit.v1.job_pb2 import Job, ProgramRun
from qonduit.v1.result_pb2 import Result
from qonduit_server.cost_estimates import run_time_of
from qonduit_server.lifecycle import CANCELLED, CANCELLING, FAILED, LEASED, QUEUED, RUNNING, SUCCEEDED, is_terminal
from qonduit_server.store.bulk_statements import BulkInsert
from qonduit_server.store.id_allocation import expect_ids
from qonduit_server.store.jobs.attempt_times import most_seconds
from qonduit_server.store.jobs.job_sizes import SHORT_TEXT_BYTES, TEXT_BYTES, set_failure, truncate, truncate_failure
from qonduit_server.store.jobs.unit_of_work import JobChange, UnitOfWork, usage_key
from qonduit_server.store.ownership import owner_of
from qonduit_server.store.results import large_results
from qonduit_server.store.results.buffers import name_of
from qonduit_server.store.results.result_rows import MAX_FEW
from qonduit_server.store.schema import jobs, results
from qonduit_server.store.writer import Transaction

_INSERT_RESULTS: Final = BulkInsert(results, ("id", "job_id", "position", "point", "size", "result"))
_SET_MEMORY: Final = (
    update(jobs).where(jobs.c.id == bindparam("job")).values(memory_bytes=bindparam("memory", type_=BigInteger))
)
#: Maximum size of the texts of all failures of a job, in bytes: a job must fit in a response.
_FAILURES_BYTES: Final = 1024**2
#: Maximum number of results that a program run lists: a job must fit in a response, whatever its number of points.
_MAX_LISTED: Final = 100
#: Maximum size of the results that are kept in memory with the last event of their job.
_KEPT_BYTES: Final = 4096
#: The reason that a worker reports after a requested cancel.
_CANCELLED_REASON: Final = "CANCELLED"


class OutcomeRecorder:
    """Records the outcomes of running tasks in one transaction.

    The first outcome of a program is final: if a job runs again after its server was lost, a second outcome is ignored.
    So is the first outcome of each point of a program; the next attempt starts after the stored ones.

    Large results must have their ids, and their chunks must be written.

    Args:
        transaction: the transaction.
        events: all events that will be recorded, so that jobs are read and ids reserved at once.
    """

    def __init__(self, transaction: Transaction, events: Collection[TaskEvent]) -> None:
        self._unit = UnitOfWork(transaction)
        count = sum(len(large_results.event_results(event)) for event in events if not large_results.is_large(event))
        ids = expect_ids(transaction, (results, count))
        self._unit.load({event.job_id for event in events})
        self._result_ids: Iterator[int] = iter(ids(count)[0])
        self._results: list[tuple[int, int, int, int, int, bytes]] = []
        self._transaction = transaction
        #: The ids of the recorded large results.
        self.stored: set[int] = set()

    def record(self, owner: str, events: Sequence[TaskEvent]) -> set[tuple[int, int]]:
        """Record an owner's events in order; return the (job, attempt) pairs that are not leased to it."""
        refused: set[tuple[int, int]] = set()
        ended = {
            (event.job_id, event.attempt, _outcome_index(event))
            for event in events
            if event.HasField("program_succeeded") or event.HasField("program_failed")
        }
        for event in events:
            entry = self._unit.entries.get(event.job_id)
            if (
                entry is None
                or entry.owner != owner
                or entry.job.attempt != event.attempt
                or entry.job.state not in LEASED
            ):
                refused.add((event.job_id, event.attempt))
                continue
            self._record(entry, event, ended)
        return refused

    def job(self, job_id: int) -> Job:
        """Return a job as it is after the recorded events."""
        return self._unit.entries[job_id].job

    def close(self) -> None:
        """Write all results, events and job changes."""
        if self._results:
            _INSERT_RESULTS(self._transaction.connection, self._results)
        self._unit.flush(self._whole_results())

    def _whole_results(self) -> dict[int, list[bytes]]:
        """Return the results of jobs of which all are written by this transaction, if they are few and small."""
        found: dict[int, list[tuple[int, int, int, bytes]]] = {}
        for result_id, job_id, index, point, _, payload in self._results:
            found.setdefault(job_id, []).append((index, point, result_id, payload))
        return {
            job_id: [payload for *_, payload in sorted(own)]
            for job_id, own in found.items()
            if len(own) == sum(len(run.result_ids) for run in self._unit.entries[job_id].job.program_runs)
            and len(own) <= MAX_FEW
            and sum(len(payload) for *_, payload in own) <= _KEPT_BYTES
        }

    def _record(self, entry: JobChange, event: TaskEvent, ended: Collection[tuple[int, int, int]]) -> None:
        """Record an event, except the start of a program whose outcome is in the same batch."""
        kind = event.WhichOneof("event")
        if kind == "program_succeeded":
            self._record_success(entry, event.program_succeeded)
        elif kind == "points_done":
            self._record_points(entry, event.points_done)
        elif kind == "finished":
            self._record_end(entry, event.finished)
        elif kind == "progress":
            self._record_progress(entry, event.progress.progress, event.progress.message)
        elif kind == "program_failed":
            self._record_failure(entry, event.program_failed.index, event.program_failed.failure)
        elif kind == "program_started":
            index = event.program_started.index
            if (event.job_id, event.attempt, index) not in ended:
                self._record_start(entry, index)
        elif kind == "declined":
            # Claims count it against the quota of its owner, now and in later attempts.
            values = {"job": event.job_id, "memory": event.declined.memory_bytes}
            self._transaction.connection.execute(_SET_MEMORY, values)
        elif kind == "started" and event.started.message_id:
            entry.job.celery_id = event.started.message_id
            entry.changed = True
        elif kind == "interim_result":
            self._unit.append(entry, interim_result=event.interim_result)
        elif kind == "log":
            event.log.message = truncate(event.log.message, TEXT_BYTES)
            self._unit.append(entry, log=event.log)

    def _record_success(self, entry: JobChange, succeeded: ProgramSucceeded) -> None:
        run = _open_run(entry, succeeded.index)
        if run is None:
            return
        outcomes = large_results.outcome_results(succeeded)
        reserved = large_results.has_buffer(outcomes)
        run_time = run_time_of(entry.job.executed_on_id, succeeded.result)
        if run_time is not None:
            self._transaction.add_run_time(run_time)
        ids = [self._add_result(entry, run, each, reserved) for each in outcomes]
        run.state = SUCCEEDED
        _list_results(run, ids)
        self._unit.append(entry, program_run=run)
        for result_id in ids:
            self._unit.append(entry, result_ready=ResultReady(result_id=result_id, program_id=run.program_id))

    def _record_points(self, entry: JobChange, done: PointsDone) -> None:
        run = _open_run(entry, done.index)
        if run is None or done.first_point != run.points_done or not done.results:
            return
        reserved = large_results.has_buffer(done.results)
        ids = [self._add_result(entry, run, each, reserved) for each in done.results]
        points = len({each.result.point for each in done.results})
        run.points_done += points
        entry.changed = True
        _list_results(run, ids)
        ready = ResultReady(result_id=ids[0], program_id=run.program_id, points=points, first_point=done.first_point)
        self._unit.append(entry, result_ready=ready)

    def _record_partial(self, entry: JobChange, partial: ProgramPartial) -> None:
        run = _open_run(entry, partial.index)
        if run is None:
            return
        for each in partial.results:
            each.result.partial = True
            ids = [self._add_result(entry, run, each, reserved=False)]
            _list_results(run, ids)
            ready = ResultReady(result_id=ids[0], program_id=run.program_id, first_point=partial.first_point)
            self._unit.append(entry, result_ready=ready)

    def _add_result(
        self, entry: JobChange, run: ProgramRun, outcome: ProgramSucceeded | FurtherResult, reserved: bool
    ) -> int:
        """Add a result; return its id."""
        result = outcome.result
        if not reserved:
            result.id = next(self._result_ids)
        result.job_id = entry.job.id
        result.program_id = run.program_id
        if result.HasField("buffer"):
            result.buffer.name = name_of(result.id)
            self.stored.add(result.id)
        payload = result.SerializeToString()
        self._transaction.usage.stored(owner_of(entry.job), len(payload) + result.buffer.size_bytes)
        self._transaction.usage.ran(usage_key(entry.job), shots=_shots_of(result))
        self._results.append((result.id, result.job_id, run.index, result.point, len(payload), payload))
        return result.id

    def _record_failure(self, entry: JobChange, index: int, failure: Failure) -> None:
        run = _open_run(entry, index)
        if run is not None:
            run.state = FAILED
            run.failure.CopyFrom(failure)
            truncate_failure(run.failure, _failure_text_limit(entry))
            self._unit.append(entry, program_run=run)

    def _record_start(self, entry: JobChange, index: int) -> None:
        run = _open_run(entry, index)
        if run is not None and run.state == QUEUED:
            run.state = RUNNING
            self._unit.append(entry, program_run=run)

    def _record_progress(self, entry: JobChange, progress: float, message: str) -> None:
        """Record progress. The end of the work has no event of its own, because the end of the job follows."""
        if entry.job.progress < progress <= 1.0:
            entry.job.progress = progress
            entry.changed = True
            if progress < 1.0:
                self._unit.append(entry, progress=Progress(progress=progress, message=truncate(message, TEXT_BYTES)))

    def _record_end(self, entry: JobChange, finished: TaskFinished) -> None:
        job = entry.job
        seconds = finished.seconds if finished.HasField("seconds") else most_seconds(self._transaction, entry)
        self._transaction.usage.ran(usage_key(job), seconds=seconds)
        failure = finished.failure if finished.HasField("failure") else _first_failure(entry)
        if failure is None:
            self._record_progress(entry, 1.0, "")
            self._unit.move(entry, SUCCEEDED)
        elif job.state == CANCELLING and finished.failure.reason == _CANCELLED_REASON:
            for partial in finished.partial:
                self._record_partial(entry, partial)
            self._unit.set_open_programs(entry, CANCELLED)
            self._unit.move(entry, CANCELLED)
        else:
            set_failure(job, failure)
            each = Failure()
            each.CopyFrom(job.failure)
            truncate_failure(each, _failure_text_limit(entry))
            self._unit.set_open_programs(entry, FAILED, each)
            self._unit.move(entry, FAILED)


def _shots_of(result: Result) -> int:
    """Return the number of shots that ran for a result: for values, those of all values."""
    return result.shots or sum(result.expectation_values.shots)


def _failure_text_limit(entry: JobChange) -> int:
    """Return the maximum size of one program's failure text: a response contains those of all programs of a job."""
    return max(SHORT_TEXT_BYTES, min(TEXT_BYTES, _FAILURES_BYTES // len(entry.job.program_runs)))


def _outcome_index(event: TaskEvent) -> int:
    return event.program_succeeded.index if event.HasField("program_succeeded") else event.program_failed.index


def _open_run(entry: JobChange, index: int) -> ProgramRun | None:
    """Return the run of a program that has not ended; None if it has, or if the index is invalid."""
    if not 0 <= index < len(entry.job.program_runs):
        return None
    run = entry.job.program_runs[index]
    return None if is_terminal(run.state) else run


def _list_results(run: ProgramRun, ids: Sequence[int]) -> None:
    run.result_ids.extend(ids[: max(0, _MAX_LISTED - len(run.result_ids))])


def _first_failure(entry: JobChange) -> Failure | None:
    """Return the first failure of a job whose task ended normally; None if all programs succeeded."""
    for run in entry.job.program_runs:
        if run.state == FAILED:
            return run.failure
        if run.state != SUCCEEDED:
            return Failure(
                category=FAILURE_CATEGORY_INTERNAL,
                reason="PROGRAM_NOT_RUN",
                message=f"the worker ended the task without running program {run.index}, and reported no reason",
            )
    return None
