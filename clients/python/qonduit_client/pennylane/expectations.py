# SPDX-License-Identifier: Apache-2.0
"""Tapes whose measurements a server estimates: their observables, values and derivatives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from pennylane.exceptions import DeviceError
from pennylane.measurements import ExpectationMP, VarianceMP
from pennylane.ops import MidMeasure
from pennylane.tape import QuantumScript

from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit_client.observables import observables_of
from qonduit_client.pennylane.pennylane_gates import is_channel
from qonduit_client.pennylane.tape_programs import Program

#: Imaginary parts up to this are rounding errors.
_ROUNDING: Final = 1e-12


def is_estimated(tape: QuantumScript, program: Program, readout_prob: float) -> bool:
    """Return whether a server's estimator gives what the measurements of a tape are.

    Args:
        tape: on wires 0, 1, 2 ...
        program: its operations.
        readout_prob: the probability that a measured bit is flipped.
    """
    if not tape.measurements or not program.wires or program.selected or program.mid_circuit or readout_prob:
        return False
    if tape.shots.has_partitioned_shots or (program.noisy and not tape.shots):
        return False
    return all(_is_sum(each, exact=not tape.shots) for each in tape.measurements)


def is_differentiable(tape: QuantumScript) -> bool:
    """Return whether a server differentiates the measurements of a tape, once it is decomposed."""
    return (
        not tape.shots
        and bool(tape.measurements)
        and all(isinstance(each, ExpectationMP) and _is_sum(each, exact=True) for each in tape.measurements)
        and not any(is_channel(op) or isinstance(op, MidMeasure) or op.name == "Projector" for op in tape.operations)
    )


def estimator_of(tape: QuantumScript, *, gradient: bool = False) -> EstimatorOptions:
    """Return the options with the observables of a tape's measurements."""
    options = EstimatorOptions(exact=not tape.shots, gradient=gradient)
    options.observables.extend(observables_of([each.obs.pauli_rep for each in tape.measurements]))
    return options


def from_values(tape: QuantumScript, values: NDArray[np.float64]) -> Any:
    """Return the measurements of a tape from the values of their observables."""
    found = []
    for measurement, value in zip(tape.measurements, values, strict=True):
        if isinstance(measurement, VarianceMP):  # of one product: its square is the square of its coefficient
            (coefficient,) = measurement.obs.pauli_rep.values()
            value = max(0.0, np.real(coefficient) ** 2 - value**2)
        found.append(np.float64(value))
    return found[0] if len(found) == 1 else tuple(found)


def trainable_angles(tape: QuantumScript, program: Program) -> list[int | None]:
    """Return the place of the angle of each trainable parameter; None for those that no value depends on.

    Raises:
        DeviceError: a parameter is no angle of a gate.
    """
    found: list[int | None] = []
    for parameter in tape.trainable_params:
        if parameter >= len(program.parameters):  # of an observable: constant, as for PennyLane's adjoint method
            found.append(None)
            continue
        place = program.parameters[parameter]
        if place is None and (name := tape.par_info[parameter]["op"].name) != "GlobalPhase":
            raise DeviceError(
                f"the device computes no derivative by a parameter of {name}: use diff_method='parameter-shift'"
            )
        found.append(place)
    return found


def from_gradients(tape: QuantumScript, gradients: NDArray[np.float64], places: Sequence[int | None]) -> Any:
    """Return the Jacobian of a tape in PennyLane's form.

    Args:
        tape: with trainable parameters.
        gradients: observables x trainable angles.
        places: of `trainable_angles`.
    """
    columns = {place: column for column, place in enumerate(distinct(places))}
    rows = []
    for row in gradients:
        own = tuple(np.array(0.0 if place is None else row[columns[place]]) for place in places)
        rows.append(own[0] if len(own) == 1 else own)
    return rows[0] if len(rows) == 1 else tuple(rows)


def distinct(places: Sequence[int | None]) -> tuple[int, ...]:
    """Return the places of angles without None."""
    return tuple(place for place in places if place is not None)


def _is_sum(measurement: Any, *, exact: bool) -> bool:
    """Return whether a measurement is the expectation of a real sum of Pauli products, or the variance of one."""
    if not isinstance(measurement, ExpectationMP | VarianceMP) or measurement.mv is not None or measurement.obs is None:
        return False
    terms = measurement.obs.pauli_rep
    if not terms or any(abs(np.imag(coefficient)) > _ROUNDING for coefficient in terms.values()):
        return False
    return isinstance(measurement, ExpectationMP) or (exact and len(terms) == 1)
