# SPDX-License-Identifier: Apache-2.0
"""Aer's methods: which one a program gets, what each one gives, and what is refused."""

from __future__ import annotations

import math

import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.classical import expr
from qiskit.quantum_info import Statevector
from qiskit_aer import AerSimulator

from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.errors import DeviceError, LimitError, RunError
from qonduit_server.providers.aer import aer_methods as methods
from qonduit_server.providers.aer.aer_program import AerProgram
from qonduit_server.providers.aer.aer_swaps import LEFT, RIGHT, fewest_swaps
from tests.unit.providers.aer_samples import (
    DEVICE,
    adder,
    aer,
    bernstein_vazirani,
    compiled,
    exact,
    ghz,
    ising,
    layered,
    measured,
    noisy,
    random_clifford,
    run,
    swap_test,
    w_state,
)

GIB = 1024**3


def reduced(vector: int, basis: list[int]) -> int:
    """What is left of a vector without those of a basis whose highest bits are different."""
    for each in sorted(basis, reverse=True):
        vector = min(vector, vector ^ each)
    return vector


def chosen(quantum: QuantumCircuit, shots: int = 1000, limit: int = GIB, **simulation: object) -> str:
    program = compiled(quantum, shots, limit, **simulation).native
    return str(program.method)  # type: ignore[attr-defined]


class TestChoice:
    def test_small_circuits_are_statevectors(self) -> None:
        assert chosen(ghz(14)) == methods.STATEVECTOR
        assert chosen(layered(20, 1)) == methods.STATEVECTOR

    def test_wide_clifford_circuits_are_stabilizers(self) -> None:
        assert chosen(ghz(15)) == methods.STABILIZER
        assert chosen(noisy(ghz(40), pauli=True)) == methods.STABILIZER

    def test_noise(self) -> None:
        assert chosen(noisy(ghz(3)), shots=1) == methods.DENSITY_MATRIX
        assert chosen(noisy(ghz(9))) == methods.DENSITY_MATRIX
        assert chosen(noisy(ghz(9)), shots=100) == methods.TRAJECTORIES
        assert chosen(noisy(ghz(12)), shots=100_000, limit=128 * 1024**2) == methods.TRAJECTORIES
        assert chosen(noisy(ghz(16))) == methods.TRAJECTORIES

    def test_a_program_that_fits_no_exact_method_is_refused_with_what_would_run_it(self) -> None:
        with pytest.raises(LimitError) as caught:
            compiled(layered(40, 2))
        assert caught.value.reason == "MEMORY_LIMIT"
        for part in ("40 qubits", "16.0 TiB", "gate u at qubit 0", "allow_approximate", "matrix_product_state"):
            assert part in caught.value.message
        with pytest.raises(LimitError, match="40 qubits") as caught:
            compiled(noisy(ghz(40)), allow_approximate=True)
        assert "channel amplitude_damping at qubit 0" in caught.value.message
        assert chosen(layered(40, 2), allow_approximate=True) == methods.MATRIX_PRODUCT_STATE
        assert chosen(layered(20, 2), allow_approximate=True) == methods.STATEVECTOR

    @pytest.mark.parametrize(
        ("quantum", "method", "part"),
        [
            (layered(3, 1), methods.STABILIZER, "gate u at qubit 0"),
            (noisy(ghz(3)), methods.STABILIZER, "channel amplitude_damping at qubit 0"),
            (noisy(ghz(3)), methods.STATEVECTOR, "no noise: name density_matrix or trajectories"),
            (noisy(ghz(3)), methods.MATRIX_PRODUCT_STATE, "no noise"),
        ],
    )
    def test_a_named_method_that_cannot_run_a_program(self, quantum: QuantumCircuit, method: str, part: str) -> None:
        with pytest.raises(DeviceError) as caught:
            compiled(quantum, method=method)
        assert caught.value.reason == "UNSUPPORTED_METHOD"
        assert part in caught.value.message

    @pytest.mark.parametrize(
        ("qubits", "method", "part"),
        [
            (20, methods.DENSITY_MATRIX, "use at most 13 qubits, or the method trajectories"),
            (31, methods.TRAJECTORIES, "use at most 26 qubits"),
            (31, methods.STATEVECTOR, "use at most 26 qubits"),
            (300, methods.MATRIX_PRODUCT_STATE, "set simulation.max_bond_dimension to 167"),
        ],
    )
    def test_a_named_method_that_does_not_fit(self, qubits: int, method: str, part: str) -> None:
        with pytest.raises(LimitError, match=part):
            compiled(ghz(qubits), limit=GIB, method=method)

    def test_what_is_described_fits_and_no_more(self) -> None:
        device = aer().describe().devices[0]
        described = {method.name: method for method in device.capabilities.methods}
        assert set(described) == {
            methods.STATEVECTOR, methods.STABILIZER, methods.DENSITY_MATRIX, methods.TRAJECTORIES,
            methods.MATRIX_PRODUCT_STATE,
        }  # fmt: skip
        assert device.num_qubits == described[methods.STATEVECTOR].max_qubits
        assert [name for name, each in described.items() if not each.exact] == [methods.MATRIX_PRODUCT_STATE]
        for name, each in described.items():
            assert compiled(ghz(each.max_qubits), method=name).memory_bytes >= each.max_memory_bytes
        for name in (methods.STATEVECTOR, methods.DENSITY_MATRIX, methods.TRAJECTORIES):
            with pytest.raises(LimitError):
                compiled(ghz(described[name].max_qubits + 1), method=name)


