# SPDX-License-Identifier: Apache-2.0
"""Outcomes with large results: their ids are reserved and their pieces written before anything tells of them.

What was reserved stands in the event itself, so that whoever tries again goes on with it. An outcome that is not
recorded after all leaves pieces without a result, which are deleted.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final

from qonduit.execution.v1.task_pb2 import FurtherResult, ProgramSucceeded, TaskEvent
from qonduit_server.errors import StoreFault
from qonduit_server.store.database import Database
from qonduit_server.store.id_allocation import reserve_ids
from qonduit_server.store.results import buffers
from qonduit_server.store.schema import results
from qonduit_server.store.writer import FAULTS, Operation, Transaction


def given_with(succeeded: ProgramSucceeded) -> Sequence[ProgramSucceeded | FurtherResult]:
    """Return the results of an outcome, each with its buffer."""
    return (succeeded, *succeeded.further)


def given_by(event: TaskEvent) -> Sequence[ProgramSucceeded | FurtherResult]:
    """Return the results that an event brings, each with its buffer."""
    return given_with(event.program_succeeded) if event.HasField("program_succeeded") else ()


def has_buffer(given: Iterable[ProgramSucceeded | FurtherResult]) -> bool:
    """Whether one of some results is large."""
    return any(each.result.HasField("buffer") for each in given)


def is_large(event: TaskEvent) -> bool:
    """Whether an event brings a large result."""
    return has_buffer(given_by(event))


def pieces_of(event: TaskEvent) -> dict[int, int]:
    """How many pieces each large result of an event has, by the id that was reserved for it."""
    return {
        given.result.id: buffers.count_of(given.result.buffer.size_bytes)
        for given in given_by(event)
        if given.result.buffer.size_bytes
    }


def write_ahead(db: Database, event: TaskEvent) -> None:
    """Reserve ids for an event's results and write the pieces of the large ones, unless that was done before.

    Raises:
        Unavailable: the database does not answer. Called again with the same event, this goes on where it was.
        StoreFault: a buffer has not the size that its result tells: what there is of it must not pass for all.
    """
    try:
        given = given_by(event)
        if not given[0].result.id:
            ids: Sequence[int] = db.write(_RESERVE, len(given))
            for each, result_id in zip(given, ids, strict=True):
                each.result.id = result_id
        for each in given:
            size = each.result.buffer.size_bytes
            if (first := buffers.written(db, each.result.id) if size else 0) < buffers.count_of(size):
                # Each time it is asked for, it is copied.
                data = each.buffer
                if len(data) != size:
                    raise StoreFault(f"a buffer of {size} bytes came with {len(data)}")
                buffers.write_ahead(db, each.result.id, data, first)
    except FAULTS as error:
        raise StoreFault(f"a large result cannot be stored: {type(error).__name__}") from error


def forget_ids(event: TaskEvent) -> None:
    """Have an event's results get new ids: these are not the store's, or their pieces are not whole."""
    for given in given_by(event):
        given.result.id = 0


def erase(db: Database, result_ids: Collection[int]) -> None:
    """Delete the pieces of those among results that are not there. Raises Unavailable."""
    for result_id in result_ids:
        buffers.erase(db, result_id)


def _reserve(transaction: Transaction, counts: Sequence[int]) -> list[Sequence[int]]:
    ids = reserve_ids(transaction, results, sum(counts))
    ends = [sum(counts[: place + 1]) for place in range(len(counts))]
    return [ids[end - count : end] for end, count in zip(ends, counts, strict=True)]


_RESERVE: Final = Operation(_reserve, durable=False)
