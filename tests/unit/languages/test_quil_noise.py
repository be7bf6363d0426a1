# SPDX-License-Identifier: Apache-2.0
"""Noise pragmas of Quil: what pyQuil writes, read as channels and readout errors, and written again."""

from __future__ import annotations

import re

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from qiskit.circuit import Measure
from qiskit.circuit.library import HGate, XGate

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Block, Builder, Loop, Step, Write
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import TRUE, bit
from qonduit_server.ir.noise import Channel, ReadoutError, amplitude_damping, bit_flip
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.languages.quil import quil_reader
from qonduit_server.languages.registry import Languages
from qonduit_server.languages.writing import quil_writer
from tests.corpus import judge
from tests.corpus.noisy.verdicts import NoisyEntry, noisy_entries
from tests.unit.ir.noise_circuits import close, distribution
from tests.unit.languages.channel_comparison import first_is_highest, superoperator
from tests.unit.languages.test_braket_noise import of_noise
from tests.unit.languages.test_noise_round_trips import MORE, named, with_channel

#: pyQuil 4.22: define_noisy_gate("X", [0], ...), define_noisy_readout(0, 0.9, 0.8), no_noise().
PYQUIL = """DECLARE ro BIT[2]
PRAGMA ADD-KRAUS X 0 "(0.0 0.9486832980505138 0.9486832980505138 0.0)"
PRAGMA ADD-KRAUS X 0 "(0.31622776601683794 0.0 0.0 0.31622776601683794i)"
PRAGMA READOUT-POVM 0 "(0.9 0.19999999999999996 0.09999999999999998 0.8)"
X 0
PRAGMA NO-NOISE
X 0
MEASURE 0 ro[0]
"""


def operations(circuit: Circuit) -> list[str]:
    return [each.operation.name for each in circuit.quantum.data]


def channels(text: str) -> list[Channel]:
    return [each.operation for each in quil_reader.read(text).quantum.data if isinstance(each.operation, Channel)]


def written(circuit: Circuit) -> str:
    source = quil_writer.write(circuit).source
    assert isinstance(source, str)
    return source


def refused(text: str, gates: frozenset[str] = frozenset()) -> ProgramError:
    with pytest.raises(ProgramError) as error:
        quil_reader.read(text, gate_names=gates)
    return error.value


def test_pyquils_noise_is_read() -> None:
    circuit = quil_reader.read(PYQUIL)
    assert operations(circuit) == ["channel", "x", "measure", "readout_error"]
    channel, error = circuit.quantum.data[0].operation, circuit.quantum.data[3].operation
    assert np.allclose(channel.kraus, [0.9**0.5 * np.array([[0, 1], [1, 0]]), 0.1**0.5 * np.diag([1, 1j])])
    assert (error.prob_1_given_0, error.prob_0_given_1) == pytest.approx((0.1, 0.2))
    assert circuit.quantum.data[3].clbits == circuit.quantum.data[2].clbits
    assert not circuit.warnings


def test_a_pragma_applies_wherever_it_stands() -> None:
    lines = PYQUIL.splitlines()
    moved = "\n".join([*lines[:1], *lines[4:], *lines[1:4]])
    assert operations(quil_reader.read(moved)) == operations(quil_reader.read(PYQUIL))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1), ("1.0", 1), ("-1.", -1), (".1e1", 1), ("1E+0", 1), ("i", 1j), ("-i", -1j), ("+i", 1j), ("1i", 1j),
        ("-1.0i", -1j), ("0.6+0.8i", 0.6 + 0.8j), ("0.6-0.8i", 0.6 - 0.8j), ("-6e-1+8.0e-1i", -0.6 + 0.8j),
        ("0+i", 1j), ("0-i", -1j),
    ],
)  # fmt: skip
def test_an_entry_is_a_number(text: str, value: complex) -> None:
    (channel,) = channels(f'PRAGMA ADD-KRAUS I 0 "( {text}  0 0 1)"\nI 0')
    assert channel.kraus[0][0, 0] == value


def test_the_first_qubit_is_the_highest_bit() -> None:
    flips_first = "(0 0 1 0 0 0 0 1 1 0 0 0 0 1 0 0)"
    text = f'DECLARE ro BIT[2]\nPRAGMA ADD-KRAUS CNOT 5 3 "{flips_first}"\nCNOT 5 3\nMEASURE 3 ro[0]\nMEASURE 5 ro[1]'
    assert distribution(quil_reader.read(text).quantum) == pytest.approx({0b10: 1.0})
    # On qubits in another order, the gate is another one.
    assert distribution(quil_reader.read(text.replace("\nCNOT 5 3", "\nCNOT 3 5")).quantum) == pytest.approx({0: 1.0})


