# SPDX-License-Identifier: Apache-2.0
"""The gates OpenQASM 3 programs may use without defining them, and what the modifiers inv, pow, ctrl make of gates."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np
from qiskit.circuit import Gate, QuantumCircuit
from qiskit.circuit import library as qk
from qiskit.quantum_info import Operator

from qonduit_server.languages.evaluation.values import too_large, unsupported

#: A gate of the hub on places of the operation it is part of. A global phase has no places.
Step: TypeAlias = tuple[Gate, tuple[int, ...]]

#: pow() with a fraction of a gate of this many qubits is computed as a matrix.
_MAX_MATRIX_QUBITS: Final = 6
MAX_CONTROLS: Final = 20


@dataclass(frozen=True)
class Library:
    """A gate that is given: numbers it takes, qubits it acts on, and what it is in the hub."""

    parameters: int
    qubits: int
    make: Callable[..., Gate]
    #: The phase by which the gate, as its language defines it, differs from the hub's.
    phase: Callable[..., float] | None = None

    def steps(self, parameters: Sequence[float]) -> list[Step]:
        steps: list[Step] = [(self.make(*parameters), tuple(range(self.qubits)))]
        if self.phase is not None and (phase := self.phase(*parameters)):
            steps.append((qk.GlobalPhaseGate(phase), ()))
        return steps


#: Without any include. U's phase is that of OpenQASM 3, in which U(a, b, c) is exp(i a / 2) times the hub's.
BUILTIN: Final[dict[str, Library]] = {
    "U": Library(3, 1, qk.UGate, lambda theta, phi, lam: theta / 2),
}
#: stdgates.inc.
STANDARD: Final[dict[str, Library]] = {
    "p": Library(1, 1, qk.PhaseGate),
    "phase": Library(1, 1, qk.PhaseGate),
    "u1": Library(1, 1, qk.PhaseGate),
    "u2": Library(2, 1, lambda phi, lam: qk.UGate(math.pi / 2, phi, lam), lambda phi, lam: -(phi + lam) / 2),
    "u3": Library(3, 1, qk.UGate, lambda theta, phi, lam: -(phi + lam) / 2),
    "x": Library(0, 1, qk.XGate),
    "y": Library(0, 1, qk.YGate),
    "z": Library(0, 1, qk.ZGate),
    "h": Library(0, 1, qk.HGate),
    "s": Library(0, 1, qk.SGate),
    "sdg": Library(0, 1, qk.SdgGate),
    "t": Library(0, 1, qk.TGate),
    "tdg": Library(0, 1, qk.TdgGate),
    "sx": Library(0, 1, qk.SXGate),
    "id": Library(0, 1, qk.IGate),
    "rx": Library(1, 1, qk.RXGate),
    "ry": Library(1, 1, qk.RYGate),
    "rz": Library(1, 1, qk.RZGate),
    "cx": Library(0, 2, qk.CXGate),
    "CX": Library(0, 2, qk.CXGate),
    "cy": Library(0, 2, qk.CYGate),
    "cz": Library(0, 2, qk.CZGate),
    "ch": Library(0, 2, qk.CHGate),
    "cp": Library(1, 2, qk.CPhaseGate),
    "cphase": Library(1, 2, qk.CPhaseGate),
    "crx": Library(1, 2, qk.CRXGate),
    "cry": Library(1, 2, qk.CRYGate),
    "crz": Library(1, 2, qk.CRZGate),
    "cu": Library(4, 2, qk.CUGate),
    "swap": Library(0, 2, qk.SwapGate),
    "ccx": Library(0, 3, qk.CCXGate),
    "cswap": Library(0, 3, qk.CSwapGate),
}
#: Not in stdgates.inc, but written by exporters as if they were.
EXTRA: Final[dict[str, Library]] = {
    "sxdg": Library(0, 1, qk.SXdgGate),
    "u": Library(3, 1, qk.UGate),
    "r": Library(2, 1, qk.RGate),
    "csx": Library(0, 2, qk.CSXGate),
    "cu1": Library(1, 2, qk.CPhaseGate),
    "cu3": Library(3, 2, qk.CU3Gate),
    "dcx": Library(0, 2, qk.DCXGate),
    "ecr": Library(0, 2, qk.ECRGate),
    "iswap": Library(0, 2, qk.iSwapGate),
    "rxx": Library(1, 2, qk.RXXGate),
    "ryy": Library(1, 2, qk.RYYGate),
    "rzz": Library(1, 2, qk.RZZGate),
    "rzx": Library(1, 2, qk.RZXGate),
    "ccz": Library(0, 3, qk.CCZGate),
    "rccx": Library(0, 3, qk.RCCXGate),
    "c3x": Library(0, 4, qk.C3XGate),
    "c3sqrtx": Library(0, 4, qk.C3SXGate),
    "c4x": Library(0, 5, qk.C4XGate),
}


def phase(angle: float) -> list[Step]:
    """gphase."""
    return [(qk.GlobalPhaseGate(angle), ())]


def inverse(steps: Sequence[Step]) -> list[Step]:
    """inv @."""
    return [(gate.inverse(), places) for gate, places in reversed(steps)]


def control(steps: Sequence[Step], controls: int, positive: bool) -> list[Step]:
    """ctrl(n) @ or negctrl(n) @: the controls take the first places.

    Gates that only conjugate could go without controls; that is left to compilers.
    """
    if controls > MAX_CONTROLS:
        raise too_large(f"a gate has more than {MAX_CONTROLS} controls")
    first = tuple(range(controls))
    state = None if positive else 0
    done: list[Step] = []
    for gate, places in steps:
        if isinstance(gate, qk.GlobalPhaseGate):
            # A phase under control is a phase of the last control.
            turn: Gate = qk.PhaseGate(gate.params[0])
            if not positive:
                done.extend((qk.XGate(), (each,)) for each in first)
            done.append((turn.control(controls - 1, annotated=False) if controls > 1 else turn, first))
            if not positive:
                done.extend((qk.XGate(), (each,)) for each in first)
        elif isinstance(gate, qk.UnitaryGate):
            done.append((_controlled(gate, controls, positive), (*first, *(place + controls for place in places))))
        else:
            done.append(
                (
                    gate.control(controls, ctrl_state=state, annotated=False),
                    (*first, *(place + controls for place in places)),
                )
            )
    return done


def _controlled(gate: qk.UnitaryGate, controls: int, positive: bool) -> Gate:
    """A matrix under controls, which are its lowest bits."""
    if gate.num_qubits + controls > _MAX_MATRIX_QUBITS:
        raise unsupported(f"controls and a fraction in pow() together are done for {_MAX_MATRIX_QUBITS} qubits at most")
    matrix: np.ndarray[Any, Any] = np.eye(1 << (gate.num_qubits + controls), dtype=complex)
    step = 1 << controls
    at = step - 1 if positive else 0
    matrix[at::step, at::step] = gate.to_matrix()
    return qk.UnitaryGate(matrix)


def power(steps: Sequence[Step], exponent: float, qubits: int, budget: Callable[[int], None]) -> list[Step]:
    """pow(exponent) @. A whole exponent repeats; a fraction is computed as a matrix, where the gate is small enough."""
    if exponent == int(exponent):
        times = abs(int(exponent))
        budget(times * max(1, len(steps)))
        return (list(steps) if exponent >= 0 else inverse(steps)) * times
    if len(steps) == 1:
        gate, places = steps[0]
        if isinstance(gate, qk.GlobalPhaseGate):
            return phase(gate.params[0] * exponent)
    if qubits > _MAX_MATRIX_QUBITS:
        raise unsupported(f"pow() with a fraction is done for gates of up to {_MAX_MATRIX_QUBITS} qubits")
    whole = QuantumCircuit(qubits)
    for gate, places in steps:
        whole.append(gate, list(places))
    return [(qk.UnitaryGate(Operator(whole).power(exponent)), tuple(range(qubits)))]
