# SPDX-License-Identifier: Apache-2.0
"""The target's own SDK reads every translation of the corpus, or the translation warns that it does not."""

from __future__ import annotations

import io
import warnings
from collections import Counter
from collections.abc import Callable
from typing import Any

import cirq
import pytest
import qiskit.qasm2
import qiskit.qasm3
from braket.devices import LocalSimulator
from braket.ir.openqasm import Program
from qiskit import qpy
from quil.program import Program as QuilProgram

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.registry import Languages
from tests.corpus.programs import LANGUAGES, Entry, entries

#: The largest number of qubits, and the share of the (many) programs in OpenQASM.
QUBITS = 5
SHARE = 3
#: A warning that the target's SDK does not read the translation.
UNREAD = "does not read"
MIDWAY = "no mid-circuit measurement, reset or condition"


def run_by_braket(source: str) -> None:
    LocalSimulator().run(Program(source=source), shots=1).result()


READERS: dict[str, Callable[[Any], object]] = {
    "QASM2": qiskit.qasm2.loads,
    "QASM3": qiskit.qasm3.loads,
    "QISKIT": lambda data: qpy.load(io.BytesIO(data)),
    "BRAKET": run_by_braket,
    "CIRQ": lambda text: cirq.read_json(json_text=text),
    "QUIL": QuilProgram.parse,
}
#: Programs that a target's SDK does not read, by reason; every program not listed here is read.
EXCEPTIONS = {
    "QASM3": {
        "Qiskit's importer of OpenQASM 3 does not read "
        "a condition other than a bit or a register compared with a number",
        "Qiskit's importer of OpenQASM 3 does not read a measurement into no bit",
        "Qiskit's importer of OpenQASM 3 does not read an assignment to a bit",
        "Qiskit's importer of OpenQASM 3 does not read the keyword output",
    },
    "BRAKET": {
        "Braket's local simulator does not read a measurement into no bit",
        "Braket's local simulator does not read measurements into more than one register",
        "Braket's local simulator and many of its devices support no mid-circuit measurement, reset or condition",
    },
}


@pytest.fixture(scope="module")
def programs() -> list[tuple[str, Circuit]]:
    some: list[Entry] = []
    for language in LANGUAGES:
        of_language = list(entries("exact", language, QUBITS))
        some += of_language if len(of_language) < 60 else of_language[::SHARE]
    languages = Languages()
    return [(entry.file, entry.read(languages)) for entry in some]


@pytest.mark.parametrize("target", READERS)
@pytest.mark.filterwarnings("ignore")
def test_the_targets_own_sdk_reads_every_translation(target: str, programs: list[tuple[str, Circuit]]) -> None:
    languages = Languages()
    number = AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{target}")
    tally: Counter[str] = Counter()
    wrong: list[str] = []
    for file, circuit in programs:
        try:
            written = languages.write(number, circuit)
        except ProgramError:
            tally["refused"] += 1
            continue
        warned = [each for each in written.warnings if UNREAD in each or MIDWAY in each]
        assert set(warned) <= EXCEPTIONS.get(target, set())
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")
                READERS[target](written.source)
        except Exception as error:  # noqa: BLE001 - of six SDKs, which raise what they like
            tally["unread"] += 1
            if not warned:
                wrong.append(f"{file}: no warning of {type(error).__name__}: {error}")
        else:
            tally["read"] += 1
            # A condition within the circuit may be absent; a warning that a reader fails must be correct.
            if any(UNREAD in each for each in warned):
                wrong.append(f"{file}: is read, in spite of {warned}")
    print(f"{target}: {dict(tally)}")
    assert not wrong
    assert tally["read"] > 100
