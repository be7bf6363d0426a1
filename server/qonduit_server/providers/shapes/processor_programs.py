# SPDX-License-Identifier: Apache-2.0
"""Programs for Google's processors before they are placed on one, their JSON, and what they measure."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cirq
import numpy as np
from numpy.typing import NDArray

from qonduit_server.providers.simulation.sampling import count_rows

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


def counts_of(measured: Mapping[str, NDArray[np.bool_]], clbits: Sequence[int | None]) -> dict[int, int]:
    """Return the counts of outcomes: bit k of an outcome is classical bit k.

    Args:
        measured: for each key of a measurement, one row with one bit for each shot.
        clbits: the classical bit of each measurement; see `ProcessorProgram`.
    """
    kept = sorted((clbit, str(key)) for key, clbit in enumerate(clbits) if clbit is not None)
    rows = np.concatenate([measured[key] for _, key in kept], axis=1)
    counts: dict[int, int] = {}
    for row, number in count_rows(np.packbits(rows.astype(np.bool_), axis=1, bitorder="little")).items():
        outcome = sum((row >> place & 1) << clbit for place, (clbit, _) in enumerate(kept))
        counts[outcome] = counts.get(outcome, 0) + number
    return counts


def in_order(circuit: Any) -> Any:
    """Return a circuit with the operations of each moment in the order of qubits.

    Cirq leaves them in that of sets, which differs from process to process, and a seed gives other shots then.
    """
    return cirq.Circuit(cirq.Moment(sorted(moment, key=lambda each: each.qubits)) for moment in circuit)
