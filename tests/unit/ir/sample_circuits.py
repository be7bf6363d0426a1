# SPDX-License-Identifier: Apache-2.0
"""Random small IR programs: everything that a reader may produce."""

from __future__ import annotations

import math

from hypothesis import strategies as st
from qiskit.circuit import Barrier, Gate, Measure, QuantumCircuit, Reset
from qiskit.circuit import library as qk
from qiskit.quantum_info import random_unitary

from qonduit_server.ir.builder import Block, Builder, Loop, Step, Write
from qonduit_server.ir.circuit import Circuit, ClassicalRegister
from qonduit_server.ir.formula import FALSE, TRUE, Formula, bit, conjunction, disjunction, negation, parity

QUBITS = 3
CLBITS = 4
_FIXED = (
    qk.IGate, qk.XGate, qk.YGate, qk.ZGate, qk.HGate, qk.SGate, qk.SdgGate, qk.TGate, qk.TdgGate, qk.SXGate,
    qk.SXdgGate, qk.CXGate, qk.CYGate, qk.CZGate, qk.CHGate, qk.CSGate, qk.CSXGate, qk.SwapGate, qk.iSwapGate,
    qk.ECRGate, qk.DCXGate, qk.CCXGate, qk.CCZGate, qk.CSwapGate, qk.RCCXGate,
)  # fmt: skip
_TURNED = {
    1: (
        qk.RXGate, qk.RYGate, qk.RZGate, qk.PhaseGate, qk.U1Gate, qk.CRXGate, qk.CRYGate, qk.CRZGate, qk.CPhaseGate,
        qk.CU1Gate, qk.RXXGate, qk.RYYGate, qk.RZZGate, qk.RZXGate,
    ),
    2: (qk.RGate, qk.U2Gate, qk.XXPlusYYGate),
    3: (qk.UGate, qk.U3Gate, qk.CU3Gate),
    4: (qk.CUGate,),
}  # fmt: skip
_ANGLES = st.floats(-7, 7).map(lambda angle: round(angle, 12)) | st.sampled_from((math.pi, math.pi / 2, 1e-5))


def own_gate(name: str, angle: float) -> Gate:
    """Return a gate that a program defines, maybe under the name of a standard one."""
    body = QuantumCircuit(2, name=name)
    body.ry(angle, 1)
    body.cx(1, 0)
    body.t(0)
    body.h(0)
    return body.to_gate()


def _gates() -> st.SearchStrategy[Gate]:
    """Generate gates on up to three qubits."""
    turned = [st.builds(each, *[_ANGLES] * count) for count, kinds in _TURNED.items() for each in kinds]
    special = (
        st.builds(lambda angle, state: qk.RYGate(angle).control(2, ctrl_state=state), _ANGLES, st.integers(0, 3)),
        st.builds(lambda state: qk.CXGate(ctrl_state=state), st.integers(0, 1)),
        st.builds(
            lambda seed, size: qk.UnitaryGate(random_unitary(2**size, seed)), st.integers(0, 9), st.integers(1, 2)
        ),
        st.builds(own_gate, st.sampled_from(("mine", "cx", "swap")), _ANGLES),
        st.builds(lambda angle: qk.GlobalPhaseGate(angle), _ANGLES),
    )
    return st.one_of(st.sampled_from(_FIXED).map(lambda kind: kind()), st.one_of(turned), st.one_of(special))


def _formulas() -> st.SearchStrategy[Formula]:
    """Generate conditions and values."""
    return st.recursive(
        st.integers(0, CLBITS - 1).map(bit),
        lambda inner: st.one_of(
            inner.map(negation),
            st.lists(inner, min_size=2, max_size=3).map(conjunction),
            st.lists(inner, min_size=2, max_size=3).map(disjunction),
            st.lists(inner, min_size=2, max_size=4).map(parity),
        ),
        max_leaves=5,
    )


#: Created once: Hypothesis validates each strategy object separately.
GATES = _gates()
FORMULAS = _formulas()


@st.composite
def circuits(draw: st.DrawFn, kind: str = "all") -> Circuit:
    """Generate programs.

    Args:
        kind: "plain": measured at the end, each qubit at most once into one bit; "guarded": also midway, with
            conditions and resets; "all": also assignments, loops, and registers of shared and computed bits.
    """
    builder = Builder()
    builder.add_qubits(QUBITS)
    builder.add_clbits(CLBITS)
    for _ in range(draw(st.integers(1, 9))):
        guard = draw(FORMULAS) if kind != "plain" and draw(st.integers(0, 3)) == 0 else TRUE
        _append(draw, builder, guard, kind)
    if kind == "plain":
        for clbit, qubit in enumerate(draw(st.permutations(range(QUBITS)))):
            builder.append(TRUE, Measure(), (qubit,), (clbit,))
    return Circuit(builder.finish(), draw(_registers(kind)))


def _append(draw: st.DrawFn, builder: Builder, guard: Formula, kind: str) -> None:
    which = draw(st.integers(0, {"plain": 6, "guarded": 9, "all": 12}[kind]))
    clbit = draw(st.integers(0, CLBITS - 1))
    qubit = draw(st.integers(0, QUBITS - 1))
    if which <= 5:
        gate = draw(GATES)
        builder.append(guard, gate, draw(st.permutations(range(QUBITS)))[: gate.num_qubits])
    elif which == 6:
        builder.append(TRUE, Barrier(2), (0, 2))
    elif which <= 8:
        builder.append(guard, Measure(), (qubit,), (clbit,))
    elif which == 9:
        builder.append(guard, Reset(), (qubit,))
    elif which <= 11:
        builder.append(guard, Write(clbit, draw(FORMULAS | st.sampled_from((TRUE, FALSE)))))
    else:
        again = Step(TRUE, Measure(), (qubit,), (clbit,))
        turn = Step(TRUE, qk.RYGate(draw(st.floats(1, 2))), (qubit,))
        inner = Step(draw(FORMULAS), qk.CXGate(), ((qubit + 1) % QUBITS, qubit))
        rest = [Step(bit(clbit), Loop(bit(clbit), Block([turn, again])))] if draw(st.booleans()) else []
        builder.append(guard, Loop(bit(clbit), Block([inner, turn, again, *rest])))


@st.composite
def _registers(draw: st.DrawFn, kind: str) -> tuple[ClassicalRegister, ...]:
    order = draw(st.permutations(range(CLBITS - (kind == "plain" and draw(st.booleans())))))
    cut = draw(st.integers(1, len(order)))
    parts: list[tuple[int | Formula, ...]] = [tuple(order[:cut]), tuple(order[cut:])]
    if kind == "all":
        entry = st.integers(0, CLBITS - 1) | FORMULAS | st.sampled_from((TRUE, FALSE))
        change = draw(st.sampled_from(("none", "less", "more", "computed")))
        if change == "less":
            parts = parts[:1]
        elif change == "more":
            parts.append(tuple(draw(st.lists(entry, min_size=1, max_size=3))))
        elif change == "computed":
            parts = [tuple(draw(st.lists(entry, min_size=1, max_size=4)))]
    names = draw(st.permutations(("a", "ro", "meas", "c")))
    return tuple(ClassicalRegister(name, part) for name, part in zip(names, parts, strict=False) if part)
