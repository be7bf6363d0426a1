# SPDX-License-Identifier: Apache-2.0
"""Simulators with noise give the distribution that dense matrices of the test's own give."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from qiskit.circuit import Measure, Reset
from qiskit.circuit.library import UnitaryGate

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir import noise
from qonduit_server.ir.builder import Builder, Loop
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.ir.formula import TRUE, Formula, bit
from qonduit_server.providers.provider import CompileOptions, RunProgress
from qonduit_server.providers.registry import get
from qonduit_server.providers.simulation import branching
from qonduit_server.providers.simulation.cirq_statevector import CirqStatevector
from tests.unit.providers.engines import DENSITIES
from tests.unit.providers.noisy_reference import Program, distribution

SHOTS = 4000


@pytest.fixture(scope="module", params=[*DENSITIES, CirqStatevector])
def simulator(request: pytest.FixtureRequest) -> Any:
    return request.param()


@pytest.fixture(scope="module", params=DENSITIES)
def density(request: pytest.FixtureRequest) -> Any:
    return request.param()


def isometry(rng: np.random.Generator, rows: int, columns: int) -> Any:
    return np.linalg.qr(rng.normal(size=(rows, columns)) + 1j * rng.normal(size=(rows, columns)))[0]


def kraus(rng: np.random.Generator, qubits: int, number: int) -> list[Any]:
    """Random Kraus operators, with no symmetry between the qubits."""
    size = 1 << qubits
    return list(isometry(rng, number * size, size).reshape(number, size, size))


def build(builder: Builder, program: Program, guard: Formula = TRUE) -> None:
    for step in program:
        match step:
            case ("kraus", [matrix], places):
                builder.append(guard, UnitaryGate(matrix), places)
            case ("kraus", matrices, places):
                builder.append(guard, noise.kraus(matrices), places)
            case ("measure", qubit, clbit):
                builder.append(guard, Measure(), [qubit], [clbit])
            case ("reset", qubit):
                builder.append(guard, Reset(), [qubit])
            case ("readout", clbit, up, down):
                builder.append(guard, noise.ReadoutError(up, down), [], [clbit])
            case ("if", clbit, body):
                build(builder, body, bit(clbit))
            case ("while", clbit, body):
                outer = builder.block
                loop = Loop(bit(clbit), type(outer)())
                builder.block = loop.body
                build(builder, body)
                builder.block = outer
                builder.append(guard, loop)


def circuit(program: Program, qubits: int, clbits: int) -> Circuit:
    builder = Builder()
    builder.add_qubits(qubits)
    builder.add_clbits(clbits)
    build(builder, program)
    return Circuit(builder.finish(), ())


def flat(rng: np.random.Generator, qubits: int) -> Program:
    """Gates and channels, then measurement with readout errors."""
    program: Program = []
    for _ in range(6):
        for number in (1, int(rng.integers(2, 4))):
            size = int(rng.integers(1, qubits + 1))
            places = tuple(int(each) for each in rng.permutation(qubits)[:size])
            program.append(("kraus", kraus(rng, size, number), places))
    for qubit in range(qubits):
        program += [("measure", qubit, qubit), ("readout", qubit, *rng.uniform(0, 0.3, 2))]
    return program


def branched(rng: np.random.Generator) -> Program:
    """Recorded bits with errors decide about channels, resets and another round."""
    one, two = (lambda n: kraus(rng, 1, n)), (lambda n: kraus(rng, 2, n))
    return [
        ("kraus", two(1), (0, 1)),
        ("kraus", two(3), (1, 0)),
        ("measure", 0, 0),
        ("readout", 0, 0.2, 0.35),
        ("if", 0, [("kraus", two(2), (2, 0))]),
        ("reset", 1),
        ("kraus", one(1), (1,)),
        ("kraus", two(2), (1, 2)),
        ("measure", 1, 1),
        ("readout", 1, 0.1, 0.4),
        ("while", 1, [("kraus", two(2), (2, 1)), ("reset", 0), ("measure", 1, 1), ("readout", 1, 0.05, 0.3)]),
        ("kraus", two(2), (0, 2)),
        ("measure", 2, 2),
        ("readout", 2, 0.0, 0.25),
        ("measure", 2, 3),
    ]


def run(simulator: Any, program: Program, qubits: int, clbits: int, method: str = "") -> tuple[Any, Any]:
    options = CompileOptions(shots=SHOTS, simulation=SimulationOptions(method=method))
    compiled = simulator.compile(circuit(program, qubits, clbits), simulator.device, options)
    *_, outcome = simulator.run(simulator.device, [compiled], SHOTS, 5)
    assert isinstance(outcome, Outcome), outcome
    return compiled, outcome


def assert_close(counts: Any, expected: dict[int, float]) -> None:
    assert sum(counts.values()) == SHOTS
    assert set(counts) <= set(expected)
    for outcome, probability in expected.items():
        spread = math.sqrt(SHOTS * probability * max(0.0, 1 - probability))
        assert abs(counts.get(outcome, 0) - SHOTS * probability) <= 6 * spread + 6, (outcome, probability)


@pytest.mark.parametrize("seed", range(6))
def test_density_matrices_are_exact(density: Any, seed: int) -> None:
    qubits = 1 + seed % 4
    program = flat(np.random.default_rng(seed), qubits)
    expected = distribution(program, qubits)
    compiled, outcome = run(density, program, qubits, qubits)
    assert outcome.meta_data["method"] == "density_matrix"
    found = density.probabilities(density.device, compiled)
    assert all(abs(found.get(key, 0) - expected.get(key, 0)) < 1e-9 for key in found | expected)
    assert_close(outcome.counts, expected)


@pytest.mark.parametrize("seed", range(3))
def test_trajectories_have_the_distribution(simulator: Any, seed: int) -> None:
    program = flat(np.random.default_rng(seed + 50), 3)
    _, outcome = run(simulator, program, 3, 3, "trajectories")
    assert outcome.meta_data["method"] == "trajectories"
    assert_close(outcome.counts, distribution(program, 3))


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("method", ["", "trajectories"])
def test_noise_with_branches(simulator: Any, seed: int, method: str) -> None:
    program = branched(np.random.default_rng(seed))
    _, outcome = run(simulator, program, 3, 4, method)
    assert_close(outcome.counts, distribution(program, 3))


def test_measurements_within_small_noisy_circuits_are_exact(density: Any) -> None:
    rng = np.random.default_rng(3)
    program: Program = [
        ("kraus", kraus(rng, 2, 1), (0, 1)),
        ("measure", 0, 0),
        ("readout", 0, 0.1, 0.2),
        ("kraus", kraus(rng, 2, 3), (1, 0)),
        ("reset", 1),
        ("kraus", kraus(rng, 2, 2), (0, 1)),
        ("measure", 1, 1),
    ]
    expected = distribution(program, 2)
    compiled, _ = run(density, program, 2, 2)
    found = density.probabilities(density.device, compiled)
    assert found is not None
    assert all(abs(found.get(key, 0) - expected.get(key, 0)) < 1e-9 for key in found | expected)


def test_readout_errors_alone_keep_the_fast_path(simulator: Any) -> None:
    program: Program = [
        ("kraus", [np.array([[0.6, -0.8], [0.8, 0.6]])], (0,)),
        ("measure", 0, 0),
        ("readout", 0, 0.1, 0.3),
        ("readout", 0, 0.05, 0.0),
        ("measure", 1, 1),  # a qubit that no gate acts on
        ("readout", 1, 0.2, 0.5),
        ("measure", 0, 2),  # the same value, recorded without an error
    ]
    expected = distribution(program, 2)
    compiled, outcome = run(simulator, program, 2, 3)
    found = simulator.probabilities(simulator.device, compiled)
    assert found is not None
    assert all(abs(found.get(key, 0) - expected.get(key, 0)) < 1e-9 for key in found | expected)
    assert_close(outcome.counts, expected)


def test_pauli_errors_that_change_nothing_do_not_split(simulator: Any) -> None:
    builder = Builder()
    builder.add_qubits(2)
    builder.add_clbits(2)
    for _ in range(20):
        builder.append(TRUE, noise.phase_flip(0.5), [0])
    builder.append(TRUE, Measure(), [0], [0])
    options = CompileOptions(simulation=SimulationOptions(method="trajectories"))
    compiled = simulator.compile(Circuit(builder.finish(), ()), simulator.device, options)
    *_, outcome = simulator.run(simulator.device, [compiled], SHOTS, 1)
    assert outcome.meta_data["branches"] == 1


def test_the_memory_for_waiting_groups_does_not_change_the_counts(simulator: Any) -> None:
    options = CompileOptions(simulation=SimulationOptions(method="trajectories"))
    program = circuit(branched(np.random.default_rng(8)), 3, 4)
    compiled = simulator.compile(program, simulator.device, options)
    *_, kept = simulator.run(simulator.device, [compiled], SHOTS, 1)
    compiled.native.spare_bytes = -(16 << 3)
    *_, again = simulator.run(simulator.device, [compiled], SHOTS, 1)
    assert kept.counts == again.counts


def test_progress_grows_and_does_not_change_the_counts(monkeypatch: pytest.MonkeyPatch, simulator: Any) -> None:
    options = CompileOptions(simulation=SimulationOptions(method="trajectories"))
    compiled = simulator.compile(circuit(branched(np.random.default_rng(8)), 3, 4), simulator.device, options)
    monkeypatch.setattr(branching, "_PROGRESS_SECONDS", 1e9)
    (silent,) = simulator.run(simulator.device, [compiled], 500, 1)
    monkeypatch.setattr(branching, "_PROGRESS_SECONDS", 0.0)
    *progress, outcome = simulator.run(simulator.device, [compiled], 500, 1)
    shares = [each.share for each in progress if isinstance(each, RunProgress)]
    assert shares == sorted(shares)
    assert len(shares) > 5
    assert 0 < shares[0] < shares[-1] < 1
    assert outcome.counts == silent.counts


def wide(qubits: int, channel: bool = True, at_once: bool = False) -> Circuit:
    builder = Builder()
    builder.add_qubits(qubits)
    builder.add_clbits(qubits)
    for qubit in range(qubits):
        builder.append(TRUE, UnitaryGate(np.array([[0, 1], [1, 0]])), [qubit])
        if channel:
            builder.append(TRUE, noise.depolarizing(0.01), [qubit])
        if at_once:
            builder.append(TRUE, Measure(), [qubit], [qubit])
    for qubit in () if at_once else range(qubits):
        builder.append(TRUE, Measure(), [qubit], [qubit])
    return Circuit(builder.finish(), ())


def method_of(simulator: Any, program: Circuit, **options: Any) -> str:
    compiled = simulator.compile(program, simulator.device, CompileOptions(**options))
    *_, outcome = simulator.run(simulator.device, [compiled], 10, 1)
    return str(outcome.meta_data["method"])


def test_the_cheaper_method_is_taken(density: Any) -> None:
    assert method_of(density, wide(8), shots=1024) == "density_matrix"
    # Cirq's circuits measure a qubit as soon as its last gate was applied.
    assert method_of(density, wide(8, at_once=True), shots=1024) == "density_matrix"
    assert method_of(density, wide(8), shots=16) == "trajectories"
    assert method_of(density, wide(8), shots=1024, memory_limit_bytes=1 << 20) == "trajectories"
    named = SimulationOptions(method="density_matrix")
    assert method_of(density, wide(8), shots=16, simulation=named) == "density_matrix"
    with pytest.raises(LimitError) as caught:
        method_of(density, wide(8), memory_limit_bytes=1 << 20, simulation=named)
    assert caught.value.reason == "MEMORY_LIMIT"


def test_statevectors_refuse_channels() -> None:
    simulator = CirqStatevector()
    with pytest.raises(DeviceError) as caught:
        method_of(simulator, wide(2), simulation=SimulationOptions(method="statevector"))
    assert caught.value.reason == "UNSUPPORTED_METHOD"
    assert "trajectories" in caught.value.message


def test_capabilities_name_the_methods() -> None:
    devices = {device.name: device for name in ("AWS", "GOOGLE") for device in get(name).describe().devices}
    methods = {name: [each.name for each in device.capabilities.methods] for name, device in devices.items()}
    assert methods["local_simulator"] == ["statevector"]
    assert methods["braket_dm"] == methods["cirq_density_matrix"] == ["trajectories", "density_matrix"]
    assert methods["cirq_simulator"] == ["statevector", "trajectories"]
    assert not devices["local_simulator"].capabilities.noise
    assert all(devices[name].capabilities.noise for name in ("braket_dm", "cirq_density_matrix", "cirq_simulator"))
    assert not devices["braket_dm"].capabilities.statevector
