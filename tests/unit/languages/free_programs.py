# SPDX-License-Identifier: Apache-2.0
"""Random programs with inputs, in every language that has them, for tests of reading with free inputs."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import dataclass

import cirq
import sympy
from braket.circuits import Circuit as BraketCircuit
from braket.circuits import FreeParameter
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import Parameter, ParameterVector
from qiskit.circuit import library as qk
from qiskit.quantum_info import SparsePauliOp

QUBITS = 3


@dataclass(frozen=True)
class Program:
    """A program, and values for its inputs, all of which may be free."""

    language: str
    source: str | bytes
    values: dict[str, float]


def qasm3(seed: int) -> Program:
    """Return a program with arithmetic, defined gates, modifiers, loops, arrays and measured conditions."""
    rng = random.Random(seed)
    values = {"x": rng.uniform(-4, 4), "y": rng.uniform(-4, 4)}
    values |= {f"a[{k}]": rng.uniform(-2, 2) for k in range(2)}
    leaves = [*values, "0.5", "2", "pi", "z"]

    def term(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(leaves)
        kind = rng.randrange(9)
        if kind < 5:
            return f"({term(depth - 1)} {rng.choice('+-*')} {term(depth - 1)})"
        if kind == 5:
            return f"({term(depth - 1)} / {rng.choice(('2', '0.7', 'pi'))})"
        if kind == 6:
            return f"(-{term(depth - 1)})"
        if kind == 7:
            return f"{rng.choice(('sin', 'cos', 'arctan'))}({term(depth - 1)})"
        return f"sqrt(1 + {term(1)}**2)" if rng.random() < 0.5 else f"exp(sin({term(depth - 1)}))"

    lines = [
        'OPENQASM 3.0; include "stdgates.inc";',
        "input float x; input angle y; input array[float[64], 2] a;",
        f"qubit[{QUBITS}] q; bit[2] c;",
        "gate one(t, u) p { rx(t / 2) p; U(t, u, pi * t) p; gphase(u); }",
        "gate two(t) p, r { cx p, r; one(t, -t) r; ctrl @ gphase(t) p; }",
        "float z = x * y;",
    ]

    def gate() -> str:
        first, second, third = rng.sample(range(QUBITS), 3)
        return rng.choice(
            (
                f"rx({term(2)}) q[{first}];",
                f"u3({term(1)}, {term(1)}, {term(1)}) q[{first}];",
                f"one({term(2)}, {term(1)}) q[{first}];",
                f"two({term(2)}) q[{first}], q[{second}];",
                f"crz({term(2)}) q[{first}], q[{second}];",
                f"cu({term(1)}, {term(1)}, {term(1)}, {term(1)}) q[{first}], q[{second}];",
                f"h q[{first}];",
                f"ctrl @ one({term(1)}, {term(1)}) q[{first}], q[{second}];",
                f"negctrl @ ry({term(1)}) q[{first}], q[{second}];",
                f"ctrl(2) @ p({term(1)}) q[{first}], q[{second}], q[{third}];",
                f"inv @ two({term(1)}) q[{first}], q[{second}];",
                f"pow(2) @ ctrl @ rx({term(1)}) q[{first}], q[{second}];",
                f"z = {term(2)};",
                f"a[{rng.randrange(2)}] = sin({term(1)});",
                f"for int k in [0:1] {{ rz(a[k] * {term(1)}) q[{first}]; }}",
            )
        )

    lines += [f"h q[{k}];" for k in range(QUBITS)]
    lines += [gate() for _ in range(8)]
    if rng.random() < 0.3:
        lines += ["c[0] = measure q[0];", f"if (c[0]) {{ rx({term(2)}) q[1]; }}", f"ry({term(1)}) q[0];"]
    lines.append("c[1] = measure q[1];")
    return Program("QASM3", "\n".join(lines), values)


def braket(seed: int) -> Program:
    """Return what Braket's SDK writes for a circuit with free parameters."""
    rng = random.Random(seed)
    values = {name: rng.uniform(-4, 4) for name in ("x", "y")}
    x, y = FreeParameter("x"), FreeParameter("y")
    circuit = BraketCircuit()
    for k in range(QUBITS):
        circuit.h(k)
    for _ in range(10):
        angle = rng.choice((x, y, 2 * x, x + y, x - 0.5, x * y / 3, -y))
        first, second = rng.sample(range(QUBITS), 2)
        rng.choice(
            (
                lambda a=angle, q=first: circuit.rx(q, a),
                lambda a=angle, q=first: circuit.phaseshift(q, a),
                lambda a=angle, q=first: circuit.gpi(q, a),
                lambda a=angle, q=first: circuit.u(q, a, x, y),
                lambda a=angle, q=first, r=second: circuit.xx(q, r, a),
                lambda a=angle, q=first, r=second: circuit.xy(q, r, a),
                lambda a=angle, q=first, r=second: circuit.cphaseshift01(q, r, a),
                lambda a=angle, q=first, r=second: circuit.pswap(q, r, a),
                lambda a=angle, q=first, r=second: circuit.ms(q, r, a, x, y),
                lambda a=angle, q=first, r=second: circuit.rz(q, a, control=r),
            )
        )()
    return Program("BRAKET", circuit.to_ir("OPENQASM").source, values)


