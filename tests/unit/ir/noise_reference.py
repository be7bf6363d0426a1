# SPDX-License-Identifier: Apache-2.0
"""Exact distributions of noisy programs, by density matrices: an interpreter that shares no code with the server.

A program is a list of plain operations. The state is an unnormalised density matrix for each value of the classical
bits; its trace is the probability of that value. Bit k of the index of a matrix is the operation's qubit k.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import numpy as np

Matrix: TypeAlias = np.ndarray[Any, Any]
#: Density matrices by the value of the classical bits: axis k is the row of qubit k, axis n + k its column.
State: TypeAlias = dict[int, Matrix]

#: Values of the classical bits below this probability are dropped, and loops end there.
LEAST: Final = 1e-13


@dataclass(frozen=True)
class Kraus:
    """A channel; a gate is a channel with one operator."""

    operators: Sequence[Matrix]
    qubits: Sequence[int]


@dataclass(frozen=True)
class Measure:
    """Measures a qubit into a bit."""

    qubit: int
    bit: int


@dataclass(frozen=True)
class Readout:
    """Flips a bit with a probability that depends on it."""

    bit: int
    prob_1_given_0: float
    prob_0_given_1: float


@dataclass(frozen=True)
class Reset:
    """Puts a qubit into |0>."""

    qubit: int


@dataclass(frozen=True)
class Assign:
    """Sets a bit to what a function of all bits gives."""

    bit: int
    value: Callable[[int], bool]


@dataclass(frozen=True)
class If:
    """One of two bodies."""

    condition: Callable[[int], bool]
    then: Sequence[Any]
    otherwise: Sequence[Any] = ()


@dataclass(frozen=True)
class While:
    """A body as long as a condition holds."""

    condition: Callable[[int], bool]
    body: Sequence[Any]


I: Final[Matrix] = np.eye(2, dtype=complex)  # noqa: E741 - its name in textbooks
X: Final = np.array([[0, 1], [1, 0]], dtype=complex)
Y: Final = np.array([[0, -1j], [1j, 0]])
Z: Final[Matrix] = np.diag([1, -1]).astype(complex)
H: Final = np.array([[1, 1], [1, -1]], dtype=complex) / np.sqrt(2)
#: Controlled by qubit 0.
CX: Final = np.array([[1, 0, 0, 0], [0, 0, 0, 1], [0, 0, 1, 0], [0, 1, 0, 0]], dtype=complex)


def ry(angle: float) -> Matrix:
    """Return a rotation about the y axis."""
    c, s = np.cos(angle / 2), np.sin(angle / 2)
    matrix: Matrix = np.array([[c, -s], [s, c]], dtype=complex)
    return matrix


def gate(matrix: Matrix, *qubits: int) -> Kraus:
    """Return a gate."""
    return Kraus((matrix,), qubits)


def distribution(qubits: int, operations: Sequence[Any]) -> dict[int, float]:
    """Return the probability of each value of the classical bits, without those below 1e-12."""
    rho: Matrix = np.zeros((2,) * (2 * qubits), dtype=complex)
    rho[(0,) * (2 * qubits)] = 1
    ends = run(operations, {0: rho})
    return {bits: p for bits, end in ends.items() if (p := trace(end)) > 1e-12}


def trace(rho: Matrix) -> float:
    """Return the trace of a density matrix."""
    side = 1 << (rho.ndim // 2)
    return float(np.trace(rho.reshape(side, side)).real)


def run(operations: Sequence[Any], state: State) -> State:
    """Do operations one after another."""
    for operation in operations:
        state = _step(operation, state)
    return state


def _step(operation: Any, state: State) -> State:
    if isinstance(operation, Kraus):
        return {bits: channel(operation.operators, operation.qubits, rho) for bits, rho in state.items()}
    if isinstance(operation, Reset):
        lower = np.array([[0, 1], [0, 0]])
        return _step(Kraus((np.diag([1, 0]), lower), (operation.qubit,)), state)
    after: State = {}
    if isinstance(operation, While):
        while state:
            for bits in [each for each in state if not operation.condition(each)]:
                _add(after, bits, state.pop(bits))
            state = run(operation.body, state)
        return after
    for bits, rho in state.items():
        for end, part in _branches(operation, bits, rho):
            _add(after, end, part)
    return after


def _branches(operation: Any, bits: int, rho: Matrix) -> Iterator[tuple[int, Matrix]]:
    """Yield what becomes of one value of the classical bits."""
    match operation:
        case Measure():
            for value in (0, 1):
                projected = channel((np.diag([1 - value, value]),), (operation.qubit,), rho)
                yield _put(bits, operation.bit, value), projected
        case Readout():
            value = bits >> operation.bit & 1
            wrong = operation.prob_0_given_1 if value else operation.prob_1_given_0
            yield bits, (1 - wrong) * rho
            yield bits ^ 1 << operation.bit, wrong * rho
        case Assign():
            yield _put(bits, operation.bit, int(operation.value(bits))), rho
        case If():
            body = operation.then if operation.condition(bits) else operation.otherwise
            yield from run(body, {bits: rho}).items()
        case _:
            raise TypeError(operation)


def channel(operators: Sequence[Matrix], qubits: Sequence[int], rho: Matrix) -> Matrix:
    """Return the sum of K rho K^dagger."""
    half = rho.ndim // 2
    rows, columns = list(qubits), [half + qubit for qubit in qubits]
    return sum(
        (_multiply(np.conj(each), _multiply(np.asarray(each), rho, rows), columns) for each in operators),
        start=np.zeros_like(rho),
    )


def _multiply(matrix: Matrix, rho: Matrix, axes: Sequence[int]) -> Matrix:
    """Multiply some axes of a tensor by a matrix; the first axis is the lowest bit of its index."""
    number = len(axes)
    backward = list(axes)[::-1]
    tensor = matrix.reshape((2,) * (2 * number))
    product = np.tensordot(tensor, rho, axes=(list(range(number, 2 * number)), backward))
    return np.moveaxis(product, list(range(number)), backward)


def _put(bits: int, place: int, value: int) -> int:
    return bits & ~(1 << place) | value << place


def _add(state: State, bits: int, rho: Matrix) -> None:
    if trace(rho) > LEAST:
        state[bits] = state[bits] + rho if bits in state else rho
