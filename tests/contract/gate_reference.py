# SPDX-License-Identifier: Apache-2.0
"""The matrices of gates by their textbook formulas, and exact distributions made of them. It imports no quantum SDK.

A matrix counts its first qubit as the highest bit.
"""

from __future__ import annotations

import cmath
import math
from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = NDArray[np.complex128]
#: A matrix, and the qubits that it is applied to.
Step: TypeAlias = tuple[Matrix, Sequence[int]]

I2, X, Y, Z = (
    np.array(rows, dtype=np.complex128)
    for rows in ([[1, 0], [0, 1]], [[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]])
)
H = (X + Z) / math.sqrt(2)
SX = ((1 + 1j) * I2 + (1 - 1j) * X) / 2
SWAP = np.eye(4, dtype=np.complex128)[[0, 2, 1, 3]]


def controlled(matrix: Matrix, controls: int = 1) -> Matrix:
    """Return the matrix with this number of control qubits before its own."""
    size = len(matrix)
    found = np.eye(size << controls, dtype=np.complex128)
    found[-size:, -size:] = matrix
    return found


def turn(generator: Matrix, angle: float) -> Matrix:
    """Return exp(-i angle generator / 2) of a generator whose square is 1."""
    return np.asarray(math.cos(angle / 2) * np.eye(len(generator)) - 1j * math.sin(angle / 2) * generator)


def phase(angle: float) -> Matrix:
    return np.diag([1, cmath.exp(1j * angle)])


def u(theta: float, phi: float, lam: float) -> Matrix:
    """Return OpenQASM's U, as OpenQASM 3 defines it with U(0, 0, lam) = phase(lam)."""
    cosine, sine = math.cos(theta / 2), math.sin(theta / 2)
    return np.array(
        [
            [cosine, -cmath.exp(1j * lam) * sine],
            [cmath.exp(1j * phi) * sine, cmath.exp(1j * (phi + lam)) * cosine],
        ]
    )


def r(theta: float, phi: float) -> Matrix:
    """Return the rotation by theta around the axis at phi in the plane of X and Y."""
    return turn(math.cos(phi) * X + math.sin(phi) * Y, theta)


def run(qubits: int, steps: Sequence[Step], state: NDArray[Any] | None = None) -> NDArray[np.complex128]:
    """Return the state after steps; qubit 0 is the highest bit of an amplitude's number."""
    if state is None:
        state = np.eye(1, 1 << qubits, dtype=np.complex128)[0]
    state = state.reshape((2,) * qubits)
    for matrix, places in steps:
        size = len(places)
        tensor = matrix.reshape((2,) * 2 * size)
        state = np.moveaxis(np.tensordot(tensor, state, (range(size, 2 * size), list(places))), range(size), places)
    return np.asarray(state.reshape(-1))


def composed(qubits: int, *steps: Step) -> Matrix:
    """Return the matrix of steps on qubits."""
    columns = [run(qubits, steps, state) for state in np.eye(1 << qubits, dtype=np.complex128)]
    return np.array(columns).T


def rccx() -> Matrix:
    """Return the Toffoli gate up to phases, as OpenQASM 2's qelib1.inc defines it."""
    t, cx = phase(math.pi / 4), controlled(X)
    steps = [(H, [2]), (t, [2]), (cx, [1, 2]), (t.conj(), [2]), (cx, [0, 2]), (t, [2]), (cx, [1, 2]), (t.conj(), [2])]
    return composed(3, *steps, (H, [2]))


def constant(matrix: Matrix) -> Callable[[], Matrix]:
    return lambda: matrix


#: By the gate's name in Qiskit, which the names of the internal circuit are.
MATRICES: dict[str, Callable[..., Matrix]] = {
    "id": constant(I2), "x": constant(X), "y": constant(Y), "z": constant(Z), "h": constant(H),
    "s": constant(phase(math.pi / 2)), "sdg": constant(phase(-math.pi / 2)),
    "t": constant(phase(math.pi / 4)), "tdg": constant(phase(-math.pi / 4)),
    "sx": constant(SX), "sxdg": constant(SX.conj().T),
    "p": phase, "u1": phase, "u": u, "u3": u, "u2": lambda phi, lam: u(math.pi / 2, phi, lam), "r": r,
    "rx": lambda a: turn(X, a), "ry": lambda a: turn(Y, a), "rz": lambda a: turn(Z, a),
    "cx": constant(controlled(X)), "cy": constant(controlled(Y)), "cz": constant(controlled(Z)),
    "ch": constant(controlled(H)), "csx": constant(controlled(SX)),
    "cs": constant(controlled(phase(math.pi / 2))), "csdg": constant(controlled(phase(-math.pi / 2))),
    "cp": lambda a: controlled(phase(a)), "cu1": lambda a: controlled(phase(a)),
    "crx": lambda a: controlled(turn(X, a)), "cry": lambda a: controlled(turn(Y, a)),
    "crz": lambda a: controlled(turn(Z, a)),
    "cu3": lambda *a: controlled(u(*a)), "cu": lambda a, b, c, d: controlled(cmath.exp(1j * d) * u(a, b, c)),
    "swap": constant(SWAP), "iswap": constant(SWAP @ np.diag([1, 1j, 1j, 1])),
    "dcx": constant(composed(2, (controlled(X), [0, 1]), (controlled(X), [1, 0]))),
    "ecr": constant((np.kron(X, I2) - np.kron(Y, X)) / math.sqrt(2)),
    "rxx": lambda a: turn(np.kron(X, X), a), "ryy": lambda a: turn(np.kron(Y, Y), a),
    "rzz": lambda a: turn(np.kron(Z, Z), a), "rzx": lambda a: turn(np.kron(Z, X), a),
    "ccx": constant(controlled(X, 2)), "ccz": constant(controlled(Z, 2)), "cswap": constant(controlled(SWAP)),
    "rccx": rccx, "mcx": constant(controlled(X, 3)), "c3sx": constant(controlled(SX, 3)),
    "mcphase": lambda a: controlled(phase(a), 3),
}  # fmt: skip


def distribution(qubits: int, steps: Sequence[Step]) -> dict[int, float]:
    """Return the probability of each outcome; bit k of an outcome is qubit k."""
    probabilities = np.abs(run(qubits, steps)) ** 2
    return {int(f"{place:0{qubits}b}"[::-1], 2): float(each) for place, each in enumerate(probabilities)}
