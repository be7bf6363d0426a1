# SPDX-License-Identifier: Apache-2.0
"""Measurements: each writes a new IR bit, to which a variable then refers."""

from __future__ import annotations

from collections.abc import Sequence

from qiskit.circuit import Measure

from qonduit_server.ir.classical.flow import Flow
from qonduit_server.ir.classical.values import Bits, wrong
from qonduit_server.ir.classical.variables import View
from qonduit_server.ir.formula import bit


def measure(flow: Flow, places: Sequence[int], homes: Sequence[int | None] = ()) -> Bits:
    """Measure each qubit into an IR bit not written before: the one in `homes`, or a new one."""
    formulas = []
    for k, place in enumerate(places):
        home = homes[k] if homes else None
        clbit = flow.builder.add_clbits(1)[0] if home is None else home
        if not flow.runtime_loops:  # in a loop, the bit may hold an earlier iteration's outcome
            flow.conditions.note_measured(clbit)
        flow.measurements += 1
        flow.emit(Measure(), (place,), (clbit,))
        formulas.append(bit(clbit))
    return Bits(tuple(formulas), scalar=len(formulas) == 1)


def measure_into(flow: Flow, places: Sequence[int], target: View) -> None:
    """Measure into bits of a variable."""
    if len(places) != len(target.places):
        raise wrong(f"{len(places)} qubits cannot be measured into {len(target.places)} bits")
    # An IR loop would write a home in every iteration, not only once.
    unwritten = {} if flow.runtime_loops else target.variable.homes
    measured = measure(flow, places, [unwritten.pop(place, None) for place in target.places])
    flow.conditions.write_bits(target, measured.formulas)