def test_the_gates_of_a_circuit_have_noise() -> None:
    body = "    X a\n    PRAGMA NO-NOISE\n    X b\n    X b\n"
    text = f'PRAGMA ADD-KRAUS X 1 "(0 1 1 0)"\nDEFCIRCUIT BOTH a b:\n{body}BOTH 0 1'
    assert operations(quil_reader.read(text)) == ["x", "x", "channel"]


X_LOSES = 'PRAGMA ADD-KRAUS X 0 "(0 1 0.8 0)"\nPRAGMA ADD-KRAUS X 0 "(0.6 0 0 0)"\n'


@pytest.mark.parametrize(
    ("line", "reason", "message"),
    [
        ('PRAGMA ADD-KRAUS X 0 "(0 1 0.5 0)"', "INVALID_NOISE", "X 0: .* identity within 1e-08, is off by 0.75"),
        ('PRAGMA ADD-KRAUS X 0 "(0 1 1e200 0)"', "INVALID_NOISE", "is off by inf"),
        ('PRAGMA ADD-KRAUS X 0 "(0 1 1)"', "SYNTAX_ERROR", "a matrix on 1 qubits has 4 entries, got 3"),
        ('PRAGMA ADD-KRAUS X 0 "(0 1 1 one)"', "SYNTAX_ERROR", "'one' is not a number"),
        ('PRAGMA ADD-KRAUS X 0 "(0 1 1 1e999)"', "SYNTAX_ERROR", "'1e999' is too large"),
        ('PRAGMA ADD-KRAUS X 0 "0 1 1 0"', "SYNTAX_ERROR", "in brackets"),
        ("PRAGMA ADD-KRAUS X 0", "SYNTAX_ERROR", "in brackets"),
        ('PRAGMA ADD-KRAUS "(1)"', "SYNTAX_ERROR", "must name a gate"),
        ('PRAGMA ADD-KRAUS 0 "(1)"', "SYNTAX_ERROR", "must name a gate"),
        ('PRAGMA ADD-KRAUS X "(1)"', "SYNTAX_ERROR", "must name qubits by their numbers"),
        ('PRAGMA ADD-KRAUS X q "(1)"', "SYNTAX_ERROR", "must name qubits by their numbers"),
        ('PRAGMA ADD-KRAUS CNOT 1 1 "(1)"', "SYNTAX_ERROR", "names a qubit twice"),
        ('PRAGMA ADD-KRAUS X 0 1 2 3 4 "(1)"', "INVALID_NOISE", "act on 1 to 4 qubits, got 5"),
        ('PRAGMA READOUT-POVM 0 "(0.9 0.2 0.2 0.8)"', "INVALID_NOISE", r"p00 \+ p10 = 1 .* got 1.1 and 1"),
        ('PRAGMA READOUT-POVM 0 "(0.9 0.2 0.1 0.9)"', "INVALID_NOISE", r"p01 \+ p11 = 1, got 1 and 1.1"),
        ('PRAGMA READOUT-POVM 0 "(1.1 0 -0.1 1)"', "INVALID_NOISE", "between 0 and 1, got 1.1"),
        ('PRAGMA READOUT-POVM 0 "(1 0 0i 1+0.1i)"', "INVALID_NOISE", "between 0 and 1, got .1.0.1j."),
        ('PRAGMA READOUT-POVM 0 1 "(1 0 0 1)"', "SYNTAX_ERROR", "one qubit and 4 probabilities, got 2 and 4"),
        ('PRAGMA READOUT-POVM 0 "(1 0 1)"', "SYNTAX_ERROR", "one qubit and 4 probabilities, got 1 and 3"),
        ('PRAGMA ADD-NOISE X 0 "(1)"', "UNSUPPORTED_CONSTRUCT", "PRAGMA ADD-NOISE is unknown"),
    ],
)
def test_a_wrong_pragma_is_refused_with_its_line(line: str, reason: str, message: str) -> None:
    error = refused(f"X 0\n\n{line}\nX 1")
    assert (error.reason, error.line) == (reason, 3)
    assert re.search(f"^line 3: .*{message}", error.message), error.message


