# SPDX-License-Identifier: Apache-2.0
"""The thread that writes the log: writing a line never blocks, and dropped lines are counted."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from io import FileIO

import pytest

from qonduit_server.process.line_writer import LineWriter

PATIENCE = 60.0


@pytest.fixture
def pipe() -> Iterator[tuple[FileIO, FileIO]]:
    """Yield the reading and the writing end of a pipe."""
    reading, writing = os.pipe()
    with FileIO(reading) as one, FileIO(writing, "w") as other:
        yield one, other


def fill(writing: FileIO) -> None:
    """Write empty lines until the pipe is full."""
    os.set_blocking(writing.fileno(), False)
    while writing.write(b"\n" * 4096) is not None:
        pass
    while writing.write(b"\n") is not None:
        pass
    os.set_blocking(writing.fileno(), True)


def read_lines(reading: FileIO, last: str) -> list[str]:
    """Read lines until one starts with `last`."""
    data = b""
    while not (data.endswith(b"\n") and data.splitlines()[-1].startswith(last.encode())):
        data += os.read(reading.fileno(), 1 << 16)
    return data.decode().splitlines()


def test_lines_are_written_in_the_order_in_which_they_came(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    writer = LineWriter(writing.fileno(), "log")
    lines = [f"line {number} ü\udcff" for number in range(1000)]
    for line in lines:
        writer.write(line)
    assert writer.flush(PATIENCE)
    assert read_lines(reading, "line 999 ü\\udcff") == [line.replace("\udcff", "\\udcff") for line in lines]


def test_a_stalled_reader_blocks_no_writer_and_gets_the_number_of_dropped_lines(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    fill(writing)
    kept_bytes = 100 * 1024
    writer = LineWriter(writing.fileno(), "log", lambda count: f"dropped {count}", kept_bytes)
    done = threading.Event()

    def write() -> None:
        for number in range(10_000):
            writer.write(f"{number:99}")
        done.set()

    threading.Thread(target=write, daemon=True).start()
    assert done.wait(PATIENCE)
    # The queue fills up to its bound, and the rest is dropped.
    assert writer.dropped == 10_000 - kept_bytes // 100
    assert not writer.flush(0)
    lines = [line for line in read_lines(reading, "dropped") if line]
    assert lines[-1] == f"dropped {10_000 - kept_bytes // 100}"
    assert [int(line) for line in lines[:-1]] == list(range(kept_bytes // 100))
    writer.write("one more")
    assert read_lines(reading, "one more") == ["one more"]


def test_lines_that_cannot_be_written_are_counted_too(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    reading.close()
    writer = LineWriter(writing.fileno(), "log", lambda count: f"dropped {count}")
    writer.write("never read")
    assert writer.flush(PATIENCE)
    assert writer.dropped == 1


def test_a_descriptor_that_does_not_block_is_waited_for(pipe: tuple[FileIO, FileIO]) -> None:
    reading, writing = pipe
    os.set_blocking(writing.fileno(), False)
    writer = LineWriter(writing.fileno(), "log")
    lines = ["x" * 999 for _ in range(500)]
    for line in [*lines, "the end"]:
        writer.write(line)
    assert read_lines(reading, "the end") == [*lines, "the end"]
    assert writer.flush(PATIENCE)
