# SPDX-License-Identifier: Apache-2.0
"""Programs for Google's processors before they are placed on one: gates of Cirq on line qubits, and their JSON."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import cirq

#: Marks what the compiler must leave alone and not merge across.
FIXED: Final = "fixed"
#: The largest number of qubits of a gate.
PAIR: Final = 2


@dataclass(frozen=True)
class ProcessorProgram:
    """A program in gates for one and two qubits.

    Args:
        operations: on line qubits, in order. Its measurements have the keys "0", "1", ...
        clbits: the classical bit of each measurement; None if a later one writes the same bit.
        qubits: how many the program has.
        names: the processor's names of its qubits, "4_1" for row 4 and column 1; empty if it has none.
    """

    operations: Sequence[Any]
    clbits: Sequence[int | None]
    qubits: int
    names: Sequence[str] = ()


def to_text(program: ProcessorProgram) -> str:
    """Return a program as JSON, without its classical bits."""
    own = {"qubits": program.qubits, "names": list(program.names)}
    return json.dumps({**own, "operations": json.loads(cirq.to_json(list(program.operations), indent=None))})


def from_text(text: str, clbits: Sequence[int | None]) -> ProcessorProgram:
    """Return the program of a text of `to_text`."""
    found = json.loads(text)
    operations = cirq.read_json(json_text=json.dumps(found["operations"]))
    return ProcessorProgram(operations, clbits, found["qubits"], found["names"])
