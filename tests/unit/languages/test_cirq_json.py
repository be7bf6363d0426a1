# SPDX-License-Identifier: Apache-2.0
"""Cirq's JSON: circuits written by Cirq have the meaning that Cirq gives them; no text is ever executed."""

from __future__ import annotations

import contextlib
import copy
import json
import math
import re
import time
from collections import Counter
from itertools import combinations, product
from pathlib import Path
from typing import Any

import cirq
import numpy as np
import pytest
import sympy
from cirq.json_resolver_cache import _class_resolver_dictionary
from hypothesis import given, settings
from hypothesis import strategies as st
from qiskit.quantum_info import Operator, Statevector

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.cirq import cirq_gates as gate_kinds
from qonduit_server.languages.cirq.cirq_reader import read
from qonduit_server.languages.cirq.eigen_gates import POWERS as POWERS_READ
from qonduit_server.languages.cirq.gate_parts import _NOISE as NOISE
from qonduit_server.providers import registry as providers

A, B, C, D = cirq.LineQubit.range(4)
T = sympy.Symbol("t")
U = sympy.Symbol("u")
SHOTS = 4000
#: Cirq simulates this number in a tenth of a second if the circuit has mid-circuit measurements.
THEIR_SHOTS = 80


def written(*operations: Any, **inputs: float) -> Circuit:
    """Return a circuit of these operations, written by Cirq and read by the reader."""
    return read(cirq.to_json(cirq.Circuit(*operations)), inputs)


def refused(source: str | cirq.Circuit, reason: str, says: str = ".", **inputs: Any) -> ProgramError:
    text = source if isinstance(source, str) else cirq.to_json(source)
    began = time.thread_time()
    with pytest.raises(ProgramError, match=says) as caught:
        read(text, inputs)
    assert time.thread_time() - began < 5.0
    assert caught.value.reason == reason
    return caught.value


def same(circuit: cirq.Circuit) -> None:
    """Check that the unitary is Cirq's, up to a global phase, in Cirq's qubit order."""
    want = circuit.unitary(qubit_order=sorted(circuit.all_qubits()))
    got = Operator(read(cirq.to_json(circuit)).quantum.reverse_bits())
    assert got.data.shape == want.shape
    assert got.equiv(Operator(want), atol=1e-7)


def simulated(circuit: Circuit) -> Counter[str]:
    provider = providers.get("IBM")
    compiled = provider.compile(circuit, "aer_simulator")
    *_, outcome = provider.run("aer_simulator", [compiled], SHOTS, 7)
    counts: Counter[str] = Counter()
    for value, number in outcome.counts.items():  # type: ignore[union-attr]
        counts[circuit.key(value)] += number
    return counts


def agrees(circuit: cirq.Circuit, **inputs: float) -> Circuit:
    """Check that the last measurements of all keys are distributed as in Cirq's simulator."""
    ours = read(cirq.to_json(circuit), inputs)
    records = cirq.Simulator(seed=5).run(circuit, inputs, repetitions=THEIR_SHOTS).records
    assert {register.name: len(register.bits) for register in ours.registers} == {
        key: record.shape[2] for key, record in records.items()
    }
    theirs: Counter[str] = Counter()
    for shot in range(THEIR_SHOTS):
        values = (
            sum(int(value) << place for place, value in enumerate(records[register.name][shot][-1]))
            for register in reversed(ours.registers)
        )
        theirs[" ".join(hex(value) for value in values)] += 1
    counts = simulated(ours)
    for key in {*counts, *theirs}:
        mine, other = counts[key] / SHOTS, theirs[key] / THEIR_SHOTS
        assert abs(mine - other) < 6 * math.sqrt(max(mine * (1 - mine), 0.01) / THEIR_SHOTS), key
    return ours


