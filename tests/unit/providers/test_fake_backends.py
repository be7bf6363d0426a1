# SPDX-License-Identifier: Apache-2.0
"""IBM's fake backends: their files, compilation to their shape, and their errors, against the packages' own."""

from __future__ import annotations

import math
from collections.abc import Mapping

import pytest
from qiskit.circuit import QuantumCircuit

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import LimitError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.providers.offered.ibm import IBM
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions
from qonduit_server.providers.shapes import backend_files
from qonduit_server.providers.shapes.fake_backends import FakeBackends

SHOTS = 20_000


@pytest.fixture(scope="module")
def provider() -> FakeBackends:
    """Keeps what it made for a device from test to test, as in a worker."""
    return FakeBackends()


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(0)
    for qubit in range(1, qubits):
        circuit.cx(0, qubit)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def compiled(provider: FakeBackends, circuit: QuantumCircuit, device: str, **simulation: object) -> CompiledCircuit:
    options = CompileOptions(simulation=SimulationOptions(**simulation))  # type: ignore[arg-type]
    return provider.compile(Circuit(circuit, ()), device, options)


def run(provider: FakeBackends, circuit: QuantumCircuit, device: str, **simulation: object) -> Outcome:
    *_, outcome = provider.run(device, [compiled(provider, circuit, device, **simulation)], SHOTS, 5)
    assert isinstance(outcome, Outcome)
    assert sum(outcome.counts.values()) == SHOTS
    return outcome


def distance(counts: Mapping[int, int], expected: Mapping[int, float]) -> float:
    """The total variation distance."""
    keys = counts.keys() | expected.keys()
    return sum(abs(counts.get(key, 0) / SHOTS - expected.get(key, 0.0)) for key in keys) / 2


def test_every_device_has_its_size_and_gates() -> None:
    devices = {device.name: device for device in FakeBackends().describe().devices}
    assert list(devices) == [f"fake_{name}" for name in backend_files.OFFERED]
    assert devices["fake_manila"].num_qubits == 5
    assert devices["fake_fez"].num_qubits == 156
    assert set(devices["fake_fez"].basis_gates) == {"cz", "id", "rz", "sx", "x"}
    assert all(device.capabilities.coupling_map and device.available for device in devices.values())


def test_every_device_is_described_with_its_calibration() -> None:
    described = IBM().describe()
    found = {entry.device: entry.calibration for entry in described.calibrations}
    assert list(found) == [f"fake_{name}" for name in backend_files.OFFERED]
    for device in described.devices:
        if device.name in found:
            assert len(found[device.name].qubits) == device.num_qubits
            assert found[device.name].coupling_map


def test_all_backends_are_described_if_they_are_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from qonduit_server.providers import provider as options

    monkeypatch.setattr(options._FakeBackends, "names", ())
    options.offer_fake_backends(["default", "all"])
    devices = FakeBackends().describe().devices
    assert len(devices) == 68
    assert [device.name for device in devices[:8]] == [f"fake_{name}" for name in backend_files.OFFERED]
    assert (min(device.num_qubits for device in devices), max(device.num_qubits for device in devices)) == (1, 156)
    options.offer_fake_backends(["fake_oslo", "fake_nobody", "oslo", "fake_../manila"])
    assert [device.name for device in FakeBackends().describe().devices] == ["fake_oslo"]


@pytest.mark.parametrize("name", ["armonk", "burlington", "almaden"])
def test_old_backends_without_all_properties_run(provider: FakeBackends, name: str) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.measure(0, 0)
    counts = run(provider, circuit, f"fake_{name}").counts
    assert counts[0] / SHOTS == pytest.approx(0.5, abs=0.06)


