# SPDX-License-Identifier: Apache-2.0
"""Braket's noise pragmas are the channels that Braket's SDK means."""

from __future__ import annotations

import numpy as np
import pytest
from braket.circuits import Circuit as BraketCircuit
from braket.circuits import Instruction, Noise
from qiskit.circuit import Measure
from qiskit.circuit.library import HGate

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir import noise
from qonduit_server.ir.builder import Builder
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import TRUE
from qonduit_server.ir.noise import Channel
from qonduit_server.languages.braket import braket_reader
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.writing import braket_noise, braket_writer
from tests.unit.languages.channel_comparison import first_is_highest, superoperator

_DAMPED = [np.diag([1, np.sqrt(0.7)]), np.array([[0, np.sqrt(0.3)], [0, 0]])]

NOISES = [
    Noise.BitFlip(0.1),
    Noise.PhaseFlip(0.2),
    Noise.PauliChannel(0.1, 0.2, 0.3),
    Noise.Depolarizing(0.3),
    Noise.Depolarizing(0.75),
    Noise.TwoQubitDepolarizing(0.4),
    Noise.TwoQubitDepolarizing(0.9375),
    Noise.TwoQubitDephasing(0.3),
    Noise.AmplitudeDamping(0.3),
    Noise.GeneralizedAmplitudeDamping(0.3, 0.2),
    Noise.PhaseDamping(0.4),
    Noise.Kraus(_DAMPED),
    Noise.Kraus([np.kron(a, np.array([[0, 1j], [1, 0]]) @ b) for a in _DAMPED for b in (np.eye(2),)]),
]


@pytest.mark.parametrize("given", NOISES, ids=lambda given: f"{given.name}-{given.qubit_count}")
def test_a_pragma_is_the_channel_of_the_sdk(given: Noise) -> None:
    circuit = BraketCircuit().h(0).h(1)
    circuit.add_instruction(Instruction(given, range(given.qubit_count)))
    read = braket_reader.read(circuit.to_ir("OPENQASM").source).quantum
    (found,) = [each for each in read.data if isinstance(each.operation, Channel)]
    places = [read.find_bit(qubit).index for qubit in found.qubits]

    assert sorted(places) == list(range(given.qubit_count))
    mine = superoperator(first_is_highest(found.operation, places))
    assert np.allclose(mine, superoperator([np.asarray(each) for each in given.to_matrix()]))


@pytest.mark.parametrize(
    ("pragma", "reason", "message"),
    [
        ("bit_flip(1.5) q[0]", "INVALID_NOISE", "between 0 and 1, got 1.5"),
        ("depolarizing(-0.1) q[0]", "INVALID_NOISE", "between 0 and 1"),
        ("pauli_channel(0.5, 0.5, 0.5) q[0]", "INVALID_NOISE", "must not exceed 1"),
        ("kraus([[1, 0], [0, 0.5]]) q[0]", "INVALID_NOISE", "identity"),
        ("kraus([[1, 0], [0, 1]]) q[0], q[1]", "SYNTAX_ERROR", "4 rows"),
        ("bit_flip(0.1) q[0], q[1]", "SYNTAX_ERROR", "1 qubits, got 1 and 2"),
        ("two_qubit_dephasing(0.1) q[0], q[0]", "SYNTAX_ERROR", "twice"),
        ("cosmic_rays(0.1) q[0]", "UNSUPPORTED_CONSTRUCT", "not one of bit_flip"),
        ("bit_flip(x) q[0]", "SYNTAX_ERROR", "not a number"),
    ],
)
def test_an_invalid_pragma_is_refused_with_its_line(pragma: str, reason: str, message: str) -> None:
    with pytest.raises(ProgramError, match=message) as refused:
        braket_reader.read(f"OPENQASM 3.0;\nqubit[2] q;\n#pragma braket noise {pragma}\n")

    assert (refused.value.reason, refused.value.line) == (reason, 3)


def of_noise(circuit: Circuit) -> tuple[Channel, list[int]]:
    (found,) = [each for each in circuit.quantum.data if isinstance(each.operation, Channel)]
    return found.operation, [circuit.quantum.find_bit(qubit).index for qubit in found.qubits]


CHANNELS = [
    noise.bit_flip(0.1),
    noise.phase_flip(0.2),
    noise.depolarizing(0.3),
    noise.depolarizing(4 / 3),
    noise.depolarizing(0.3, 2),
    noise.amplitude_damping(0.2),
    noise.phase_damping(0.3),
    noise.generalized_amplitude_damping(0.3, 0.2),
    noise.thermal_relaxation(50e-6, 70e-6, 1e-6),
    noise.pauli({"X": 0.1, "Z": 0.3}),
    noise.pauli({"XY": 0.1, "IZ": 0.3}),
    noise.kraus([np.kron(np.array([[0, 1j], [1, 0]]), each) for each in _DAMPED]),
]


@pytest.mark.parametrize("channel", CHANNELS, ids=lambda channel: f"{channel.kind}-{channel.num_qubits}")
def test_a_channel_that_is_written_and_read_again_is_the_same(channel: Channel) -> None:
    builder = Builder()
    builder.add_qubits(3)
    clbits = builder.add_clbits(3)
    places = (2, 0)[: channel.num_qubits]
    for place in clbits:
        builder.append(TRUE, HGate(), (place,))
    builder.append(TRUE, channel, places)
    for place in clbits:
        builder.append(TRUE, Measure(), (place,), (place,))
    circuit = Circuit(builder.finish(), (ClassicalRegister("c", clbits),))
    text = braket_writer.write(circuit).source
    assert isinstance(text, str)
    again, where = of_noise(braket_reader.read(text))

    assert sorted(where) == sorted(places)
    mine, its = (superoperator(first_is_highest(each, at)) for each, at in ((channel, places), (again, where)))
    assert np.allclose(mine, its)


@pytest.mark.parametrize("language", ["QASM2", "QASM3", "IONQ"])
def test_a_language_without_noise_refuses_it(language: str) -> None:
    circuit = braket_reader.read("OPENQASM 3.0; qubit[1] q;\nh q[0];\n#pragma braket noise bit_flip(0.1) q[0]\n")

    with pytest.raises(ProgramError) as refused:
        Languages().write(AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{language}"), circuit)
    assert refused.value.reason == "UNSUPPORTED_CONSTRUCT"


def test_a_channel_that_braket_cannot_express_is_refused() -> None:
    with pytest.raises(ProgramError, match="on 3 qubits"):
        braket_noise.pragma(noise.depolarizing(0.1, 3), ("q[0]", "q[1]", "q[2]"))
    parts = [np.sqrt(0.2) * np.eye(2)] * 5
    with pytest.raises(ProgramError, match="5 Kraus operators"):
        braket_noise.pragma(noise.kraus(parts), ("q[0]",))