POWERS = [
    cirq.XPowGate, cirq.YPowGate, cirq.ZPowGate, cirq.HPowGate, cirq.CXPowGate, cirq.CYPowGate, cirq.CZPowGate,
    cirq.SwapPowGate, cirq.ISwapPowGate, cirq.XXPowGate, cirq.YYPowGate, cirq.ZZPowGate, cirq.CCXPowGate,
    cirq.CCYPowGate, cirq.CCZPowGate,
]  # fmt: skip
GATES = [
    cirq.rx(0.3), cirq.ry(0.4), cirq.rz(-0.5), cirq.ms(0.3), cirq.CSWAP,
    cirq.PhasedXPowGate(phase_exponent=0.2, exponent=0.3, global_shift=0.4),
    cirq.PhasedXZGate(x_exponent=0.1, z_exponent=0.2, axis_phase_exponent=0.3),
    cirq.PhasedXZGate(x_exponent=1.1, z_exponent=0.0, axis_phase_exponent=0.3),
    cirq.PhasedISwapPowGate(phase_exponent=0.1, exponent=0.2), cirq.FSimGate(0.1, 0.2),
    cirq.PhasedFSimGate(0.1, 0.2, 0.3, 0.4, 0.5), cirq.IdentityGate(2),
    cirq.MatrixGate(cirq.testing.random_unitary(2, random_state=1)),
    cirq.MatrixGate(cirq.testing.random_unitary(8, random_state=2)),
    cirq.DiagonalGate([0.1, 0.2, 0.3, 0.4]), cirq.TwoQubitDiagonalGate([0.1, 0.7, 0.3, 1.9]),
    cirq.ThreeQubitDiagonalGate([0.1, 2, 0.3, 4, 0.5, 0.6, 0.7, 0.8]), cirq.ParallelGate(cirq.X**0.3, 3),
    cirq.MutableDensePauliString("YZ", coefficient=-1j),
    cirq.DensePauliString("XYZI", coefficient=-1), cirq.DensePauliString("XY", coefficient=1j),
    cirq.PauliInteractionGate(cirq.X, True, cirq.Y, False), cirq.PauliInteractionGate(cirq.Z, False, cirq.X, True),
    cirq.PauliStringPhasorGate(cirq.DensePauliString("XYZ", coefficient=-1), exponent_neg=0.3, exponent_pos=0.1),
    cirq.BooleanHamiltonianGate(["a", "b", "c"], ["a ^ b", "~c & (a | b) ^ c", "b"], 0.7),
    cirq.BooleanHamiltonianGate(["x", "y"], ["x | ~x", "(y)"], -1.3),
    cirq.QuantumFourierTransformGate(3), cirq.QuantumFourierTransformGate(4, without_reverse=True),
    cirq.PhaseGradientGate(num_qubits=3, exponent=0.5), cirq.QubitPermutationGate([2, 0, 3, 1]),
    cirq.QubitPermutationGate([1, 0, 2, 4, 3]), cirq.inverse(cirq.QuantumFourierTransformGate(3)),
    cirq.UniformSuperpositionGate(4, 3), cirq.UniformSuperpositionGate(11, 4), cirq.UniformSuperpositionGate(6, 4),
    cirq.ControlledGate(cirq.X**0.5, num_controls=2, control_values=[0, 1]),
    cirq.ControlledGate(cirq.X**0.3, control_values=cirq.SumOfProducts([[0, 1], [1, 0]])),
    cirq.ControlledGate(cirq.ControlledGate(cirq.rz(0.3)), control_values=[(0, 1)]),
    cirq.circuits.qasm_output.QasmUGate(0.1, 0.2, 0.3),
]  # fmt: skip


@pytest.mark.parametrize("gate", POWERS, ids=lambda gate: gate.__name__)
def test_powers_and_their_phases(gate: Any) -> None:
    for exponent, shift in product((0, 1, 0.5, -0.25, 1.5, 3.7), (0, -0.5)):
        made = gate(exponent=exponent, global_shift=shift)
        operation = made.on(*cirq.LineQubit.range(made.num_qubits()))
        same(cirq.Circuit(operation))
        same(cirq.Circuit(operation.controlled_by(cirq.NamedQubit("a"))))


@pytest.mark.parametrize("gate", GATES, ids=lambda gate: type(gate).__name__)
def test_gates_and_their_phases(gate: cirq.Gate) -> None:
    operation = gate.on(*cirq.LineQubit.range(gate.num_qubits()))
    same(cirq.Circuit(operation))
    same(cirq.Circuit(cirq.ControlledOperation([cirq.NamedQubit("a")], operation)))


@pytest.mark.parametrize(
    "operation",
    [
        cirq.X(A) * cirq.Y(B) * -1,
        1j * cirq.X(A),
        cirq.PauliStringPhasor(cirq.X(A) * cirq.Z(B), exponent_neg=0.4),
        cirq.X(A).with_tags("x", cirq.VirtualTag()),
        cirq.ControlledOperation([B, C], cirq.Y(A), control_values=cirq.ProductOfSums([(0, 1), 1])),
        (cirq.X(A) ** 0.3).controlled_by(B, C, control_values=[0, 1]).controlled_by(D),
        cirq.CircuitOperation(
            cirq.FrozenCircuit(cirq.H(A), cirq.CX(A, B) ** 0.3, cirq.global_phase_operation(1j)), repetitions=-3
        ),
        cirq.CircuitOperation(cirq.FrozenCircuit(cirq.H(A), cirq.CX(A, B) ** 0.3), qubit_map={A: B, B: C}),
    ],
)
def test_operations_and_their_phases(operation: cirq.Operation) -> None:
    same(cirq.Circuit(operation))
    same(cirq.Circuit(cirq.ControlledOperation([cirq.NamedQubit("a")], operation)))


