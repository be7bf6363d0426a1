# SPDX-License-Identifier: Apache-2.0
"""Aer's binding at run time: every gate with angles gives what a circuit with the values gives."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.circuit.library import get_standard_gate_name_mapping

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit, ClassicalRegister, Outcome
from qonduit_server.ir.parameters import Binder
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.providers.aer_methods import BASIS
from qonduit_server.providers.aer_simulator import AerSimulator
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions

DEVICE: Final = "aer_simulator"
#: Gates with angles, with the number of these.
GATES: Final = {
    **{
        name: (gate.base_class, len(gate.params), gate.num_qubits)
        for name, gate in get_standard_gate_name_mapping().items()
        if name in BASIS and gate.params
    },
    "u1": (qk.U1Gate, 1, 1),
    "u2": (qk.U2Gate, 2, 1),
    "u3": (qk.U3Gate, 3, 1),
    "cu1": (qk.CU1Gate, 1, 2),
    "cu3": (qk.CU3Gate, 3, 2),
    "mcphase": (lambda angle: qk.MCPhaseGate(angle, 2), 1, 3),
}
DIAGONAL: Final = ("rz", "p", "cp", "rzz", "crz", "u1", "cu1", "mcphase")
NAMES: Final = ("a", "b", "c", "d")


@pytest.fixture(scope="module")
def provider() -> AerSimulator:
    return AerSimulator()


def circuit(gates: tuple[str, ...], qubits: int, measured: int) -> Circuit:
    """Return gates on changing qubits, each with expressions of its own, between other gates and barriers."""
    quantum = QuantumCircuit(qubits, measured)
    angles = [Parameter(name) for name in NAMES]
    number = 0
    for place, name in enumerate(gates):
        make, parameters, width = GATES[name]
        for qubit in range(qubits):
            quantum.ry(0.3 + 0.2 * qubit, qubit)
        quantum.barrier()
        quantum.cx(place % qubits, (place + 1) % qubits)
        own = []
        for _ in range(parameters):
            own.append(angles[number % 4] * (1 + number) + angles[(number + 1) % 4] ** 2 / 3)
            number += 1
        quantum.append(make(*own), [(place + k) % qubits for k in reversed(range(width))])
    for qubit in range(qubits):
        quantum.rx(0.9 - 0.1 * qubit, qubit)
    quantum.measure(range(measured), range(measured))
    quantum.global_phase = angles[0]
    return Circuit(quantum, (ClassicalRegister("c", tuple(range(measured))),), parameters=NAMES)


def both(
    provider: AerSimulator, found: Circuit, points: int, **simulation: Any
) -> tuple[list[CompiledCircuit], list[CompiledCircuit]]:
    """Return the circuits of points: of a template, and compiled with the values."""
    values = np.random.default_rng(2).uniform(-3, 3, (points, len(NAMES)))
    method = simulation.get("method", "")
    options = CompileOptions(statevector=method in ("", "statevector"), simulation=SimulationOptions(**simulation))
    bind = provider.bind(DEVICE, provider.compile(found, DEVICE, options), NAMES, values)
    return (
        [bind(point) for point in range(points)],
        [provider.compile(each, DEVICE, options) for each in Binder(found, NAMES).bind(values)],
    )


def counts(outcomes: list[Any]) -> list[Mapping[int, int]]:
    assert all(isinstance(each, Outcome) for each in outcomes)
    return [each.counts for each in outcomes]


def check(provider: AerSimulator, found: Circuit, points: int, **simulation: Any) -> None:
    ours, theirs = both(provider, found, points, **simulation)
    drawn = [list(provider.run(DEVICE, each, 200, 5)) for each in (ours, theirs)]
    for one, other in zip(*drawn, strict=True):
        assert isinstance(one, Outcome)
        assert isinstance(other, Outcome)
        assert one.counts == other.counts
        assert one.meta_data["seed"] == other.meta_data["seed"]
    exact = [list(provider.exact_distributions(DEVICE, each)) for each in (ours, theirs)]
    for one, other in zip(*exact, strict=True):
        assert one == pytest.approx(other, abs=1e-12)
    if ours[0].evolution is not None:
        states = [list(provider.statevectors(DEVICE, each)) for each in (ours, theirs)]
        np.testing.assert_allclose(*states, atol=1e-12)
        assert abs(states[0][0] - states[0][1]).max() > 1e-3


@pytest.mark.parametrize("name", sorted(GATES))
def test_every_gate_takes_its_angles(provider: AerSimulator, name: str) -> None:
    check(provider, circuit((name, name), 3, 3), 3)


@pytest.mark.parametrize(
    ("qubits", "measured"),
    [(5, 5), (12, 12), (15, 3)],  # probabilities, Aer's own shots, merged gates
)
@pytest.mark.parametrize("gates", [tuple(sorted(GATES)), DIAGONAL])
def test_circuits_of_many_gates_take_their_angles(
    provider: AerSimulator, gates: tuple[str, ...], qubits: int, measured: int
) -> None:
    check(provider, circuit(gates, qubits, measured), 3, method="statevector" if qubits == 15 else "")


@pytest.mark.parametrize("method", ["density_matrix", "matrix_product_state", "statevector"])
def test_every_method_takes_the_angles(provider: AerSimulator, method: str) -> None:
    check(provider, circuit(("rx", "cu", "rzz", "u", "crz"), 4, 4), 3, method=method)


@pytest.mark.parametrize("measured", [4, 12])
def test_single_precision_draws_the_same_counts(provider: AerSimulator, measured: int) -> None:
    found = circuit(("rx", "cu", "rzz", "u", "crz"), measured, measured)
    ours, theirs = both(provider, found, 5, floating_point="single")
    drawn = [list(provider.run(DEVICE, each, 1000, 5)) for each in (ours, theirs)]
    assert counts(drawn[0]) == counts(drawn[1])


def test_circuits_of_several_templates_keep_their_order(provider: AerSimulator) -> None:
    first, second = (both(provider, circuit(gates, 3, 3), 4) for gates in (("rx", "cu"), ("ry", "rzz")))
    ours, theirs = (
        [each for pair in zip(one, two, strict=True) for each in pair] for one, two in zip(first, second, strict=True)
    )
    drawn = [list(provider.run(DEVICE, each, 200, 5)) for each in (ours, theirs)]
    assert counts(drawn[0]) == counts(drawn[1])


@pytest.mark.parametrize(("qubits", "simulation"), [(16, {}), (3, {"method": "stabilizer"})])
def test_angles_that_decide_the_method_are_not_bound(
    provider: AerSimulator, qubits: int, simulation: dict[str, str]
) -> None:
    options = CompileOptions(simulation=SimulationOptions(**simulation))
    with pytest.raises(NotSymbolic):
        provider.compile(circuit(("rx",), qubits, qubits), DEVICE, options)
