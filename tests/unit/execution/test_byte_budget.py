# SPDX-License-Identifier: Apache-2.0
"""The bytes that wait for the store, and the bytes of one transaction, are bounded."""

from __future__ import annotations

import threading

from qonduit.execution.v1.task_pb2 import ProgramSucceeded, TaskEvent, TaskFinished
from qonduit.v1.result_pb2 import BufferReference, Result
from qonduit_server.execution.dispatcher.byte_budget import ByteBudget, first_of, weight


def gave(size: int) -> TaskEvent:
    """Return a result with rows of `size` bytes."""
    result = Result(buffer=BufferReference(size_bytes=size))
    return TaskEvent(program_succeeded=ProgramSucceeded(result=result))


def test_batches_end_by_number_or_by_bytes_and_hold_at_least_one_event() -> None:
    small, large = TaskEvent(finished=TaskFinished()), gave(1000)
    assert first_of([small] * 5, 3, 10) == (3, 0)
    assert first_of([large, small, large], 10, 10) == (1, weight(large))
    assert first_of([small, large, large, large], 10, 2 * weight(large)) == (3, 2 * weight(large))
    further = gave(10)
    further.program_succeeded.further.add(result=large.program_succeeded.result)
    assert weight(further) > weight(large) + 10


def test_a_full_budget_blocks_producers_until_bytes_are_freed_or_recording_ends() -> None:
    byte_budget = ByteBudget(most=500)
    byte_budget.acquire([gave(1000)])
    byte_budget.acquire([TaskEvent(finished=TaskFinished())])  # not a result: never waits
    for let_go in (lambda: byte_budget.release(weight(gave(1000))), byte_budget.lift):
        taken = threading.Event()

        def bring(taken: threading.Event = taken) -> None:
            byte_budget.acquire([gave(1000)])
            taken.set()

        thread = threading.Thread(target=bring)
        thread.start()
        assert not taken.wait(0.1)
        let_go()
        assert taken.wait(100)
        thread.join()
