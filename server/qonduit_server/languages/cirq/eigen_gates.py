# SPDX-License-Identifier: Apache-2.0
"""Powers of the gates that Cirq defines by their eigenvalues, as IR gates.

A gate to the power t has the eigenvalues exp(i pi t k / 2), so t counts half turns and can be reduced to a period.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from qiskit.circuit import library as qk

from qonduit_server.ir.controls import Step
from qonduit_server.languages import gate_modifiers


@dataclass(frozen=True)
class Power:
    """A family of gates: the number of qubits, a function that makes a gate, and the period of its power."""

    qubits: int
    steps: Callable[[float], list[Step]]
    period: float = 2.0


def _x(half_turns: float) -> list[Step]:
    named = {1.0: qk.XGate, 0.5: qk.SXGate, 1.5: qk.SXdgGate}.get(half_turns)
    if named is not None:
        return [(named(), (0,))]
    return [(qk.RXGate(math.pi * half_turns), (0,)), *gate_modifiers.phase(math.pi * half_turns / 2)]


def _y(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.YGate(), (0,))]
    return [(qk.RYGate(math.pi * half_turns), (0,)), *gate_modifiers.phase(math.pi * half_turns / 2)]


def z(half_turns: float, place: int = 0) -> list[Step]:
    """Z to a power."""
    named = {1.0: qk.ZGate, 0.5: qk.SGate, 1.5: qk.SdgGate, 0.25: qk.TGate, 1.75: qk.TdgGate}.get(half_turns)
    return [(named() if named is not None else qk.PhaseGate(math.pi * half_turns), (place,))]


def _h(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.HGate(), (0,))]
    return [(qk.RYGate(-math.pi / 4), (0,)), (qk.PhaseGate(math.pi * half_turns), (0,)), (qk.RYGate(math.pi / 4), (0,))]


def cz(half_turns: float, places: tuple[int, int] = (0, 1)) -> list[Step]:
    """CZ to a power."""
    return [(qk.CZGate() if half_turns == 1.0 else qk.CPhaseGate(math.pi * half_turns), places)]


def _cx(half_turns: float, places: tuple[int, int] = (0, 1)) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.CXGate(), places)]
    return gate_modifiers.conjugated([(qk.HGate(), places[1:])], cz(half_turns, places))


def _cy(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.CYGate(), (0, 1))]
    return gate_modifiers.conjugated([(qk.SdgGate(), (1,)), (qk.HGate(), (1,))], cz(half_turns))


def _ccz(half_turns: float) -> list[Step]:
    return [(qk.CCZGate() if half_turns == 1.0 else qk.MCPhaseGate(math.pi * half_turns, 2), (0, 1, 2))]


def _ccx(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.CCXGate(), (0, 1, 2))]
    return gate_modifiers.conjugated([(qk.HGate(), (2,))], _ccz(half_turns))


def _ccy(half_turns: float) -> list[Step]:
    return gate_modifiers.conjugated([(qk.SdgGate(), (2,)), (qk.HGate(), (2,))], _ccz(half_turns))


def _swap(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.SwapGate(), (0, 1))]
    return gate_modifiers.conjugated([(qk.CXGate(), (0, 1))], _cx(half_turns, (1, 0)))


def _iswap(half_turns: float) -> list[Step]:
    if half_turns == 1.0:
        return [(qk.iSwapGate(), (0, 1))]
    return exchange(-math.pi * half_turns / 2)


def exchange(angle: float) -> list[Step]:
    """XX and YY by the same angle."""
    return [(qk.RXXGate(angle), (0, 1)), (qk.RYYGate(angle), (0, 1))]


def _parity(gate: Callable[[float], Any]) -> Callable[[float], list[Step]]:
    return lambda half_turns: [(gate(math.pi * half_turns), (0, 1)), *gate_modifiers.phase(math.pi * half_turns / 2)]


POWERS: Final[dict[str, Power]] = {
    "XPowGate": Power(1, _x),
    "_PauliX": Power(1, _x),
    "YPowGate": Power(1, _y),
    "_PauliY": Power(1, _y),
    "ZPowGate": Power(1, z),
    "_PauliZ": Power(1, z),
    "HPowGate": Power(1, _h),
    "CXPowGate": Power(2, _cx),
    "CNotPowGate": Power(2, _cx),
    "CYPowGate": Power(2, _cy),
    "CZPowGate": Power(2, cz),
    "SwapPowGate": Power(2, _swap),
    "ISwapPowGate": Power(2, _iswap, 4.0),
    "XXPowGate": Power(2, _parity(qk.RXXGate)),
    "YYPowGate": Power(2, _parity(qk.RYYGate)),
    "ZZPowGate": Power(2, _parity(qk.RZZGate)),
    "CCXPowGate": Power(3, _ccx),
    "CCNotPowGate": Power(3, _ccx),
    "CCYPowGate": Power(3, _ccy),
    "CCZPowGate": Power(3, _ccz),
}
