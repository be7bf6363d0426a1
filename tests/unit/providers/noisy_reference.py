# SPDX-License-Identifier: Apache-2.0
"""Exact distributions of small noisy circuits: dense matrices on all qubits, one density matrix for each record.

Programs are lists of plain tuples. Qubit 0 is the lowest bit of every index, as is the first qubit of an operation.
"""

from __future__ import annotations

from typing import Any

import numpy as np

Matrix = np.ndarray[Any, Any]
#: ("kraus", matrices, qubits) | ("measure", qubit, clbit) | ("reset", qubit) | ("readout", clbit, p10, p01)
#: | ("if", clbit, program) | ("while", clbit, program)
Program = list[tuple[Any, ...]]
_LEAST = 1e-12


def whole(matrix: Matrix, places: tuple[int, ...], qubits: int) -> Matrix:
    """The matrix on all qubits, entry by entry."""
    size = 1 << qubits
    rest = [qubit for qubit in range(qubits) if qubit not in places]
    found = np.zeros((size, size), dtype=complex)
    for row in range(size):
        for column in range(size):
            if any((row ^ column) >> qubit & 1 for qubit in rest):
                continue
            at = [sum((index >> place & 1) << k for k, place in enumerate(places)) for index in (row, column)]
            found[row, column] = matrix[at[0], at[1]]
    return found


def distribution(program: Program, qubits: int) -> dict[int, float]:
    """The probability of each record; bit k is classical bit k."""
    rho = np.zeros((1 << qubits, 1 << qubits), dtype=complex)
    rho[0, 0] = 1
    ends = _run(program, qubits, {0: rho})
    return {bits: float(np.trace(end).real) for bits, end in ends.items() if np.trace(end).real > _LEAST}


def _run(program: Program, qubits: int, states: dict[int, Matrix]) -> dict[int, Matrix]:
    for step in program:
        states = _step(step, qubits, states)
    return states


def _step(step: tuple[Any, ...], qubits: int, states: dict[int, Matrix]) -> dict[int, Matrix]:
    kind = step[0]
    if kind == "while":
        done: dict[int, Matrix] = {}
        while states:
            _add_all(done, {bits: rho for bits, rho in states.items() if not bits >> step[1] & 1})
            states = {b: r for b, r in states.items() if b >> step[1] & 1 and np.trace(r).real > _LEAST}
            states = _run(step[2], qubits, states)
        return done
    found: dict[int, Matrix] = {}
    for bits, rho in states.items():
        if kind == "if":
            _add_all(found, _run(step[2], qubits, {bits: rho}) if bits >> step[1] & 1 else {bits: rho})
        elif kind == "readout":
            p = step[3] if bits >> step[1] & 1 else step[2]
            _add_all(found, {bits: (1 - p) * rho})
            _add_all(found, {bits ^ 1 << step[1]: p * rho})
        elif kind == "measure":
            for value in (0, 1):
                projector = whole(np.diag([1 - value, value]), (step[1],), qubits)
                _add_all(found, {bits & ~(1 << step[2]) | value << step[2]: projector @ rho @ projector})
        else:
            kraus = step[1] if kind == "kraus" else [np.diag([1, 0]), np.array([[0, 1], [0, 0]])]
            full = [whole(each, step[2] if kind == "kraus" else (step[1],), qubits) for each in kraus]
            _add_all(found, {bits: sum(each @ rho @ each.conj().T for each in full)})
    return found


def _add_all(found: dict[int, Matrix], more: dict[int, Matrix]) -> None:
    for bits, rho in more.items():
        found[bits] = found[bits] + rho if bits in found else rho
