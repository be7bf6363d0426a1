# SPDX-License-Identifier: Apache-2.0
"""The table of the benchmarks: a part of the measurements replaces its own rows only."""

from __future__ import annotations

from tests.benchmarks.page import PAGE, Row, merged, rows_of, table
from tests.benchmarks.queue_waits import percentile

STARTS = Row("start", "1 s", "imports: 2 s", "0.5", "<= 1")
QSIM = Row("20 qubits", "1 ms", "qsim: 1 ms", "1.0", "")
AER = Row("20 qubits", "1 ms", "Aer: 9 ms", "0.1", "")


def test_a_table_is_read_as_it_was_written() -> None:
    rows = [STARTS, QSIM, AER]
    assert rows_of(f"# Page\n\nText.\n\n{table(rows)}\n\n## Section\n\n| a | b | c | d | e |\n") == rows
    assert len(rows_of(PAGE.read_text())) > 20


def test_rows_of_a_part_replace_those_against_the_same_reference() -> None:
    again = Row("20 qubits", "2 ms", "qsim: 1 ms", "2.0", "")
    more = Row("22 qubits", "4 ms", "qsim: 4 ms", "1.0", "")
    assert merged([STARTS, QSIM, AER], [again, more]) == [STARTS, again, AER, more]


def test_a_percentile_is_the_smallest_value_that_a_part_does_not_exceed() -> None:
    values = [1.0, 2.0, 3.0, 4.0]
    assert [percentile(values, part) for part in (0.0, 0.25, 0.5, 0.51, 1.0)] == [1.0, 1.0, 2.0, 3.0, 4.0]
