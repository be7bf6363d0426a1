# SPDX-License-Identifier: Apache-2.0
"""The corpus, and whether what a provider gives for one of its programs is what its reference says.

The programs are not part of the repository: they are looked for in ../shared/corpus beside it, or where QONDUIT_CORPUS
says.
"""

from __future__ import annotations

import importlib.util
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import RunError
from qonduit_server.hub.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import Provider

SHOTS: Final = 2000
SEED: Final = 20250923
#: The corpus' test rejects a right result this often: about once in a thousand whole matrices.
FALSE_ALARM: Final = 1e-6
#: How far an exact probability may be off. References are exact to 1e-9; hundreds of gates add rounding.
EXACT: Final = 1e-7

LANGUAGES: Final = {
    "qasm2": AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2,
    "qasm3": AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3,
    "braket": AssemblerLanguage.ASSEMBLER_LANGUAGE_BRAKET,
    "quil": AssemblerLanguage.ASSEMBLER_LANGUAGE_QUIL,
    "qpy": AssemblerLanguage.ASSEMBLER_LANGUAGE_QISKIT,
    "cirq": AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ,
    "ionq": AssemblerLanguage.ASSEMBLER_LANGUAGE_IONQ,
}


@dataclass(frozen=True)
class Entry:
    """A program of the corpus; `inputs` are values for its parameters."""

    file: str
    language: str
    qubits: int
    path: Path
    inputs: dict[str, Any]

    def read(self, languages: Languages) -> Circuit:
        """Read it into the hub."""
        number = LANGUAGES[self.language]
        if self.language == "qpy":
            return languages.read(number, "", self.path.read_bytes(), self.inputs)
        return languages.read(number, self.path.read_text(), b"", self.inputs)


@dataclass(frozen=True)
class Verdict:
    """How a program fared on a provider.

    `kind`: "identical", "refused" or "wrong". `exact`: judged by exact probabilities, not by counts. Times in seconds.
    """

    kind: str
    detail: str = ""
    exact: bool = False
    read_seconds: float = 0.0


def folder() -> Path:
    """Where the corpus is."""
    return Path(os.environ.get("QONDUIT_CORPUS") or Path(__file__).resolve().parents[3] / "shared" / "corpus")


@cache
def corpus() -> ModuleType:
    """The corpus's own module: its programs and its judge.

    Raises:
        FileNotFoundError: there is no corpus.
    """
    place = folder() / "check.py"
    if not place.exists():
        raise FileNotFoundError(f"no corpus in {place.parent}: set QONDUIT_CORPUS to its folder")
    spec = importlib.util.spec_from_file_location("corpus_check", place)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def entries(check: str = "exact", language: str | None = None, most_qubits: int = 10**6) -> Iterator[Entry]:
    """Programs of the corpus: `check` is "exact", "speed" or "refuse"."""
    for entry, path in corpus().programs(check, language):
        if entry["language"] in LANGUAGES and entry["qubits"] <= most_qubits:
            yield Entry(entry["file"], entry["language"], entry["qubits"], path, entry["inputs"])


def judge(entry: Entry, languages: Languages, provider: Provider, device: str) -> Verdict:
    """Read, compile and run one program, and compare what comes out with its reference."""
    began = time.perf_counter()
    seconds = 0.0
    try:
        circuit = entry.read(languages)
        seconds = time.perf_counter() - began
        prepared = provider.prepare(circuit, device, 0)
        (outcome,) = provider.run(device, [prepared], SHOTS, SEED)
        exact = provider.probabilities(device, prepared)
    except RunError as error:
        return Verdict("refused", f"{error.reason}: {error.message}", read_seconds=seconds)
    if not isinstance(outcome, Outcome):
        return Verdict("refused", f"{outcome.reason}: {outcome.message}", read_seconds=seconds)
    verdict, detail = _counted(entry, circuit, outcome)
    if verdict == "ok" and exact is not None:
        detail = _off(entry, circuit, exact)
        verdict = "probabilities" if detail else "ok"
    if verdict != "ok":
        return Verdict("wrong", f"{verdict}: {detail}", exact is not None, seconds)
    return Verdict("identical", "", exact is not None, seconds)


def _counted(entry: Entry, circuit: Circuit, outcome: Outcome) -> tuple[str, str]:
    counts: Counter[str] = Counter()
    for value, number in outcome.counts.items():
        counts[circuit.key(value)] += number
    registers = [[register.name, len(register.bits)] for register in reversed(circuit.registers)]
    verdict: tuple[str, str] = corpus().judge(corpus().reference(entry.path), registers, counts, FALSE_ALARM)
    return verdict


def _off(entry: Entry, circuit: Circuit, exact: Any) -> str:
    """Where exact probabilities differ from the reference; "" if nowhere."""
    wanted = {corpus().to_hex(key): each for key, each in corpus().reference(entry.path)["probs"].items()}
    given: Counter[str] = Counter()
    for value, probability in exact.items():
        given[circuit.key(value)] += probability
    for key in wanted.keys() | given.keys():
        if abs(wanted.get(key, 0.0) - given.get(key, 0.0)) > EXACT:
            return f"{key} has {given.get(key, 0.0):.9f} instead of {wanted.get(key, 0.0):.9f}"
    return ""
