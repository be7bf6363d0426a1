# SPDX-License-Identifier: Apache-2.0
"""The standard error of processes is logged, up to a bounded rate."""

from __future__ import annotations

import os
import select
from collections.abc import Iterator
from queue import SimpleQueue

import pytest

from qonduit_server.execution.stderr_log import StderrLog
from qonduit_server.process.redaction import Redaction

PATIENCE = 60.0


class Recorded:
    """A log that the test reads."""

    def __init__(self) -> None:
        self.records: SimpleQueue[tuple[str, str, int, str, int]] = SimpleQueue()
        self.log = StderrLog(lambda *record: self.records.put(record))

    def next(self) -> tuple[str, str, int, str, int]:
        return self.records.get(timeout=PATIENCE)


@pytest.fixture
def recorded() -> Iterator[Recorded]:
    made = Recorded()
    made.log.start()
    yield made
    made.log.stop()  # a second time does nothing


def test_lines_written_one_by_one_are_one_record(recorded: Recorded) -> None:
    one, writing = recorded.log.open("worker", "IBM")
    one.pid = 42
    for line in (b"Traceback\n", b"  line 1\n", b"ValueError: \xff\n"):
        os.write(writing, line)
    os.close(writing)
    assert recorded.next() == ("worker", "IBM", 42, "Traceback\n  line 1\nValueError: \ufffd", 0)


def test_a_line_without_an_end_is_logged_all_the_same(recorded: Recorded) -> None:
    one, writing = recorded.log.open("fork server", "AWS")
    one.pid = 7
    os.write(writing, b"half a line")
    assert recorded.next() == ("fork server", "AWS", 7, "half a line", 0)
    os.close(writing)


def test_a_flood_neither_stops_its_process_nor_fills_the_log(recorded: Recorded) -> None:
    _, writing = recorded.log.open("worker", "IBM")
    for _ in range(4000):  # 4 MB, far more than a pipe holds
        os.write(writing, b"x" * 999 + b"\n")
    os.close(writing)
    recorded.log.stop()
    texts, dropped = [], 0
    while not recorded.records.empty():
        _, _, _, text, left_out = recorded.next()
        texts.append(text)
        dropped += left_out
    assert max(len(text) for text in texts) <= 8192
    assert sum(len(text) for text in texts) < 200_000
    assert 3_800_000 < dropped < 4_000_000


def test_the_pipe_of_a_dead_process_is_closed_although_a_child_holds_it(recorded: Recorded) -> None:
    one, writing = recorded.log.open("worker", "IBM")
    os.write(writing, b"last words")
    recorded.log.ended(one)
    assert recorded.next()[3] == "last words"
    poll = select.poll()
    poll.register(writing, 0)
    assert poll.poll(PATIENCE * 1000) == [(writing, select.POLLERR)], "the pipe has no reader"
    os.close(writing)


def test_output_before_the_end_is_logged_at_the_end() -> None:
    made = Recorded()
    _, writing = made.log.open("worker", "IBM")
    os.write(writing, b"early")
    made.log.start()
    made.log.stop()
    assert made.next()[3] == "early"
    os.close(writing)


def test_the_credential_of_a_process_is_removed_also_if_it_arrives_in_two_parts(recorded: Recorded) -> None:
    one, writing = recorded.log.open("worker", "VENDOR")
    one.redaction = Redaction("vendor-secret")
    for part in (b"using vendor-secret, then vendor-", b"secret again\n"):
        os.write(writing, part)
    os.close(writing)
    assert recorded.next()[3] == "using *************, then ************* again"
