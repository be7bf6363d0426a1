# SPDX-License-Identifier: Apache-2.0
"""The corpus' OpenQASM 2 programs as tapes, on the device "qonduit" beside "default.qubit"."""

from __future__ import annotations

import re
from collections import Counter
from typing import Any, Final

import numpy as np
import pennylane as qml
import pytest
from pennylane.tape import QuantumScript
from qiskit import QuantumCircuit
from qiskit.quantum_info import Operator

from qonduit_client import Client
from qonduit_server.languages.registry import Languages
from tests.adapters.agreement import agree
from tests.corpus.programs import Entry, entries

GATES: Final = {
    "x": qml.X, "y": qml.Y, "z": qml.Z, "h": qml.H, "s": qml.S, "t": qml.T, "sx": qml.SX, "rx": qml.RX, "ry": qml.RY,
    "rz": qml.RZ, "p": qml.PhaseShift, "u1": qml.U1, "u2": qml.U2, "u": qml.U3, "u3": qml.U3, "cx": qml.CNOT,
    "cy": qml.CY, "cz": qml.CZ, "ch": qml.CH, "swap": qml.SWAP, "crx": qml.CRX, "cry": qml.CRY, "crz": qml.CRZ,
    "cp": qml.ControlledPhaseShift, "cu1": qml.ControlledPhaseShift, "rzz": qml.IsingZZ, "rxx": qml.IsingXX,
    "ccx": qml.Toffoli, "cswap": qml.CSWAP,
}  # fmt: skip
SHOTS: Final = 2000
DEVICES: Final = ("IBM/aer_simulator", "AWS/local_simulator", "GOOGLE/cirq_simulator")
LANGUAGES: Final = Languages()


def _plain(mqtbench: bool) -> list[Entry]:
    """Return the programs that are gates and measurements alone."""
    found = entries("exact", "qasm2", most_qubits=10, mqtbench=mqtbench)
    return [entry for entry in found if not re.search(r"\b(if|reset)\b", entry.path.read_text())]


ALL: Final = _plain(mqtbench=True)
#: A few of the small ones; `make adapters` runs all.
FEW: Final = [entry for entry in _plain(mqtbench=False) if entry.qubits <= 6][::6]


def _tape(entry: Entry, measurements: list[Any], shots: int | None = None) -> QuantumScript:
    """The gates of a program, and a measurement of all its qubits."""
    circuit = entry.read(LANGUAGES).quantum
    wires = list(range(circuit.num_qubits))
    return QuantumScript([qml.Identity(wires), *_operations(circuit, wires)], measurements, shots=shots)


def _judge(entry: Entry, client: Client, device: str) -> None:
    ours, theirs = qml.device("qonduit", device=device, client=client, seed=7), qml.device("default.qubit", seed=5)
    exact = _tape(entry, [qml.probs(), qml.expval(qml.X(0))])
    sampled = _tape(entry, [qml.counts()], SHOTS)
    found, counts = qml.execute([exact, sampled], ours)
    wanted, expected = qml.execute([exact, sampled], theirs)
    for mine, other in zip(found, wanted, strict=True):
        assert np.abs(mine - other).max() < 1e-9
    assert agree(Counter(counts), Counter(expected))


def _operations(circuit: QuantumCircuit, wires: list[int]) -> list[Any]:
    """Gates as a user of PennyLane has them: by name, else as matrices, else as what they are made of."""
    found: list[Any] = []
    for instruction in circuit.data:
        operation = instruction.operation
        places = [wires[circuit.find_bit(qubit).index] for qubit in instruction.qubits]
        if operation.name in ("barrier", "measure", "id"):
            continue
        if operation.name in GATES:
            found.append(GATES[operation.name](*map(float, operation.params), wires=places))
        elif operation.name.removesuffix("dg") in GATES and operation.name.endswith("dg"):
            found.append(qml.adjoint(GATES[operation.name.removesuffix("dg")](wires=places)))
        elif len(places) <= 3:
            found.append(qml.QubitUnitary(Operator(operation).data, wires=places[::-1]))
        else:
            found += _operations(operation.definition, places)
    return found


@pytest.mark.parametrize("entry", FEW, ids=[entry.file for entry in FEW])
def test_some_programs(entry: Entry, client: Client) -> None:
    _judge(entry, client, DEVICES[FEW.index(entry) % len(DEVICES)])


@pytest.mark.long
@pytest.mark.timeout(600)
@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("entry", ALL, ids=[entry.file for entry in ALL])
def test_all_programs(entry: Entry, client: Client, device: str) -> None:
    _judge(entry, client, device)