class TestStabilizer:
    @pytest.mark.parametrize("seed", range(12))
    def test_small_circuits_have_the_probabilities_of_their_states(self, seed: int) -> None:
        circuit = random_clifford(5, 1 + seed // 3, seed)
        expected = Statevector(circuit.remove_final_measurements(inplace=False)).probabilities()
        found = exact(circuit, method=methods.STABILIZER)
        assert found == pytest.approx({k: p for k, p in enumerate(expected) if p > 1e-12}, abs=1e-12)
        counts = run(circuit, method=methods.STABILIZER).counts
        assert set(counts) <= set(found)
        assert all(abs(counts.get(k, 0) - 1000 * p) <= 5 * math.sqrt(1000 * p) for k, p in found.items())

    def test_wide_circuits(self) -> None:
        outcome = run(ghz(127))
        assert outcome.meta_data["method"] == methods.STABILIZER
        assert set(outcome.counts) == {0, (1 << 127) - 1}
        assert abs(outcome.counts[0] - 500) < 80
        secret = int("1011" * 70, 2) >> 1
        assert run(bernstein_vazirani(280, secret)).counts == {secret: 1000}

    @pytest.mark.parametrize("qubits", [31, 50, 100])
    def test_random_circuits_return_to_where_they_began(self, qubits: int) -> None:
        circuit = random_clifford(qubits, 4, qubits).remove_final_measurements(inplace=False)
        # Half of the way back with X on one qubit: it is found, and nothing else.
        there = QuantumCircuit(qubits, qubits)
        there.compose(circuit, inplace=True)
        there.compose(circuit.inverse(), inplace=True)
        there.x(qubits // 2)
        assert run(measured(there)).counts == {1 << qubits // 2: 1000}

    @pytest.mark.parametrize("qubits", [31, 50, 100])
    def test_random_circuits_have_the_outcomes_that_aer_finds_shot_by_shot(self, qubits: int) -> None:
        circuit = random_clifford(qubits, 6, qubits)
        native = compiled(circuit).native
        basis = list(native.basis)  # type: ignore[attr-defined]
        bare = AerSimulator(method="stabilizer").run(native.circuit, shots=100, seed_simulator=3).result()  # type: ignore[attr-defined]
        samples = [int(key, 16) for key in bare.results[0].data.counts]
        start = next(iter(run(circuit, 1).counts))
        places = native.deferred.outcome  # type: ignore[attr-defined]
        assert len(set(samples)) > 90
        # Each difference is in the space, and the space has no dimension that they lack.
        assert all(not reduced(places(sample) ^ start, [places(each) for each in basis]) for sample in samples)
        own: list[int] = []
        for sample in samples:
            rest = reduced(sample ^ samples[0], own)
            own += [rest] if rest else []
        assert len(own) == len(basis)

    def test_bits_that_are_computed(self) -> None:
        circuit = QuantumCircuit(20, 23)
        circuit.h(0)
        circuit.cx(0, 19)
        circuit.measure(19, 22)
        circuit.measure(0, 1)
        circuit.store(circuit.clbits[0], expr.lift(True))
        circuit.store(circuit.clbits[2], expr.logic_not(circuit.clbits[1]))
        outcome = run(circuit)
        assert outcome.meta_data["method"] == methods.STABILIZER
        assert set(outcome.counts) == {0b101, 0b011 | 1 << 22}

    def test_measurements_in_the_middle_and_conditions(self) -> None:
        circuit = QuantumCircuit(30, 30)
        circuit.h(0)
        circuit.measure(0, 0)
        circuit.reset(0)
        with circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(range(1, 30))
        circuit.measure(range(1, 30), range(1, 30))
        outcome = run(circuit)
        assert outcome.meta_data["method"] == methods.STABILIZER
        assert set(outcome.counts) == {0, (1 << 30) - 1}
        with circuit.while_loop((circuit.clbits[0], 1)):
            circuit.h(0)
            circuit.measure(0, 0)
        outcome = run(circuit)
        assert outcome.meta_data["method"] == methods.STABILIZER
        assert set(outcome.counts) == {0, (1 << 30) - 2}


class TestMatrixProductState:
    def test_circuits_of_little_entanglement_are_exact(self) -> None:
        outcome = run(adder(31, 1_234_567_890, 1_987_654_321), 100, allow_approximate=True)
        assert outcome.counts == {3_222_222_211: 100}
        assert outcome.meta_data["method"] == methods.MATRIX_PRODUCT_STATE
        assert outcome.meta_data["approximate"] is False
        assert float(str(outcome.meta_data["fidelity_bound"])) > 1 - 1e-6
        counts = run(w_state(36), 200, allow_approximate=True).counts
        assert all(outcome.bit_count() == 1 for outcome in counts)
        assert len(counts) > 25
        assert run(swap_test(33), 200, allow_approximate=True).counts == {0: 200}
        assert run(ising(66), 20, allow_approximate=True).meta_data["approximate"] is False

    def test_what_is_discarded_is_stated_and_bounds_the_fidelity(self) -> None:
        circuit = layered(12, 5)
        options = {"method": methods.MATRIX_PRODUCT_STATE, "max_bond_dimension": 5, "min_fidelity": 1e-6}
        outcome = run(circuit, **options)
        meta = outcome.meta_data
        assert meta["approximate"] is True
        assert 0 < float(str(meta["discarded_weight"])) < 1
        assert meta["max_bond_dimension"] == 5
        bound = float(str(meta["fidelity_bound"]))
        native = compiled(circuit, **options).native.circuit.remove_final_measurements(inplace=False)  # type: ignore[attr-defined]
        native.save_statevector()
        simulator = AerSimulator(method="matrix_product_state", matrix_product_state_max_bond_dimension=5)
        state = simulator.run(native).result().get_statevector()
        exact = Statevector(circuit.remove_final_measurements(inplace=False))
        fidelity = abs(exact.inner(Statevector(state))) ** 2
        assert 0.1 < bound <= fidelity < 0.999
        fine = run(circuit, method=methods.MATRIX_PRODUCT_STATE)
        assert fine.meta_data["approximate"] is False

    @pytest.mark.parametrize(
        ("circuit", "direction"), [(swap_test(10), RIGHT), (adder(6, 21, 11), LEFT)], ids=["swap test", "adder"]
    )
    def test_swaps_go_where_they_are_fewer_and_are_counted_as_aer_makes_them(
        self, circuit: QuantumCircuit, direction: str
    ) -> None:
        # Aer drops gates that no measured qubit depends on, so all qubits are measured.
        program = compiled(_all_measured(circuit), method=methods.MATRIX_PRODUCT_STATE)
        assert isinstance(program.native, AerProgram)
        native = program.native.circuit
        assert native is not None
        assert program.native.swaps == direction
        pairs = [
            tuple(native.find_bit(each).index for each in item.qubits) for item in native.data if len(item.qubits) == 2
        ]
        swaps = {each: _swaps_of_aer(native, each) for each in (LEFT, RIGHT)}
        assert fewest_swaps(pairs, native.num_qubits) == (direction, swaps[direction])
        assert swaps[direction] == min(swaps.values()) < max(swaps.values())

    def test_a_coarse_state_fails_and_the_message_says_what_to_raise(self) -> None:
        program = compiled(layered(12, 10), method=methods.MATRIX_PRODUCT_STATE, max_bond_dimension=2)
        (error,) = aer().run(DEVICE, [program], 100, 1)
        assert isinstance(error, RunError)
        assert (error.reason, error.category) == ("APPROXIMATION_TOO_COARSE", "LIMIT")
        assert "Raise simulation.max_bond_dimension" in error.message

    def test_a_loop_is_refused(self) -> None:
        circuit = QuantumCircuit(40, 1)
        circuit.h(0)
        circuit.t(0)
        circuit.measure(0, 0)
        with circuit.while_loop((circuit.clbits[0], 1)):
            circuit.measure(0, 0)
        with pytest.raises(DeviceError, match=r"moved to the end: .*loop"):
            compiled(circuit, method=methods.MATRIX_PRODUCT_STATE)


def _all_measured(circuit: QuantumCircuit) -> QuantumCircuit:
    bare = circuit.remove_final_measurements(inplace=False)
    assert isinstance(bare, QuantumCircuit)
    bare.measure_all()
    return bare


def _swaps_of_aer(native: QuantumCircuit, direction: str) -> int:
    simulator = AerSimulator(method="matrix_product_state", mps_log_data=True, mps_swap_direction=direction)
    # The log grows with each run of the process.
    logs = [str(simulator.run(native, shots=1).result().results[0].metadata["MPS_log_data"]) for _ in range(2)]
    return logs[1].count("internal_swap") - logs[0].count("internal_swap")


def test_single_precision() -> None:
    outcome = run(layered(4, 3), floating_point="single")
    assert outcome.meta_data["floating_point"] == "single"
    assert exact(layered(4, 3), floating_point="single") == pytest.approx(exact(layered(4, 3)), abs=1e-5)
    wide = ghz(27)
    wide.data.insert(0, layered(27, 1).data[0])
    with pytest.raises(LimitError):
        compiled(wide, limit=GIB)
    assert compiled(wide, limit=GIB, floating_point="single").memory_bytes == GIB


def test_options_have_defaults() -> None:
    assert methods.bond_dimension(SimulationOptions()) == 256
    assert methods.min_fidelity(SimulationOptions()) == 0.9