def test_cliffords() -> None:
    pair = cirq.CliffordGate.from_op_list([cirq.H(A), cirq.S(B), cirq.CX(A, B), cirq.Y(B), cirq.SWAP(A, B)], [A, B])
    for gate in (*cirq.SingleQubitCliffordGate.all_single_qubit_cliffords, pair):
        same(cirq.Circuit(gate.on(*cirq.LineQubit.range(cirq.num_qubits(gate)))))
    refused(cirq.Circuit(cirq.SingleQubitCliffordGate.H(A).controlled_by(B)), "UNSUPPORTED_CONSTRUCT", "phase")


def test_qubits_are_in_cirqs_order() -> None:
    names = [cirq.NamedQubit(name) for name in ("q10", "q2", "q02", "b")]
    others = [
        cirq.LineQubit(-3),
        cirq.GridQubit(1, 0),
        cirq.GridQubit(0, 5),
        cirq.LineQid(10**30, 2),
        cirq.NamedQid("c", 2),
    ]
    qubits = [*names, *others]
    circuit = cirq.Circuit(cirq.rx(0.1 + k / 5)(qubit) for k, qubit in enumerate(qubits))
    want = [float(circuit[0].operation_at(qubit).gate._rads) for qubit in sorted(qubits)]  # type: ignore
    quantum = read(cirq.to_json(circuit)).quantum
    got = {quantum.find_bit(each.qubits[0]).index: each.operation.params[0] for each in quantum.data}
    assert [got[place] for place in range(len(qubits))] == pytest.approx(want)
    one = written(cirq.X(A), cirq.Z(cirq.LineQid(0, 2)))
    assert one.quantum.num_qubits == 1


def test_registers() -> None:
    circuit = agrees(
        cirq.Circuit(
            cirq.H(A), cirq.CX(A, B), cirq.measure(B, A, key="z", invert_mask=(True,)), cirq.X(C),
            cirq.measure(C, key="a"), cirq.H(C), cirq.measure(C, key="a"), cirq.measure(D),
        )
    )  # fmt: skip
    assert [(each.name, len(each.bits)) for each in circuit.registers] == [("q(3)", 1), ("a", 1), ("z", 2)]


@pytest.mark.parametrize(
    "condition",
    [
        "m",
        cirq.BitMaskKeyCondition("m", bitmask=2),
        cirq.BitMaskKeyCondition("m", bitmask=6, target_value=4, equal_target=True),
        cirq.BitMaskKeyCondition("m", target_value=9),
        sympy.Eq(sympy.Symbol("m"), 4),
        sympy.Symbol("m") > 3,
        sympy.Symbol("m") * 2 + 1 <= 7,
        sympy.Ne(sympy.Symbol("m"), 1) & (sympy.Symbol("n") < 1),
        ~sympy.Eq(sympy.Symbol("m"), 0) | sympy.Eq(sympy.Symbol("n"), 1),
        sympy.Xor(sympy.IndexedBase("m")[0], sympy.IndexedBase("m")[2]),
        sympy.Symbol("m") - 1,
        sympy.Not(sympy.Symbol("m")),
    ],
    ids=str,
)
def test_conditions(condition: Any) -> None:
    simulator = cirq.Simulator()
    for values in product((0, 1), repeat=3):
        circuit = cirq.Circuit(
            [cirq.X(qubit) ** value for qubit, value in zip((A, B, C), values, strict=True)],
            cirq.measure(A, B, C, key="m"), cirq.measure(B, key="n"),
            cirq.X(D).with_classical_controls(condition), cirq.measure(D, key="r"),
        )  # fmt: skip
        ((want,),) = simulator.run(circuit).measurements["r"]
        (key,) = simulated(read(cirq.to_json(circuit)))
        assert key.split()[0] == hex(want), values


def test_a_condition_uses_the_latest_measurement_or_the_one_it_names() -> None:
    for index, r in ((-1, 0), (0, 1), (1, 0)):
        condition = cirq.KeyCondition(cirq.MeasurementKey("m"), index)
        circuit = cirq.Circuit(
            cirq.X(A), cirq.measure(A, key="m"), cirq.X(A), cirq.measure(A, key="m"),
            cirq.X(B).with_classical_controls(condition), cirq.measure(B, key="r"),
        )  # fmt: skip
        assert simulated(read(cirq.to_json(circuit))) == {f"{r:#x} 0x0": SHOTS}
    refused(cirq.Circuit(cirq.X(B).with_classical_controls("m")), "SYNTAX_ERROR", "before it is measured")