@pytest.mark.parametrize("name", ["manila", "guadalupe"])
def test_a_calibration_is_the_packages_own(name: str) -> None:
    from qiskit_ibm_runtime import fake_provider

    backend = getattr(fake_provider, f"Fake{name.capitalize()}V2")()
    found = backend_files.calibration(f"fake_{name}")
    assert {(pair.first, pair.second) for pair in found.coupling_map} == set(backend.coupling_map.get_edges())
    assert len(found.qubits) == backend.num_qubits
    properties = backend.properties()
    for qubit in found.qubits:
        assert qubit.t1 == pytest.approx(properties.t1(qubit.qubit))
        assert qubit.t2 == pytest.approx(properties.t2(qubit.qubit))
        assert (qubit.prob_1_given_0 + qubit.prob_0_given_1) / 2 == pytest.approx(properties.readout_error(qubit.qubit))
        assert qubit.readout_duration == pytest.approx(properties.readout_length(qubit.qubit))
    gates = [gate for gate in found.gates if gate.gate != "reset"]
    assert {gate.gate for gate in gates} == {"cx", "id", "rz", "sx", "x"}
    for gate in gates:
        assert gate.error == pytest.approx(properties.gate_error(gate.gate, list(gate.qubits)))
        assert gate.duration == pytest.approx(properties.gate_length(gate.gate, list(gate.qubits)))
    assert found.calibrated_at.ToDatetime(properties.last_update_date.tzinfo) == properties.last_update_date


def test_a_native_circuit_passes_unchanged(provider: FakeBackends) -> None:
    circuit = QuantumCircuit(4, 2)
    circuit.rz(0.3, 1)
    circuit.rz(0.4, 1)
    circuit.sx(3)
    circuit.x(3)
    circuit.cx(1, 2)
    circuit.cx(2, 3)
    circuit.measure([1, 3], [0, 1])
    ready = compiled(provider, circuit, "fake_manila")
    names = [each.operation.name for each in ready.native.native.circuit.data]  # type: ignore[attr-defined]
    assert names == ["rz", "rz", "sx", "x", "cx", "cx", "save_probabilities"]
    assert ready.qubits == 3
    assert ready.native.meta_data["layout"] == [0, 1, 2, 3]  # type: ignore[attr-defined]


def test_other_circuits_are_routed_on_the_coupling_map(provider: FakeBackends) -> None:
    pairs = {(pair.first, pair.second) for pair in backend_files.calibration("fake_manila").coupling_map}
    ready = compiled(provider, ghz(5), "fake_manila")
    layout = ready.native.meta_data["layout"]  # type: ignore[attr-defined]
    assert sorted(layout) == [0, 1, 2, 3, 4]
    native = ready.native.native.circuit  # type: ignore[attr-defined]
    large = [tuple(native.find_bit(q).index for q in each.qubits) for each in native.data if len(each.qubits) == 2]
    assert set(large) <= pairs
    assert len(large) == ready.native.meta_data["two_qubit_gates"]  # type: ignore[attr-defined]
    assert {each.operation.name for each in native.data} <= {"cx", "rz", "sx", "x", "save_probabilities"}


def test_compilation_is_the_same_in_every_worker(provider: FakeBackends) -> None:
    first = compiled(provider, ghz(5), "fake_guadalupe").native
    second = compiled(FakeBackends(), ghz(5), "fake_guadalupe").native
    assert first.native.circuit == second.native.circuit  # type: ignore[attr-defined]
    assert first.meta_data == second.meta_data  # type: ignore[attr-defined]


@pytest.mark.parametrize("method", ["density_matrix", "statevector"])
def test_ghz_is_as_noisy_as_the_packages_own(provider: FakeBackends, method: str) -> None:
    from qiskit import transpile
    from qiskit_aer import AerSimulator
    from qiskit_aer.noise import NoiseModel
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    backend = FakeManilaV2()
    native = transpile(ghz(3), backend, initial_layout=[1, 2, 3], seed_transpiler=1, optimization_level=1)
    found = run(provider, native, "fake_manila", method=method)
    assert found.meta_data["method"] == method
    # For readout, `from_backend` takes the mean of the two errors; the device has both.
    model = NoiseModel.from_backend(backend, readout_error=False)
    for qubit in backend_files.calibration("fake_manila").qubits:
        up, down = qubit.prob_1_given_0, qubit.prob_0_given_1
        model.add_readout_error([[1 - up, up], [down, 1 - down]], [qubit.qubit])
    simulator = AerSimulator(method="density_matrix", noise_model=model)
    own = simulator.run(native, shots=400_000, seed_simulator=3).result().get_counts()
    expected = {int(key, 2): number / 400_000 for key, number in own.items()}
    # Eight outcomes: the mean distance of 20,000 right shots is below sqrt(8 / (2 pi 20,000)) = 0.008.
    assert distance(found.counts, expected) < 0.02
    # It would be far from the noiseless distribution.
    assert distance(found.counts, {0: 0.5, 7: 0.5}) > 0.04


