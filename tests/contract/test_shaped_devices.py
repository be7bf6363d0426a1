# SPDX-License-Identifier: Apache-2.0
"""What every device that is shaped like a processor promises, whichever SDK compiles for it."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
from qiskit.circuit import QuantumCircuit

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit.v1.device_pb2 import Device
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError
from qonduit_server.ir import noise
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.composite import CompositeProvider
from qonduit_server.providers.offered.google import Google
from qonduit_server.providers.offered.ibm import IBM
from qonduit_server.providers.provider import CompileOptions, RunProgress

SHOTS = 2000
DEVICES = ("IBM/fake_manila", "GOOGLE/rainbow", "GOOGLE/weber", "GOOGLE/willow_pink")


class Shaped:
    """A device with its provider."""

    def __init__(self, provider: CompositeProvider, device: str) -> None:
        self.provider = provider
        self.name = device
        described = provider.describe()
        (self.device,) = (each for each in described.devices if each.name == device)
        (self.calibration,) = (each.calibration for each in described.calibrations if each.device == device)
        self.device: Device
        self.calibration: DeviceCalibration

    def compile(self, circuit: QuantumCircuit, **simulation: object) -> object:
        options = CompileOptions(simulation=SimulationOptions(**simulation))  # type: ignore[arg-type]
        return self.provider.compile(Circuit(circuit, ()), self.name, options)

    def run(self, circuit: QuantumCircuit, seed: int = 5, **simulation: object) -> tuple[list[float], Outcome]:
        ready = self.compile(circuit, **simulation)
        *progress, outcome = self.provider.run(self.name, [ready], SHOTS, seed)  # type: ignore[list-item]
        assert isinstance(outcome, Outcome)
        assert sum(outcome.counts.values()) == SHOTS
        return [each.share for each in progress if isinstance(each, RunProgress)], outcome

    def exact(self, circuit: QuantumCircuit) -> Mapping[int, float] | None:
        return self.provider.probabilities(self.name, self.compile(circuit))  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def providers() -> dict[str, CompositeProvider]:
    return {"IBM": IBM(), "GOOGLE": Google()}


@pytest.fixture(params=DEVICES)
def shaped(request: pytest.FixtureRequest, providers: dict[str, CompositeProvider]) -> Shaped:
    provider, _, device = request.param.partition("/")
    return Shaped(providers[provider], device)


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(0)
    for qubit in range(1, qubits):
        circuit.cx(0, qubit)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def test_the_calibration_covers_the_device(shaped: Shaped) -> None:
    number = shaped.device.num_qubits
    assert shaped.device.capabilities.coupling_map
    assert [each.qubit for each in shaped.calibration.qubits] == list(range(number))
    assert all(each.t1 > 0 and each.t2 > 0 for each in shaped.calibration.qubits)
    pairs = {(pair.first, pair.second) for pair in shaped.calibration.coupling_map}
    assert {place for pair in pairs for place in pair} <= set(range(number))
    gates = {gate.gate for gate in shaped.calibration.gates} - {"reset"}
    assert gates == set(shaped.device.basis_gates)
    assert {tuple(gate.qubits) for gate in shaped.calibration.gates if len(gate.qubits) == 2} <= pairs


def test_results_have_the_metadata_of_compilation(shaped: Shaped) -> None:
    _, outcome = shaped.run(ghz(4))
    metadata = outcome.meta_data
    layout = metadata["layout"]
    assert isinstance(layout, list)
    assert len(set(layout)) == 4
    assert set(layout) <= set(range(shaped.device.num_qubits))
    assert metadata["method"] == "density_matrix"
    assert isinstance(metadata["depth"], int)
    assert isinstance(metadata["two_qubit_gates"], int)
    assert metadata["depth"] > metadata["two_qubit_gates"] >= 3
    estimate = metadata["estimated_success_probability"]
    assert isinstance(estimate, float)
    likely = (outcome.counts[0] + outcome.counts[15]) / SHOTS
    assert 0.5 < likely < 0.99
    # Only an estimate: half of the errors do not change an outcome, and there are others.
    assert abs(likely - estimate) < 0.2


def test_exact_probabilities_are_those_of_samples(shaped: Shaped) -> None:
    exact = shaped.exact(ghz(3))
    assert exact is not None
    assert sum(exact.values()) == pytest.approx(1.0)
    for method in [each.name for each in shaped.device.capabilities.methods]:
        progress, outcome = shaped.run(ghz(3), method=method)
        assert outcome.meta_data["method"] == method
        keys = outcome.counts.keys() | exact.keys()
        # Eight outcomes: the mean distance of 2,000 right shots is below sqrt(8 / (2 pi 2,000)) = 0.025.
        assert sum(abs(outcome.counts.get(key, 0) / SHOTS - exact.get(key, 0.0)) for key in keys) / 2 < 0.06
        assert progress == sorted(progress)


def test_the_same_seed_gives_the_same_counts(shaped: Shaped) -> None:
    for method in [each.name for each in shaped.device.capabilities.methods]:
        first, second, other = (shaped.run(ghz(2), seed, method=method)[1].counts for seed in (3, 3, 4))
        assert first == second
        # Aer would give the next seed the same shots but one.
        assert sum(abs(first.get(key, 0) - other.get(key, 0)) for key in first) > 8


def test_overwritten_bits_and_measured_qubits(shaped: Shaped) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure(1, 2)
    circuit.measure(0, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    assert shaped.run(circuit)[1].counts[0b100] / SHOTS > 0.7


def test_nothing_measured_gives_zeros(shaped: Shaped) -> None:
    circuit = QuantumCircuit(2, 1)
    circuit.h(0)
    assert shaped.run(circuit)[1].counts == {0: SHOTS}
    assert shaped.exact(circuit) == {0: 1.0}


def test_what_a_device_cannot_do_is_refused(shaped: Shaped) -> None:
    number = shaped.device.num_qubits
    with pytest.raises(DeviceError, match=f"{number + 1} qubits, .*/{shaped.name} has {number}") as refused:
        shaped.compile(QuantumCircuit(number + 1, 1))
    assert refused.value.reason == "TOO_MANY_QUBITS"
    noisy = QuantumCircuit(1, 1)
    noisy.append(noise.bit_flip(0.1), [0])
    with pytest.raises(DeviceError, match="noise of its own"):
        shaped.compile(noisy)