@pytest.mark.parametrize(
    ("text", "reason", "message"),
    [
        ("DAGGER X 0", "UNSUPPORTED_CONSTRUCT", "replaces X, which is applied with modifiers"),
        ("CONTROLLED X 1 0", "UNSUPPORTED_CONSTRUCT", "replaces X, which is applied with modifiers"),
        ('PRAGMA ADD-KRAUS RX 0 "(1 0 0 1)"\nRX(1) 0', "UNSUPPORTED_CONSTRUCT", "RX, which is applied with parameters"),
        ("DEFCIRCUIT C q:\n    X q\nPRAGMA NO-NOISE\nC 0", "UNSUPPORTED_CONSTRUCT", "stands before the circuit C"),
        ('DEFCIRCUIT C q:\n    PRAGMA READOUT-POVM 0 "(1 0 0 1)"\nC 0', "UNSUPPORTED_CONSTRUCT", "in a DEFCIRCUIT"),
        ('PRAGMA ADD-KRAUS NONE 0 "(1 0 0 1)"\nNONE 0', "UNKNOWN_GATE", "'NONE' is not a gate"),
        ('PRAGMA ADD-KRAUS CNOT 0 "(1 0 0 1)"\nCNOT 0', "SYNTAX_ERROR", "acts on 2 qubits, and is given 1"),
    ],
)
def test_noise_of_other_than_fixed_gates_is_refused(text: str, reason: str, message: str) -> None:
    error = refused(f'PRAGMA ADD-KRAUS X 0 "(0 1 1 0)"\n{text}')
    assert (error.reason, message in error.message) == (reason, True), error.message


def test_noise_of_unused_gates_and_qubits_is_a_warning() -> None:
    header = "".join(f'PRAGMA ADD-KRAUS X {k} "(0 1 1 0)"\nPRAGMA READOUT-POVM {k} "(1 0 0 1)"\n' for k in range(8))
    circuit = quil_reader.read(f"DECLARE ro BIT\n{header}X 0\nMEASURE 0 ro")
    gates, qubits = circuit.warnings
    assert gates.startswith("PRAGMA ADD-KRAUS X 1, PRAGMA ADD-KRAUS X 2,")
    assert gates.endswith("PRAGMA ADD-KRAUS X 5 and 2 more: the program does not apply this gate")
    assert qubits.endswith("PRAGMA READOUT-POVM 5 and 2 more: the program does not measure this qubit")
    assert circuit.quantum.num_qubits == 1


def test_an_error_of_a_noise_model_acts_after_the_gate_that_has_operators() -> None:
    model = ParseDict({"gateErrors": [{"gates": ["x", "OWN"], "channel": {"bitFlip": 0.25}}]}, NoiseModel())
    text = (
        'DECLARE ro BIT[2]\nDEFGATE OWN:\n    0, 1\n    1, 0\nPRAGMA ADD-KRAUS X 0 "(0 0.8 0.8 0)"\n'
        'PRAGMA ADD-KRAUS X 0 "(0.6 0 0 0.6)"\nPRAGMA ADD-KRAUS OWN 1 "(0 1 1 0)"\nX 0\nOWN 1\n'
        "MEASURE 0 ro[0]\nMEASURE 1 ro[1]"
    )
    noisy = with_noise(quil_reader.read(text, gate_names=gate_names(model)), model)
    assert operations(noisy) == ["channel", "channel", "channel", "channel", "measure", "measure"]
    ones = (0.64 * 0.75 + 0.36 * 0.25, 0.75)
    found = distribution(noisy.quantum)
    assert [sum(p for key, p in found.items() if key >> k & 1) for k in (0, 1)] == pytest.approx(ones)
    assert not noisy.warnings


def test_a_circuit_that_a_noise_model_names_has_no_operators_inside() -> None:
    text = 'PRAGMA ADD-KRAUS X 0 "(0 1 1 0)"\nDEFCIRCUIT C q:\n    X q\nC 0'
    error = refused(text, frozenset(("C",)))
    assert error.reason == "UNSUPPORTED_CONSTRUCT"
    assert "names the circuit C, in which PRAGMA ADD-KRAUS replaces X" in error.message


@pytest.mark.parametrize("channel", MORE, ids=named)
def test_a_channel_is_written_and_read_exactly(channel: Channel) -> None:
    places = (2, 0, 1)[: channel.num_qubits]
    text = written(with_channel(channel, places))
    again, where = of_noise(quil_reader.read(text))
    assert len(again.kraus) == len(channel.kraus)
    assert all(np.array_equal(a, b) for a, b in zip(again.kraus, channel.kraus, strict=True))
    assert np.array_equal(
        superoperator(first_is_highest(again, where)), superoperator(first_is_highest(channel, places))
    )


def test_equal_channels_share_their_definition() -> None:
    builder = Builder()
    builder.add_qubits(2)
    (clbit,) = builder.add_clbits(1)
    for channel, place in ((bit_flip(0.1), 0), (bit_flip(0.1), 0), (bit_flip(0.1), 1), (amplitude_damping(0.1), 1)):
        builder.append(TRUE, channel, (place,))
    builder.append(TRUE, Measure(), (0,), (clbit,))
    lines = written(Circuit(builder.finish(), (ClassicalRegister("c", (clbit,)),))).splitlines()
    assert sum(line.startswith("DEFGATE") for line in lines) == 2
    assert sum(line.startswith("PRAGMA ADD-KRAUS NOISE-1 0") for line in lines) == 2
    assert lines[-5:] == ["NOISE-1 0", "NOISE-1 0", "NOISE-1 1", "NOISE-2 1", "MEASURE 0 c[0]"]