def test_circuits_within_circuits() -> None:
    inner = cirq.FrozenCircuit(
        cirq.ry(T)(A), cirq.measure(A, key="m"), cirq.X(B).with_classical_controls("m"), cirq.measure(B, key="n")
    )
    agrees(cirq.Circuit(cirq.CircuitOperation(inner, param_resolver={T: U * 2}, repetitions=2)), u=0.4)
    agrees(cirq.Circuit(cirq.CircuitOperation(inner, repetitions=2, use_repetition_ids=True)), t=0.9)
    nested = cirq.CircuitOperation(
        inner, measurement_key_map={"m": "k"}, qubit_map={A: C}, repetition_ids=["x", "y"], repetitions=2
    )
    outer = cirq.FrozenCircuit(cirq.X(A), nested, cirq.measure(A, key="e"))
    agrees(
        cirq.Circuit(
            cirq.CircuitOperation(outer, repetitions=2, repetition_ids=["p", "q"], measurement_key_map={"k": "l"})
        ),
        t=0.9,
    )
    agrees(cirq.Circuit(cirq.X(A), cirq.measure(A, key="z"), cirq.CircuitOperation(
        cirq.FrozenCircuit(cirq.X(B).with_classical_controls("z"), cirq.measure(B, key="b")), parent_path=("w",)
    )))  # fmt: skip


def test_loops() -> None:
    body = cirq.FrozenCircuit(
        cirq.X(C).with_classical_controls("m"), cirq.H(A), cirq.measure(A, key="m"), cirq.X(B), cirq.measure(B, key="p")
    )
    loop = cirq.CircuitOperation(
        body, use_repetition_ids=False, repeat_until=cirq.KeyCondition(cirq.MeasurementKey("m"))
    )
    # C is flipped by the outcome before the loop, and never again; B in every round; two of three shots have an odd
    # number of rounds.
    counts = simulated(written(cirq.X(D), cirq.measure(D, key="m"), loop, cirq.measure(C, key="c")))
    assert counts.keys() == {"0x1 0x1 0x1", "0x1 0x0 0x1"}
    assert counts["0x1 0x1 0x1"] / SHOTS == pytest.approx(2 / 3, abs=0.05)
    data = json.loads(cirq.to_json(cirq.Circuit(cirq.Moment(cirq.measure(D, key="x")), cirq.Moment(loop))))
    data["moments"][1]["operations"][0]["repeat_until"]["key"]["name"] = "x"
    refused(json.dumps(data), "SYNTAX_ERROR", "tested before|never ends")


def coin(*tags: object, key: str = "m", **options: Any) -> cirq.Operation:
    """Return a loop until a coin on A is 1, which also counts its rounds modulo 2 on B."""
    body = cirq.FrozenCircuit(cirq.H(A), cirq.measure(A, key=key), cirq.X(B), cirq.measure(B, key="p"))
    condition = cirq.KeyCondition(cirq.MeasurementKey(key))
    return cirq.CircuitOperation(body, use_repetition_ids=False, repeat_until=condition, **options).with_tags(*tags)


def test_a_tag_of_a_loop_keeps_all_records() -> None:
    before = cirq.X(D), cirq.measure(D, key="p")
    circuit = written(*before, coin("another", 7, "qonduit.records=3"), cirq.measure(D, key="p"))
    registers = {each.name: each for each in circuit.registers}
    assert list(registers) == ["p", "m", "p#records", "m#records"]
    assert [len(each.bits) for each in registers.values()] == [1, 1, 3 * 2 + 1, 3 * 2 + 1]
    shares: Counter[tuple[int, ...]] = Counter()
    for key, number in simulated(circuit).items():
        m_records, p_records, m, p = (int(each, 16) for each in key.split())
        assert (m, p) == (1, 1)
        shares[m_records, p_records] += number
    # From the highest bit: whether there are more records than places, and the records from the first to the latest,
    # each followed by whether there is one. The second round has two of m, and four of p.
    assert shares[0b0_00_00_11, 0b0_11_11_11] / SHOTS == pytest.approx(1 / 2, abs=0.05)
    assert shares[0b0_00_01_11, 0b1_11_01_11] / SHOTS == pytest.approx(1 / 4, abs=0.05)
    assert shares[0b0_01_01_11, 0b1_01_11_11] / SHOTS == pytest.approx(1 / 8, abs=0.05)


