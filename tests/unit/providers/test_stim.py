# SPDX-License-Identifier: Apache-2.0
"""STIM/stim: Clifford circuits sampled as a whole or run shot by shot, with Pauli noise and readout errors."""

from __future__ import annotations

import math
from collections.abc import Mapping
from itertools import product

import pytest
from qiskit.circuit import QuantumCircuit
from qiskit.circuit.library import get_standard_gate_name_mapping
from qiskit.quantum_info import Statevector

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import DeviceError, LimitError
from qonduit_server.ir import noise
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers import registry
from qonduit_server.providers.provider import CompileOptions, RunProgress
from qonduit_server.providers.simulation.stim_sampling import SampledCircuit
from qonduit_server.providers.simulation.stim_shots import ShotProgram

STIM = registry.get("STIM")
SHOTS = 4000


def read(text: str) -> Circuit:
    """Read an OpenQASM 3 program."""
    header = 'OPENQASM 3.0;\ninclude "stdgates.inc";\n'
    return Languages().read(AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, header + text, b"", {})


def run(circuit: Circuit | QuantumCircuit, kind: type | None = None, shots: int = SHOTS, seed: int = 5) -> Outcome:
    """Run a circuit; `kind` is the expected form of the compiled circuit."""
    circuit = circuit if isinstance(circuit, Circuit) else Circuit(circuit, ())
    compiled = STIM.compile(circuit, "stim")
    assert kind is None or isinstance(compiled.native, kind)
    *_, outcome = STIM.run("stim", [compiled], shots, seed)
    assert isinstance(outcome, Outcome), outcome
    assert sum(outcome.counts.values()) == shots
    return outcome


def check(counts: Mapping[int, int], expected: Mapping[int, float]) -> None:
    """Check that counts are within five standard deviations of probabilities, without impossible outcomes."""
    shots = sum(counts.values())
    assert set(counts) <= set(expected)
    for outcome, p in expected.items():
        assert abs(counts.get(outcome, 0) - shots * p) <= 5 * math.sqrt(shots * p * (1 - p)) + 1, (outcome, counts)


def test_a_wide_state_with_its_bits_in_another_order() -> None:
    quantum = QuantumCircuit(1000, 1001)
    quantum.h(0)
    for place in range(999):
        quantum.cx(place, place + 1)
    quantum.x(7)
    quantum.measure(range(1000), reversed(range(1000)))
    ones = (1 << 1000) - 1
    flipped = 1 << 999 - 7
    check(run(quantum, SampledCircuit).counts, {flipped: 0.5, ones ^ flipped: 0.5})
    quantum = QuantumCircuit(4096, 4096)
    quantum.x(4095)
    quantum.measure(range(4096), range(4096))
    assert run(quantum).counts == {1 << 4095: SHOTS}


@pytest.mark.parametrize("name", STIM.describe().devices[0].basis_gates)
def test_each_gate_is_the_named_one(name: str) -> None:
    gate = get_standard_gate_name_mapping()[name]
    for basis in product(("h", "x", "hs"), repeat=gate.num_qubits):
        quantum = QuantumCircuit(gate.num_qubits, gate.num_qubits)
        quantum.h(0)
        quantum.s(0)
        quantum.append(gate, range(gate.num_qubits))
        for place, turns in enumerate(basis):
            for turn in reversed(turns):
                getattr(quantum, "sdg" if turn == "s" else turn)(place)
        expected = Statevector(quantum).probabilities_dict()
        quantum.measure(range(gate.num_qubits), range(gate.num_qubits))
        check(run(quantum, shots=400).counts, {int(key, 2): p for key, p in expected.items() if p > 1e-9})


@pytest.mark.parametrize(
    ("text", "expected", "kind"),
    [
        # Pauli feedback on one bit, a parity and a negation.
        (
            "qubit[3] q; bit[2] c; bit d; h q[0]; h q[1]; c = measure q[0:1]; if (c[0] ^ c[1]) { x q[2]; } "
            "if (!c[0]) { x q[2]; } d = measure q[2];",
            {0b100: 0.25, 0b101: 0.25, 0b010: 0.25, 0b011: 0.25},
            SampledCircuit,
        ),
        (
            "qubit[1] q; bit[3] c; h q; c[0] = measure q[0]; c[1] = measure q[0]; reset q; x q; c[2] = measure q[0];",
            {0b100: 0.5, 0b111: 0.5},
            SampledCircuit,
        ),
        # A conjunction.
        (
            "qubit[3] q; bit[2] c; bit d; h q[0]; h q[1]; c = measure q[0:1]; if (c == 2) { x q[2]; } "
            "d = measure q[2];",
            {0b000: 0.25, 0b001: 0.25, 0b110: 0.25, 0b011: 0.25},
            ShotProgram,
        ),
        # A gate that is no Pauli operator.
        (
            "qubit[2] q; bit c; bit d; h q[0]; c = measure q[0]; if (c) { h q[1]; } d = measure q[1];",
            {0b00: 0.5, 0b01: 0.25, 0b11: 0.25},
            ShotProgram,
        ),
        (
            "qubit q; bit c; bit d; h q; c = measure q; while (c) { h q; c = measure q; } x q; d = measure q;",
            {0b10: 1.0},
            ShotProgram,
        ),
    ],
)
def test_conditions(text: str, expected: dict[int, float], kind: type) -> None:
    circuit = read(text)
    counts: dict[int, int] = {}
    for outcome, number in run(circuit, kind).counts.items():
        value, width = 0, 0
        for register, own in zip(circuit.registers, reversed(circuit.values(outcome)), strict=True):
            value |= own << width
            width += len(register.bits)
        counts[value] = counts.get(value, 0) + number
    check(counts, expected)


