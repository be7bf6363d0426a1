# SPDX-License-Identifier: Apache-2.0
"""Google's virtual processors: their files, compilation to their shape, and their errors, against Cirq's own."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import cirq
import cirq_google
import numpy as np
import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.quantum_info import Statevector

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.cirq import cirq_reader
from qonduit_server.providers.provider import CompiledCircuit, CompileOptions, RunProgress
from qonduit_server.providers.shapes import processor_compiler, processor_files
from qonduit_server.providers.shapes.processor_lowering import lower
from qonduit_server.providers.shapes.virtual_processors import VirtualProcessors

PROCESSORS = ("rainbow", "weber", "willow_pink")
SHOTS = 2000


@pytest.fixture(scope="module")
def provider() -> VirtualProcessors:
    """Keeps compilers and noise from test to test, as in a worker."""
    return VirtualProcessors()


def ghz(qubits: int) -> QuantumCircuit:
    circuit = QuantumCircuit(qubits, qubits)
    circuit.h(0)
    for qubit in range(1, qubits):
        circuit.cx(0, qubit)
    circuit.measure(range(qubits), range(qubits))
    return circuit


def compiled(
    provider: VirtualProcessors, circuit: QuantumCircuit | Circuit, device: str, **simulation: object
) -> CompiledCircuit:
    options = CompileOptions(simulation=SimulationOptions(**simulation))  # type: ignore[arg-type]
    return provider.compile(circuit if isinstance(circuit, Circuit) else Circuit(circuit, ()), device, options)


def run(provider: VirtualProcessors, circuit: QuantumCircuit | Circuit, device: str, **simulation: object) -> Outcome:
    *_, outcome = provider.run(device, [compiled(provider, circuit, device, **simulation)], SHOTS, 5)
    assert isinstance(outcome, Outcome)
    assert sum(outcome.counts.values()) == SHOTS
    return outcome


def native(provider: VirtualProcessors, circuit: QuantumCircuit | Circuit, device: str, level: int = 1) -> Any:
    provider.load()
    compiler, _ = provider._tools(processor_files.processors()[device])
    program = lower(
        circuit if isinstance(circuit, Circuit) else Circuit(circuit, ()),
        f"GOOGLE/{device}",
        provider._pure.convert,
        provider._pure.is_native,
    )
    return compiler.compile(program, level)


def distance(counts: Mapping[int, int], expected: Mapping[int, float]) -> float:
    """The total variation distance."""
    keys = counts.keys() | expected.keys()
    return sum(abs(counts.get(key, 0) / SHOTS - expected.get(key, 0.0)) for key in keys) / 2


def test_every_processor_has_its_size_gates_and_calibration() -> None:
    described = VirtualProcessors().describe()
    devices = {device.name: device for device in described.devices}
    assert {name: device.num_qubits for name, device in devices.items()} == {
        "rainbow": 23,
        "weber": 53,
        "willow_pink": 105,
    }
    assert list(devices["rainbow"].basis_gates) == ["rz", "u", "syc", "sqrt_iswap", "sqrt_iswap_inv"]
    assert list(devices["willow_pink"].basis_gates) == ["rz", "u", "cz"]
    assert [device.capabilities.reset for device in described.devices] == [False, False, True]
    assert all(device.available and device.capabilities.coupling_map for device in described.devices)
    assert [entry.device for entry in described.calibrations] == list(PROCESSORS)


def test_describing_imports_no_sdk() -> None:
    code = (
        "import sys; from qonduit_server.providers.shapes.virtual_processors import VirtualProcessors as V;"
        "assert V().describe().devices; print(sorted({'cirq', 'cirq_google', 'qsimcirq', 'numpy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize("name", PROCESSORS)
def test_a_calibration_is_the_packages_own(name: str) -> None:
    device = cirq_google.engine.create_device_from_processor_id(name)
    properties = cirq_google.engine.load_device_noise_properties(name)
    found = processor_files.calibration(name)
    qubits = [cirq.GridQubit(*map(int, each.name.split("_"))) for each in found.qubits]
    assert qubits == sorted(device.metadata.qubit_set)
    pairs = {frozenset((qubits[pair.first], qubits[pair.second])) for pair in found.coupling_map}
    assert pairs == set(device.metadata.qubit_pairs)
    assert len(found.coupling_map) == 2 * len(pairs)
    for each, qubit in zip(found.qubits, qubits, strict=True):
        t1, dephasing = properties.t1_ns[qubit] * 1e-9, properties.tphi_ns[qubit] * 1e-9
        assert each.t1 == pytest.approx(t1)
        assert each.t2 == pytest.approx(1 / (1 / (2 * t1) + 1 / dephasing), rel=1e-5)
        assert [each.prob_1_given_0, each.prob_0_given_1] == pytest.approx(properties.readout_errors[qubit])
        assert each.readout_duration == pytest.approx(properties.gate_times_ns[cirq.MeasurementGate] * 1e-9)
    kinds = {
        "u": cirq.PhasedXZGate,
        "reset": cirq.ResetChannel,
        "cz": cirq.CZPowGate,
        "syc": cirq_google.SycamoreGate,
        "sqrt_iswap": cirq.ISwapPowGate,
        "sqrt_iswap_inv": cirq.ISwapPowGate,
    }
    errors = {(key.gate_type, key.qubits): value for key, value in properties.gate_pauli_errors.items()}
    for gate in found.gates:
        if gate.gate == "rz":
            assert (gate.error, gate.duration) == (0, 0)
            continue
        kind, size = kinds[gate.gate], 2 ** len(gate.qubits)
        pauli = errors[kind, tuple(qubits[number] for number in gate.qubits)]
        assert gate.error == pytest.approx(pauli * size / (size + 1))
        assert gate.duration == pytest.approx(properties.gate_times_ns[kind] * 1e-9)
    assert found.calibrated_at.seconds == cirq_google.engine.load_median_device_calibration(name).timestamp // 1000


@pytest.mark.parametrize("name", PROCESSORS)
def test_ghz_is_as_noisy_as_on_the_packages_own_virtual_machine(provider: VirtualProcessors, name: str) -> None:
    circuit = ghz(4)
    ready = compiled(provider, circuit, name)
    exact = provider.probabilities(name, ready)
    assert exact is not None
    assert sum(exact.values()) == pytest.approx(1.0)
    # What the package's virtual machine simulates: its noise model of the whole processor, on the same native circuit.
    found = native(provider, circuit, name)
    model = cirq_google.NoiseModelFromGoogleNoiseProperties(cirq_google.engine.load_device_noise_properties(name))
    measured = sorted((int(cirq.measurement_key_name(op)), op.qubits[0]) for op in found.circuit[-1])
    bare = cirq.Circuit(
        cirq.Moment(op for op in moment if not cirq.is_measurement(op))
        for moment in cirq.Circuit(model.noisy_moments(found.circuit, sorted(found.circuit.all_qubits())))
    )
    simulator = cirq.DensityMatrixSimulator(dtype=np.complex128)
    order = [qubit for _, qubit in reversed(measured)]
    state = simulator.simulate(bare, qubit_order=order).final_density_matrix
    own = dict(enumerate(state.diagonal().real))
    assert max(abs(exact.get(key, 0.0) - own[key]) for key in own) < 1e-7
    likely = exact[0] + exact[15]
    assert {"rainbow": 0.75, "weber": 0.65, "willow_pink": 0.92}[name] < likely < 0.98


@pytest.mark.parametrize(("name", "level"), [("rainbow", 2), ("weber", 0), ("weber", 1), ("willow_pink", 3)])
def test_compiled_circuits_are_what_the_device_accepts(provider: VirtualProcessors, name: str, level: int) -> None:
    circuit = ghz(5)
    found = native(provider, circuit, name, level)
    device = cirq_google.engine.create_device_from_processor_id(name)
    device.validate_circuit(found.circuit)
    coupled = {(pair.first, pair.second) for pair in processor_files.calibration(name).coupling_map}
    large = [tuple(on) for _, on in found.operations if len(on) == 2]
    assert large
    assert set(large) <= coupled
    assert {gate for gate, _ in found.operations} <= {"measure", *processor_files.processors()[name].basis_gates}


@pytest.mark.parametrize("level", [0, 1])
def test_compilation_does_not_change_what_a_program_does(provider: VirtualProcessors, level: int) -> None:
    circuit = QuantumCircuit(4, 4)
    for qubit in range(4):
        circuit.ry(0.4 + 0.3 * qubit, qubit)
    circuit.cx(0, 3)
    circuit.cp(1.1, 1, 3)
    circuit.barrier()
    circuit.swap(0, 2)
    circuit.rx(0.9, 2)
    circuit.ccx(2, 1, 0)
    expected = Statevector(circuit).probabilities()
    circuit.measure(range(4), range(4))
    for name in ("rainbow", "willow_pink"):
        found = native(provider, circuit, name, level)
        keys = [str(key) for key in range(4)]
        simulated = cirq.Simulator(seed=1, dtype=np.complex128)
        bare = cirq.drop_terminal_measurements(found.circuit)
        order = {cirq.measurement_key_name(op): op.qubits[0] for op in found.circuit[-1]}
        state = simulated.simulate(bare, qubit_order=[order[key] for key in reversed(keys)] + _rest(found, order))
        amplitudes = abs(state.final_state_vector.reshape(16, -1)) ** 2
        assert amplitudes.sum(axis=1) == pytest.approx(expected, abs=1e-5)


def _rest(found: Any, order: Mapping[str, Any]) -> list[Any]:
    return sorted(set(found.circuit.all_qubits()) - set(order.values()))


def test_a_native_circuit_passes_unchanged(provider: VirtualProcessors) -> None:
    circuit = QuantumCircuit(6, 2)
    circuit.rz(0.3, 2)
    circuit.rz(0.4, 2)
    circuit.sx(1)
    circuit.x(1)
    circuit.cz(1, 2)
    circuit.measure([1, 2], [0, 1])
    found = native(provider, circuit, "willow_pink")
    assert [(name, list(on)) for name, on in found.operations] == [
        ("u", [1]), ("rz", [2]), ("u", [1]), ("rz", [2]), ("cz", [1, 2]), ("measure", [1]), ("measure", [2]),
    ]  # fmt: skip
    assert found.layout == [0, 1, 2, 3, 4, 5]


def on_grid(*operations: Any) -> Circuit:
    return cirq_reader.read(cirq.to_json(cirq.Circuit(*operations)))


@pytest.mark.parametrize("gate", [cirq.SQRT_ISWAP, cirq.SQRT_ISWAP_INV, cirq.FSimGate(math.pi / 2, math.pi / 6)])
def test_native_gates_on_named_qubits_run_on_these(provider: VirtualProcessors, gate: Any) -> None:
    first, second = cirq.GridQubit(6, 3), cirq.GridQubit(7, 3)
    circuit = on_grid(
        cirq.PhasedXZGate(x_exponent=0.5, z_exponent=0.25, axis_phase_exponent=0.1)(second),
        gate(first, second),
        cirq.measure(first, second, key="m"),
    )
    found = native(provider, circuit, "rainbow")
    names = [name for name, _ in found.operations if name != "rz"]
    same = {cirq.SQRT_ISWAP: "sqrt_iswap", cirq.SQRT_ISWAP_INV: "sqrt_iswap_inv"}
    assert names == ["u", same.get(gate, "syc"), "measure", "measure"]
    assert found.circuit.all_qubits() == {first, second}
    assert [processor_files.processors()["rainbow"].qubits[number] for number in found.layout] == ["6_3", "7_3"]


def test_coupled_qubits_are_kept_where_gates_are_not_native(provider: VirtualProcessors) -> None:
    first, second = cirq.GridQubit(6, 3), cirq.GridQubit(7, 3)
    found = native(provider, on_grid(cirq.CNOT(first, second), cirq.measure(first, second)), "rainbow")
    assert found.circuit.all_qubits() == {first, second}
    apart = native(provider, on_grid(cirq.CNOT(first, cirq.GridQubit(9, 4))), "rainbow")
    assert len(apart.circuit.all_qubits()) == 2
    cached = serialization.dump(on_grid(cirq.X(second)))
    assert cached is not None
    assert serialization.load(cached).qubit_names == ("7_3",)
    assert len(apart.layout) == 2


def test_points_of_a_sweep_are_routed_once_and_compiled_as_if_alone(
    provider: VirtualProcessors, monkeypatch: pytest.MonkeyPatch
) -> None:
    def turned(*angles: float, step: int = 1) -> QuantumCircuit:
        circuit = QuantumCircuit(4, 4)
        for qubit, angle in enumerate(angles):
            circuit.ry(angle, qubit)
            circuit.cx(qubit, (qubit + step) % 4)
        circuit.measure(1, 1)
        circuit.cx(0, 2)
        circuit.barrier()
        circuit.measure([0, 2, 3], [0, 2, 3])
        return circuit

    points = [turned(*row) for row in np.random.default_rng(2).uniform(0.2, 6, (3, 4))]
    alone = [native(VirtualProcessors(), point, "rainbow") for point in points]
    routes: list[int] = []
    route = cirq.RouteCQC.route_circuit
    monkeypatch.setattr(
        cirq.RouteCQC, "route_circuit", lambda *args, **options: routes.append(1) or route(*args, **options)
    )
    assert [native(provider, point, "rainbow") for point in points] == alone
    assert len(routes) == 1
    other = turned(1, 2, 3, 4, step=3)
    assert native(provider, other, "rainbow") == native(VirtualProcessors(), other, "rainbow")
    monkeypatch.setattr(processor_compiler, "_MAX_KEPT_OPERATIONS", 3)
    routes.clear()
    fresh = VirtualProcessors()
    for _ in range(2):
        native(fresh, ghz(5), "rainbow")
    assert len(routes) == 2


def test_counts_are_the_same_in_every_worker(provider: VirtualProcessors) -> None:
    code = (
        "from tests.unit.providers.test_virtual_processors import *; p = VirtualProcessors();"
        "print(run(p, ghz(5), 'weber', method='trajectories').counts)"
    )
    # The order of sets is another one there.
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True)
    assert done.stdout.strip() == str(run(provider, ghz(5), "weber", method="trajectories").counts)


def test_measurements_at_the_end_happen_together(provider: VirtualProcessors) -> None:
    found = native(provider, ghz(5), "rainbow")
    assert sum(cirq.is_measurement(operation) for operation in found.circuit[-1]) == 5


def test_qubits_decay_while_others_wait(provider: VirtualProcessors) -> None:
    qubit = processor_files.calibration("willow_pink").qubits[0]
    circuit = QuantumCircuit(1, 1)
    circuit.x(0)
    circuit.delay(qubit.t1, 0, unit="s")
    circuit.measure(0, 0)
    exact = provider.probabilities("willow_pink", compiled(provider, circuit, "willow_pink"))
    assert exact is not None
    left = math.exp(-1)
    expected = left * (1 - qubit.prob_0_given_1) + (1 - left) * qubit.prob_1_given_0
    assert exact[1] == pytest.approx(expected, abs=0.002)


@pytest.mark.parametrize("method", ["density_matrix", "trajectories"])
def test_measurements_within_a_circuit_and_resets(provider: VirtualProcessors, method: str) -> None:
    circuit = QuantumCircuit(2, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    circuit.measure(0, 1)
    circuit.reset(0)
    circuit.measure(0, 1)
    circuit.x(1)
    circuit.measure(1, 2)
    counts = run(provider, circuit, "willow_pink", method=method).counts
    # Bit 1 is what the last of its measurements gave.
    assert counts[0b101] / SHOTS > 0.9


def test_optimization_spares_gates_and_stops_at_barriers(provider: VirtualProcessors) -> None:
    circuit = QuantumCircuit(1, 1)
    circuit.h(0)
    circuit.barrier()
    circuit.h(0)
    circuit.measure(0, 0)
    same = QuantumCircuit(2, 1)
    for _ in range(4):
        same.h(0)
        same.cx(0, 1)
    same.measure(0, 0)
    found = [len(native(provider, same, "willow_pink", level).operations) for level in (0, 1)]
    assert found[0] > found[1]
    crossed = native(provider, circuit, "willow_pink", 3)
    assert [name for name, _ in crossed.operations] == ["u", "u", "measure"]


def test_wide_circuits_report_progress_and_slices_do_not_change_counts(
    provider: VirtualProcessors, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready = compiled(provider, ghz(4), "rainbow", method="trajectories")
    *_, whole = provider.run("rainbow", [ready], 800, 9)
    monkeypatch.setattr("qonduit_server.providers.shapes.virtual_processors._SLICE_SECONDS", 0.1)
    *progress, sliced = provider.run("rainbow", [ready], 800, 9)
    assert isinstance(whole, Outcome)
    assert isinstance(sliced, Outcome)
    assert progress
    shares = [each.share for each in progress if isinstance(each, RunProgress)]
    assert shares == sorted(shares)
    assert sliced.counts == whole.counts


def test_a_wide_program_with_few_used_qubits_is_simulated_as_narrow(provider: VirtualProcessors) -> None:
    circuit = QuantumCircuit(105, 2)
    circuit.h(100)
    circuit.cx(100, 3)
    circuit.measure([3, 100], [0, 1])
    outcome = run(provider, circuit, "willow_pink")
    assert outcome.meta_data["qubits"] == 2
    assert len(set(outcome.meta_data["layout"])) == 105  # type: ignore[call-overload]
    likely = (outcome.counts.get(0, 0) + outcome.counts.get(3, 0)) / SHOTS
    assert likely > 0.95


def test_what_does_not_fit_is_refused(provider: VirtualProcessors) -> None:
    options = CompileOptions(1024**2, simulation=SimulationOptions())
    with pytest.raises(LimitError, match=r"simulating 23 qubits needs .* use at most 16 qubits"):
        provider.compile(Circuit(ghz(23), ()), "rainbow", options)
    branching = QuantumCircuit(1, 1)
    branching.measure(0, 0)
    with branching.if_test((branching.clbits[0], 1)):
        branching.x(0)
    with pytest.raises(DeviceError, match="no operations conditioned on measured bits"):
        compiled(provider, branching, "rainbow")
