# SPDX-License-Identifier: Apache-2.0
"""Steps that combine gates: layers on single qubits and permutations, against Qiskit's statevector."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import ParameterVector, QuantumCircuit
from qiskit.quantum_info import Statevector

from qonduit_server.estimation import one_qubit_layers
from qonduit_server.estimation.adjoint import AdjointCircuit
from qonduit_server.estimation.adjoint_steps import MAX_PERMUTED_QUBITS, Permutation
from qonduit_server.estimation.exact_values import expectation
from qonduit_server.pauli_sums import parse

#: More qubits than a block of amplitudes has, and than permutations are combined for.
_WIDE = MAX_PERMUTED_QUBITS + 1
_LAYERS = 2


def tangled(qubits: int, seed: int) -> tuple[QuantumCircuit, list[str]]:
    """Sequences of one to three gates on some of the qubits, then gates that permute and multiply amplitudes."""
    random = np.random.default_rng(seed)
    vector = ParameterVector("x", 3 * qubits * _LAYERS)
    free = iter(vector)
    circuit = QuantumCircuit(qubits)
    for _ in range(_LAYERS):
        for qubit in range(qubits):
            for name in random.choice(["rx", "ry", "rz", "p", "h", "t", "sx", "none"], random.integers(1, 4)):
                if name in ("rx", "ry", "rz", "p"):
                    getattr(circuit, name)(next(free), qubit)
                elif name != "none":
                    getattr(circuit, name)(qubit)
        for first, second in pairwise(random.permutation(qubits).tolist()):
            getattr(circuit, random.choice(["cx", "cz", "swap", "iswap", "cy"]))(first, second)
        circuit.rzz(next(free), 0, qubits - 1)
    return circuit, [each.name for each in circuit.parameters]


def state_of(circuit: QuantumCircuit, point: Any) -> Any:
    return Statevector(circuit.assign_parameters(dict(zip(circuit.parameters, point, strict=True)))).data


@pytest.mark.parametrize(("qubits", "seed"), [(2, 1), (3, 2), (5, 3), (9, 4), (_WIDE, 5)])
def test_states_and_gradients_of_combined_gates_are_those_of_qiskit(qubits: int, seed: int) -> None:
    circuit, names = tangled(qubits, seed)
    random = np.random.default_rng(seed)
    point = random.uniform(-3, 3, len(names))
    own = AdjointCircuit(circuit, names)

    sums = [parse(f"X0*Y{qubits - 1} + 0.5*Z{qubits // 2}"), parse("Y0 - 2*Z1")]
    values, gradients, variances, state = own.gradients(point.tolist(), sums)
    expected = state_of(circuit, point)
    assert abs(np.vdot(state, expected)) == pytest.approx(1, abs=1e-10)  # the global phase is dropped
    np.testing.assert_allclose([values, variances], expectation(expected, sums), rtol=0, atol=1e-10)
    direction = random.uniform(-1, 1, len(names))
    step = 1e-5
    plus, minus = (expectation(state_of(circuit, point + sign * step * direction), sums)[0] for sign in (1, -1))
    np.testing.assert_allclose(gradients @ direction, (plus - minus) / (2 * step), rtol=0, atol=1e-7)


def test_layers_in_blocks_of_few_amplitudes_give_the_same_values(monkeypatch: pytest.MonkeyPatch) -> None:
    circuit, names = tangled(7, 6)
    point = np.random.default_rng(6).uniform(-3, 3, len(names)).tolist()
    sums = [parse("X0*Y6 + 0.5*Z3")]
    whole = AdjointCircuit(circuit, names).gradients(point, sums)
    monkeypatch.setattr(one_qubit_layers, "_BLOCK", 24)
    blocks = AdjointCircuit(circuit, names).gradients(point, sums)
    np.testing.assert_allclose(whole[0], blocks[0], rtol=0, atol=1e-12)
    np.testing.assert_allclose(whole[1], blocks[1], rtol=0, atol=1e-12)


def test_equal_sequences_of_gates_share_one_permutation() -> None:
    circuit, x = QuantumCircuit(4), ParameterVector("x", 8)
    for layer in range(2):
        for qubit in range(4):
            circuit.ry(x[4 * layer + qubit], qubit)
        for qubit in range(3):
            circuit.cx(qubit, qubit + 1)
    steps = AdjointCircuit(circuit, [each.name for each in x])._steps
    permutations = [step for step in steps if isinstance(step, Permutation)]
    assert len(steps) == 4
    assert len(permutations) == 2
    assert permutations[0] is permutations[1]
