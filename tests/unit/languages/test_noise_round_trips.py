# SPDX-License-Identifier: Apache-2.0
"""Noise that is written in a language and read again is the same, and the SDKs read it alike."""

from __future__ import annotations

import io

import cirq
import numpy as np
import pytest
from qiskit import QuantumCircuit, qpy, quantum_info
from qiskit.circuit import Instruction, Measure
from qiskit.circuit.library import HGate, XGate
from qiskit_aer.noise import amplitude_damping_error, depolarizing_error

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Builder
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import TRUE, bit
from qonduit_server.ir.noise import Channel, ReadoutError, depolarizing
from qonduit_server.languages.cirq import cirq_reader
from qonduit_server.languages.qiskit import qpy_reader
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.writing import cirq_writer, qpy_writer
from tests.unit.languages.channel_comparison import first_is_highest, superoperator
from tests.unit.languages.test_braket_noise import CHANNELS, of_noise

#: Languages that have no readout errors; Quil has those that no condition comes before.
REFUSING = ("QASM2", "QASM3", "QISKIT", "BRAKET", "IONQ")
MORE = [*CHANNELS, depolarizing(0.3, 3), depolarizing(64 / 63, 3)]


def named(channel: Channel) -> str:
    """Return the name of a channel's case."""
    return f"{channel.kind}-{channel.num_qubits}"


def with_channel(channel: Channel, places: tuple[int, ...]) -> Circuit:
    """Return a circuit of three qubits with a channel before the measurements."""
    builder = Builder()
    builder.add_qubits(3)
    clbits = builder.add_clbits(3)
    for place in clbits:
        builder.append(TRUE, HGate(), (place,))
    builder.append(TRUE, channel, places)
    for place in clbits:
        builder.append(TRUE, Measure(), (place,), (place,))
    return Circuit(builder.finish(), (ClassicalRegister("c", clbits),))


@pytest.mark.parametrize("channel", MORE, ids=named)
def test_a_channel_in_cirq_is_the_same(channel: Channel) -> None:
    places = (2, 0, 1)[: channel.num_qubits]
    text = cirq_writer.write(with_channel(channel, places)).source
    assert isinstance(text, str)
    mine = superoperator(first_is_highest(channel, places))

    (its,) = [
        each
        for each in cirq.read_json(json_text=text).all_operations()
        if not cirq.has_unitary(each) and not cirq.is_measurement(each)
    ]
    order = [qubit.x for qubit in its.qubits]
    # Cirq's first qubit is the highest bit.
    size = len(order)
    theirs = Channel(size, cirq.kraus(its))
    assert np.allclose(superoperator(first_is_highest(theirs, order[::-1])), mine)

    again, where = of_noise(cirq_reader.read(text))
    assert np.allclose(superoperator(first_is_highest(again, where)), mine)


@pytest.mark.parametrize("channel", MORE, ids=named)
def test_a_channel_in_qpy_is_the_same(channel: Channel) -> None:
    places = (2, 0, 1)[: channel.num_qubits]
    source = qpy_writer.write(with_channel(channel, places)).source
    assert isinstance(source, bytes)

    (its,) = [each for each in qpy.load(io.BytesIO(source))[0].data if each.operation.name == "kraus"]
    assert quantum_info.SuperOp(its.operation) == quantum_info.SuperOp(quantum_info.Kraus(list(channel.kraus)))
    again, where = of_noise(qpy_reader.read(source))
    assert (tuple(where), again) == (places, channel)


@pytest.mark.parametrize(
    "given",
    [
        quantum_info.Kraus(amplitude_damping_error(0.2)),
        quantum_info.SuperOp(depolarizing_error(0.3, 2)),
        amplitude_damping_error(0.3, 0.2),
        depolarizing_error(0.3, 2),
    ],
    ids=lambda given: f"{type(given).__name__}-{given.num_qubits}",
)
def test_a_channel_of_qiskit_is_read(given: quantum_info.SuperOp) -> None:
    circuit = QuantumCircuit(2)
    circuit.append(given.to_instruction(), range(given.num_qubits))
    out = io.BytesIO()
    qpy.dump(circuit, out, version=13)
    found, where = of_noise(qpy_reader.read(out.getvalue()))

    assert where == list(range(given.num_qubits))
    assert quantum_info.SuperOp(quantum_info.Kraus(list(found.kraus))) == quantum_info.SuperOp(given)


@pytest.mark.parametrize(
    ("qubits", "params", "reason"),
    [
        (1, [np.eye(2) / 2], "INVALID_NOISE"),
        (1, [np.eye(4)], "SYNTAX_ERROR"),
        (1, [0.5, 0.5], "SYNTAX_ERROR"),
        (1, [], "INVALID_NOISE"),
        (5, [np.eye(32)], "INVALID_NOISE"),
    ],
)
def test_an_instruction_that_is_no_channel_is_refused(qubits: int, params: list[object], reason: str) -> None:
    circuit = QuantumCircuit(qubits)
    circuit.append(Instruction("kraus", qubits, 0, params), range(qubits))
    out = io.BytesIO()
    qpy.dump(circuit, out, version=13)

    with pytest.raises(ProgramError) as refused:
        qpy_reader.read(out.getvalue())
    assert refused.value.reason == reason


