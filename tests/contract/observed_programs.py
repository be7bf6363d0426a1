# SPDX-License-Identifier: Apache-2.0
"""Programs with observables, and their exact values by the density-matrix reference, which shares no code with them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

import numpy as np

from tests.corpus.noisy.cases import damping, error, flip, kraus
from tests.unit.ir import noise_reference as reference
from tests.unit.ir.noise_reference import CX, H, I, If, Kraus, Measure, Reset, X, Y, Z, gate, ry

PAULIS: Final[Mapping[str, Any]] = {"X": X, "Y": Y, "Z": Z}
S: Final[Any] = np.diag([1, 1j])
#: Products as letters by qubit, with their coefficients.
Sum = Sequence[tuple[float, Mapping[int, str]]]
PAIR: Final = [np.kron(b, a) for a in damping(0.3) for b in flip(0.1)]


class Observed(NamedTuple):
    """A program, its noise, and the same written for the reference without its final measurements.

    `readout`: the probabilities of 1 for a 0, and of 0 for a 1, by qubit. `clifford`: stabilizer simulators run it.
    """

    name: str
    program: str
    qubits: int
    operations: Sequence[Any]
    noise: Mapping[str, Any] = {}
    readout: Mapping[int, tuple[float, float]] = {}
    clifford: bool = False

    @property
    def pure(self) -> bool:
        """Whether it has one state."""
        return not self.noise and all(len(getattr(each, "operators", "12")) == 1 for each in self.operations)

    def exact(self, observable: Sum) -> float:
        """Return the value of an observable whose basis is measured with the readout errors."""
        rho = self._rho()
        total = 0.0
        for coefficient, letters in observable:
            matrix = np.eye(1)
            for qubit in range(self.qubits):
                factor = PAULIS[letters[qubit]] if qubit in letters else I
                if qubit in letters and qubit in self.readout:
                    low, high = self.readout[qubit]
                    factor = (high - low) * I + (1 - low - high) * factor
                matrix = np.kron(factor, matrix)
            total += coefficient * float(np.trace(rho @ matrix).real)
        return total

    def variance(self, observable: Sum) -> float:
        """Return the variance of one shot of an observable whose products have the same letter on each qubit."""
        squares: dict[tuple[tuple[int, str], ...], float] = {}
        for a, first in observable:
            for b, second in observable:
                both = {**first, **second}
                letters = {k: v for k, v in both.items() if not (k in first and k in second)}
                key = tuple(sorted(letters.items()))
                squares[key] = squares.get(key, 0.0) + a * b
        return self.exact([(c, dict(key)) for key, c in squares.items()]) - self.exact(observable) ** 2

    def _rho(self) -> Any:
        """Return the state as a matrix; qubit k is bit k of an index."""
        zero: Any = np.zeros((2,) * (2 * self.qubits), dtype=complex)
        zero[(0,) * (2 * self.qubits)] = 1
        rho = sum(reference.run(self.operations, {0: zero}).values())
        axes = [*range(self.qubits)[::-1], *range(self.qubits, 2 * self.qubits)[::-1]]
        return np.transpose(rho, axes).reshape(1 << self.qubits, -1)


#: Texts and what they mean: several bases, both signs, terms that share a basis, qubits in another order.
OBSERVABLES: Final[Sequence[tuple[str, Sum]]] = (
    ("1.5*X0*X1 - 0.5*Z0 + 0.25", ((1.5, {0: "X", 1: "X"}), (-0.5, {0: "Z"}), (0.25, {}))),
    ("Y2", ((1, {2: "Y"}),)),
    ("Z2*Y1 - 2*X0*Y1*Z2 + 0.3*Z1", ((1, {2: "Z", 1: "Y"}), (-2, {0: "X", 1: "Y", 2: "Z"}), (0.3, {1: "Z"}))),
    ("0.7*Z0*Z1 - 0.4*Z1 + 0.9*Z0*Z2", ((0.7, {0: "Z", 1: "Z"}), (-0.4, {1: "Z"}), (0.9, {0: "Z", 2: "Z"}))),
    ("-0.75", ((-0.75, {}),)),
)


def text(*lines: str, qubits: int = 3) -> str:
    """Return an OpenQASM 2 program with one bit a register."""
    registers = "".join(f"creg c{k}[1];" for k in range(qubits))
    return f'OPENQASM 2.0; include "qelib1.inc"; qreg q[{qubits}]; {registers}\n' + "\n".join(lines) + "\n"


def observed_programs() -> Iterator[Observed]:
    """Yield programs that distinguish mistakes: order of qubits, final measurements, feed-forward, noise, readout."""
    tilted = ["ry(0.7) q[0];", "ry(1.9) q[1];", "s q[1];", "cx q[0],q[2];", "ry(0.4) q[2];"]
    states = [gate(ry(0.7), 0), gate(ry(1.9), 1), gate(S, 1), gate(CX, 0, 2), gate(ry(0.4), 2)]
    # Final measurements into other bits: they and their order must not matter.
    yield Observed("pure", text(*tilted, "measure q[0] -> c2[0];", "measure q[2] -> c0[0];", "barrier q;"), 3, states)
    middle = ["measure q[0] -> c0[0];", "if(c0==1) ry(0.8) q[1];", "h q[0];", "measure q[1] -> c1[0];"]
    follow = [Measure(0, 0), If(lambda bits: bool(bits & 1), [gate(ry(0.8), 1)]), gate(H, 0)]
    yield Observed("feed_forward", text(*tilted, *middle), 3, [*states, *follow])
    yield Observed("reset", text(*tilted, "reset q[0];", "ry(0.3) q[0];"), 3, [*states, Reset(0), gate(ry(0.3), 0)])
    readout = {0: (0.1, 0.25), 2: (0.0, 0.2)}
    errors = [{"qubits": [k], "prob1Given0": low, "prob0Given1": high} for k, (low, high) in readout.items()]
    yield Observed("readout", text(*tilted, "measure q[0] -> c1[0];"), 3, states, {"readoutErrors": errors}, readout)
    # Channels on gates that changes of basis use too: those must stay without errors.
    channels = [error(["cx"], kraus(PAIR)), error(["h"], {"amplitudeDamping": 0.4})]
    yield Observed(
        "noise", text(*tilted, "h q[0];"), 3,
        [*states[:4], Kraus(PAIR, (0, 2)), states[4], gate(H, 0), Kraus(damping(0.4), (0,))],
        {"gateErrors": channels, "readoutErrors": errors}, readout,
    )  # fmt: skip
    noisy_middle = [
        *states[:4], Kraus(PAIR, (0, 2)), states[4], Measure(0, 0), reference.Readout(0, 0.1, 0.25),
        If(lambda bits: bool(bits & 1), [gate(ry(0.8), 1)]), gate(H, 0), Kraus(damping(0.4), (0,)),
    ]  # fmt: skip
    yield Observed(
        "noise_and_feed_forward", text(*tilted, *middle), 3, noisy_middle,
        {"gateErrors": channels, "readoutErrors": errors}, readout,
    )  # fmt: skip
    flips = {"gateErrors": [error(["cx"], {"bitFlip": 0.15})], "readoutErrors": errors}
    clifford = ["h q[0];", "s q[0];", "cx q[0],q[1];", "h q[2];", "cx q[2],q[1];"]
    flipped = [Kraus(flip(0.15), (k,)) for k in (0, 1, 2)]
    yield Observed(
        "clifford", text(*clifford), 3,
        [
            gate(H, 0), gate(S, 0), gate(CX, 0, 1), flipped[0], flipped[1],
            gate(H, 2), gate(CX, 2, 1), flipped[2], flipped[1],
        ],
        flips, readout, True,
    )  # fmt: skip