#: Quil has no bits for the loops of the other cases, with noise or without.
ENTRIES = [each for each in noisy_entries("quil") if "until_zero" not in each.case]


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: entry.case)
def test_the_noisy_corpus_is_written_exactly(entry: NoisyEntry) -> None:
    languages = Languages()
    circuit = entry.read(languages)
    again = quil_reader.read(written(circuit))
    reference = judge.reference(entry.folder / "program")["probs"]
    wanted = {sum(int(digit) << k for k, digit in enumerate(key.split())): p for key, p in reference.items()}
    found: dict[int, float] = {}
    for outcome, probability in distribution(again.quantum).items():
        key = sum(int(digit) << k for k, digit in enumerate(again.key(outcome).replace("0x", "").split()[::-1]))
        found[key] = found.get(key, 0.0) + probability
    assert close(found, wanted)


def test_noise_in_a_loop_is_written_exactly() -> None:
    builder = Builder()
    builder.add_qubits(1)
    (clbit,) = clbits = builder.add_clbits(1)
    body = [
        Step(TRUE, amplitude_damping(0.3), (0,)),
        Step(TRUE, Measure(), (0,), clbits),
        Step(TRUE, ReadoutError(0.1, 0.2), (), clbits),
    ]
    for step in (Step(TRUE, HGate(), (0,)), *body[1:], Step(TRUE, Loop(bit(clbit), Block(body)))):
        builder.append(step.guard, step.operation, step.qubits, step.clbits)
    builder.add_clbits(1)
    builder.append(TRUE, Measure(), (0,), (1,))
    builder.append(TRUE, ReadoutError(0.1, 0.2), (), (1,))
    circuit = Circuit(builder.finish(), (ClassicalRegister("a", (0,)), ClassicalRegister("b", (1,))))
    again = quil_reader.read(written(circuit))
    shown = [register.bits[0] for register in again.registers]
    found: dict[int, float] = {}
    for outcome, probability in distribution(again.quantum).items():
        key = sum((outcome >> int(place) & 1) << k for k, place in enumerate(shown))
        found[key] = found.get(key, 0.0) + probability
    assert close(found, distribution(circuit.quantum))
    assert found[2] > 0.05, "the second outcome differs from the last of the loop by errors"


def measured_twice(first: ReadoutError | None, second: ReadoutError | None, kept: bool = True) -> Circuit:
    """Return two measurements of a qubit with their errors; the first outcome may be kept."""
    builder = Builder()
    builder.add_qubits(1)
    clbits = builder.add_clbits(2)
    for clbit, error in zip(clbits, (first, second), strict=True):
        builder.append(TRUE, HGate(), (0,))
        builder.append(TRUE, Measure(), (0,), (clbit,))
        if error is not None:
            builder.append(TRUE, error, (), (clbit,))
    return Circuit(builder.finish(), (ClassicalRegister("c", clbits if kept else clbits[1:]),))


def test_equal_readout_errors_are_one_pragma() -> None:
    error = ReadoutError(0.1, 0.3)
    text = written(measured_twice(error, error))
    assert text.count('PRAGMA READOUT-POVM 0 "(0.9 0.3 0.1 0.7)"') == 1
    assert close(distribution(quil_reader.read(text).quantum), distribution(measured_twice(error, error).quantum))
    # The error of an outcome that nothing reads does not matter.
    assert "READOUT-POVM" in written(measured_twice(None, error, kept=False))


@pytest.mark.parametrize("first", [None, ReadoutError(0.1, 0.2)])
def test_readout_errors_that_differ_are_refused(first: ReadoutError | None) -> None:
    with pytest.raises(ProgramError, match="differ between measurements of qubit 0") as error:
        written(measured_twice(first, ReadoutError(0.1, 0.3)))
    assert error.value.reason == "UNSUPPORTED_CONSTRUCT"


@pytest.mark.parametrize("between", ["read", "written"])
def test_an_error_behind_another_use_of_its_bit_is_refused(between: str) -> None:
    builder = Builder()
    builder.add_qubits(2)
    clbits = builder.add_clbits(2)
    builder.append(TRUE, Measure(), (0,), (0,))
    if between == "read":
        builder.append(bit(0), XGate(), (1,))
    else:
        builder.append(TRUE, Write(0, TRUE))
    builder.append(TRUE, ReadoutError(0.1, 0.3), (), (0,))
    builder.append(TRUE, Measure(), (1,), (1,))
    with pytest.raises(ProgramError, match="does not stand directly behind the measurement"):
        written(Circuit(builder.finish(), (ClassicalRegister("c", clbits),)))
