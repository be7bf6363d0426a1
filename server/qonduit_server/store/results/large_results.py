# SPDX-License-Identifier: Apache-2.0
"""Large results: reserve their ids and write their chunks before their outcome is recorded.

The event itself holds the reserved ids, so that a retry resumes with them. An outcome that is not recorded leaves
orphaned chunks, which are deleted later.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramSucceeded, TaskEvent
from qonduit_server.errors import StoreFault
from qonduit_server.store.database import Database
from qonduit_server.store.database_errors import FAULTS
from qonduit_server.store.id_allocation import reserve_ids
from qonduit_server.store.results import buffers
from qonduit_server.store.schema import results
from qonduit_server.store.writer import Operation, Transaction


def outcome_results(succeeded: ProgramSucceeded) -> Sequence[ProgramSucceeded | FurtherResult]:
    """Return the results of an outcome, each with its buffer."""
    return (succeeded, *succeeded.further) if succeeded.HasField("result") else ()


def event_results(event: TaskEvent) -> Sequence[ProgramSucceeded | FurtherResult]:
    """Return the results of an event, each with its buffer."""
    if event.HasField("program_succeeded"):
        return outcome_results(event.program_succeeded)
    if event.HasField("points_done"):
        return event.points_done.results
    if event.HasField("finished"):
        return [each for partial in event.finished.partial for each in partial.results]
    return ()


def has_buffer(outcomes: Iterable[ProgramSucceeded | FurtherResult]) -> bool:
    """Return whether one of the results has a buffer."""
    return any(each.result.HasField("buffer") for each in outcomes)


def is_large(event: TaskEvent) -> bool:
    """Return whether an event has a large result."""
    return has_buffer(event_results(event))


def chunks_of(event: TaskEvent) -> dict[int, int]:
    """Return the number of chunks of each large result of an event, by its reserved id."""
    return {
        each.result.id: buffers.count_of(each.result.buffer.size_bytes)
        for each in event_results(event)
        if each.result.buffer.size_bytes
    }


def write_ahead(db: Database, event: TaskEvent) -> None:
    """Reserve ids for an event's results and write the chunks of large results, unless that was done before.

    Raises:
        Unavailable: the database does not answer; a retry with the same event resumes where it stopped.
        StoreFault: the size of a buffer differs from the size in its result, so the buffer is incomplete.
    """
    try:
        outcomes = event_results(event)
        if not outcomes[0].result.id:
            ids: Sequence[int] = db.write(_RESERVE, len(outcomes))
            for each, result_id in zip(outcomes, ids, strict=True):
                each.result.id = result_id
        for each in outcomes:
            size = each.result.buffer.size_bytes
            if (first := buffers.written(db, each.result.id) if size else 0) < buffers.count_of(size):
                # Each access to the field copies it.
                data = each.buffer
                if len(data) != size:
                    raise StoreFault(f"the buffer must have {size} bytes, got {len(data)}")
                buffers.write_ahead(db, each.result.id, data, first)
    except FAULTS as error:
        raise StoreFault(f"a large result cannot be stored: {type(error).__name__}") from error


def reset_ids(event: TaskEvent) -> None:
    """Clear the ids of an event's results, if the store did not assign them or chunks are missing."""
    for each in event_results(event):
        each.result.id = 0


def erase(db: Database, result_ids: Collection[int]) -> None:
    """Delete the chunks of missing results. Raises Unavailable."""
    for result_id in result_ids:
        buffers.erase(db, result_id)


def _reserve(transaction: Transaction, counts: Sequence[int]) -> list[Sequence[int]]:
    ids = reserve_ids(transaction, results, sum(counts))
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [ids[end - count : end] for end, count in zip(ends, counts, strict=True)]


_RESERVE: Final = Operation(_reserve, durable=False)