def qiskit(seed: int) -> Program:
    """Return a circuit with expressions, vectors, own gates, modifiers, evolution and control flow."""
    rng = random.Random(seed)
    x, y, vector = Parameter("x"), Parameter("y"), ParameterVector("v", 3)
    values = {"x": rng.uniform(-4, 4), "y": rng.uniform(-4, 4)} | {f"v[{k}]": rng.uniform(-2, 2) for k in range(3)}
    circuit = QuantumCircuit(QUBITS, 2)
    circuit.h(range(QUBITS))

    def angle() -> object:
        first, second = rng.choice((x, y, *vector)), rng.choice((x, y, *vector))
        return rng.choice(
            (first, 2 * first + 1, first * second - second, first.sin() / 3, (first**2 + 1) ** 0.5, -first)
        )

    own = QuantumCircuit(2, name="own", global_phase=x)
    own.ry(angle(), 0)
    own.cp(angle(), 0, 1)
    own.global_phase += y / 2
    for _ in range(8):
        first, second, third = rng.sample(range(QUBITS), 3)
        rng.choice(
            (
                lambda q=first: circuit.rx(angle(), q),
                lambda q=first: circuit.u(angle(), angle(), angle(), q),
                lambda q=first, r=second: circuit.rzz(angle(), q, r),
                lambda q=first, r=second: circuit.cu(angle(), angle(), angle(), angle(), q, r),
                lambda q=(first, second): circuit.append(own.to_gate(), q),
                lambda q=(first, second, third): circuit.append(own.to_gate().control(1), q),
                lambda q=(first, second): circuit.append(own.to_gate().inverse(), q),
                lambda q=(first, second): circuit.append(
                    qk.PauliEvolutionGate(SparsePauliOp(["XX", "ZI"], [0.4, 0.3]), time=x), q
                ),
                lambda q=(first, second, third): circuit.append(qk.MCPhaseGate(angle(), 2), q),
                lambda q=(first, second): circuit.append(qk.CRXGate(angle(), ctrl_state=0), q),
            )
        )()
    if rng.random() < 0.3:
        loop = Parameter("loop")
        circuit.measure(0, 0)
        with circuit.if_test((0, 1)):
            circuit.rx(angle(), 1)
        with circuit.for_loop(range(2), loop):
            circuit.ry(loop * x, 2)
        circuit.append(own.to_gate(), (1, 2))
    circuit.measure(1, 1)
    out = io.BytesIO()
    qpy.dump(circuit, out, version=17)
    used = {each.name for each in circuit.parameters}
    return Program("QISKIT", out.getvalue(), {name: value for name, value in values.items() if name in used})