def noisy(*steps: tuple[object, list[int], list[int]], qubits: int = 2, clbits: int = 2) -> QuantumCircuit:
    """Return a circuit of operations on qubits and bits."""
    quantum = QuantumCircuit(qubits, clbits)
    for operation, places, own in steps:
        quantum.append(operation, places, own)
    return quantum


@pytest.mark.parametrize("form", [SampledCircuit, ShotProgram])
def test_pauli_channels_act_on_their_qubits(form: type) -> None:
    quantum = QuantumCircuit(5, 5)
    # The last letter is that of qubit 0 of the operation, which is qubit 2.
    quantum.append(noise.pauli({"XZ": 0.2, "IX": 0.3}), [2, 0])
    quantum.append(noise.pauli({"XII": 0.25, "IXX": 0.5, "ZZZ": 0.25}), [1, 3, 0])
    if form is ShotProgram:
        quantum.measure(4, 4)
        with quantum.if_test((quantum.clbits[4], 1)):
            quantum.h(0)
    quantum.measure(range(4), range(4))
    first = {0: 0.5, 0b0001: 0.2, 0b0100: 0.3}
    second = {0b0001: 0.25, 0b1010: 0.5, 0: 0.25}
    expected: dict[int, float] = {}
    for a, p in first.items():
        for b, q in second.items():
            expected[a ^ b] = expected.get(a ^ b, 0) + p * q
    check(run(quantum, form).counts, expected)


def test_readout_errors_act_before_conditions_read_the_bit() -> None:
    for error, kind in ((noise.ReadoutError(0.3, 0.3), SampledCircuit), (noise.ReadoutError(0.3, 0.1), ShotProgram)):
        quantum = QuantumCircuit(2, 2)
        quantum.h(0)
        quantum.measure(0, 0)
        quantum.append(error, [], [0])
        with quantum.if_test((quantum.clbits[0], 1)):
            quantum.x(1)
        quantum.measure(1, 1)
        one = 0.5 * error.prob_1_given_0 + 0.5 * (1 - error.prob_0_given_1)
        check(run(quantum, kind).counts, {0b00: 1 - one, 0b11: one})


def test_an_asymmetric_readout_error_at_the_end() -> None:
    quantum = QuantumCircuit(2, 3)
    quantum.x(0)
    quantum.measure([0, 1], [2, 0])
    quantum.append(noise.ReadoutError(0.05, 0.2), [], [2])
    quantum.append(noise.ReadoutError(0.4, 0.0), [], [0])
    check(run(quantum, SampledCircuit).counts, {0b100: 0.48, 0b101: 0.32, 0b000: 0.12, 0b001: 0.08})


def test_the_same_seed_gives_the_same_counts_and_each_circuit_its_own() -> None:
    sampled = QuantumCircuit(8, 8)
    sampled.h(range(8))
    sampled.measure(range(8), range(8))
    branching = sampled.copy()
    with branching.if_test((branching.clbits[0], 1)):
        branching.h(1)
    branching.measure(1, 1)
    for quantum in (sampled, branching):
        compiled = STIM.compile(Circuit(quantum, ()), "stim")
        first, second, other = (
            [each.counts for each in STIM.run("stim", [compiled] * 2, 100, seed) if isinstance(each, Outcome)]
            for seed in (1, 1, 2)
        )
        assert first == second != other
        assert first[0] != first[1]


def test_what_is_no_clifford_circuit_is_refused() -> None:
    with pytest.raises(DeviceError, match="STIM/stim runs Clifford circuits only, and t on qubit 1 ") as found:
        STIM.compile(read("qubit[2] q; h q; t q[1]; rx(0.1) q[0];"), "stim")
    assert found.value.reason == "UNSUPPORTED_CONSTRUCT"
    with pytest.raises(DeviceError, match="amplitude_damping") as found:
        STIM.compile(Circuit(noisy((noise.amplitude_damping(0.1), [0], [])), ()), "stim")
    assert found.value.reason == "UNSUPPORTED_NOISE"
    with pytest.raises(LimitError, match="4096 qubits needs"):
        STIM.compile(Circuit(QuantumCircuit(4096), ()), "stim", CompileOptions(memory_limit_bytes=1 << 20))


def test_a_loop_without_an_end() -> None:
    text = "qubit q; bit c; x q; c = measure q; while (c) { c = measure q; }"
    (outcome,) = STIM.run("stim", [STIM.compile(read(text), "stim")], 1, 1)
    assert isinstance(outcome, LimitError)
    assert outcome.reason == "LOOP_LIMIT"


def test_shots_one_by_one_report_their_progress() -> None:
    text = "qubit[2] q; bit c; bit d; h q[0]; c = measure q[0]; if (c) { h q[1]; } d = measure q[1];"
    *reports, outcome = STIM.run("stim", [STIM.compile(read(text), "stim")], 1000, 1)
    assert isinstance(outcome, Outcome)
    shares = [each.share for each in reports if isinstance(each, RunProgress)]
    assert len(shares) == 99
    assert shares == sorted(set(shares))
