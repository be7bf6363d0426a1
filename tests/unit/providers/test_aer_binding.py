# SPDX-License-Identifier: Apache-2.0
"""Aer's binding at run time: every gate with angles gives what a circuit with the values gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any, Final

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.circuit.classical import expr
from qiskit.circuit.library import get_standard_gate_name_mapping

from qonduit.v1.noise_pb2 import NoiseChannel, NoiseModel
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit, ClassicalRegister, Outcome
from qonduit_server.ir.noise_pass import with_noise
from qonduit_server.ir.parameters import Binder
from qonduit_server.ir.symbolic import NotSymbolic
from qonduit_server.providers.aer.aer_methods import BASIS
from qonduit_server.providers.aer.aer_simulator import AerSimulator
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


def test_the_stabilizer_method_is_not_bound(provider: AerSimulator) -> None:
    options = CompileOptions(simulation=SimulationOptions(method="stabilizer"))
    with pytest.raises(NotSymbolic):
        provider.compile(circuit(("rx",), 3, 3), DEVICE, options)


def dynamic(qubits: int = 2) -> Circuit:
    """Return a circuit that runs shot by shot: a loop until a measured bit is 0, with angles inside and behind it."""
    a, b = Parameter("a"), Parameter("b")
    quantum = QuantumCircuit(qubits, 3)
    quantum.ry(a, 0)
    quantum.measure(0, 0)
    with quantum.while_loop(expr.lift(quantum.clbits[0])):
        quantum.rx(a * b + 0.4, 1)
        quantum.h(0)
        quantum.measure(0, 0)
    with quantum.if_test(expr.logic_not(quantum.clbits[0])):
        quantum.ry(b, 0)
    quantum.measure([0, 1], [1, 2])
    return Circuit(quantum, (ClassicalRegister("c", (0, 1, 2)),), parameters=("a", "b"))


def noisy(qubits: int) -> Circuit:
    """Return a circuit with a channel, which runs shot by shot if its method is trajectories."""
    found = circuit(("rx", "cu", "rzz"), qubits, 3)
    model = NoiseModel()
    model.gate_errors.add(gates=["rx", "ry"], channel=NoiseChannel(depolarizing=0.1))
    model.readout_errors.add(prob_1_given_0=0.2)
    return with_noise(found, model, 1)


@pytest.mark.parametrize(
    ("make", "simulation"),
    [(dynamic, {}), (lambda: noisy(4), {"method": "trajectories"}), (lambda: noisy(4), {"method": "density_matrix"})],
)
def test_shots_one_by_one_take_the_angles(
    provider: AerSimulator, make: Callable[[], Circuit], simulation: dict[str, str]
) -> None:
    found = make()
    values = np.random.default_rng(2).uniform(-3, 3, (3, len(found.parameters)))
    options = CompileOptions(simulation=SimulationOptions(**simulation))
    template = provider.compile(found, DEVICE, options)
    bind = provider.bind(DEVICE, template, found.parameters, values)
    ours = [bind(point) for point in range(3)]
    theirs = [provider.compile(each, DEVICE, options) for each in Binder(found).bind(values)]
    drawn = [
        counts([each for each in provider.run(DEVICE, own, 500, 5) if isinstance(each, Outcome)])
        for own in (ours, theirs)
    ]
    assert drawn[0] == drawn[1]
    assert len({str(each) for each in drawn[0]}) == 3
    for one, other in zip(*(provider.exact_distributions(DEVICE, own) for own in (ours, theirs)), strict=True):
        assert (one is None) == (other is None) == (make is dynamic)
        if one is not None:
            assert one == pytest.approx(other, abs=1e-12)


def test_points_of_wide_circuits_have_the_method_of_their_values(provider: AerSimulator) -> None:
    """With 16 qubits and Clifford gates only, a job would be simulated by its tableau: so is such a point."""
    quantum = QuantumCircuit(16, 16)
    a, b = Parameter("a"), Parameter("b")
    for qubit in range(16):
        quantum.h(qubit)
        quantum.rz(a, qubit)
        quantum.cp(a + b, qubit, (qubit + 1) % 16)
    quantum.measure(range(3), range(3))
    found = Circuit(quantum, (ClassicalRegister("c", tuple(range(3))),), parameters=("a", "b"))
    values = np.array([[math.pi / 2, math.pi / 2], [math.pi / 2, 0.1], [0.3, 0.7], [-math.pi, 2 * math.pi]])
    bind = provider.bind(DEVICE, provider.compile(found, DEVICE), ("a", "b"), values)
    ours = [bind(point) for point in range(4)]
    theirs = [provider.compile(each, DEVICE) for each in Binder(found).bind(values)]
    drawn = [list(provider.run(DEVICE, own, 200, 5)) for own in (ours, theirs)]
    assert counts(drawn[0]) == counts(drawn[1])
    methods = [[each.meta_data["method"] for each in own] for own in drawn]  # type: ignore[union-attr]
    assert methods[0] == methods[1] == ["stabilizer", "statevector", "statevector", "stabilizer"]


def test_a_statevector_that_does_not_fit_leaves_the_points_to_their_values(provider: AerSimulator) -> None:
    quantum = QuantumCircuit(60, 1)
    quantum.rx(Parameter("a"), 0)
    quantum.cx(0, 59)
    quantum.measure(59, 0)
    found = Circuit(quantum, (ClassicalRegister("c", (0,)),), parameters=("a",))
    with pytest.raises(NotSymbolic):
        provider.compile(found, DEVICE)
    (one,) = Binder(found).bind(np.array([[math.pi]]))
    (outcome,) = provider.run(DEVICE, [provider.compile(one, DEVICE)], 10, 5)
    assert isinstance(outcome, Outcome)
    assert outcome.counts == {1: 10}