def cirq_json(seed: int) -> Program:
    """Return a circuit with powers, phases, controls, strings of Paulis and subcircuits."""
    rng = random.Random(seed)
    x, y = sympy.symbols("x y")
    values = {"x": rng.uniform(-4, 4), "y": rng.uniform(-4, 4)}
    qubits = cirq.LineQubit.range(QUBITS)

    def angle() -> sympy.Expr:
        return rng.choice((x, y, 2 * x, x + y / 3, x * y, x**2 - 0.5, -y, sympy.pi * x))

    def gate(q: cirq.Qid, r: cirq.Qid, s: cirq.Qid) -> cirq.Operation:
        makers: list[Callable[[], cirq.Operation]] = [
            lambda: cirq.X(q) ** angle(),
            lambda: cirq.YPowGate(exponent=angle(), global_shift=0.3)(q),
            lambda: cirq.ZPowGate(exponent=angle())(q),
            lambda: cirq.H(q) ** angle(),
            lambda: cirq.rx(angle())(q),
            lambda: cirq.CNOT(q, r) ** angle(),
            lambda: cirq.CZ(q, r) ** angle(),
            lambda: cirq.SWAP(q, r) ** angle(),
            lambda: cirq.ISWAP(q, r) ** angle(),
            lambda: cirq.ZZ(q, r) ** angle(),
            lambda: cirq.CCX(q, r, s) ** angle(),
            lambda: cirq.PhasedXPowGate(exponent=angle(), phase_exponent=angle())(q),
            lambda: cirq.PhasedXZGate(x_exponent=angle(), z_exponent=angle(), axis_phase_exponent=angle())(q),
            lambda: cirq.PhasedISwapPowGate(exponent=angle(), phase_exponent=angle())(q, r),
            lambda: cirq.FSimGate(angle(), angle())(q, r),
            lambda: cirq.PhasedFSimGate(angle(), angle(), angle(), angle(), angle())(q, r),
            lambda: cirq.ms(angle())(q, r),
            lambda: (cirq.X(q) ** angle()).controlled_by(r),
            lambda: (cirq.YPowGate(exponent=angle(), global_shift=angle())(q)).controlled_by(r, control_values=[0]),
            lambda: cirq.ControlledGate(cirq.ZPowGate(exponent=angle()), 2)(q, r, s),
            lambda: cirq.PauliStringPhasor(cirq.X(q) * cirq.Y(r), exponent_neg=angle(), exponent_pos=angle()),
            lambda: cirq.PauliInteractionGate(cirq.X, True, cirq.Z, False, exponent=angle())(q, r),
            lambda: cirq.PhaseGradientGate(num_qubits=2, exponent=angle())(q, r),
            lambda: cirq.inverse(cirq.CircuitOperation(cirq.FrozenCircuit(cirq.X(q) ** x, cirq.CZ(q, r) ** y))),
            lambda: cirq.CircuitOperation(cirq.FrozenCircuit(cirq.X(q) ** x, cirq.Z(q) ** y)).with_params({"x": y + 1}),
        ]
        return rng.choice(makers)()

    circuit = cirq.Circuit(cirq.H.on_each(*qubits))
    circuit.append([gate(*rng.sample(qubits, 3)) for _ in range(8)])
    if rng.random() < 0.3:
        circuit.append(cirq.measure(qubits[0], key="m"))
        circuit.append((cirq.X(qubits[1]) ** angle()).with_classical_controls("m"))
    circuit.append(cirq.measure(qubits[1], key="n"))
    return Program("CIRQ", cirq.to_json(circuit), values)


def quil(seed: int) -> Program:
    """Return a program with memory, arithmetic, definitions of gates and circuits, and modifiers."""
    rng = random.Random(seed)
    values = {"x": rng.uniform(-4, 4)} | {f"t[{k}]": rng.uniform(-2, 2) for k in range(2)}

    def term(depth: int) -> str:
        if depth == 0 or rng.random() < 0.2:
            return rng.choice(("x", "t[0]", "t[1]", "0.5", "2", "pi", "z[0]"))
        if rng.random() < 0.3:
            return f"{rng.choice(('COS', 'SIN'))}({term(depth - 1)})"
        return f"({term(depth - 1)} {rng.choice('+-*')} {term(depth - 1)})"

    lines = [
        "DECLARE x REAL",
        "DECLARE t REAL[2]",
        "DECLARE z REAL",
        "DECLARE c BIT[2]",
        "DEFGATE OWN(%a) p r AS SEQUENCE:\n    RX(%a/2) p\n    CPHASE(2*%a) p r\n    RZ(-%a) r\n",
        "DEFCIRCUIT USE(%a) p r:\n    RY(%a*x) p\n    OWN(%a) p r\n",
        "MOVE z x",
        "MUL z t[1]",
        *(f"H {k}" for k in range(QUBITS)),
    ]
    for _ in range(8):
        first, second, third = rng.sample(range(QUBITS), 3)
        lines.append(
            rng.choice(
                (
                    f"RX({term(2)}) {first}",
                    f"PHASE({term(2)}) {first}",
                    f"CPHASE01({term(1)}) {first} {second}",
                    f"XY({term(1)}) {first} {second}",
                    f"PSWAP({term(1)}) {first} {second}",
                    f"OWN({term(1)}) {first} {second}",
                    f"USE({term(1)}) {first} {second}",
                    f"DAGGER OWN({term(1)}) {first} {second}",
                    f"CONTROLLED RY({term(2)}) {first} {second}",
                    f"CONTROLLED OWN({term(1)}) {first} {second} {third}",
                    f"FORKED RX({term(1)}, {term(1)}) {first} {second}",
                    f"RZZ({term(1)}) {first} {second}",
                    "ADD z t[0]",
                    "NEG z",
                )
            )
        )
    if rng.random() < 0.3:
        lines += ["MEASURE 0 c[0]", "JUMP-UNLESS @END c[0]", f"RX({term(1)}) 1", "LABEL @END"]
    lines.append("MEASURE 1 c[1]")
    return Program("QUIL", "\n".join(lines) + "\n", values)


MAKERS: dict[str, Callable[[int], Program]] = {
    "QASM3": qasm3,
    "BRAKET": braket,
    "QISKIT": qiskit,
    "CIRQ": cirq_json,
    "QUIL": quil,
}
