# SPDX-License-Identifier: Apache-2.0
"""Memory is checked before allocation, and reported in readable units."""

from __future__ import annotations

import pytest

from qonduit_server.errors import LimitError
from qonduit_server.process.memory import format_bytes
from qonduit_server.providers.provider import check_memory, limit_task_memory, most_qubits, program_seed


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 B"), (1536, "1.5 KiB"), (16 << 20, "16.0 MiB"), (512 << 30, "512 GiB"), (16 << 40, "16.0 TiB")],
)
def test_readable(size: int, text: str) -> None:
    assert format_bytes(size) == text


def test_readable_has_a_word_for_everything() -> None:
    assert format_bytes(16 << 4096).startswith("10^")


def test_need_and_limit_are_reported() -> None:
    assert check_memory(10, 16, 1 << 20) == 16 << 10
    with pytest.raises(LimitError, match=r"simulating 30 qubits needs 16\.0 GiB, the limit is 1\.0 GiB.*26 qubits"):
        check_memory(30, 16, 1 << 30)
    with pytest.raises(LimitError):
        check_memory(4096, 16, 0)


@pytest.mark.parametrize("limit", [0, 3 << 20, 64 << 20, 1 << 62])
def test_the_promised_qubits_fit_and_no_more(limit: int) -> None:
    limit_task_memory(limit)
    try:
        for size in (16, 40, 72):
            qubits = most_qubits(size)
            assert check_memory(qubits, size, limit) == size << qubits
            with pytest.raises(LimitError):
                check_memory(qubits + 1, size, limit)
    finally:
        limit_task_memory(0)


def test_each_circuit_has_a_seed_of_its_own() -> None:
    assert program_seed(None, 3) is None
    assert len({program_seed(5, place) for place in range(100)}) == 100
