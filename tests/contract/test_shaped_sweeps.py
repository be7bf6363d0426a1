# SPDX-License-Identifier: Apache-2.0
"""Sweeps on devices that compile to a processor's gates: one compilation, and the angles of each point in its gates."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.circuit.classical import expr

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.parameters import Binder
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions
from qonduit_server.providers.shapes.fake_backends import FakeBackends
from tests.contract.worker_jobs import ESTIMATOR, HEADER3, RUNNER, WorkerJob, sets

SHOTS = 2000
POINTS = 5
#: Native rotations of the processors: rz and sx, those of Heron, and u1, u2 and u3.
DEVICES = ("fake_manila", "fake_torino", "fake_burlington")


@pytest.fixture(scope="module")
def provider() -> FakeBackends:
    return FakeBackends()


def layers() -> Circuit:
    """Return a circuit with angles in gates of one and two qubits, some of them sums and products."""
    a, b, c = (Parameter(name) for name in "abc")
    quantum = QuantumCircuit(3, 3)
    quantum.ry(a, 0)
    quantum.h(1)
    quantum.cx(0, 1)
    quantum.u(b, a / 2, 0.3, 2)
    quantum.rzz(a * b + 0.2, 1, 2)
    quantum.rx(c + a, 1)
    quantum.cp(b - c, 0, 2)
    quantum.rz(c, 0)
    quantum.rx(2 * b, 0)
    quantum.measure(range(3), range(3))
    return Circuit(quantum, (), parameters=("a", "b", "c"))


def branching() -> Circuit:
    """Return a circuit with an angle behind a condition on a measured bit, and a reset."""
    a, b = Parameter("a"), Parameter("b")
    quantum = QuantumCircuit(2, 3)
    quantum.ry(a, 0)
    quantum.measure(0, 0)
    with quantum.if_test(expr.lift(quantum.clbits[0])):
        quantum.rx(b * 2, 1)
    quantum.reset(0)
    quantum.ry(a + b, 0)
    quantum.measure([0, 1], [1, 2])
    return Circuit(quantum, (), parameters=("a", "b"))


def values(circuit: Circuit) -> np.ndarray[Any, np.dtype[np.float64]]:
    return np.random.default_rng(3).uniform(-3, 3, (POINTS, len(circuit.parameters)))


def options(level: int = 1) -> CompileOptions:
    return CompileOptions(simulation=SimulationOptions(optimization_level=level))


def at_points(provider: FakeBackends, circuit: Circuit, device: str, level: int = 1) -> list[CompiledCircuit]:
    """Return the points of a circuit that is compiled once."""
    template = provider.compile(circuit, device, options(level))
    bind = provider.bind(device, template, circuit.parameters, values(circuit))
    return [bind(point) for point in range(POINTS)]


def counts(provider: FakeBackends, device: str, compiled: list[CompiledCircuit]) -> list[Mapping[int, int]]:
    outcomes = [each for each in provider.run(device, compiled, SHOTS, 7) if isinstance(each, Outcome)]
    assert len(outcomes) == len(compiled)
    return [each.counts for each in outcomes]


def apart(one: Mapping[int, float], other: Mapping[int, float]) -> float:
    """Return the total variation distance."""
    return sum(abs(one.get(key, 0.0) - other.get(key, 0.0)) for key in {*one, *other}) / 2


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("level", [0, 1, 2, 3])
def test_a_point_has_the_distribution_of_the_circuit_with_its_values(
    provider: FakeBackends, device: str, level: int
) -> None:
    circuit = layers()
    points = at_points(provider, circuit, device, level)
    found = list(provider.exact_distributions(device, points))
    for each, own in zip(found, Binder(circuit).bind(values(circuit)), strict=True):
        alone = provider.probabilities(device, provider.compile(own, device, options(level)))
        assert each is not None
        assert alone is not None
        # Gates that have no value yet are merged less, and the layout may differ.
        assert apart(each, alone) < 0.03
    assert min(apart(found[0], each) for each in found[1:]) > 0.1  # type: ignore[arg-type]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("make", [layers, branching])
def test_a_point_runs_its_compiled_circuit(provider: FakeBackends, device: str, make: Any) -> None:
    """Aer receives the angles with the call: it gives what the circuit with the angles gives, shot by shot too."""
    circuit = make()
    points = at_points(provider, circuit, device)
    native = [each.circuit() for each in points if each.circuit is not None]
    assert [each.parameters for each in native] == [()] * POINTS
    again = [provider.compile(each, device) for each in native]
    assert counts(provider, device, points) == counts(provider, device, again)
    for one, other in zip(*(provider.exact_distributions(device, each) for each in (points, again)), strict=True):
        if make is branching:
            assert one is other is None
        else:
            assert one == pytest.approx(other, abs=1e-12)


def test_every_process_compiles_the_same_template() -> None:
    found = []
    for _ in range(2):
        own = FakeBackends()
        points = at_points(own, layers(), "fake_manila", 3)
        found.append((counts(own, "fake_manila", points), *own.exact_distributions("fake_manila", points)))
    assert found[0] == found[1]


def test_points_run_alone_give_the_same_counts(provider: FakeBackends) -> None:
    circuit = layers()
    first, *_ = points = at_points(provider, circuit, "fake_manila")
    assert counts(provider, "fake_manila", points)[0] == counts(provider, "fake_manila", [first])[0]


def test_an_angle_that_no_measurement_depends_on(provider: FakeBackends) -> None:
    quantum, angle = QuantumCircuit(2, 1), Parameter("a")
    quantum.rz(angle, 0)
    quantum.measure(0, 0)
    quantum.ry(angle, 1)
    points = at_points(provider, Circuit(quantum, (), parameters=("a",)), "fake_manila", 2)
    assert all(each[0] > SHOTS * 0.9 for each in counts(provider, "fake_manila", points))


def normalized(counted: Mapping[str, int]) -> dict[int, float]:
    return {int(key, 16): number / sum(counted.values()) for key, number in counted.items()}


TURN = HEADER3 + "input float a; qubit[2] q; bit[2] c; ry(a) q[0]; cx q[0], q[1]; c = measure q;"


def test_a_sweep_compiles_once(monkeypatch: pytest.MonkeyPatch) -> None:
    compiled: list[str] = []
    native = FakeBackends.compile_native

    def count(self: FakeBackends, circuit: Circuit, shape: Any, options: CompileOptions) -> CompiledCircuit:
        compiled.append(shape.name)
        return native(self, circuit, shape, options)

    monkeypatch.setattr(FakeBackends, "compile_native", count)
    points = sets(a=[0.1 * k for k in range(1, 31)])
    job = WorkerJob("IBM/fake_manila", TURN, type=RUNNER, shots=SHOTS, parameter_sets=points)
    assert len(job.results()) == 30
    assert len(compiled) == 1
    options = EstimatorOptions(observables=[Observable(expression="Z0*Z1 + 0.5*X0*X1 + Z0")])
    job = WorkerJob("IBM/fake_manila", TURN, type=ESTIMATOR, shots=SHOTS, estimator=options, parameter_sets=points)
    assert not job.failures
    assert len(compiled) == 1 + 2


def test_the_compiled_circuit_of_a_sweep_has_the_values_of_its_first_point() -> None:
    points = sets(a=[0.25, 2.5])
    job = WorkerJob(
        "IBM/fake_manila", TURN, type=RUNNER, shots=100, parameter_sets=points, include_compiled_circuit=True
    )
    (text,) = [each.compiled_circuit.text for each in job.results() if each.HasField("compiled_circuit")]
    assert "input" not in text
    assert "cx" in text
    alone = WorkerJob("IBM/fake_manila", text, type=RUNNER, shots=100)
    first = job.results()[0].counts_and_probabilities.counts
    assert apart(normalized(first), normalized(alone.counts()[0])) < 0.3


def test_equal_points_have_draws_of_their_own(provider: FakeBackends) -> None:
    points = at_points(provider, layers(), "fake_manila")
    first, second = counts(provider, "fake_manila", [points[0], points[0]])
    assert first != second
