# SPDX-License-Identifier: Apache-2.0
"""QPY: what Qiskit's circuits come down to, and that no file makes the reader do more than read it."""

from __future__ import annotations

import io
import resource
import struct
import subprocess
import sys
import time
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit import ClassicalRegister, QuantumCircuit, QuantumRegister, qpy, transpile
from qiskit.circuit import (
    AnnotatedOperation,
    Clbit,
    ControlModifier,
    Gate,
    InverseModifier,
    Parameter,
    ParameterVector,
    PowerModifier,
    Qubit,
)
from qiskit.circuit import library as qk
from qiskit.circuit.classical import expr, types
from qiskit.quantum_info import Operator, SparsePauliOp, random_clifford, random_statevector, random_unitary

from qonduit_server.errors import ProgramError
from qonduit_server.hub.circuit import Circuit
from qonduit_server.languages import qiskit_circuits
from qonduit_server.languages.edges import NO_INPUTS, Inputs
from qonduit_server.languages.qpy import read

VERSIONS = (13, 15, 17, 18)


def dumped(circuit: QuantumCircuit, version: int = 18) -> bytes:
    file = io.BytesIO()
    qpy.dump(circuit, file, version=version)
    return file.getvalue()


def refused(data: bytes, reason: str, inputs: Inputs = NO_INPUTS) -> ProgramError:
    began = time.perf_counter()
    with pytest.raises(ProgramError) as caught:
        read(data, inputs)
    assert time.perf_counter() - began < 2.0  # far more than it takes, far less than giving in would
    assert caught.value.reason == reason
    return caught.value


def names(circuit: Circuit) -> list[str]:
    return [instruction.operation.name for instruction in circuit.quantum.data]


def registers(circuit: Circuit) -> list[tuple[str, int]]:
    return [(register.name, len(register.bits)) for register in circuit.registers]


def outcome(circuit: QuantumCircuit, inputs: Inputs = NO_INPUTS) -> str:
    """The one outcome of a circuit that has but one."""
    from qiskit_aer import AerSimulator

    hub = read(dumped(circuit), inputs)
    simulator = AerSimulator(seed_simulator=7)
    counts = simulator.run(transpile(hub.quantum, simulator, optimization_level=0), shots=60).result().get_counts()
    (key,) = {hub.key(int(each, 2)) for each in counts}
    return key


# What is read.


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
        circuit.measure(1, 0)  # which makes the condition false only now
        circuit.x(2)
    with otherwise:
        circuit.x(1)
    with circuit.if_test((circuit.clbits[0], 1)):
        circuit.x(2)
    circuit.measure(2, 1)
    assert outcome(circuit) == "0x2"


def branches() -> Iterator[tuple[str, Callable[[QuantumCircuit], None], str]]:
    """Circuits of three qubits and the register c[3], of which the first bit was measured to be 1; and what c is."""

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


def made() -> Iterator[tuple[str, object, int]]:
    body = QuantumCircuit(2, name="own", global_phase=0.3)
    body.h(0)
    body.cx(0, 1)
    own = body.to_gate()
    yield "own", own, 2
    yield "controlled", own.control(2, ctrl_state=1), 4
    yield "annotated", AnnotatedOperation(own, [InverseModifier(), ControlModifier(1, 0), PowerModifier(2)]), 3
    yield "fraction", AnnotatedOperation(qk.SGate(), [PowerModifier(0.5), ControlModifier(2, 2)]), 3
    yield "inside", AnnotatedOperation(AnnotatedOperation(own, [PowerModifier(-1)]), [ControlModifier(1)]), 3
    yield "open", qk.CRXGate(0.4, ctrl_state=0), 2
    yield "mcx", qk.MCXGate(4, ctrl_state=5), 5
    yield "mcp", qk.MCPhaseGate(0.7, 3), 4
    yield "matrix", qk.UnitaryGate(random_unitary(4, 1)), 2
    yield "controlled-matrix", qk.UnitaryGate(random_unitary(2, 1)).control(1, ctrl_state=0), 2
    yield "state", qk.StatePreparation(random_statevector(4, 1).data), 2
    yield "evolution", qk.PauliEvolutionGate(SparsePauliOp(["XX", "ZZ"], [0.4, 0.3]), time=0.7), 2
    yield "qft", qk.QFTGate(3), 3
    yield "permutation", qk.PermutationGate([2, 0, 1]), 3
    yield "diagonal", qk.DiagonalGate([1, 1j, -1, 1]), 2
    yield "clifford", random_clifford(2, seed=3), 2
    yield "rccx", qk.RCCXGate(), 3


