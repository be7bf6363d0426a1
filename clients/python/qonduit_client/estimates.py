# SPDX-License-Identifier: Apache-2.0
"""The estimates of an ESTIMATOR job: arrays of NumPy, or rows without it."""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from qonduit_client.distribution import pip_install
from qonduit_client.errors import QonduitError
from qonduit_client.formatting import plural

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from qonduit_client.result import Result

#: The columns of a buffer; those of gradients follow, one for each parameter.
_COLUMNS: Final = ("value", "standard_error", "variance", "confidence_low", "confidence_high", "shots", "bounded")


class EstimateRow(NamedTuple):
    """The estimate of one observable at one point.

    Attributes:
        point: from 0.
        observable: its index, from 0.
        value: the value.
        standard_error: of the value; 0 for exact values.
        variance: of one shot.
        lower: the lower end of the confidence interval.
        upper: the upper end.
        shots: the number of shots; 0 for exact values.
        bounded: whether the standard error is a bound that holds for any state.
        gradient: the derivatives by the parameters; empty if they were not requested.
    """

    point: int
    observable: int
    value: float
    standard_error: float
    variance: float
    lower: float
    upper: float
    shots: int
    bounded: bool
    gradient: tuple[float, ...] = ()


@dataclass(frozen=True, eq=False)
class Estimate:
    """The estimates of all observables of one program at all points.

    Arrays have the shape (points, observables), and (observables,) for a job without parameter values.

    Attributes:
        job_id: the id of the job.
        program_id: the id of the program.
        values: the values.
        standard_errors: of the values; they shrink with the shots, and are 0 for exact values.
        variances: of each observable for one shot; they do not shrink with the shots.
        confidence_intervals: lower and upper ends, in a further axis of length 2.
        confidence_level: the level of these intervals.
        gradients: the derivatives of the values, in a further axis in the order of `parameters`; None if they were not
            requested.
        parameters: the names of the parameters of the gradients.
        shots: the number of shots for each value; 0 for exact values.
        bounded: whether each standard error is a bound that holds for any state, because too few shots ran.
        exact: whether the values are exact and not sampled.
        term_values: for each observable the values of its terms, in a further axis; None if they were not requested.
        partial: whether the job ended before all of its shots ran.
        meta_data: SDK and version, seed, run time, the number of groups.
    """

    job_id: int
    program_id: int
    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    variances: NDArray[np.float64]
    confidence_intervals: NDArray[np.float64]
    confidence_level: float
    gradients: NDArray[np.float64] | None
    parameters: tuple[str, ...]
    shots: NDArray[np.int64]
    bounded: NDArray[np.bool_]
    exact: bool
    term_values: list[NDArray[np.float64]] | None = None
    partial: bool = False
    meta_data: dict[str, Any] = field(default_factory=dict)

    def __repr__(self) -> str:
        """Return the values, cut if there are many."""
        import numpy as np

        shown = np.array2string(self.values, threshold=8, precision=6, separator=", ")
        how = "exact" if self.exact else plural(int(self.shots.max(initial=0)), "shot")
        return f"<Estimate of job {self.job_id}: {shown}, {how}>"


def is_estimate(result: Result) -> bool:
    """Return whether a result has the estimates of an ESTIMATOR job."""
    return result.message.HasField("expectation_values")


def estimate_of(result: Result, *, has_points: bool) -> Estimate:
    """Return the estimates of a result and of those that belong to it.

    Args:
        result: of an ESTIMATOR job; read from the server if it is large.
        has_points: whether the arrays have an axis of points.

    Raises:
        ImportError: NumPy is not installed.
        QonduitError: the result is of another job type.
    """
    _check(result)
    try:
        import numpy as np
    except ImportError:
        raise ImportError(f"estimates require NumPy, which is not installed: {pip_install('numpy')}") from None
    found = result.message.expectation_values
    shape = (found.num_points, found.num_observables) if has_points else (found.num_observables,)
    if result.message.HasField("buffer"):
        rows = _native(result.known_rows()).reshape(-1, len(_COLUMNS) + len(found.parameters))
        values, errors, variances = (rows[:, place].reshape(shape) for place in range(3))
        intervals = rows[:, 3:5].reshape(*shape, 2)
        shots, bounded = rows[:, 5].astype(np.int64), rows[:, 6] != 0
        gradients = rows[:, len(_COLUMNS) :]
    else:
        values, errors, variances = (
            np.array(each, dtype=np.float64).reshape(shape)
            for each in (found.values, found.standard_errors, found.variances)
        )
        intervals = np.array(found.confidence_intervals, dtype=np.float64).reshape(*shape, 2)
        shots, bounded = np.array(found.shots, dtype=np.int64), np.array(found.bounded, dtype=np.bool_)
        gradients = np.array(found.gradients, dtype=np.float64)
    names = tuple(found.parameters)
    return Estimate(
        job_id=result.job_id,
        program_id=result.program_id,
        values=values,
        standard_errors=errors,
        variances=variances,
        confidence_intervals=intervals,
        confidence_level=found.confidence_level,
        gradients=gradients.reshape(*shape, len(names)) if names else None,
        parameters=names,
        shots=shots.reshape(shape),
        bounded=bounded.reshape(shape),
        exact=found.exact,
        term_values=_term_values(result, shape[:-1]),
        partial=result.partial,
        meta_data=result.meta_data,
    )


def rows_of(result: Result) -> Iterator[EstimateRow]:
    """Yield the estimates of a result row by row; needs no NumPy."""
    _check(result)
    found = result.message.expectation_values
    number = found.num_observables
    for place, row in enumerate(_rows(result)):
        value, error, variance, lower, upper, shots, bounded = row[: len(_COLUMNS)]
        yield EstimateRow(
            place // number,
            place % number,
            value,
            error,
            variance,
            lower,
            upper,
            int(shots),
            bool(bounded),
            tuple(row[len(_COLUMNS) :]),
        )


def _rows(result: Result) -> Iterator[Sequence[float]]:
    found = result.message.expectation_values
    names = len(found.parameters)
    if result.message.HasField("buffer"):
        yield from struct.iter_unpack(f">{len(_COLUMNS) + names}d", result.known_rows())
        return
    ends = found.confidence_intervals
    for place in range(len(found.values)):
        yield (
            *(found.values[place], found.standard_errors[place], found.variances[place]),
            *(ends[2 * place], ends[2 * place + 1], found.shots[place], found.bounded[place]),
            *found.gradients[place * names : (place + 1) * names],
        )


def _term_values(result: Result, points: tuple[int, ...]) -> list[NDArray[np.float64]] | None:
    import numpy as np

    for each in result.further:
        if each.message.HasField("term_values"):
            found = each.message.term_values
            flat = _native(each.known_rows()) if each.message.HasField("buffer") else np.array(found.values)
            ends = np.cumsum(found.num_terms)[:-1]
            return np.split(flat.reshape(*points, sum(found.num_terms)), ends, axis=-1)
    return None


def _native(rows: bytearray) -> NDArray[np.float64]:
    """Return the numbers of rows, in the byte order of this machine."""
    import numpy as np

    return np.frombuffer(rows, dtype=">f8").astype(np.float64)


def _check(result: Result) -> None:
    if not is_estimate(result):
        raise QonduitError(
            f"result {result.id} of job {result.job_id} has no estimates: only jobs of the type ESTIMATOR have them"
        )
