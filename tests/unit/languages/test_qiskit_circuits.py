# SPDX-License-Identifier: Apache-2.0
"""Qiskit's circuits: their IR."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, transpile
from qiskit.circuit import (
    Clbit,
    Parameter,
    ParameterVector,
    Qubit,
)
from qiskit.circuit import library as qk
from qiskit.circuit.classical import expr, types
from qiskit.quantum_info import Operator, random_unitary

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.languages.qiskit import circuit_evaluation
from qonduit_server.languages.qiskit.qpy_reader import read
from qonduit_server.languages.signatures import NO_INPUTS, Inputs
from qonduit_server.providers import registry as providers
from tests.unit.languages.qiskit_samples import VERSIONS, dumped, made


def refused(data: bytes, reason: str, inputs: Inputs = NO_INPUTS) -> ProgramError:
    began = time.thread_time()
    with pytest.raises(ProgramError) as caught:
        read(data, inputs)
    assert time.thread_time() - began < 2.0  # far more than a refusal takes, far less than expanding the program
    assert caught.value.reason == reason
    return caught.value


def names(circuit: Circuit) -> list[str]:
    return [instruction.operation.name for instruction in circuit.quantum.data]


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(register.name, len(register.bits)) for register in circuit.registers]


def outcome(circuit: QuantumCircuit, inputs: Inputs = NO_INPUTS) -> str:
    """Return the only outcome of a deterministic circuit."""
    hub = read(dumped(circuit), inputs)
    provider = providers.get("IBM")
    (result,) = provider.run("aer_simulator", [provider.compile(hub, "aer_simulator")], 60, 7)
    assert isinstance(result, Outcome)
    (key,) = {hub.key(each) for each in result.counts}
    return key


@pytest.mark.parametrize("version", range(13, 19))
def test_plain_circuits_stay_as_they_are(version: int) -> None:
    circuit = QuantumCircuit(3, 2)
    circuit.h(0)
    circuit.cx(0, 1)
    circuit.rz(0.5, 2)
    circuit.barrier()
    circuit.reset(2)
    circuit.measure([0, 1], [1, 0])
    read_again = read(dumped(circuit, version))
    assert names(read_again) == ["h", "cx", "rz", "barrier", "reset", "measure", "measure"]
    assert registers(read_again) == [("c", 2)]
    assert not read_again.warnings
    assert not read_again.quantum.qregs


def test_registers_share_bits_and_keep_their_order() -> None:
    b, a = ClassicalRegister(2, "b"), ClassicalRegister(1, "a")
    shared = ClassicalRegister(bits=[b[1], a[0]], name="s")
    circuit = QuantumCircuit(QuantumRegister(2, "q"), b, a, shared)
    circuit.x(0)
    circuit.measure(0, b[1])
    circuit.measure(1, a[0])
    assert registers(read(dumped(circuit))) == [("b", 2), ("a", 1), ("s", 2)]
    assert outcome(circuit) == "0x1 0x0 0x2"


def test_bits_of_no_register_are_shown_without_a_name() -> None:
    circuit = QuantumCircuit([Qubit()], [Clbit()], ClassicalRegister(1, "c"))
    circuit.x(0)
    circuit.measure(0, 0)
    assert registers(read(dumped(circuit))) == [("c", 1), ("", 1)]
    assert outcome(circuit) == "0x1 0x0"
    assert "no register" in "".join(read(dumped(circuit)).warnings)


@pytest.mark.parametrize("version", VERSIONS)
def test_parameters(version: int) -> None:
    a, v = Parameter("a"), ParameterVector("v", 2)
    circuit = QuantumCircuit(1)
    circuit.rx(2 * a + v[1].sin(), 0)
    circuit.ry(v[0] / a, 0)
    for inputs in ({"a": 2, "v": [0.5, 0.0], "w": 1.0}, {"a": 2.0, "v[0]": 0.5, "v[1]": 0.0, "w": 1.0}):
        hub = read(dumped(circuit, version), inputs)
        assert [each.operation.params[0] for each in hub.quantum.data] == [pytest.approx(4), pytest.approx(0.25)]
        assert hub.warnings == ("input 'w' is not one of the program's",)


@pytest.mark.parametrize(
    ("inputs", "reason"),
    [
        ({"v": [1.0, 2.0]}, "MISSING_INPUT"),
        ({"a": 1.0, "v[0]": 1.0}, "MISSING_INPUT"),
        ({"a": 1.0, "v": [1.0]}, "INVALID_INPUT"),
        ({"a": 1.0, "v": 1.0}, "INVALID_INPUT"),
        ({"a": "1", "v": [1.0, 2.0]}, "INVALID_INPUT"),
        ({"a": True, "v": [1.0, 2.0]}, "INVALID_INPUT"),
        ({"a": 0.0, "v": [1.0, 2.0]}, "SYNTAX_ERROR"),
    ],
)
def test_parameters_without_a_good_value(inputs: Inputs, reason: str) -> None:
    a, v = Parameter("a"), ParameterVector("v", 2)
    circuit = QuantumCircuit(1)
    circuit.rx(v[0] / a + v[1], 0)
    refused(dumped(circuit), reason, inputs)


def test_loops_are_unrolled_with_their_parameter() -> None:
    circuit = QuantumCircuit(1, 1)
    with circuit.for_loop(range(1, 6, 2)) as k:
        circuit.rx(k * 0.5, 0)
        with circuit.for_loop((0, 3)) as j:
            circuit.ry(j + k, 0)
    angles = [each.operation.params[0] for each in read(dumped(circuit)).quantum.data]
    assert angles == pytest.approx([0.5, 1, 4, 1.5, 3, 6, 2.5, 5, 8])


def test_values_are_those_at_their_own_time() -> None:
    circuit = QuantumCircuit(3, 2)
    circuit.x(0)
    circuit.measure(0, 0)
    condition = expr.lift(circuit.clbits[0])
    with circuit.if_test(condition) as otherwise:
        circuit.measure(1, 0)  # makes the condition false only now
        circuit.x(2)
    with otherwise:
        circuit.x(1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(2)
    circuit.measure(2, 1)
    assert outcome(circuit) == "0x2"


def branches() -> Iterator[tuple[str, Callable[[QuantumCircuit], None], str]]:  # noqa: C901 - a list of small functions
    """Yield circuits of three qubits and a register c[3], whose first bit was measured as 1; and the final c."""

    def while_broken(circuit: QuantumCircuit) -> None:
        with circuit.while_loop((circuit.clbits[0], 1)):
            circuit.x(1)
            circuit.measure(1, 1)
            with circuit.if_test((circuit.clbits[1], 1)):
                circuit.break_loop()
            circuit.x(2)
        circuit.measure(2, 2)

    def for_continued(circuit: QuantumCircuit) -> None:
        with circuit.for_loop(range(3)):
            circuit.x(1)
            circuit.measure(1, 1)
            with circuit.if_test((circuit.clbits[1], 1)):
                circuit.continue_loop()
            circuit.x(2)
        circuit.measure(2, 2)

    def for_broken(circuit: QuantumCircuit) -> None:
        with circuit.for_loop(range(9)) as k:
            circuit.rx(k * 0, 1)
            circuit.x(2)
            with circuit.if_test((circuit.clbits[0], 1)):
                circuit.break_loop()
        circuit.measure(2, 2)

    def switched(circuit: QuantumCircuit) -> None:
        with circuit.switch(circuit.cregs[0]) as case:
            with case(0, 2):
                circuit.x(1)
            with case(1):
                circuit.x(2)
            with case(case.DEFAULT):
                circuit.x(1)
        circuit.measure([1, 2], [1, 2])

    def switched_by_default(circuit: QuantumCircuit) -> None:
        with circuit.switch(expr.bit_not(circuit.cregs[0])) as case:
            with case(1):
                circuit.x(1)
            with case(case.DEFAULT):
                circuit.x(2)
        circuit.measure([1, 2], [1, 2])

    def compared(circuit: QuantumCircuit) -> None:
        with circuit.if_test(expr.less_equal(circuit.cregs[0], 1)), circuit.if_test((circuit.cregs[0], 1)):
            circuit.x(2)
        circuit.measure([1, 2], [1, 2])

    def boxed(circuit: QuantumCircuit) -> None:
        with circuit.box(), circuit.if_test((circuit.clbits[0], 1)):
            circuit.x(1)
        circuit.measure([1, 2], [1, 2])

    def stored(circuit: QuantumCircuit) -> None:
        flag = circuit.add_var("flag", expr.lift(circuit.clbits[0]))
        number = circuit.add_var("number", expr.lift(5, types.Uint(4)))
        circuit.measure(1, 0)
        with circuit.if_test(flag):
            circuit.store(number, expr.add(number, expr.lift(13, types.Uint(4))))
            circuit.store(flag, False)
        with circuit.if_test(expr.equal(expr.shift_left(number, 1), 4)):
            circuit.x(1)
        with circuit.if_test(expr.logic_not(flag)):
            circuit.x(2)
        circuit.measure([1, 2], [1, 2])

    def stored_in_bits(circuit: QuantumCircuit) -> None:
        circuit.store(circuit.clbits[1], expr.lift(circuit.clbits[0]))
        circuit.store(circuit.clbits[0], False)

    def stored_in_a_register(circuit: QuantumCircuit) -> None:
        circuit.store(circuit.cregs[0], expr.bit_xor(circuit.cregs[0], 7))

    def indexed(circuit: QuantumCircuit) -> None:
        number = circuit.add_var("number", expr.lift(0, types.Uint(2)))
        circuit.store(number, expr.cast(circuit.clbits[0], types.Uint(2)))
        with circuit.if_test(expr.index(circuit.cregs[0], expr.bit_xor(number, 1))):
            circuit.x(1)
        circuit.measure([1, 2], [1, 2])

    def stored_in_a_loop(circuit: QuantumCircuit) -> None:
        rounds = circuit.add_var("rounds", expr.lift(0, types.Uint(3)))
        with circuit.while_loop(expr.lift(circuit.clbits[0])):
            circuit.store(rounds, expr.add(rounds, expr.lift(1, types.Uint(3))))
            circuit.x(1)
            circuit.measure(1, 1)
            with circuit.if_test(expr.equal(rounds, 3)):
                circuit.x(0)
            circuit.measure(0, 0)

    def counted_in_a_wide_variable(circuit: QuantumCircuit) -> None:
        rounds = circuit.add_var("rounds", expr.lift(2**32 - 2, types.Uint(32)))
        with circuit.while_loop(expr.lift(circuit.clbits[0])):
            circuit.store(rounds, expr.add(rounds, expr.lift(1, types.Uint(32))))
            circuit.x(1)
            circuit.measure(1, 1)
            with circuit.if_test(expr.less(rounds, 2)), circuit.if_test(expr.greater(rounds, 0)):
                circuit.x(0)
            circuit.measure(0, 0)

    yield "while-break", while_broken, "0x3"
    yield "for-continue", for_continued, "0x7"
    yield "for-break", for_broken, "0x5"
    yield "switch", switched, "0x5"
    yield "switch-default", switched_by_default, "0x5"
    yield "compare", compared, "0x5"
    yield "box", boxed, "0x3"
    yield "variables", stored, "0x6"
    yield "store-bit", stored_in_bits, "0x2"
    yield "store-register", stored_in_a_register, "0x6"
    yield "index", indexed, "0x3"
    yield "loop-variable", stored_in_a_loop, "0x2"
    yield "wide-loop-variable", counted_in_a_wide_variable, "0x2"


@pytest.mark.parametrize(("build", "expected"), [each[1:] for each in branches()], ids=[each[0] for each in branches()])
def test_control_flow_and_variables(build: Callable[[QuantumCircuit], None], expected: str) -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.x(0)
    circuit.measure(0, 0)
    build(circuit)
    assert outcome(circuit) == expected


def test_variables_of_the_loop_and_inputs() -> None:
    circuit = QuantumCircuit(1, 2)
    yes = circuit.add_input("yes", types.Bool())
    number = circuit.add_input("number", types.Uint(4))
    part = circuit.add_input("part", types.Float())
    with circuit.if_test(expr.logic_and(yes, expr.logic_and(expr.equal(number, 9), expr.less(part, 0.5)))):
        circuit.x(0)
    circuit.measure(0, 1)
    assert outcome(circuit, {"yes": True, "number": 9.0, "part": 0.25}) == "0x2"
    assert outcome(circuit, {"yes": True, "number": 9.0, "part": 0.75}) == "0x0"
    refused(dumped(circuit), "MISSING_INPUT", {"yes": True, "number": 9.0})
    refused(dumped(circuit), "INVALID_INPUT", {"yes": True, "number": 16.0, "part": 0.25})


def test_instructions_with_bits_are_inlined() -> None:
    inner = QuantumCircuit(2, 2, name="inner")
    inner.x(0)
    inner.measure(0, 1)
    inner.reset(0)
    inner.x(1)
    circuit = QuantumCircuit(3, 3)
    circuit.append(inner.to_instruction(), [2, 0], [1, 2])
    circuit.measure(0, 0)
    assert outcome(circuit) == "0x5"


@pytest.mark.parametrize("version", [13, 18])
@pytest.mark.parametrize(("gate", "size"), [each[1:] for each in made()], ids=[each[0] for each in made()])
def test_gates_are_kept_or_decomposed(gate: object, size: int, version: int) -> None:
    circuit = QuantumCircuit(size)
    circuit.append(gate, range(size))
    found = Operator(read(dumped(circuit, version)).quantum)
    assert found.equiv(Operator(circuit))


def test_state_preparation_resets_first() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.initialize("10")
    circuit.measure([0, 1], [0, 1])
    assert outcome(circuit) == "0x2"


def test_permutations_are_made_of_swaps() -> None:
    circuit = QuantumCircuit(3, 3)
    circuit.x(1)
    circuit.append(qk.PermutationGate([1, 2, 0]), [0, 1, 2])  # qubit 1 goes to place 0
    circuit.measure([0, 1, 2], [0, 1, 2])
    assert outcome(circuit) == "0x1"


def test_circuits_need_not_come_from_a_file() -> None:
    circuit = QuantumCircuit(3)
    matrices = [random_unitary(2, 3).data, random_unitary(2, 4).data]
    circuit.append(qk.UCGate(matrices), [0, 1])
    circuit.append(qk.Isometry(random_unitary(4, 1).data[:, :4], 0, 0), [0, 2])
    assert Operator(circuit_evaluation.read(circuit).quantum).equiv(Operator(circuit))


@pytest.mark.parametrize(
    ("build", "warning"),
    [
        (lambda circuit: circuit.delay(100, 0), "delays are not simulated"),
        (lambda circuit: setattr(circuit, "metadata", {"a": 1}), "metadata"),
    ],
)
def test_lost_features_have_a_warning(build: Callable[[QuantumCircuit], None], warning: str) -> None:
    circuit = QuantumCircuit(1)
    build(circuit)
    assert warning in "".join(read(dumped(circuit)).warnings)


def test_layouts_are_ignored() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.cx(0, 1)
    circuit.measure([0, 1], [0, 1])
    placed = transpile(circuit, initial_layout=[2, 0], coupling_map=[[0, 1], [1, 2]], seed_transpiler=1)
    for version in VERSIONS:
        assert "layout" in "".join(read(dumped(placed, version)).warnings)