@pytest.mark.parametrize("version", [13, 18])
@pytest.mark.parametrize(("gate", "size"), [each[1:] for each in made()], ids=[each[0] for each in made()])
def test_gates_are_kept_or_made_of_others(gate: object, size: int, version: int) -> None:
    circuit = QuantumCircuit(size)
    circuit.append(gate, range(size))
    found = Operator(read(dumped(circuit, version)).quantum)
    assert found.equiv(Operator(circuit))


def test_what_only_prepares_is_reset_first() -> None:
    circuit = QuantumCircuit(2, 2)
    circuit.x(0)
    circuit.initialize("10")
    circuit.measure([0, 1], [0, 1])
    assert outcome(circuit) == "0x2"


def test_circuits_need_not_come_from_a_file() -> None:
    circuit = QuantumCircuit(3)
    matrices = [random_unitary(2, 3).data, random_unitary(2, 4).data]
    circuit.append(qk.UCGate(matrices), [0, 1])
    circuit.append(qk.Isometry(random_unitary(4, 1).data[:, :4], 0, 0), [0, 2])
    assert Operator(qiskit_circuits.read(circuit).quantum).equiv(Operator(circuit))


@pytest.mark.parametrize(
    ("build", "warning"),
    [
        (lambda circuit: circuit.delay(100, 0), "delays are not simulated"),
        (lambda circuit: setattr(circuit, "metadata", {"a": 1}), "metadata"),
    ],
)
def test_what_is_lost_is_told(build: Callable[[QuantumCircuit], None], warning: str) -> None:
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


# What is refused.


def test_old_versions_are_refused_unread() -> None:
    data = bytearray(dumped(QuantumCircuit(1), 13))
    for version in (1, 9, 12, 19, 255):
        data[6] = version
        error = refused(bytes(data), "UNSUPPORTED_CONSTRUCT")
        assert f"version={13 if version < 13 else 18}" in error.message


@pytest.mark.parametrize(
    "build",
    [
        lambda circuit: circuit.append(Gate("secret", 1, []), [0]),
        lambda circuit: circuit.append(qk.HalfAdderGate(1), [0, 1, 2]),
    ],
)
def test_what_is_not_defined_is_named(build: Callable[[QuantumCircuit], None]) -> None:
    circuit = QuantumCircuit(3)
    build(circuit)
    error = refused(dumped(circuit), "UNSUPPORTED_CONSTRUCT")
    assert "secret" in error.message or "HalfAdderGate" in error.message


def test_what_only_simulators_know_is_named() -> None:
    from qiskit_aer.library import SaveStatevector

    circuit = QuantumCircuit(1)
    circuit.append(SaveStatevector(1), [0])
    assert "save_statevector" in refused(dumped(circuit), "UNSUPPORTED_CONSTRUCT").message


def test_one_circuit_a_program() -> None:
    file = io.BytesIO()
    qpy.dump([QuantumCircuit(1), QuantumCircuit(1)], file)
    refused(file.getvalue(), "UNSUPPORTED_CONSTRUCT")


def test_trailing_bytes_are_refused() -> None:
    for version in VERSIONS:
        assert "left over" in refused(dumped(QuantumCircuit(1), version) + b"\0", "SYNTAX_ERROR").message


@pytest.mark.parametrize("data", [b"QISKIT", b"QISKIT\x0d", b"OPENQASM 3.0;", b"PK\x03\x04", b"\0" * 100])
def test_what_is_no_file(data: bytes) -> None:
    with pytest.raises(ProgramError):
        read(data)


