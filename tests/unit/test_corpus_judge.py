# SPDX-License-Identifier: Apache-2.0
"""The judge of the corpus rejects wrong results, and accepts registers in any order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import RunProgress
from tests.corpus import programs
from tests.corpus.judge import judge, to_hex

REFERENCE = {"registers": [["a", 2], ["b", 1]], "probs": {"3 0": 0.75, "0 1": 0.25}}
ALPHA = 1e-6


@pytest.mark.parametrize(
    ("registers", "counts", "verdict"),
    [
        ([["b", 1], ["a", 2]], {"0x0 0x3": 1500, "0x1 0x0": 500}, "ok"),
        ([["a", 2], ["b", 1]], {"0x3 0x0": 1490, "0x0 0x1": 510}, "ok"),
        ([["a", 2], ["b", 1]], {"0x0 0x3": 1500, "0x1 0x0": 500}, "impossible"),
        ([["b", 1], ["a", 2]], {"0x0 0x3": 1999, "0x0 0x2": 1}, "impossible"),
        ([["b", 1], ["a", 2]], {"0x0 0x3": 1000, "0x1 0x0": 1000}, "distribution"),
        ([["b", 1], ["a", 2]], {}, "distribution"),
        ([["b", 1], ["a", 3]], {"0x0 0x3": 1500, "0x1 0x0": 500}, "registers"),
        ([["a", 2]], {"0x3": 2000}, "registers"),
    ],
)
def test_verdicts(registers: list[list[object]], counts: dict[str, int], verdict: str) -> None:
    assert judge(REFERENCE, registers, counts, ALPHA)[0] == verdict


def test_keys_of_the_contract_list_the_last_register_first() -> None:
    assert to_hex("10 1") == "0x1 0xa"


def test_reports_of_progress_are_not_taken_for_the_result() -> None:
    provider: Any = registry.get("STIM")
    run = provider.run

    def in_parts(*arguments: Any) -> Iterator[object]:
        yield RunProgress(0.5)
        yield from run(*arguments)

    provider.run = in_parts
    entry = next(each for each in programs.entries("exact", "qasm2") if each.file.endswith("/bell.qasm"))
    assert programs.judge(entry, Languages(), provider, "stim").kind == "identical"
