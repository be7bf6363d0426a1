# SPDX-License-Identifier: Apache-2.0
"""Every writer: a written program, read again, has the same registers and exactly the same distribution."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from qiskit import qasm2, qpy
from qiskit.circuit import Barrier, Delay, Gate, Measure, QuantumCircuit, Reset
from qiskit.circuit import library as qk
from quil.program import Program

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir.builder import Block, Builder, Loop, Step, Write
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import TRUE, bit, conjunction, disjunction, negation, parity
from qonduit_server.languages.openqasm3 import openqasm3_reader
from qonduit_server.languages.registry import LANGUAGES, Languages
from qonduit_server.languages.writing.write_result import WriteResult
from tests.unit.ir.reference_simulator import close, distribution, registers
from tests.unit.ir.sample_circuits import circuits
from tests.unit.languages.sdk_importers import braket_distribution, cirq_distribution

LANGUAGE = Languages()
WRITTEN = [each for each, edges in LANGUAGES.items() if edges.writer]
READ = [each for each in WRITTEN if LANGUAGES[each].reader]
FAMILY = settings(
    max_examples=8, deadline=None, derandomize=True, phases=[Phase.generate], suppress_health_check=list(HealthCheck)
)
#: Further qubits that store early outcomes make statevectors slow.
MOST_QUBITS = 10


def name(language: AssemblerLanguage) -> str:
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")


def value(short: str) -> AssemblerLanguage:
    return AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{short}")


def written(short: str, circuit: Circuit) -> WriteResult:
    return LANGUAGE.write(value(short), circuit)


def text(short: str, circuit: Circuit) -> str:
    source = written(short, circuit).source
    assert isinstance(source, str)
    return source


def program(text: str) -> Circuit:
    """Return a program read from OpenQASM 3."""
    return openqasm3_reader.read(f'OPENQASM 3.0;\ninclude "stdgates.inc";\n{text}')


def refusal(short: str, circuit: Circuit) -> str:
    with pytest.raises(ProgramError) as caught:
        written(short, circuit)
    assert caught.value.reason == "UNSUPPORTED_CONSTRUCT"
    return caught.value.message


# ---- round trips


@pytest.mark.parametrize("language", READ, ids=name)
@FAMILY
@given(circuits("plain") | circuits("guarded") | circuits("all"))
def test_our_readers_read_the_same_program(language: AssemblerLanguage, circuit: Circuit) -> None:
    result = tried(language, circuit)
    if result is None:
        # OpenQASM 3 can express everything.
        assert name(language) != "QASM3"
        return
    back = again(language, result)
    if name(language) == "IONQ":
        assert registers(back) == [("meas", len(circuit.registers[0].bits))]
    else:
        assert registers(back) == registers(circuit)
    if back.quantum.num_qubits <= MOST_QUBITS:
        assert close(distribution(back), distribution(circuit))


def tried(language: AssemblerLanguage, circuit: Circuit) -> WriteResult | None:
    """Write a program; return None if the language cannot express it."""
    try:
        return LANGUAGE.write(language, circuit)
    except ProgramError as error:
        if error.reason != "UNSUPPORTED_CONSTRUCT":
            raise
        return None


def again(language: AssemblerLanguage, result: WriteResult) -> Circuit:
    """Read a written program."""
    if isinstance(result.source, bytes):
        return LANGUAGE.read(language, "", result.source, {})
    return LANGUAGE.read(language, result.source, b"", {})


@FAMILY
@given(circuits("plain") | circuits("guarded"))
def test_qiskit_reads_written_openqasm_2(circuit: Circuit) -> None:
    back = with_registers(qasm2.loads(text("QASM2", circuit)))
    assert registers(back) == registers(circuit)
    if back.quantum.num_qubits <= MOST_QUBITS:
        assert close(distribution(back), distribution(circuit))


@FAMILY
@given(circuits("plain"))
def test_qiskit_reads_written_openqasm_3(circuit: Circuit) -> None:
    from qiskit import qasm3

    back = with_registers(qasm3.loads(text("QASM3", circuit)))
    assert registers(back) == registers(circuit)
    assert close(distribution(back), distribution(circuit))


@pytest.mark.parametrize("condition", ["c[0]", "!c[0]", "c[0] == 1", "c[0] == 0"])
def test_qiskit_reads_conditions_on_a_bit_that_are_written_as_openqasm_3(condition: str) -> None:
    from qiskit import qasm3

    circuit = program(
        f"qubit[2] q; bit[2] c; x q[0]; c[0] = measure q[0]; if ({condition}) {{ x q[1]; }} c[1] = measure q[1];"
    )
    assert close(distribution(with_registers(qasm3.loads(text("QASM3", circuit)))), distribution(circuit))


@FAMILY
@given(circuits("plain") | circuits("guarded"))
def test_qiskit_reads_written_qpy(circuit: Circuit) -> None:
    source = written("QISKIT", circuit).source
    assert isinstance(source, bytes)
    (quantum,) = qpy.load(io.BytesIO(source))
    back = with_registers(quantum)
    assert registers(back) == registers(circuit)
    assert close(distribution(back), distribution(circuit))


def with_registers(quantum: QuantumCircuit) -> Circuit:
    number = {clbit: place for place, clbit in enumerate(quantum.clbits)}
    return Circuit(
        quantum, tuple(ClassicalRegister(each.name, tuple(number[clbit] for clbit in each)) for each in quantum.cregs)
    )


@FAMILY
@given(circuits("plain") | circuits("guarded"))
def test_cirq_reads_written_json(circuit: Circuit) -> None:
    pytest.importorskip("cirq")
    found, probabilities = cirq_distribution(text("CIRQ", circuit))
    assert found == registers(circuit)
    assert close(probabilities, distribution(circuit))


@FAMILY
@given(circuits("plain"))
def test_brakets_simulator_runs_written_programs(circuit: Circuit) -> None:
    pytest.importorskip("braket")
    found, probabilities = braket_distribution(text("BRAKET", circuit))
    assert found == registers(circuit)
    assert close(probabilities, distribution(circuit))


@FAMILY
@given(circuits("plain") | circuits("guarded"))
def test_rigettis_parser_reads_written_quil(circuit: Circuit) -> None:
    parsed = Program.parse(text("QUIL", circuit))
    sizes = {each: declared.size.length for each, declared in parsed.declarations.items()}
    assert sizes == dict(registers(circuit))


# ---- output

TELEPORT = """
qubit[3] q; bit[2] c; bit d;
rx(0.5) q[0]; h q[1]; cx q[1], q[2]; cx q[0], q[1]; h q[0];
c[0] = measure q[0]; c[1] = measure q[1];
if (c[1]) { x q[2]; }
if (c == 3) { z q[2]; } else { id q[2]; }
d = measure q[2];
"""


def test_openqasm_3() -> None:
    assert text("QASM3", program(TELEPORT)) == (
        'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[3] q;\nbit[2] c;\nbit[1] d;\n'
        "rx(0.5) q[0];\nh q[1];\ncx q[1], q[2];\ncx q[0], q[1];\nh q[0];\n"
        "c[0] = measure q[0];\nc[1] = measure q[1];\n"
        "if (c[1]) {\n  x q[2];\n}\nif (c == 3) {\n  z q[2];\n}\nif (!(c == 3)) {\n  id q[2];\n}\n"
        "d[0] = measure q[2];\n"
    )


@pytest.mark.parametrize("number", range(4))
def test_a_register_is_compared_with_the_number_that_it_was_compared_with(number: int) -> None:
    circuit = program(
        f"qubit[3] q; bit[2] c; bit d; c = measure q[0:1]; if (c == {number}) {{ x q[2]; }} d = measure q[2];"
    )
    assert f"if (c == {number}) {{\n  x q[2];\n}}\n" in text("QASM3", circuit)


def test_openqasm_2_compares_whole_registers() -> None:
    lines = text("QASM2", program(TELEPORT)).splitlines()
    assert lines[:5] == ["OPENQASM 2.0;", 'include "qelib1.inc";', "qreg q[3];", "creg c[2];", "creg d[1];"]
    assert lines[12:-1] == [
        "if (c == 2) x q[2];", "if (c == 3) x q[2];", "if (c == 3) z q[2];",
        "if (c == 0) id q[2];", "if (c == 1) id q[2];", "if (c == 2) id q[2];",
    ]  # fmt: skip


def test_quil_jumps() -> None:
    assert text("QUIL", program(TELEPORT)).splitlines() == [
        "DECLARE c BIT[2]", "DECLARE d BIT[1]", "RX(0.5) 0", "H 1", "CNOT 1 2", "CNOT 0 1", "H 0",
        "MEASURE 0 c[0]", "MEASURE 1 c[1]",
        "JUMP-UNLESS @END-1 c[1]", "X 2", "LABEL @END-1",
        "JUMP-UNLESS @END-2 c[0]", "JUMP-UNLESS @END-2 c[1]", "Z 2", "LABEL @END-2",
        "JUMP-UNLESS @THEN-4 c[0]", "JUMP-WHEN @END-3 c[1]", "LABEL @THEN-4", "I 2", "LABEL @END-3",
        "MEASURE 2 d[0]",
    ]  # fmt: skip


def test_cirq_measures_registers_before_dependent_operations() -> None:
    circuit = program(TELEPORT)
    source = written("CIRQ", circuit)
    assert source.warnings == ()
    operations = [each for moment in json.loads(source.source)["moments"] for each in moment["operations"]]
    kinds = [each.get("gate", {}).get("cirq_type") or each["cirq_type"] for each in operations]
    # c != 3 splits into two cases.
    assert kinds == [
        "Rx", "HPowGate", "CXPowGate", "CXPowGate", "HPowGate", "MeasurementGate",
        *["ClassicallyControlledOperation"] * 4, "MeasurementGate",
    ]  # fmt: skip
    assert close(cirq_distribution(text("CIRQ", circuit))[1], distribution(circuit))


def test_a_key_is_a_big_endian_number_in_cirqs_conditions() -> None:
    circuit = program("qubit[3] q; bit[2] c; bit d; ry(0.7) q[0]; c[0] = measure q[0]; c[1] = measure q[1];"
                      "if (c[1]) { x q[2]; } if (c[0]) { ry(1.5) q[2]; } d = measure q[2];")  # fmt: skip
    assert written("CIRQ", circuit).warnings == ()
    assert close(cirq_distribution(text("CIRQ", circuit))[1], distribution(circuit))


def test_ionq_numbers_qubits_by_the_bits_they_are_measured_into() -> None:
    source = written(
        "IONQ",
        program("qubit[2] q; bit[2] c; x q[0]; u3(0.1, 0.2, 0.3) q[1]; c[1] = measure q[0]; c[0] = measure q[1];"),
    )
    assert json.loads(source.source) == {
        "format": "ionq.circuit.v0",
        "gateset": "qis",
        "qubits": 2,
        "circuit": [
            {"gate": "x", "target": 1},
            {"gate": "rz", "target": 0, "rotation": 0.3},
            {"gate": "ry", "target": 0, "rotation": 0.1},
            {"gate": "rz", "target": 0, "rotation": 0.2},
        ],
    }
    assert source.warnings == ("the register 'c' is called 'meas', as IonQ calls its result",)


@pytest.mark.parametrize("short", ["QASM2", "QASM3", "QISKIT", "BRAKET", "CIRQ", "QUIL"])
def test_idle_qubits_are_not_lost(short: str) -> None:
    language = value(short)
    if not LANGUAGES[language].reader:
        pytest.skip("it is not read yet")
    circuit = program("qubit[4] q; bit[1] c; x q[2]; c[0] = measure q[2];")
    back = again(language, written(short, circuit))
    assert back.quantum.num_qubits == 4


def test_an_overwritten_bit_is_written_as_one() -> None:
    circuit = program("qubit q; bit c; h q; c = measure q; if (c) { x q; } h q; c = measure q;")
    assert circuit.quantum.num_clbits == 2
    assert "bit" not in text("QASM3", circuit).replace("qubit", "").replace("bit[1] c;", "", 1)
    assert text("QASM2", circuit).count("measure q[0] -> c[0];") == 2
    (quantum,) = qpy.load(io.BytesIO(written("QISKIT", circuit).source))  # type: ignore[arg-type]
    assert quantum.num_clbits == 1


@pytest.mark.parametrize("short", ["QASM2", "QASM3", "CIRQ", "QUIL", "BRAKET"])
def test_a_bit_outside_the_results_keeps_its_value_while_it_is_read(short: str) -> None:
    circuit = program(
        "qubit[3] q; bit m; output bit c; output bit d; x q[0]; m = measure q[0]; c = measure q[1]; "
        "if (m) { x q[2]; } d = measure q[2];"
    )
    assert [each.name for each in circuit.registers] == ["c", "d"]
    assert close(distribution(again(value(short), written(short, circuit))), {"0x1 0x0": 1.0})


@pytest.mark.parametrize("computed", ["!(c[0] ^ c[1])", "c[0] ^ c[1]", "!c[0]", "!c[0] && c[1]", "!(c[0] || c[1])"])
def test_bits_computed_at_the_end_keep_their_value(computed: str) -> None:
    circuit = program(f"qubit[2] q; bit[2] c; bit r; ry(0.8) q[0]; ry(1.9) q[1]; c = measure q; r = {computed}; ")
    rewritten = again(value("QASM2"), written("QASM2", circuit))
    assert close(distribution(rewritten), distribution(circuit))


def test_bits_outside_the_results_stay_separate_from_those_inside() -> None:
    builder = Builder()
    builder.add_qubits(2)
    builder.add_clbits(2)
    builder.append(TRUE, qk.HGate(), (0,))
    builder.append(TRUE, Measure(), (0,), (0,))
    builder.append(bit(0), qk.XGate(), (1,))
    computed = (parity((bit(0), bit(1))), conjunction((bit(0), negation(bit(1)))))
    circuit = Circuit(builder.finish(), (ClassicalRegister("c", computed),))
    source = text("QASM3", circuit)
    assert "output bit[2] c;\nbit[2] scratch;\n" in source
    assert source.endswith("c[0] = scratch[0] ^ scratch[1];\nc[1] = scratch[0] && !scratch[1];\n")
    for short in ("QASM2", "CIRQ", "QUIL", "BRAKET", "QISKIT"):
        assert any("measured at the end" in each for each in written(short, circuit).warnings)


# ---- unsupported programs


def looping() -> Circuit:
    return program(
        "qubit[2] q; bit c; bit d; h q[0]; c = measure q[0]; while (c) { h q[0]; c = measure q[0]; } d = measure q[1];"
    )


@pytest.mark.parametrize("short", ["QASM2", "CIRQ"])
def test_loops_that_a_language_does_not_have(short: str) -> None:
    assert "no loop that ends by a measurement; QASM3 has" in refusal(short, looping())


def test_ionqs_result_is_all_qubits() -> None:
    assert "2 registers" in refusal("IONQ", program(TELEPORT))
    assert "a qubit is left" in refusal("IONQ", program("qubit[2] q; bit c; x q[1]; c = measure q[0];"))
    assert "0 registers" in refusal("IONQ", program("qubit q; x q;"))


@pytest.mark.parametrize("language", WRITTEN, ids=name)
def test_gates_without_a_definition_are_refused(language: AssemblerLanguage) -> None:
    builder = Builder()
    builder.add_qubits(1)
    builder.append(TRUE, Gate("mystery", 1, []), (0,))
    builder.append(TRUE, Measure(), (0,), builder.add_clbits(1))
    circuit = Circuit(builder.finish(), (ClassicalRegister("c", (0,)),))
    if name(language) == "QISKIT":
        assert b"mystery" in written("QISKIT", circuit).source  # type: ignore[operator]
    else:
        assert "'mystery'" in refusal(name(language), circuit)


@pytest.mark.parametrize("short", ["QASM2", "QASM3", "BRAKET", "CIRQ", "QUIL"])
def test_registers_without_bits_are_refused(short: str) -> None:
    circuit = Circuit(QuantumCircuit(1), (ClassicalRegister("none", ()),))
    assert "register without bits" in refusal(short, circuit)


def test_braket_shows_registers_only_where_something_is_measured_into_them() -> None:
    """Without a measurement into a bit, its results hold all qubits, or measurements into no bit."""
    for shown in ("bit c; x q[0];", "bit c; x q[0]; { bit s; s = measure q[0]; }"):
        circuit = program(f"qubit[2] q; {shown}")
        back = again(value("BRAKET"), written("BRAKET", circuit))
        assert registers(back) == [("c", 1)]
        assert close(distribution(back), {"0x0": 1.0})
    assert "program without a result" in refusal("BRAKET", program("qubit[2] q; x q[0];"))


# ---- names and warnings


@pytest.mark.parametrize(
    ("short", "names", "given_names"),
    [
        ("QASM2", ["q(0)", "Ab", "x", "c_x", "c"], ["q_0", "c_Ab", "c_x_2", "c_x", "c"]),
        ("QASM3", ["q(0)", "bit", "1a", "é", "q"], ["q_0", "c_bit", "c_1a", "c", "q"]),
        ("QUIL", ["q(0)", "pi", "a-b", "a b", "ro"], ["q_0", "c_pi", "a-b", "a_b", "ro"]),
        ("CIRQ", ["q(0)", "a:b", "", "c"], ["q(0)", "a_b", "c_2", "c"]),
    ],
)
def test_registers_are_renamed_only_where_they_must_be(short: str, names: list[str], given_names: list[str]) -> None:
    builder = Builder()
    builder.add_qubits(1)
    shown = []
    for each in names:
        clbits = builder.add_clbits(1)
        builder.append(TRUE, Measure(), (0,), clbits)
        shown.append(ClassicalRegister(each, clbits))
    result = written(short, Circuit(builder.finish(), tuple(shown)))
    warned = [
        f"the register {old!r} is called {new!r}" for old, new in zip(names, given_names, strict=True) if old != new
    ]
    assert [each.split(",")[0] for each in result.warnings] == warned
    for each in given_names:
        assert each in result.source  # type: ignore[operator]


def test_omitted_features_have_a_warning() -> None:
    builder = Builder()
    builder.add_qubits(2)
    clbits = builder.add_clbits(2)
    builder.append(TRUE, Delay(100, "ns"), (0,))
    builder.append(TRUE, Barrier(2), (0, 1))
    builder.append(TRUE, Reset(), (0,))
    for place in (0, 1):
        builder.append(TRUE, Measure(), (place,), (clbits[place],))
    circuit = Circuit(builder.finish(), (ClassicalRegister("meas", clbits),))
    assert written("QASM3", circuit).warnings == ()
    assert "delay[100ns] q[0];\nbarrier q[0], q[1];\nreset q[0];\n" in text("QASM3", circuit)
    assert written("QASM2", circuit).warnings == ("delays are left out: OpenQASM 2 has none",)
    left = ("barriers are left out: {0} has none", "delays are left out: {0} has none")
    assert written("QUIL", circuit).warnings == tuple(each.format("Quil") for each in left)
    assert written("CIRQ", circuit).warnings == tuple(each.format("Cirq") for each in left)
    assert written("BRAKET", circuit).warnings == (
        "delays are left out: Braket's OpenQASM has none",
        "Braket's local simulator and many of its devices support no mid-circuit measurement, reset or condition",
    )


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.floats(allow_nan=False, allow_infinity=False))
def test_numbers_are_read_as_they_were(angle: float) -> None:
    builder = Builder()
    builder.add_qubits(1)
    builder.append(TRUE, qk.RXGate(angle), (0,))
    builder.append(TRUE, Measure(), (0,), builder.add_clbits(1))
    circuit = Circuit(builder.finish(), (ClassicalRegister("meas", (0,)),))
    for short in ("QASM2", "QASM3"):
        back = LANGUAGE.read(value(short), text(short, circuit), b"", {})
        assert back.quantum.data[0].operation.params == [angle]


def test_conditions_of_every_kind_are_evaluated_once() -> None:
    """A body that changes its condition's bits still runs to its end."""
    builder = Builder()
    builder.add_qubits(3)
    builder.add_clbits(3)
    for qubit in range(3):
        builder.append(TRUE, qk.RYGate(0.7 + qubit), (qubit,))
        builder.append(TRUE, Measure(), (qubit,), (qubit,))
    conditions = (
        negation(parity((bit(0), bit(1), bit(2)))),
        disjunction((conjunction((bit(0), parity((bit(1), bit(2))))), negation(conjunction((bit(0), bit(1)))))),
    )
    for condition in conditions:
        builder.append(condition, qk.XGate(), (0,))
        builder.append(condition, Measure(), (0,), (0,))
        builder.append(condition, qk.HGate(), (1,))
        builder.append(condition, Measure(), (1,), (1,))
        builder.append(
            TRUE,
            Loop(
                conjunction((bit(1), bit(2))), Block([Step(TRUE, qk.HGate(), (1,)), Step(TRUE, Measure(), (1,), (1,))])
            ),
        )
        builder.append(TRUE, Write(2, parity((bit(2), condition))))
    circuit = Circuit(builder.finish(), (ClassicalRegister("c", (0, 1, 2)),))
    wanted = distribution(circuit)
    for language in READ:
        if name(language) in ("QASM3", "QISKIT", "BRAKET", "QUIL"):
            back = again(language, LANGUAGE.write(language, circuit))
            assert close(distribution(back), wanted, 1e-6), name(language)