def test_a_tag_of_an_outer_loop_keeps_the_records_of_inner_ones() -> None:
    inner = coin(key="i")
    condition = cirq.KeyCondition(cirq.MeasurementKey("o"))
    body = cirq.FrozenCircuit(inner, cirq.X(C), cirq.measure(C, key="o"))
    outer = cirq.CircuitOperation(body, use_repetition_ids=False, repeat_until=condition)
    names = [each.name for each in written(outer.with_tags("qonduit.records=2")).registers]
    assert names == ["i", "p", "o", "i#records", "p#records", "o#records"]
    tagged = outer.replace(circuit=cirq.FrozenCircuit(coin("qonduit.records=2", key="i"), *body[1:]))
    refused(cirq.Circuit(tagged), "UNSUPPORTED_CONSTRUCT", "outermost")
    assert len(written(tagged.with_tags("qonduit.records=5")).registers[-1].bits) == 11


@pytest.mark.parametrize("number", ["0", "4097", "-1", "1.5", "", "9" * 5000, "٣"])
def test_a_tag_with_a_wrong_number_of_records_is_refused(number: str) -> None:
    refused(cirq.Circuit(coin(f"qonduit.records={number}")), "SYNTAX_ERROR", "1 to 4096")


def test_records_have_bounds_and_names_of_their_own() -> None:
    refused(cirq.Circuit(coin("qonduit.records=3"), cirq.measure(C, key="m#records")), "SYNTAX_ERROR", "m#records")
    many = cirq.CircuitOperation(cirq.FrozenCircuit(coin("qonduit.records=4096")), repetitions=100)
    refused(cirq.Circuit(many), "TOO_LARGE", "operations|bits")


def test_resets_states_and_pauli_measurements() -> None:
    state = np.array([0.6, 0, 0.8j, 0])
    agrees(
        cirq.Circuit(
            cirq.H(A), cirq.StatePreparationChannel(state)(A, B), cirq.H(C), cirq.reset(C), cirq.measure(A, B, C)
        )
    )
    agrees(
        cirq.Circuit(
            cirq.ry(0.6)(A), cirq.rx(0.9)(B), cirq.CX(A, B),
            cirq.PauliMeasurementGate(cirq.DensePauliString("XY", coefficient=-1), key="p")(A, B),
            cirq.PauliMeasurementGate(cirq.DensePauliString("Z"), key="q")(A), cirq.measure(A, B, key="m"),
        )
    )  # fmt: skip
    assert written(cirq.X(A), cirq.wait(A, nanos=5)).warnings


def test_parameters() -> None:
    exponent = T**2 / 3 - sympy.pi + sympy.Float(2.5) * sympy.sqrt(U) + sympy.E - sympy.EulerGamma
    circuit = cirq.Circuit(cirq.X(A) ** exponent, cirq.rz(T)(A), cirq.H(A))
    ours = read(cirq.to_json(circuit), {"t": 0.3, "u": 2, "v": 1})
    theirs = cirq.resolve_parameters(circuit, {"t": 0.3, "u": 2}).unitary()
    assert Operator(ours.quantum).equiv(Operator(theirs))
    assert ours.warnings == ("input 'v' is not one of the program's",)
    refused(circuit, "MISSING_INPUT", "'u'|'t'")
    refused(circuit, "SYNTAX_ERROR", "real", t=0.3, u=-1)
    refused(circuit, "SYNTAX_ERROR", "input 't'", t="__import__('os')", u=1)
    refused(cirq.Circuit(cirq.X(A) ** (1 / T)), "SYNTAX_ERROR", "zero", t=0)


@pytest.mark.parametrize(
    ("circuit", "reason", "says"),
    [
        (cirq.Circuit(cirq.measure(A, B, confusion_map={(0, 1): np.eye(4)})), "UNSUPPORTED_CONSTRUCT", "confusion_map"),
        (cirq.Circuit(cirq.measure(cirq.LineQid(0, 3))), "UNSUPPORTED_CONSTRUCT", "levels"),
        (cirq.Circuit(cirq.MatrixGate(np.ones((2, 2)), unitary_check=False)(A)), "SYNTAX_ERROR", "unitary"),
        (cirq.Circuit(cirq.measure(A, key="k" * 1025)), "TOO_LARGE", "1024"),
        (
            cirq.Circuit(cirq.PauliStringPhasor(cirq.PauliString({A: cirq.Z}), [A, B], exponent_neg=0.2)),
            "UNSUPPORTED_CONSTRUCT",
            "identity",
        ),
        (
            cirq.Circuit(cirq.CircuitOperation(cirq.FrozenCircuit(cirq.X(A)), repetitions=10**9)),
            "TOO_LARGE",
            "repeated",
        ),
        (cirq.Circuit(cirq.X(A).controlled_by(*cirq.LineQubit.range(1, 23))), "TOO_LARGE", "controls"),
    ],
    ids=lambda value: "" if isinstance(value, cirq.Circuit) else value,
)
def test_refusals(circuit: cirq.Circuit, reason: str, says: str) -> None:
    assert "moment 1, operation 1" in refused(circuit, reason, says).message