def errors_of(circuit: Circuit) -> dict[tuple[int, int], tuple[float, float]]:
    """Return the readout errors by register and index."""
    numbers = {
        (entry if isinstance(entry, int) else min(entry.bits)): (number, place)
        for number, register in enumerate(circuit.registers)
        for place, entry in enumerate(register.bits)
    }
    return {
        numbers[circuit.quantum.find_bit(each.clbits[0]).index]: tuple(each.operation.params)
        for each in circuit.quantum.data
        if isinstance(each.operation, ReadoutError)
    }


def test_a_confusion_map_is_the_readout_error_of_its_qubit() -> None:
    a, b = cirq.LineQubit.range(2)
    confused = {(1,): np.array([[0.875, 0.125], [0.25, 0.75]])}
    circuit = cirq.Circuit(cirq.measure(a, b, key="k", confusion_map=confused), cirq.measure(a, key="m"))
    read = cirq_reader.read(cirq.to_json(circuit))
    assert errors_of(read) == {(0, 1): (0.125, 0.25)}

    text = cirq_writer.write(read).source
    assert isinstance(text, str)
    (gate,) = [
        each.gate for each in cirq.read_json(json_text=text).all_operations() if cirq.measurement_key_name(each) == "k"
    ]
    assert gate.confusion_map.keys() == confused.keys()
    assert np.allclose(gate.confusion_map[1,], confused[1,])
    assert errors_of(cirq_reader.read(text)) == errors_of(read)


def test_an_inverted_bit_takes_only_symmetric_errors() -> None:
    (a,) = cirq.LineQubit.range(1)
    symmetric = {(0,): np.array([[0.875, 0.125], [0.125, 0.875]])}
    circuit = cirq.Circuit(cirq.measure(a, key="k", invert_mask=(True,), confusion_map=symmetric))
    assert errors_of(cirq_reader.read(cirq.to_json(circuit))) == {(0, 0): (0.125, 0.125)}

    # Cirq inverts before it confuses, or after, depending on what else is in the circuit.
    certain = {(0,): np.array([[0.0, 1.0], [0.0, 1.0]])}
    circuit = cirq.Circuit(cirq.measure(a, key="k", invert_mask=(True,), confusion_map=certain))
    midway = circuit + cirq.Circuit(cirq.X(a).with_classical_controls("k"), cirq.measure(a, key="m"))
    seen = [cirq.Simulator().run(each).measurements["k"].tolist() for each in (circuit, midway)]
    assert seen == [[[1]], [[0]]]
    with pytest.raises(ProgramError, match="no fixed order"):
        cirq_reader.read(cirq.to_json(circuit))


@pytest.mark.parametrize(
    ("confused", "reason"),
    [
        ({(0, 1): np.eye(4)}, "UNSUPPORTED_CONSTRUCT"),
        ({(0,): np.array([[0.5, 0.5], [0.25, 0.75]])}, "INVALID_NOISE"),
    ],
)
def test_a_confusion_map_that_is_no_readout_error_is_refused(confused: object, reason: str) -> None:
    circuit = cirq.Circuit(cirq.measure(*cirq.LineQubit.range(2), key="k", confusion_map=confused))
    text = cirq.to_json(circuit, indent=None).replace("0.25", "0.5")

    with pytest.raises(ProgramError) as refused:
        cirq_reader.read(text)
    assert refused.value.reason == reason


def with_errors(*errors: ReadoutError, conditional: bool = False) -> Circuit:
    """Return a measurement with readout errors; a condition may read the bit before them."""
    builder = Builder()
    builder.add_qubits(2)
    clbits = builder.add_clbits(2)
    builder.append(TRUE, HGate(), (0,))
    builder.append(TRUE, Measure(), (0,), (0,))
    if conditional:
        builder.append(bit(0), XGate(), (1,))
    for each in errors:
        builder.append(TRUE, each, (), (0,))
    builder.append(TRUE, Measure(), (1,), (1,))
    return Circuit(builder.finish(), (ClassicalRegister("a", clbits[:1]), ClassicalRegister("b", clbits[1:])))


def test_successive_readout_errors_are_written_as_one() -> None:
    text = cirq_writer.write(with_errors(ReadoutError(0.5, 0.25), ReadoutError(0.125, 0.5))).source
    assert isinstance(text, str)
    first, second = np.array([[0.5, 0.5], [0.25, 0.75]]), np.array([[0.875, 0.125], [0.5, 0.5]])
    both = first @ second

    assert errors_of(cirq_reader.read(text)) == {(0, 0): (both[0, 1], both[1, 0])}


@pytest.mark.parametrize(
    ("language", "conditional"),
    [
        *((language, conditional) for language in REFUSING for conditional in (False, True)),
        ("QUIL", True),
    ],
)
def test_readout_errors_are_not_dropped(language: str, conditional: bool) -> None:
    circuit = with_errors(ReadoutError(0.125, 0.25), conditional=conditional)
    circuit = Circuit(circuit.quantum, (ClassicalRegister("c", (0, 1)),), ())

    with pytest.raises(ProgramError, match="readout error") as refused:
        Languages().write(AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{language}"), circuit)
    assert refused.value.reason == "UNSUPPORTED_CONSTRUCT"


def test_an_error_that_a_condition_does_not_see_is_refused_by_cirq() -> None:
    with pytest.raises(ProgramError, match="readout errors"):
        cirq_writer.write(with_errors(ReadoutError(0.125, 0.25), conditional=True))
