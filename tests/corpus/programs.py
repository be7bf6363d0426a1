# SPDX-License-Identifier: Apache-2.0
"""The corpus, and the comparison of a provider's result for one of its programs with the reference.

The corpus is beside this file. Programs of MQT Bench are not part of the repository: they are read from the folder
that QONDUIT_CORPUS names, else from ../shared/corpus beside the repository; without it they are left out.
"""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import SimulatorProvider
from tests.corpus import judge as judging

REPOSITORY: Final = Path(__file__).resolve().parents[2]
#: The index of the corpus' own programs.
OWN: Final = Path(__file__).resolve().parent / "index.json"

SHOTS: Final = 2000
SEED: Final = 20250923
#: The chi-square test rejects a right result this often: about once in a thousand whole matrices.
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
        """Read it into the IR."""
        number = LANGUAGES[self.language]
        if self.language == "qpy":
            return languages.read(number, "", self.path.read_bytes(), self.inputs)
        return languages.read(number, self.path.read_text(), b"", self.inputs)


@dataclass(frozen=True)
class Verdict:
    """The outcome of a program on a provider.

    `kind`: "identical", "refused" or "wrong". `exact`: judged by exact probabilities, not by counts. Times in seconds.
    """

    kind: str
    detail: str = ""
    exact: bool = False
    read_seconds: float = 0.0


def mqtbench_index() -> Path | None:
    """Return the index of programs that are not part of the repository, or None if there is none.

    Raises:
        FileNotFoundError: QONDUIT_CORPUS names a folder without one.
    """
    named = os.environ.get("QONDUIT_CORPUS")
    index = (Path(named) if named else REPOSITORY.parent / "shared" / "corpus") / "INDEX.json"
    if index.is_file():
        return index
    if named:
        raise FileNotFoundError(f"QONDUIT_CORPUS is {named!r}, but there is no {index}")
    return None


def entries(
    check: str = "exact", language: str | None = None, most_qubits: int = 10**6, *, mqtbench: bool = False
) -> Iterator[Entry]:
    """Yield programs of the corpus.

    Args:
        check: "exact", "speed" or "refuse".
        language: only programs in this one.
        most_qubits: only programs with at most this many qubits.
        mqtbench: whether programs of MQT Bench follow, if this machine has them.
    """
    outside = mqtbench_index() if mqtbench else None
    for index in (OWN, *([outside] if outside else [])):
        for entry in json.loads(index.read_text())["programs"]:
            if index != OWN and entry["source"] != "mqtbench":
                continue
            if entry["check"] != check or entry["language"] not in LANGUAGES or entry["qubits"] > most_qubits:
                continue
            if language is None or entry["language"] == language:
                path = index.parent / entry["file"]
                yield Entry(entry["file"], entry["language"], entry["qubits"], path, _inputs(path))


def _inputs(path: Path) -> dict[str, Any]:
    file = Path(f"{path}.inputs.json")
    given: dict[str, Any] = json.loads(file.read_text()) if file.exists() else {}
    return given


def judge(entry: Entry, languages: Languages, provider: SimulatorProvider, device: str) -> Verdict:
    """Read, compile and run one program, and compare its result with the reference."""
    began = time.perf_counter()
    seconds = 0.0
    try:
        circuit = entry.read(languages)
        seconds = time.perf_counter() - began
        compiled = provider.compile(circuit, device)
        *_, outcome = provider.run(device, [compiled], SHOTS, SEED)  # reports of progress come first
        exact = provider.probabilities(device, compiled)
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
    return judging.judge(judging.reference(entry.path), registers, counts, FALSE_ALARM)


def _off(entry: Entry, circuit: Circuit, exact: Any) -> str:
    """Return a description of the difference from the exact probabilities of the reference; "" if there is none."""
    wanted = {judging.to_hex(key): each for key, each in judging.reference(entry.path)["probs"].items()}
    given: Counter[str] = Counter()
    for value, probability in exact.items():
        given[circuit.key(value)] += probability
    for key in wanted.keys() | given.keys():
        if abs(wanted.get(key, 0.0) - given.get(key, 0.0)) > EXACT:
            return f"{key} has {given.get(key, 0.0):.9f} instead of {wanted.get(key, 0.0):.9f}"
    return ""