def gate(kind: str, qubits: int = 1, **fields: Any) -> str:
    """Return a program with one gate, in JSON."""
    operation = {
        "cirq_type": "GateOperation",
        "gate": {"cirq_type": kind, **fields},
        "qubits": [{"cirq_type": "LineQubit", "x": x} for x in range(qubits)],
    }
    return json.dumps({"cirq_type": "Circuit", "moments": [{"cirq_type": "Moment", "operations": [operation]}]})


def sympy_node(kind: str, *args: Any) -> dict[str, Any]:
    return {"cirq_type": f"sympy.{kind}", "args": list(args)}


def test_no_text_is_run(tmp_path: Path) -> None:
    made = tmp_path / "made"
    code = f"__import__('pathlib').Path({str(made)!r}).touch()"
    symbol = {"cirq_type": "sympy.Symbol", "name": code}
    shapes: list[Any] = [code, symbol, {"cirq_type": "sympy.Symbol", "name": [code]}, {"cirq_type": code}]
    shapes += [sympy_node(kind, code) for kind in ("Not", "Xor", "Add", "Mul", "And", "Or", "IndexedBase", "Indexed")]
    shapes += [sympy_node("Pow", code, 1), sympy_node("Indexed", code, 0), sympy_node("Equality", code, code)]
    shapes += [sympy_node("Indexed", sympy_node("IndexedBase", code), 0), {"cirq_type": "sympy.Float", "approx": code}]
    shapes += [{"cirq_type": "sympy.Integer", "i": code}, {"cirq_type": "sympy.Rational", "p": code, "q": 1}]
    for shape in shapes:
        for text in (gate("XPowGate", exponent=shape), gate("Rx", rads=shape)):
            with pytest.raises(ProgramError):
                read(text)
        condition = {"cirq_type": "SympyCondition", "expr": shape}
        controlled = json.loads(gate("_PauliX"))
        inner = controlled["moments"][0]["operations"][0]
        controlled["moments"][0]["operations"][0] = {
            "cirq_type": "ClassicallyControlledOperation", "conditions": [condition], "sub_operation": inner,
        }  # fmt: skip
        with pytest.raises(ProgramError):
            read(json.dumps(controlled))
    refused(gate("BooleanHamiltonianGate", parameter_names=["a"], boolean_strs=[code], theta=1), "SYNTAX_ERROR")
    assert not made.exists()


def test_every_gate_that_cirq_writes_and_that_is_unitary_is_read() -> None:
    known = {kind for kind, made in _class_resolver_dictionary().items() if isinstance(made, type)}
    gates = {kind for kind in known if issubclass(_class_resolver_dictionary()[kind], cirq.Gate)}
    assert len(gates) > 50
    unread = gates - {*gate_kinds._GATES, *POWERS_READ}
    noise = {kind for kind in unread if kind in NOISE}
    assert unread - noise == {
        "MeasurementGate", "PauliMeasurementGate", "ResetChannel", "StatePreparationChannel", "WaitGate",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "text", "reason"),
    [
        (["a"], "a and a", "SYNTAX_ERROR"),
        (["a"], "a ^ 1", "SYNTAX_ERROR"),
        (["a"], "b", "SYNTAX_ERROR"),
        (["a"], "a ^", "SYNTAX_ERROR"),
        (["a"], "a\0", "SYNTAX_ERROR"),
        (["a"], "(" * 300 + "a" + ")" * 300, "SYNTAX_ERROR"),
        (["a", "a"], "a", "SYNTAX_ERROR"),
        (["a"], "~" * 9_000 + "a", "(TOO_LARGE|SYNTAX_ERROR)"),
        (["a"], "~" * 5_000 + "a", "(TOO_LARGE|SYNTAX_ERROR)"),
        (["a"], "^".join("a" * 8_000), "TOO_LARGE"),
        (["a"], "a<" * 8_000 + "a", "SYNTAX_ERROR"),
        (["a"], "lambda:" * 2_000 + "a", "SYNTAX_ERROR"),
        (["a"], "a" * 16_384, "SYNTAX_ERROR"),
        (["a"], "a" * 16_385, "TOO_LARGE"),
        ([f"a{k}" for k in range(11)], "|".join(f"a{k}" for k in range(11)), "TOO_LARGE"),
        ([f"a{k}" for k in range(11)], "^".join(f"a{k}" for k in range(11)) + "^(a0&a1)", "TOO_LARGE"),
    ],
)
def test_an_invalid_boolean_expression_is_refused(names: list[str], text: str, reason: str) -> None:
    with pytest.raises(ProgramError) as caught:
        read(gate("BooleanHamiltonianGate", parameter_names=names, boolean_strs=[text], theta=1))
    assert re.fullmatch(reason, caught.value.reason)