def bombs() -> Iterator[tuple[str, bytes]]:
    """Files of a few hundred bytes that ask for gigabytes or hours."""
    plain = dumped(QuantumCircuit(2, 2, name="abc"), 13)
    at = plain.index(b"abc") - struct.calcsize("!HcHIIQIQI")
    for name, field, size in (("qubits", 5, 4), ("clbits", 9, 4), ("registers", 21, 4), ("instructions", 25, 8)):
        yield name, plain[: at + field] + b"\x7f" * size + plain[at + field + size :]
    yield "metadata", plain[: at + 13] + b"\x7f" * 8 + plain[at + 21 :]
    yield "circuits", plain[:10] + b"\x00" * 4 + b"\x7f" * 4 + plain[18:]

    circuit = QuantumCircuit(1)
    circuit.rx(ParameterVector("vector", 3)[1], 0)
    data = dumped(circuit, 13)
    place = data.index(b"vector") - 32
    yield "vector", data[:place] + struct.pack("!Q", 1 << 40) + data[place + 8 :]
    data = dumped(circuit, 18)
    place = data.index(b"vector") - 24
    yield "vector-18", data[:place] + struct.pack("!Q", 1 << 40) + data[place + 8 :]

    circuit = QuantumCircuit(2)
    circuit.unitary(np.eye(4), [0, 1])
    data = dumped(circuit)
    assert b"'shape': (4, 4" in data
    yield "array", data.replace(b"'shape': (4, 4", b"'shape': (9, 9")
    yield "array-axes", data.replace(b"'shape': (4, 4", b"'shape': (4*4")
    yield "objects", data.replace(b"'<c16'", b"'|O'  ")

    circuit = QuantumCircuit(1)
    body = QuantumCircuit(1)
    for k in range(40):
        outer = QuantumCircuit(1, name=f"g{k}")
        outer.append(body.to_gate() if k else qk.XGate(), [0])
        body = outer
    circuit.append(body.to_gate(), [0])
    yield "nesting", dumped(circuit, 13)

    circuit = QuantumCircuit(1)
    circuit.append(AnnotatedOperation(qk.TGate(), [PowerModifier(1e15)]), [0])
    yield "power", dumped(circuit)
    circuit = QuantumCircuit(1)
    with circuit.for_loop(range(10**12)):
        circuit.x(0)
    yield "loop", dumped(circuit)
    circuit = QuantumCircuit(1)
    with circuit.for_loop(range(30_000)), circuit.for_loop(range(30_000)):
        circuit.x(0)
    yield "loops", dumped(circuit)
    circuit = QuantumCircuit(1, 1)
    with circuit.while_loop((circuit.clbits[0], 0)):
        circuit.x(0)
    yield "endless", dumped(circuit)
    circuit = QuantumCircuit(1)
    circuit.add_var("wide", expr.lift(0, types.Uint(5000)))
    yield "integer", dumped(circuit)


@pytest.mark.parametrize("data", [each[1] for each in bombs()], ids=[each[0] for each in bombs()])
def test_bombs_are_refused(data: bytes) -> None:
    began = time.perf_counter()
    with pytest.raises(ProgramError):
        read(data)
    assert time.perf_counter() - began < 10.0  # far more than it takes, far less than giving in would


def test_repeated_evolutions_are_counted() -> None:
    from qiskit.synthesis import LieTrotter

    circuit = QuantumCircuit(1)
    circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["X", "Z"]), synthesis=LieTrotter(reps=10**9)), [0])
    refused(dumped(circuit), "TOO_LARGE")


def test_classes_are_not_looked_up_by_any_name() -> None:
    circuit = QuantumCircuit(1)
    circuit.h(0)
    for name in (b"QFT", b"Measure"[:5], b"Store"[:5]):
        data = dumped(circuit, 13).replace(b"HGate", name.ljust(5, b"_")[:5])
        with pytest.raises(ProgramError):
            read(data)
    circuit = QuantumCircuit(1)
    circuit.append(qk.PauliEvolutionGate(SparsePauliOp(["X"]), time=0.1), [0])
    data = dumped(circuit)
    assert b"LieTrotter" in data
    refused(data.replace(b"LieTrotter", b"evolution1"), "UNSUPPORTED_CONSTRUCT")


