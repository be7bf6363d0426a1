# SPDX-License-Identifier: Apache-2.0
"""Qubits of Cirq's JSON: their identity and Cirq's order."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from typing import Final, TypeAlias

from qonduit_server.languages.cirq.gate_parts import check_dimension, kind_of, unknown
from qonduit_server.languages.json_text import mapping, shown, text, wrong

#: A comparable key of a qubit; keys sort as in Cirq: grid, line, names, independent of the class.
Qubit: TypeAlias = tuple[int | str, ...]
_GRID: Final = 0


def qubit(node: object) -> Qubit:
    """Return the key of a qubit, or of a qudit with two levels.

    Raises:
        ProgramError: it has more levels, or is of an unknown kind.
    """
    kind = kind_of(node, "a qubit")
    fields = mapping(node, "a qubit")
    if kind.endswith("Qid"):
        check_dimension(fields)
    match kind:
        case "LineQubit" | "LineQid":
            return (1, _whole(fields.get("x")))
        case "GridQubit" | "GridQid":
            return (_GRID, _whole(fields.get("row")), _whole(fields.get("col")))
        case "NamedQubit" | "NamedQid":
            name = text(fields.get("name"), "a qubit's name")
            return (2, _padded(name), name)
    raise unknown(kind)


def grid_names(qubits: Sequence[Qubit]) -> tuple[str, ...]:
    """Return the names of qubits that are all on a grid, "4_1" for row 4 and column 1; for others none."""
    if any(each[0] != _GRID for each in qubits):
        return ()
    return tuple(f"{row}_{column}" for _, row, column in qubits)


def _whole(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool):
        raise wrong(f"a qubit's place is {shown(value)}, not a whole number")
    return value


def _padded(name: str) -> str:
    """Return the sort key of a name: q2 comes before q10, and q2 before q02."""
    runs = ((digits, "".join(run)) for digits, run in groupby(name, str.isdigit))
    return "".join(f"{run:0>8}:{len(run)}" if digits else run for digits, run in runs)
