# SPDX-License-Identifier: Apache-2.0
"""Circuits with parameters: binding them, and the passes over the IR that take them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping

import numpy as np
import pytest
from google.protobuf.json_format import ParseDict
from qiskit.circuit import Gate, Parameter, ParameterExpression, QuantumCircuit
from qiskit.circuit import library as qk

from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_server.errors import ProgramError
from qonduit_server.ir import serialization
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.clifford import clifford_content, clifford_gates, is_clifford
from qonduit_server.ir.deferral import defer
from qonduit_server.ir.expressions import Expressions
from qonduit_server.ir.lowering import Lowering
from qonduit_server.ir.noise_pass import gate_names, with_noise
from qonduit_server.ir.parameters import Binder, bind
from qonduit_server.ir.requirements import requirements_of
from qonduit_server.ir.symbolic import NotSymbolic, Symbolic, symbol
from qonduit_server.ir.unitary import unitary_part
from qonduit_server.languages.registry import Languages
from tests.unit.ir import reference_simulator

X, Y = Parameter("x"), Parameter("y")
QASM = 'OPENQASM 3.0; include "stdgates.inc"; input float x; input float y; qubit[2] q; bit[2] c; '


def read(body: str, names: frozenset[str] = frozenset()) -> Circuit:
    return Languages().read(
        AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3, QASM + body, b"", {}, gate_names=names, free=frozenset("xy")
    )


def circuit_of(quantum: QuantumCircuit) -> Circuit:
    names = tuple(sorted(each.name for each in quantum.parameters))
    register = ClassicalRegister("c", tuple(range(quantum.num_clbits)))
    return Circuit(quantum, (register,), parameters=names)


# ---- expressions

#: Each expression, and what it is for x and y.
EXPRESSIONS: list[tuple[ParameterExpression, Callable[[float, float], float]]] = [
    (X, lambda x, y: x),
    (-X, lambda x, y: -x),
    (2 * X + 1, lambda x, y: 2 * x + 1),
    (1 - X, lambda x, y: 1 - x),
    (2 / X, lambda x, y: 2 / x),
    (X / Y - Y / (X + 3), lambda x, y: x / y - y / (x + 3)),
    (X**2 - Y**3, lambda x, y: x**2 - y**3),
    (2.5**X, lambda x, y: 2.5**x),
    ((X * X + 1) ** (Y / 2), lambda x, y: (x * x + 1) ** (y / 2)),
    (X.sin() * Y.cos() + X.tan(), lambda x, y: math.sin(x) * math.cos(y) + math.tan(x)),
    ((X / 9).arcsin() - (Y / 9).arccos() + X.arctan(), lambda x, y: math.asin(x / 9) - math.acos(y / 9) + math.atan(x)),
    (X.exp() + (X * X).log(), lambda x, y: math.exp(x) + math.log(x * x)),
    (abs(X) * 3 + X.conjugate(), lambda x, y: abs(x) * 3 + x),
    ((X + Y) * ((X - Y) / (X * Y)), lambda x, y: (x + y) * ((x - y) / (x * y))),
    (X - X + Y, lambda x, y: y),
    (2 - (3 - X), lambda x, y: x - 1),
    (X.subs({X: 2 * Y}) + X, lambda x, y: 2 * y + x),
]


def test_expressions_are_computed_for_all_points_at_once() -> None:
    matrix = np.random.default_rng(5).uniform(-4, 4, (50, 2))
    found = Expressions([each for each, _ in EXPRESSIONS], ("x", "y")).values(matrix)
    wanted = [[function(*row) for _, function in EXPRESSIONS] for row in matrix.tolist()]
    np.testing.assert_allclose(found, wanted, rtol=1e-12, atol=1e-12)


def test_equal_expressions_are_told_apart_from_others() -> None:
    close = [X * (1 + 1e-14 * k) for k in range(3)] + [X + Y, Y + X, X + Y, math.pi * X, 3.14159265358979 * X]
    found = Expressions(close, ("x", "y")).values(np.array([[1.0, 2.0]]))
    assert found.tolist() == [[1.0, 1.0 + 1e-14, 1.0 + 2e-14, 3.0, 3.0, 3.0, math.pi, 3.14159265358979]]


def test_constants_are_told_apart_from_columns() -> None:
    z = Parameter("z")
    found = Expressions([2 + Y, z + Y, X * z, X * 2, X**2, X**z], ("x", "y", "z")).values(np.array([[3.0, 5.0, 7.0]]))
    assert found.tolist() == [[7.0, 12.0, 21.0, 6.0, 9.0, 2187.0]]


def test_derivatives_agree_with_differences() -> None:
    matrix = np.random.default_rng(6).uniform(0.1, 4, (20, 2))
    expressions = Expressions([*(each for each, _ in EXPRESSIONS), X - X + 1.5], ("x", "y"))
    found = expressions.derivatives(matrix)
    step = 1e-6
    for column in range(2):
        shift = np.eye(2)[column] * step
        wanted = (expressions.values(matrix + shift) - expressions.values(matrix - shift)) / (2 * step)
        np.testing.assert_allclose(found[:, :, column], wanted, rtol=1e-5, atol=1e-5)
    circuit = read("rx(2 * x) q[0]; ry(x * y) q[1];")
    assert Binder(circuit).derivatives(np.array([[3.0, 5.0]])).tolist() == [[[2.0, 0.0], [5.0, 3.0]]]


@pytest.mark.parametrize("expression", [abs(X), X**0.5, X.sign()])
def test_a_point_without_a_derivative_is_refused(expression: ParameterExpression) -> None:
    with pytest.raises(ProgramError, match=r"point 1: .* has no derivative at x = 0\.0"):
        Expressions([expression], ("x",)).derivatives(np.array([[1.0], [0.0]]))


def test_columns_are_found_by_name() -> None:
    matrix = np.array([[1.0, 2.0, 3.0]])
    assert Expressions([X, Y], ("y", "unused", "x")).values(matrix).tolist() == [[3.0, 1.0]]
    assert Expressions([], ()).values(np.empty((4, 0))).shape == (4, 0)


@pytest.mark.parametrize(
    ("expression", "bad"),
    [
        (1 / X, 0.0),
        (X.log(), -1.0),
        (X**0.5, -0.25),
        (X.arcsin(), 1.5),
        (X.exp(), 1000.0),
        (X * 1e200 * X, 1e200),
    ],
)
def test_a_point_without_a_value_is_refused_by_its_number(expression: ParameterExpression, bad: float) -> None:
    quantum = QuantumCircuit(1)
    quantum.rx(expression, 0)
    binder = Binder(circuit_of(quantum))
    matrix = np.array([[0.5], [0.25], [bad], [bad]])
    for action in (binder.values, binder.bind):
        with pytest.raises(ProgramError, match=rf"point 2: .* at x = {re.escape(repr(bad))}") as caught:
            action(matrix)
        assert caught.value.reason == "INVALID_INPUT"


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_values_that_are_not_finite_are_refused(bad: float) -> None:
    circuit = read("rx(x) q[0]; ry(y) q[0];")
    with pytest.raises(ProgramError, match="point 1: 'y' must be a finite number"):
        Binder(circuit).bind(np.array([[0.1, 0.2], [0.3, bad]]))
    with pytest.raises(ProgramError, match="must be a finite number"):
        bind(circuit, {"x": 0.1, "y": bad})
    with pytest.raises(ProgramError, match=r"a point has 2 values, got an array of shape \(2, 3\)"):
        Binder(circuit).values(np.zeros((2, 3)))


def test_a_value_that_is_missing_is_named() -> None:
    circuit = read("rx(x) q[0]; ry(y) q[0];")
    with pytest.raises(ProgramError, match="'y'") as caught:
        bind(circuit, {"x": 0.1})
    assert caught.value.reason == "MISSING_INPUT"
    assert not bind(circuit, {"x": 0.1, "y": 0.2, "more": 0.3}).quantum.parameters


# ---- circuits


def nested() -> Circuit:
    """Return a circuit with parameters in gates, in definitions, in bodies and as global phases."""
    own = QuantumCircuit(1, name="own", global_phase=2 * X)
    own.ry(Y, 0)
    gate = Gate("own", 1, [X, Y])
    gate.definition = own
    quantum = QuantumCircuit(2, 1, global_phase=X)
    quantum.h(0)
    quantum.rx(X + Y, 0)
    quantum.append(gate, [1])
    quantum.append(gate.control(1), [0, 1])
    quantum.measure(0, 0)
    with quantum.if_test((quantum.clbits[0], True)):
        quantum.rz(X / Y, 1)
        quantum.append(gate, [1])
    return circuit_of(quantum)


def test_definitions_bodies_and_phases_are_bound() -> None:
    circuit = nested()
    binder = Binder(circuit)
    assert not binder.plain
    (bound,) = binder.bind(np.array([[0.3, 0.7]]))
    assert bound.parameters == ()
    assert bound.quantum.global_phase == 0.3

    def check(block: QuantumCircuit) -> None:
        assert not block.parameters
        for instruction in block.data:
            operation = instruction.operation
            assert not any(isinstance(each, ParameterExpression) and each.parameters for each in operation.params)
            for body in getattr(operation, "blocks", ()):
                check(body)
            if operation.name in ("own", "cown"):
                check(operation.definition)

    check(bound.quantum)
    assert bound.quantum.data[2].operation.definition.global_phase == 0.6
    assert circuit.quantum.parameters  # unchanged
    with pytest.raises(ProgramError, match="point 1"):  # of an expression in a body
        binder.bind(np.array([[0.3, 0.7], [0.3, 0.0]]))


def test_slots_are_the_places_of_expressions() -> None:
    circuit = read("h q[0]; rx(x) q[0]; u3(0.3, 2 * y, x * y) q[1]; c = measure q;")
    binder = Binder(circuit, ("y", "x"))
    assert binder.plain
    assert [(each.instruction, each.parameter) for each in binder.slots] == [(1, 0), (2, 1), (2, 2)]
    np.testing.assert_allclose(binder.values(np.array([[2.0, 3.0], [0.5, 0.1]])), [[3.0, 4.0, 6.0], [0.1, 1.0, 0.05]])
    first, second = binder.bind(np.array([[2.0, 3.0], [0.5, 0.1]]))
    assert [each.params for each in first.quantum.data[1:3]] == [[3.0], [0.3, 4.0, 6.0]]
    assert [each.params for each in second.quantum.data[1:3]] == [[0.1], [0.3, 1.0, 0.05]]
    assert first.registers == circuit.registers
    assert not Binder(circuit_of(QuantumCircuit(1, global_phase=X))).plain


def test_inputs_may_have_any_name() -> None:
    names = ("0", "\x000", "a[0]", "slot 0", "π", "x y")
    quantum = QuantumCircuit(1)
    for name in names:
        quantum.rx(Parameter(name) * 2, 0)
    (bound,) = Binder(circuit_of(quantum), names).bind(np.arange(6.0)[None])
    assert [each.params for each in bound.quantum.data] == [[2.0 * k] for k in range(6)]


def test_a_circuit_without_parameters_is_bound_to_itself() -> None:
    circuit = read("h q[0];")
    assert circuit.parameters == ()
    assert bind(circuit, {"x": 0.1}) is circuit
    assert [each.quantum for each in Binder(circuit, ("x", "y")).bind(np.zeros((2, 2)))] == [circuit.quantum] * 2


def test_small_numbers_are_computed_in_double_precision() -> None:
    # Qiskit takes what is below 2e-15 for 0.
    circuit = read("rx(x * x * 1000000000.0 * 1000000000.0) q[0];")
    (bound,) = Binder(circuit, ("x",)).bind(np.array([[1e-9]]))
    assert bound.quantum.data[0].params == [pytest.approx(1.0, abs=1e-12)]
    circuit = read("ctrl(2) @ rx(x * x * 1000000000.0 * 1000000000.0) q[0], q[1], r;".replace("ctrl", "qubit r; ctrl"))
    binder = Binder(circuit, ("x",))
    next(binder.bind(np.array([[1e-3]])))
    with pytest.raises(ProgramError, match="point 1"):
        binder.bind(np.array([[1e-3], [1e-9]]))


@pytest.mark.parametrize(
    ("written", "computed"),
    [
        ("x / 1e-20", lambda x: x / 1e-20),
        ("x * 1e20 * 1e-20", lambda x: x * 1e20 * 1e-20),
        ("(x * 1e-8) * (x * 1e-8) * 1e16 * 1e-10 * 1e-10", lambda x: (x * 1e-8) * (x * 1e-8) * 1e16 * 1e-10 * 1e-10),
        ("x * 1e-9 + 3 - 3", lambda x: x * 1e-9 + 3 - 3),
    ],
)
def test_what_qiskit_simplifies_to_another_number_is_not_read(written: str, computed: Callable[[float], float]) -> None:
    try:
        circuit = read(f"rx({written}) q[0];")
    except NotSymbolic:
        return
    (bound,) = Binder(circuit, ("x",)).bind(np.array([[0.7]]))
    assert bound.quantum.data[0].params[0] == pytest.approx(computed(0.7), rel=1e-6)


# ---- symbolic numbers


def test_a_symbolic_number_never_stands_for_a_value() -> None:
    number: object = symbol("x")
    other = symbol("y")
    uses: list[Callable[[object], object]] = [
        bool, int, float, complex, round, abs, math.sin, math.floor, math.ceil, math.trunc, math.isfinite, range,
        lambda v: v == v, lambda v: v != 1, lambda v: v == 1.0, lambda v: v in (0, 1), lambda v: v < other,
        lambda v: v <= 2, lambda v: v % 2, lambda v: 2 % v, lambda v: v // 2, lambda v: divmod(v, 2), lambda v: v & 1,
        lambda v: v / 0, lambda v: 1 << v, lambda v: ~v, lambda v: v + 1j, lambda v: v * "a", lambda v: v + 10**400,
        lambda v: [0][v],
    ]  # fmt: skip
    for use in uses:
        with pytest.raises(NotSymbolic):
            use(number)
    assert repr(symbol("x")) != repr(symbol("x"))


def test_arithmetic_of_symbolic_numbers_is_that_of_numbers() -> None:
    def compute(x: object) -> object:
        return -(((2 + x) * 3 - x / 4) ** 2 / (1 + 2**x) - (5 - x) * +x + 1 / x - (x - True) + x * complex(2, 0))  # type: ignore[operator]

    found = compute(symbol("x"))
    assert isinstance(found, Symbolic)
    values = Expressions([found.expression], ("x",)).values(np.array([[0.7], [-1.3]]))
    np.testing.assert_allclose(values[:, 0], [compute(0.7), compute(-1.3)], rtol=1e-14)


# ---- passes


def model(*gates: str, **more: object) -> NoiseModel:
    errors = [{"gates": [each], "channel": {"bitFlip": 0.2}} for each in gates]
    return ParseDict({"gateErrors": errors, **more}, NoiseModel())


VALUES: Mapping[str, float] = {"x": 0.4, "y": -1.1}


def named(circuit: Circuit) -> list[tuple[object, ...]]:
    """Return the operations with their parameters and qubits."""
    quantum = circuit.quantum
    return [
        (each.operation.name, *each.params, *(quantum.find_bit(qubit).index for qubit in each.qubits))
        for each in quantum.data
        if each.operation.name != "channel"
    ]


def test_noise_is_added_before_binding_as_after() -> None:
    noise = model("rx", "own", "cp", readoutErrors=[{"prob1Given0": 0.1, "prob0Given1": 0.2}])
    body = "gate own(t) p { rx(t) p; p(2 * t) p; } own(x) q[0]; rx(y) q[1]; ctrl @ own(y) q[0], q[1]; c = measure q;"
    circuit = read(body, gate_names(noise))
    noisy = with_noise(circuit, noise)
    assert noisy.parameters == ("x", "y")
    first, second = bind(noisy, VALUES), with_noise(bind(circuit, VALUES), noise)
    assert first.quantum.count_ops() == second.quantum.count_ops()
    assert named(first) == named(second)
    assert first.quantum.count_ops()["channel"] == 4  # two of them for the gate on two qubits
    assert first.warnings == second.warnings


def test_a_noise_model_of_aer_needs_the_values() -> None:
    noise = NoiseModel(aer_json="{}")
    circuit = read("rx(x) q[0];")
    with pytest.raises(NotSymbolic):
        with_noise(circuit, noise)
    with pytest.raises(ProgramError):  # which says what is wrong with the model
        with_noise(bind(circuit, VALUES), noise)


def test_what_is_another_gate_for_some_values_needs_them_under_a_noise_model() -> None:
    names = gate_names(model("x", "p"))
    with pytest.raises(NotSymbolic):
        read("ctrl @ gphase(x) q[0];", names)
    with pytest.raises(NotSymbolic):
        read("ctrl @ cu(0.1, 0.2, 0.3, x) q[0], q[1], q[1];", names)
    assert read("ctrl @ gphase(x) q[0];").parameters == ("x",)
    cirq_json = (
        '{"cirq_type": "Circuit", "moments": [{"cirq_type": "Moment", "operations": [{"cirq_type": "GateOperation", '
        '"gate": {"cirq_type": "XPowGate", "exponent": {"cirq_type": "sympy.Symbol", "name": "x"}, '
        '"global_shift": 0.0}, "qubits": [{"cirq_type": "LineQubit", "x": 0}]}]}]}'
    )
    language = AssemblerLanguage.ASSEMBLER_LANGUAGE_CIRQ
    assert Languages().read(language, cirq_json, b"", {}, free=frozenset("x")).parameters == ("x",)
    with pytest.raises(NotSymbolic):
        Languages().read(language, cirq_json, b"", {}, gate_names=names, free=frozenset("x"))


@pytest.mark.parametrize(
    "body",
    [
        "rx(x) q[0]; c = measure q;",
        "rx(x) q[0]; c[0] = measure q[0]; ry(y) q[0];",
        "rx(x) q[0]; c[0] = measure q[0]; if (c[0]) { ry(y) q[1]; } reset q[0];",
        "do_not_unroll",
    ],
)
def test_the_needs_of_a_circuit_do_not_depend_on_its_parameters(body: str) -> None:
    if body == "do_not_unroll":
        body = "rx(x) q[0]; c[0] = measure q[0]; while (c[0]) { ry(y) q[0]; c[0] = measure q[0]; }"
    circuit = read(body)
    assert requirements_of(circuit.quantum) == requirements_of(bind(circuit, VALUES).quantum)


def test_a_gate_with_a_parameter_is_no_clifford_gate() -> None:
    circuit = read("h q[0]; rz(x) q[0]; cx q[0], q[1];")
    assert not is_clifford(circuit.quantum)
    assert clifford_content(circuit.quantum).obstacle == "gate rz at qubit 0"
    assert is_clifford(bind(circuit, {"x": math.pi / 2}).quantum)
    own = Gate("own", 1, [X])
    own.definition = QuantumCircuit(1)
    own.definition.p(X, 0)
    assert clifford_gates(own) is None
    assert clifford_gates(qk.RXGate(X).control(1)) is None


def test_lowering_keeps_parameters_and_their_phases() -> None:
    circuit = nested()
    kinds = (qk.RXGate, qk.RZGate, qk.RYGate, qk.UGate, qk.CXGate, qk.HGate, qk.PhaseGate)
    lowering, plain = (Lowering("TEST/device", lambda each: isinstance(each, kinds)) for _ in range(2))
    bound = bind(circuit, VALUES)
    for instruction, other in zip(circuit.quantum.data[:4], bound.quantum.data[:4], strict=True):
        found = QuantumCircuit(2)
        for step, places in lowering.expand(instruction.operation):
            found.append(step, places)
        wanted = QuantumCircuit(2)
        for step, places in plain.expand(other.operation):
            wanted.append(step, places)
        reduced = {each: VALUES[each.name] for each in found.parameters}
        assert found.assign_parameters(reduced) == wanted
    assert float(lowering.phase.bind({X: VALUES["x"]})) == pytest.approx(plain.phase)  # type: ignore[attr-defined]


def test_deferral_keeps_parameters() -> None:
    body = "h q[0]; rx(x) q[0]; c[0] = measure q[0]; if (c[0]) { ry(x * y) q[1]; } rz(y) q[0]; rx(y) q[0];"
    circuit = read(body)
    native = frozenset((qk.RXGate, qk.RYGate, qk.RZGate, qk.HGate, qk.CXGate, qk.PhaseGate, qk.UGate))

    def deferred(quantum: QuantumCircuit) -> QuantumCircuit:
        lowering = Lowering("TEST/device", lambda each: each.base_class in native)
        found = defer(quantum, lowering, "TEST/device", lambda qubits, helpers: None)
        flat = QuantumCircuit(found.qubits)
        for gate, places in found.gates:
            flat.append(gate, places)
        return flat

    symbolic = deferred(circuit.quantum)
    bound = symbolic.assign_parameters({each: VALUES[each.name] for each in symbolic.parameters})
    wanted = deferred(bind(circuit, VALUES).quantum)
    assert reference_simulator.close(states(bound), states(wanted), 1e-12)


def states(quantum: QuantumCircuit) -> dict[str, float]:
    measured = QuantumCircuit(quantum.num_qubits, quantum.num_qubits)
    measured.compose(quantum, inplace=True)
    measured.h(range(quantum.num_qubits))
    measured.measure(range(quantum.num_qubits), range(quantum.num_qubits))
    return reference_simulator.distribution(circuit_of(measured))


def test_the_unitary_part_keeps_parameters() -> None:
    circuit = read(
        "gate own(t) p { ry(t) p; p(t / 2) p; } h q[0]; own(x) q[0]; ctrl @ own(y) q[0], q[1]; c = measure q;"
    )
    native = (qk.RYGate, qk.PhaseGate, qk.HGate, qk.CXGate, qk.UGate, qk.RZGate)

    def gates(program: Circuit) -> list[tuple[str, list[float], tuple[int, ...]]]:
        found = unitary_part(program, Lowering("TEST/device", lambda each: isinstance(each, native)))
        quantum = QuantumCircuit(2)
        for gate, places in found:
            quantum.append(gate, places)
        if program.parameters:
            quantum = bind(circuit_of(quantum), VALUES).quantum
        return [(each.operation.name, each.params, tuple(map(quantum.find_bit, each.qubits))) for each in quantum.data]

    for one, other in zip(gates(circuit), gates(bind(circuit, VALUES)), strict=True):
        assert (one[0], one[2]) == (other[0], other[2])
        np.testing.assert_allclose(one[1], other[1], rtol=1e-14)


def test_serialization_keeps_parameters() -> None:
    for circuit in (nested(), read("ctrl @ u3(x, y, x) q[0], q[1]; ctrl(1) @ rx(sin(x) / y) q[0], q[1];")):
        data = serialization.dump(circuit)
        assert data is not None
        again = serialization.load(data)
        assert again.parameters == circuit.parameters
        first, second = bind(again, VALUES), bind(circuit, VALUES)
        assert reference_simulator.close(
            reference_simulator.distribution(first), reference_simulator.distribution(second), 1e-12
        )
        for one, other in zip(first.quantum.data[:3], second.quantum.data[:3], strict=True):
            np.testing.assert_allclose(one.params, other.params, rtol=1e-14)
