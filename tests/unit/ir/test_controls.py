# SPDX-License-Identifier: Apache-2.0
"""Controls, inverses and powers of every IR gate are exact, and survive the cache and QPY."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Gate
from qiskit.circuit import library as qk
from qiskit.circuit.library.standard_gates import get_standard_gate_name_mapping
from qiskit.quantum_info import Operator

from qonduit_server.ir import serialization
from qonduit_server.ir.builder import Builder
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.controls import Step
from qonduit_server.ir.deferral import defer
from qonduit_server.ir.formula import TRUE, bit, conjunction
from qonduit_server.ir.lowering import Lowering
from qonduit_server.languages import gate_modifiers
from qonduit_server.languages.braket.braket_gates import BRAKET
from qonduit_server.languages.openqasm3.standard_gates import BUILTIN, EXTRA, STANDARD
from tests.unit.ir.sample_circuits import GATES

Matrix = np.ndarray[Any, np.dtype[np.complex128]]
#: Modifiers: the inverse, a power, or a control with its value.
MODIFIERS = ("inv", "twice", "half", 1, 0)


def gates() -> Iterator[tuple[str, list[Step], int]]:
    """Yield every gate of Qiskit and of the libraries of OpenQASM 3 and Braket, with asymmetric parameters."""
    for where, library in (("", BUILTIN), ("", STANDARD), ("", EXTRA), ("braket-", BRAKET)):
        for name, known in library.items():
            yield where + name, known.steps([0.37 * (k + 1) for k in range(known.parameters)]), known.qubits
    for name, gate in get_standard_gate_name_mapping().items():
        if isinstance(gate, Gate) and gate.num_qubits:
            made = gate.base_class(*[0.37 * (k + 1) for k in range(len(gate.params))])
            yield f"qiskit-{name}", [(made, tuple(range(gate.num_qubits)))], gate.num_qubits
    for gate in (qk.MCXGate(4, ctrl_state=5), qk.MCPhaseGate(0.37, 3), qk.CUGate(0.3, 0.5, 0.7, 1.1, ctrl_state=0)):
        yield f"qiskit-{gate.name}-{gate.ctrl_state}", [(gate, tuple(range(gate.num_qubits)))], gate.num_qubits


KNOWN = {name: (steps, size) for name, steps, size in gates()}


def modified(steps: Sequence[Step], size: int, chain: Sequence[object]) -> tuple[list[Step], int]:
    done = list(steps)
    for each in chain:
        if each == "inv":
            done = gate_modifiers.inverse(done)
        elif each in ("twice", "half"):
            done = gate_modifiers.power(done, 2 if each == "twice" else 0.5, size, lambda number: None)
        else:
            assert isinstance(each, int)
            done, size = gate_modifiers.control(done, 1, each), size + 1
    return done, size


def wanted(matrix: Matrix, chain: Sequence[object]) -> Matrix:
    """Return the expected matrix; its lowest bit is the first qubit."""
    for each in chain:
        if each == "inv":
            matrix = matrix.conj().T
        elif each == "twice":
            matrix = matrix @ matrix
        elif each == "half":
            matrix = Operator(matrix).power(0.5).data
        else:
            assert isinstance(each, int)
            controlled: Matrix = np.eye(2 * len(matrix), dtype=complex)
            controlled[each::2, each::2] = matrix
            matrix = controlled
    return matrix


def matrix_of(steps: Sequence[Step], size: int) -> Matrix:
    circuit = QuantumCircuit(size)
    for gate, places in steps:
        circuit.append(gate, list(places))
    data: Matrix = Operator(circuit).data
    return data


def placed(steps: Sequence[Step], size: int) -> Circuit:
    builder = Builder()
    builder.add_qubits(size)
    for gate, places in steps:
        if places:
            builder.append(TRUE, gate, places)
    return Circuit(builder.finish(), ())


def check(steps: Sequence[Step], size: int, chain: Sequence[object]) -> None:
    done, whole = modified(steps, size, chain)
    if "half" not in chain or whole <= 3:  # with a repeated eigenvalue, rounding decides which root it is
        np.testing.assert_allclose(matrix_of(done, whole), wanted(matrix_of(steps, size), chain), atol=1e-9)
    circuit = placed(done, whole)
    data = serialization.dump(circuit)
    assert data is not None
    found = serialization.load(data).quantum
    assert [each.operation.name for each in found.data] == [each.operation.name for each in circuit.quantum.data]
    if found != circuit.quantum:  # C4XGate is read back as an MCXGate
        np.testing.assert_allclose(Operator(found).data, Operator(circuit.quantum).data, atol=1e-12)


@pytest.mark.parametrize("name", KNOWN)
def test_every_gate_under_modifiers_is_exact_and_survives_the_cache(name: str) -> None:
    steps, size = KNOWN[name]
    for chain in ((), (1, 1), (1, "inv"), (0, 1, "inv", 1) if size < 4 else (0,)):
        check(steps, size, chain)


@settings(max_examples=60)
@given(st.sampled_from(sorted(name for name, (_, size) in KNOWN.items() if size < 3)), st.data())
def test_modifiers_in_any_order(name: str, data: st.DataObject) -> None:
    steps, size = KNOWN[name]
    chain = data.draw(st.lists(st.sampled_from(MODIFIERS), max_size=4).filter(lambda each: each.count("half") < 2))
    check(steps, size, chain)


@settings(max_examples=60)
@given(GATES, st.lists(st.sampled_from(("inv", 1, 0)), max_size=2))
def test_gates_of_programs(gate: Gate, chain: list[object]) -> None:
    if gate.num_qubits:
        check([(gate, tuple(range(gate.num_qubits)))], gate.num_qubits, chain)


@pytest.mark.parametrize("name", KNOWN)
def test_deferred_conditional_gates_survive_qpy(name: str) -> None:
    steps, size = KNOWN[name]
    builder = Builder()
    builder.add_qubits(size + 2)
    clbits = builder.add_clbits(2)
    for clbit, qubit in enumerate((size, size + 1)):
        builder.append(TRUE, qk.HGate(), (qubit,))
        builder.append(TRUE, qk.Measure(), (qubit,), (clbits[clbit],))
    for gate, places in steps:
        if places:
            builder.append(conjunction((bit(0), bit(1))), gate, places)
    lowering = Lowering("TEST/device", lambda operation: True)
    deferred = defer(builder.finish(), lowering, "TEST/device", lambda qubits, helpers: None)
    whole = QuantumCircuit(deferred.qubits)
    for gate, places in deferred.gates:
        whole.append(gate, list(places))
    out = io.BytesIO()
    qpy.dump(whole, out)
    (back,) = qpy.load(io.BytesIO(out.getvalue()))
    assert back == whole
