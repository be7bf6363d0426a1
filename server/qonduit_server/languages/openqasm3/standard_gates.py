# SPDX-License-Identifier: Apache-2.0
"""The standard gates of OpenQASM 3, which programs use without defining them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from qiskit.circuit import Gate
from qiskit.circuit import library as qk

from qonduit_server.ir.controls import Step


@dataclass(frozen=True)
class Library:
    """A standard gate: its numbers of parameters and qubits, and its IR gate."""

    parameters: int
    qubits: int
    make: Callable[..., Gate | list[Step]]
    #: The phase by which the language's definition differs from the IR gate.
    phase: Callable[..., float] | None = None

    def steps(self, parameters: Sequence[float]) -> list[Step]:
        """Return the steps of the gate with these parameters."""
        made = self.make(*parameters)
        steps = [*made] if isinstance(made, list) else [(made, tuple(range(self.qubits)))]
        if self.phase is not None and (phase := self.phase(*parameters)):
            steps.append((qk.GlobalPhaseGate(phase), ()))
        return steps


#: Built-in gates. U's phase is that of OpenQASM 3, in which U(a, b, c) is exp(i a / 2) times the IR's.
BUILTIN: Final[dict[str, Library]] = {
    "U": Library(3, 1, qk.UGate, lambda theta, phi, lam: theta / 2),
}
#: Gates of stdgates.inc.
STANDARD: Final[dict[str, Library]] = {
    "p": Library(1, 1, qk.PhaseGate),
    "phase": Library(1, 1, qk.PhaseGate),
    "u1": Library(1, 1, qk.U1Gate),
    "u2": Library(2, 1, qk.U2Gate, lambda phi, lam: -(phi + lam) / 2),
    "u3": Library(3, 1, qk.U3Gate, lambda theta, phi, lam: -(phi + lam) / 2),
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
#: Gates that exporters use as if they were in stdgates.inc.
EXTRA: Final[dict[str, Library]] = {
    "sxdg": Library(0, 1, qk.SXdgGate),
    "u": Library(3, 1, qk.UGate),
    "r": Library(2, 1, qk.RGate),
    "csx": Library(0, 2, qk.CSXGate),
    "cu1": Library(1, 2, qk.CU1Gate),
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
