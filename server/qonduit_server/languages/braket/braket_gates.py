# SPDX-License-Identifier: Apache-2.0
"""The built-in gates of Amazon Braket's dialect of OpenQASM 3."""

from __future__ import annotations

import math
from typing import Final

from qiskit.circuit import library as qk

from qonduit_server.ir.controls import Step
from qonduit_server.languages.openqasm3.standard_gates import Library


def _phase_where(first: int, second: int, angle: float) -> list[Step]:
    """Return a phase on one basis state of two qubits."""
    flips: list[Step] = [(qk.XGate(), (place,)) for place, value in enumerate((first, second)) if not value]
    return [*flips, (qk.CPhaseGate(angle), (0, 1)), *flips]


def _molmer_sorensen(first: float, second: float, angle: float) -> list[Step]:
    """Return a rotation about the product of two axes between X and Y."""
    turned: list[Step] = [(qk.RZGate(-first), (0,)), (qk.RZGate(-second), (1,))]
    back: list[Step] = [(qk.RZGate(first), (0,)), (qk.RZGate(second), (1,))]
    return [*turned, (qk.RXXGate(angle), (0, 1)), *back]


#: Global phases are preserved, since modifiers make them observable. U has none, unlike in OpenQASM 3 itself.
BRAKET: Final[dict[str, Library]] = {
    "U": Library(3, 1, qk.UGate),
    "i": Library(0, 1, qk.IGate),
    "x": Library(0, 1, qk.XGate),
    "y": Library(0, 1, qk.YGate),
    "z": Library(0, 1, qk.ZGate),
    "h": Library(0, 1, qk.HGate),
    "s": Library(0, 1, qk.SGate),
    "si": Library(0, 1, qk.SdgGate),
    "t": Library(0, 1, qk.TGate),
    "ti": Library(0, 1, qk.TdgGate),
    "v": Library(0, 1, qk.SXGate),
    "vi": Library(0, 1, qk.SXdgGate),
    "rx": Library(1, 1, qk.RXGate),
    "ry": Library(1, 1, qk.RYGate),
    "rz": Library(1, 1, qk.RZGate),
    "phaseshift": Library(1, 1, qk.PhaseGate),
    "prx": Library(2, 1, qk.RGate),
    "gpi": Library(1, 1, lambda angle: qk.RGate(math.pi, angle), lambda angle: math.pi / 2),
    "gpi2": Library(1, 1, lambda angle: qk.RGate(math.pi / 2, angle)),
    "cnot": Library(0, 2, qk.CXGate),
    "cv": Library(0, 2, qk.CSXGate),
    "cy": Library(0, 2, qk.CYGate),
    "cz": Library(0, 2, qk.CZGate),
    "ecr": Library(0, 2, qk.ECRGate),
    "swap": Library(0, 2, qk.SwapGate),
    "iswap": Library(0, 2, qk.iSwapGate),
    "pswap": Library(1, 2, lambda angle: [*_phase_where(0, 1, angle), *_phase_where(1, 0, angle), *_SWAP]),
    "cphaseshift": Library(1, 2, qk.CPhaseGate),
    "cphaseshift00": Library(1, 2, lambda angle: _phase_where(0, 0, angle)),
    "cphaseshift01": Library(1, 2, lambda angle: _phase_where(0, 1, angle)),
    "cphaseshift10": Library(1, 2, lambda angle: _phase_where(1, 0, angle)),
    "xx": Library(1, 2, qk.RXXGate),
    "yy": Library(1, 2, qk.RYYGate),
    "zz": Library(1, 2, qk.RZZGate),
    "xy": Library(1, 2, lambda angle: qk.XXPlusYYGate(-angle)),
    "ms": Library(3, 2, _molmer_sorensen),
    "ccnot": Library(0, 3, qk.CCXGate),
    "cswap": Library(0, 3, qk.CSwapGate),
}
_SWAP: Final[list[Step]] = [(qk.SwapGate(), (0, 1))]
