# SPDX-License-Identifier: Apache-2.0
"""Programs with exact reference distributions, on every provider: none may be silently wrong.

The programs are not part of the repository: they are looked for in ../shared/corpus beside it, or where QONDUIT_CORPUS
says. The short form runs small circuits, and only some of them on the slower simulators; `pytest -m corpus_full` runs
all of them.
"""

from __future__ import annotations

import importlib.util
import os
from collections import Counter
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import RunError
from qonduit_server.hub.circuit import Outcome
from qonduit_server.languages.edges import Inputs
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry as providers

SHOTS = 2000
SEED = 20250923
READING = Languages()
LANGUAGES = {
    "qasm2": AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
    "qasm3": AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3,
}
#: How many may be refused. A job gives no inputs yet (1); only Aer runs a loop that ends by a measurement (1); one
#: circuit measures so often that simulators which measure at the end only have no memory for it (1).
REFUSED = {"IBM": 1, "AWS": 3, "GOOGLE": 3}
#: The short form: qubits at most, and which share of the programs.
SHORT = {"IBM": (6, 1), "AWS": (5, 3), "GOOGLE": (5, 3)}


def corpus() -> ModuleType:
    """The corpus's own module: its programs and its judge."""
    folder = Path(os.environ.get("QONDUIT_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")
    if not (folder / "check.py").exists():
        reason = f"no corpus in {folder}: set QONDUIT_CORPUS to its folder"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    spec = importlib.util.spec_from_file_location("corpus_check", folder / "check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(check: ModuleType, name: str, qubits: int, share: int) -> tuple[Counter[str], list[str]]:
    """Run the corpus's programs on a provider; tells how many were right or refused, and what was wrong."""
    provider = providers.get(name)
    provider.load()
    device = provider.describe().devices[0].name
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for language, number in LANGUAGES.items():
        entries = [each for each in check.programs("exact", language) if each[0]["qubits"] <= qubits]
        for entry, path in entries[::share]:
            verdict, detail = judge(check, provider, device, number, path, entry["inputs"])
            tally[verdict] += 1
            if verdict not in ("ok", "refused"):
                wrong.append(f"{entry['file']}: {verdict} {detail}")
    return tally, wrong


def judge(
    check: ModuleType, provider: Any, device: str, language: AssemblerLanguage, path: Path, inputs: Inputs
) -> tuple[str, str]:
    """Run one program and compare it with its reference."""
    try:
        circuit = READING.read(language, path.read_text(), b"", inputs)
        prepared = provider.prepare(circuit, device, 0)
        (outcome,) = provider.run(device, [prepared], SHOTS, SEED)
    except RunError as error:
        return "refused", error.message
    if not isinstance(outcome, Outcome):
        return "refused", outcome.message
    counts: Counter[str] = Counter()
    for value, number in outcome.counts.items():
        counts[circuit.key(value)] += number
    registers = [[register.name, len(register.bits)] for register in reversed(circuit.registers)]
    verdict: tuple[str, str] = check.judge(check.reference(path), registers, counts)
    return verdict


@pytest.mark.parametrize("name", sorted(providers.PROVIDERS))
def test_corpus(name: str) -> None:
    tally, wrong = run(corpus(), name, *SHORT[name])
    print(f"{name}: {dict(tally)}")
    assert not wrong
    assert tally["refused"] <= REFUSED[name]
    assert tally["ok"] > 60


@pytest.mark.corpus_full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", sorted(providers.PROVIDERS))
def test_corpus_full(name: str) -> None:
    tally, wrong = run(corpus(), name, 100, 1)
    print(f"{name}: {dict(tally)}")
    assert not wrong
    assert tally["refused"] <= REFUSED[name]
    assert tally["ok"] >= 290