def test_errors_are_aers_own(provider: FakeBackends) -> None:
    from qiskit_aer.noise import NoiseModel
    from qiskit_ibm_runtime.fake_provider import FakeManilaV2

    circuit = QuantumCircuit(5, 1)
    circuit.cx(3, 4)
    circuit.sx(4)
    circuit.measure(4, 0)
    own = NoiseModel.from_backend(FakeManilaV2())
    mine = compiled(provider, circuit, "fake_manila").native.native.noise  # type: ignore[attr-defined]
    assert mine._local_quantum_errors["cx"][0, 1] == own._local_quantum_errors["cx"][3, 4]
    assert mine._local_quantum_errors["sx"][1,] == own._local_quantum_errors["sx"][4,]
    (readout,) = own._local_readout_errors[4,].probabilities[0][1:]
    assert mine._local_readout_errors[1,].probabilities.trace() == pytest.approx(2 - 2 * readout)


def test_readout_errors_reach_conditions(provider: FakeBackends) -> None:
    circuit = QuantumCircuit(5, 2)
    circuit.measure(0, 0)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(1)
    circuit.measure(1, 1)
    outcome = run(provider, circuit, "fake_manila")
    (wrong,) = (qubit.prob_1_given_0 for qubit in backend_files.calibration("fake_manila").qubits[:1])
    (missed,) = (qubit.prob_0_given_1 for qubit in backend_files.calibration("fake_manila").qubits[1:2])
    both = outcome.counts.get(3, 0) / SHOTS
    # X follows the recorded bit, so both are 1 where the first was recorded wrongly and the second was not.
    assert both == pytest.approx(wrong * (1 - missed), abs=6 * math.sqrt(wrong / SHOTS))


def test_a_delay_relaxes(provider: FakeBackends) -> None:
    qubit = backend_files.calibration("fake_manila").qubits[0]
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(qubit.t1, 0, unit="s")
    circuit.measure(0, 0)
    ones = run(provider, circuit, "fake_manila").counts.get(1, 0) / SHOTS
    left = math.exp(-1)
    expected = left * (1 - qubit.prob_0_given_1) + (1 - left) * qubit.prob_1_given_0
    assert ones == pytest.approx(expected, abs=0.02)


def test_five_qubits_of_many_are_simulated_as_five(provider: FakeBackends) -> None:
    chain = QuantumCircuit(5, 5)
    chain.h(0)
    for qubit in range(4):
        chain.cx(qubit, qubit + 1)
    chain.measure(range(5), range(5))
    outcome = run(provider, chain, "fake_fez")
    assert outcome.meta_data["qubits"] == 5
    assert len(outcome.meta_data["layout"]) == 5  # type: ignore[arg-type]
    likely = (outcome.counts.get(0, 0) + outcome.counts.get(31, 0)) / SHOTS
    estimate = outcome.meta_data["estimated_success_probability"]
    assert isinstance(estimate, float)
    assert 0.5 < estimate < likely < 1


def test_a_density_matrix_that_does_not_fit_is_refused_with_the_qubits_that_do(provider: FakeBackends) -> None:
    options = CompileOptions(1024**2, simulation=SimulationOptions(method="density_matrix"))
    with pytest.raises(LimitError, match=r"simulating 10 qubits needs 16\.0 MiB.*use at most 8 qubits"):
        provider.compile(Circuit(ghz(9), ()), "fake_guadalupe", options)
