# SPDX-License-Identifier: Apache-2.0
"""Every provider applies every gate as the textbooks define it: angles with their sign, qubits in their order.

The angles are chosen so that no symmetry hides a sign or an order of qubits. The reference shares no code with a
provider or with an SDK.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence

import numpy as np
import pytest
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit.library import MCPhaseGate, UnitaryGate, XGate, get_standard_gate_name_mapping

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import SimulatorProvider
from qonduit_server.worker import runner
from tests.contract.gate_reference import MATRICES, Matrix, Step, X, Y, composed, controlled, distribution, turn, u
from tests.universal_providers import universal_providers

ANGLES = (0.7, -1.1, 0.4, 1.9)
#: The names of OpenQASM 2's qelib1.inc, as Qiskit ships it, with the number of qubits and angles of each gate.
QELIB1 = {
    "rx": (1, 1), "ry": (1, 1), "rz": (1, 1), "u1": (1, 1), "u2": (1, 2), "u3": (1, 3), "s": (1, 0), "sdg": (1, 0),
    "t": (1, 0), "tdg": (1, 0), "sx": (1, 0), "cx": (2, 0), "cy": (2, 0), "ch": (2, 0), "csx": (2, 0), "crx": (2, 1),
    "cry": (2, 1), "crz": (2, 1), "cu1": (2, 1), "cu3": (2, 3), "rxx": (2, 1), "rzz": (2, 1), "ccx": (3, 0),
    "cswap": (3, 0), "rccx": (3, 0),
}  # fmt: skip
#: A matrix of two qubits without any symmetry.
LOPSIDED = composed(2, (turn(X, 0.9), [0]), (controlled(u(0.5, 1.2, -0.3)), [1, 0]), (turn(Y, -0.6), [1]))


@pytest.fixture(scope="module", params=universal_providers())
def provider(request: pytest.FixtureRequest) -> SimulatorProvider:
    """Each provider, loaded."""
    found = registry.get(request.param)
    runner.Runner(found, Languages()).load()
    return found


def gate_of(name: str) -> tuple[Gate, Matrix]:
    """Return a gate of the internal circuit, and its matrix by formula."""
    special = {"mcx": XGate().control(3), "mcphase": MCPhaseGate(ANGLES[0], 3), "unitary": _unitary()}
    gate = special.get(name)
    if name == "unitary":
        return gate, LOPSIDED
    if gate is None:
        kind = get_standard_gate_name_mapping()[name]
        gate = kind.base_class(*ANGLES[: len(kind.params)])
    return gate, MATRICES[name](*gate.params)


def _unitary() -> UnitaryGate:
    # Qiskit counts the first qubit as the lowest.
    return UnitaryGate(LOPSIDED.reshape((2,) * 4).transpose(1, 0, 3, 2).reshape(4, 4))


def layer(qubits: int, number: int) -> list[tuple[str, float, int]]:
    """Return rotations of all qubits, different ones for each qubit and layer."""
    return [
        (name, start + 0.31 * qubit + 0.17 * number, qubit)
        for qubit in range(qubits)
        for name, start in (("rx", 0.5), ("ry", 0.8), ("rz", -0.6))
    ]


def orders(qubits: int) -> tuple[list[int], list[int]]:
    """Return two qubit orders for a gate: the usual one, and, for more than one qubit, one that moves every qubit."""
    return list(range(qubits)), [*range(1, qubits), 0]


def around(gate: Gate, qubits: int) -> Circuit:
    """Return a circuit that applies a gate in both orders, between layers of rotations."""
    quantum = QuantumCircuit(qubits, qubits)
    for number in range(3):
        for name, angle, qubit in layer(qubits, number):
            getattr(quantum, name)(angle, qubit)
        if number < 2:
            quantum.append(gate, orders(qubits)[number])
    quantum.measure(range(qubits), range(qubits))
    return Circuit(quantum, ())


def steps_around(first: Matrix, second: Matrix, qubits: int) -> Iterator[Step]:
    """Return the same circuit as matrices, one for each order."""
    for number in range(3):
        yield from ((MATRICES[name](angle), [qubit]) for name, angle, qubit in layer(qubits, number))
        if number < 2:
            yield (first, second)[number], orders(qubits)[number]


def apart(one: dict[int, float], other: dict[int, float]) -> float:
    """Return the largest difference of two distributions."""
    return max(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in one | other)


@pytest.mark.parametrize("name", [*MATRICES, "unitary"])
def test_a_gate_matches_its_textbook_definition(name: str, provider: SimulatorProvider) -> None:
    gate, matrix = gate_of(name)
    qubits = gate.num_qubits
    device = provider.describe().devices[0].name
    found = provider.probabilities(device, provider.compile(around(gate, qubits), device))
    assert found is not None
    assert apart(dict(found), distribution(qubits, list(steps_around(matrix, matrix, qubits)))) < 1e-9


def test_every_basis_gate_is_compared(provider: SimulatorProvider) -> None:
    assert set(provider.describe().devices[0].basis_gates) <= {*MATRICES, "unitary"}


@pytest.mark.parametrize("name", [*MATRICES, "unitary"])
def test_the_comparison_detects_a_wrong_sign_and_a_wrong_order(name: str) -> None:
    gate, matrix = gate_of(name)
    qubits = gate.num_qubits
    right = distribution(qubits, list(steps_around(matrix, matrix, qubits)))
    angles = gate.params if name in MATRICES else ()
    wrong = [matrix.conj().T, *_with_a_wrong_sign(name, angles), *_in_another_order(matrix, qubits)]
    for each in wrong:
        if abs(abs(np.trace(each.conj().T @ matrix)) - len(matrix)) > 1e-9:  # a different gate
            assert apart(right, distribution(qubits, list(steps_around(each, each, qubits)))) > 1e-3


def _with_a_wrong_sign(name: str, angles: Sequence[float]) -> Iterator[Matrix]:
    for place in range(len(angles)):
        yield MATRICES[name](*(-angle if place == k else angle for k, angle in enumerate(angles)))


def _in_another_order(matrix: Matrix, qubits: int) -> Iterator[Matrix]:
    for order in itertools.permutations(range(qubits)):
        axes = [*order, *(qubits + each for each in order)]
        yield matrix.reshape((2,) * 2 * qubits).transpose(axes).reshape(matrix.shape)


def test_a_program_with_every_gate_of_openqasm_2(provider: SimulatorProvider) -> None:
    qubits, shots = 3, 100_000
    lines: list[str] = []
    steps: list[Step] = []

    def add(name: str, angles: Sequence[float], places: Sequence[int]) -> None:
        given = f"({','.join(map(repr, angles))})" if angles else ""
        lines.append(f"{name}{given} {','.join(f'q[{place}]' for place in places)};")
        steps.append((MATRICES[name](*angles), places))

    for number, (name, (size, count)) in enumerate(QELIB1.items()):
        for turned, angle, qubit in layer(qubits, number):
            add(turned, (angle,), (qubit,))
        add(name, ANGLES[:count], [(number + k * (1 + number % 2)) % qubits for k in range(size)])
    text = f'OPENQASM 2.0; include "qelib1.inc"; qreg q[3]; creg c[3]; {" ".join(lines)} measure q -> c;'
    circuit = Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2, text, b"", {})
    device = provider.describe().devices[0].name
    compiled = provider.compile(circuit, device)
    expected = distribution(qubits, steps)
    assert apart(dict(provider.probabilities(device, compiled) or {}), expected) < 1e-9
    (outcome,) = provider.run(device, [compiled], shots, 5)
    assert isinstance(outcome, Outcome)
    assert sum(outcome.counts.values()) == shots
    for key, probability in expected.items():
        deviation = math.sqrt(shots * probability * (1 - probability))
        assert abs(outcome.counts.get(key, 0) - shots * probability) < 5 * deviation + 1