def test_a_boolean_hamiltonian_may_be_wide() -> None:
    qubits = cirq.LineQubit.range(24)
    names = [f"x{k}" for k in range(24)]
    edges = [f"x{k} ^ x{(k + 1) % 24}" for k in range(24)]
    ours = written(cirq.BooleanHamiltonianGate(names, edges, 0.4)(*qubits))
    assert [instruction.operation.num_qubits for instruction in ours.quantum.data] == [2] * 24


def cut(size: int, edge: str, joined: str, before: str = "") -> cirq.Operation:
    """Return one expression with an edge between each two vertices."""
    edges = [edge.format(f"vertex_{a}", f"vertex_{b}") for a, b in combinations(range(size), 2)]
    gate = cirq.BooleanHamiltonianGate([f"vertex_{k}" for k in range(size)], [before + joined.join(edges)], 0.7)
    assert len(gate._boolean_strs[0]) > 1_024
    return gate(*cirq.LineQubit.range(size))


@pytest.mark.parametrize("operation", [
    cut(6, "({0} & ~{1} | ~{0} & {1} | {0} & ~{1} & ~{0} & {1})", " | "), cut(12, "({0} ^ {1})", " ^ ", "~"),
    cut(12, "({0} ^ {1})", " ^ ").controlled_by(cirq.NamedQubit("a")),
])  # fmt: skip
def test_a_long_boolean_expression_means_what_cirq_simulates(operation: cirq.Operation) -> None:
    turn = [cirq.ry(0.3 + 0.2 * k).on(qubit) for k, qubit in enumerate(operation.qubits)]
    circuit = cirq.Circuit(turn, operation, turn)
    want = circuit.final_state_vector(qubit_order=sorted(circuit.all_qubits()), dtype=np.complex128)
    got = Statevector(read(cirq.to_json(circuit)).quantum.reverse_bits())
    assert got.equiv(Statevector(want), atol=1e-7)


def test_one_boolean_expression_may_have_all_edges_of_twenty_vertices() -> None:
    began = time.thread_time()
    ours = written(cut(20, "({0} ^ {1})", " ^ "))
    assert time.thread_time() - began < 5.0
    assert ours.quantum.num_qubits == 20
    assert len(ours.quantum.data) < 50


def test_the_work_of_boolean_expressions_is_bounded() -> None:
    names = [f"a{k}" for k in range(10)]
    long = "^".join(f"(a{k % 10}|a{k % 7})" for k in range(1_000))
    refused(
        gate("BooleanHamiltonianGate", 10, parameter_names=names, boolean_strs=[long] * 90, theta=1),
        "TOO_LARGE", "300000 operations",
    )  # fmt: skip


def power_tower(height: int) -> Any:
    node: Any = {"cirq_type": "sympy.Integer", "i": 9}
    for _ in range(height):
        node = sympy_node("Pow", {"cirq_type": "sympy.Integer", "i": 9}, node)
    return node


