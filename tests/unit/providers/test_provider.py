# SPDX-License-Identifier: Apache-2.0
"""Memory is judged before it is allocated, and told so that people can read it."""

from __future__ import annotations

import pytest

from qonduit_server.errors import LimitError
from qonduit_server.memory import readable
from qonduit_server.providers.provider import check_memory, most_qubits, physical_memory, program_seed


@pytest.mark.parametrize(
    ("size", "text"),
    [(12, "12 B"), (1536, "1.5 KiB"), (16 << 20, "16.0 MiB"), (512 << 30, "512 GiB"), (16 << 40, "16.0 TiB")],
)
def test_readable(size: int, text: str) -> None:
    assert readable(size) == text


def test_readable_has_a_word_for_everything() -> None:
    assert readable(16 << 4096).startswith("10^")


def test_need_and_limit_are_told() -> None:
    assert check_memory(10, 16, 1 << 20) == 16 << 10
    with pytest.raises(LimitError, match=r"simulating 30 qubits needs 16\.0 GiB, the limit is 1\.0 GiB.*26 qubits"):
        check_memory(30, 16, 1 << 30)
    with pytest.raises(LimitError):
        check_memory(4096, 16, 0)


def test_what_is_promised_fits() -> None:
    qubits = most_qubits(16, 0)
    assert 16 << qubits <= physical_memory() < 16 << qubits + 1


def test_each_circuit_has_a_seed_of_its_own() -> None:
    assert program_seed(None, 3) is None
    assert len({program_seed(5, place) for place in range(100)}) == 100