def samples() -> list[bytes]:
    """Files with something of everything."""
    rich = QuantumCircuit(QuantumRegister(3, "q"), ClassicalRegister(2, "c"), [Clbit()])
    a, v = Parameter("a"), ParameterVector("v", 3)
    rich.rx(2 * a + v[1], 0)
    rich.measure(0, 0)
    number = rich.add_var("n", expr.lift(3, types.Uint(4)))
    with rich.for_loop(range(2)) as k:
        rich.ry(k * 0.5, 0)
        with rich.if_test((rich.cregs[0], 1)) as otherwise:
            rich.x(1)
            rich.break_loop()
        with otherwise:
            rich.store(number, expr.bit_xor(number, 1))
    with rich.switch(rich.cregs[0]) as case:
        with case(0):
            rich.x(2)
        with case(case.DEFAULT):
            rich.z(2)
    with rich.while_loop(expr.logic_not(rich.clbits[1])):
        rich.h(0)
        rich.measure(0, 1)
    gates = QuantumCircuit(3, 1, name="gates")
    for _, gate, size in made():
        if size <= 3:
            gates.append(gate, range(size))
    gates.initialize([0.6, 0.8], 0)
    gates.delay(10, 1)
    return [dumped(circuit, version) for circuit in (rich, gates) for version in VERSIONS]


SAMPLES = samples()
INPUTS: Inputs = {"a": 0.5, "v": [0.1, 0.2, 0.3]}
CHANGE = st.tuples(
    st.integers(0, 1 << 30), st.sampled_from(["flip", "set", "cut", "copy", "insert"]), st.integers(0, 255)
)


def changed(data: bytes, changes: list[tuple[int, str, int]]) -> bytes:
    """A file with some of its bytes changed."""
    bytes_ = bytearray(data)
    for place, kind, value in changes:
        at = place % max(1, len(bytes_))
        match kind:
            case "flip":
                bytes_[at : at + 1] = bytes([bytes_[at] ^ 1 << value % 8]) if bytes_ else b""
            case "set":
                bytes_[at : at + 1 + value % 8] = bytes([value]) * (1 + value % 8)
            case "cut":
                del bytes_[at : at + 1 + value]
            case "copy":
                bytes_[at:at] = bytes_[at : at + value]
            case "insert":
                bytes_[at:at] = bytes([value])
    return bytes(bytes_)


def attempt(data: bytes) -> None:
    began = time.thread_time()
    try:
        circuit = read(data, INPUTS)
    except ProgramError:
        pass
    else:
        circuit.key(0)
    assert time.thread_time() - began < 3.0


def test_samples_are_read() -> None:
    for data in SAMPLES:
        read(data, INPUTS)


@settings(max_examples=400, deadline=None, derandomize=True, database=None)
@given(st.sampled_from(SAMPLES), st.lists(CHANGE, min_size=1, max_size=3))
def test_whatever_is_sent_is_read_or_refused(data: bytes, changes: list[tuple[int, str, int]]) -> None:
    attempt(changed(data, changes))


def flips(seed: int, number: int) -> None:
    """Many changed files in a process that has little memory; prints what it came to."""
    resource.setrlimit(resource.RLIMIT_AS, (3 << 30, 3 << 30))
    random = np.random.default_rng(seed)
    for _ in range(number):
        data = SAMPLES[random.integers(len(SAMPLES))]
        kinds = [str(random.choice(["flip", "set", "set"])) for _ in range(random.integers(1, 3))]
        attempt(changed(data, [(int(random.integers(1 << 30)), kind, int(random.integers(256))) for kind in kinds]))
    print("all were read or refused, in", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024, "MB")


def test_no_file_ends_the_process_or_fills_memory() -> None:
    command = [
        sys.executable,
        "-c",
        f"import sys; sys.path[:0] = {sys.path!r}; import test_qpy; test_qpy.flips(5, 400)",
    ]
    folder = __file__.rpartition("/")[0]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout.split()[-2]) < 500