def doubled(times: int) -> str:
    """Return nested circuits, each of which contains the previous one twice."""
    moments: list[Any] = json.loads(gate("_PauliX"))["moments"]
    first = {"cirq_type": "VAL", "key": 0, "val": {"cirq_type": "FrozenCircuit", "moments": moments}}
    use = {"repetitions": 1, "qubit_map": [], "measurement_key_map": {}, "repetition_ids": None}
    for key in range(1, times):
        second = {"cirq_type": "REF", "key": key - 1}
        both = [{"cirq_type": "CircuitOperation", "circuit": each, **use} for each in (first, second)]
        layers = [{"cirq_type": "Moment", "operations": [each]} for each in both]
        first = {"cirq_type": "VAL", "key": key, "val": {"cirq_type": "FrozenCircuit", "moments": layers}}
    return json.dumps(first)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "SYNTAX_ERROR"),
        ("{", "SYNTAX_ERROR"),
        ("[" * 200_000, "TOO_LARGE"),
        ('{"a":' * 100_000, "TOO_LARGE"),
        (gate("XPowGate", exponent=float("nan")), "SYNTAX_ERROR"),
        (gate("XPowGate", exponent=float("inf")), "SYNTAX_ERROR"),
        (gate("XPowGate", exponent=10**400), "SYNTAX_ERROR"),
        (gate("XPowGate", exponent=1).replace("1}", "1" * 5000 + "}"), "TOO_LARGE"),
        (gate("XPowGate", exponent=power_tower(4)), "TOO_LARGE"),
        (gate("XPowGate", exponent=power_tower(150)), "TOO_LARGE"),
        (gate("QuantumFourierTransformGate", num_qubits=10**9), "TOO_LARGE"),
        (gate("QuantumFourierTransformGate", num_qubits=4000), "TOO_LARGE"),
        (gate("ParallelGate", num_copies=10**9, sub_gate={"cirq_type": "_PauliX"}), "TOO_LARGE"),
        (gate("CliffordGate", n=10**6, rs=[], xs=[], zs=[]), "TOO_LARGE"),
        (gate("DiagonalGate", diag_angles_radians=[0.0] * 2**11), "TOO_LARGE"),
        (gate("XPowGate", qubits=2), "SYNTAX_ERROR"),
        (gate("PauliStringPhasorGate", dense_pauli_string=7), "SYNTAX_ERROR"),
        ('{"qubits": 1, "circuit": []}', "WRONG_LANGUAGE"),
        ('{"cirq_type": "XPowGate"}', "UNSUPPORTED_CONSTRUCT"),
        ('{"cirq_type": "REF", "key": 0}', "SYNTAX_ERROR"),
        (doubled(30), "TOO_LARGE"),
    ],
    ids=lambda value: value[:40],
)
def test_bad_input_is_refused_quickly(text: str, reason: str) -> None:
    refused(text, reason)


def test_broken_json_is_placed() -> None:
    error = refused('{"cirq_type": "Circuit",\n "moments": ]}', "SYNTAX_ERROR")
    assert (error.line, error.column) == (2, 13)


def _typical() -> Any:
    inner = cirq.FrozenCircuit(cirq.ry(T)(A), cirq.measure(A, key="m"), cirq.X(B).with_classical_controls("m"))
    loop = cirq.CircuitOperation(
        cirq.FrozenCircuit(cirq.H(A), cirq.measure(A, key="w")),
        use_repetition_ids=False,
        repeat_until=cirq.KeyCondition(cirq.MeasurementKey("w")),
    )
    circuit = cirq.Circuit(
        cirq.H(A) ** 0.3, cirq.CX(A, B).controlled_by(C, control_values=[0]), cirq.measure(A, B, key="k"),
        cirq.X(C).with_classical_controls(sympy.Eq(sympy.Symbol("k"), 2)), cirq.MatrixGate(np.eye(4))(A, B),
        cirq.CircuitOperation(inner, repetitions=2, qubit_map={A: C}, param_resolver={T: U}), loop,
        cirq.DensePauliString("XY")(A, B), cirq.QubitPermutationGate([1, 0])(A, B), cirq.CliffordGate.CNOT(A, B),
    )  # fmt: skip
    return json.loads(cirq.to_json(circuit))


TYPICAL = _typical()


def _spots(node: Any) -> list[tuple[Any, Any]]:
    """Return all positions of a tree, as container and key."""
    entries = list(node.items()) if isinstance(node, dict) else list(enumerate(node)) if isinstance(node, list) else []
    return [spot for key, value in entries for spot in ((node, key), *_spots(value))]


SPOTS = len(_spots(TYPICAL))
VALUES = st.sampled_from(
    [
        None, True, -1, 0, 1, 2, 10**30, 0.5, 1e308, "", "x", "sympy.Add", [], [0], [[]], {},
        {"cirq_type": "REF", "key": 0}, {"cirq_type": "Moment"}, {"cirq_type": []},
        {"cirq_type": "sympy.Symbol", "name": "t"}, "__drop__",
    ]
)  # fmt: skip


@settings(max_examples=120, deadline=None)
@given(st.lists(st.tuples(st.integers(0, SPOTS - 1), VALUES), min_size=1, max_size=3))
def test_changed_programs_are_read_or_refused(changes: list[tuple[int, Any]]) -> None:
    tree = copy.deepcopy(TYPICAL)
    for number, value in changes:
        spots = _spots(tree)
        if not spots:
            break
        container, key = spots[number % len(spots)]
        if value == "__drop__":
            del container[key]
        else:
            container[key] = copy.deepcopy(value)
    with contextlib.suppress(ProgramError):
        read(json.dumps(tree), {"u": 0.4})
