# SPDX-License-Identifier: Apache-2.0
"""Encodes the estimates of an ESTIMATOR job: entries in the message, or rows in a buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from qonduit.v1.result_pb2 import Result, ResultType
from qonduit_server.errors import LimitError
from qonduit_server.worker.result_encoding import fits_message, into_buffer, number_columns

if TYPE_CHECKING:
    from numpy.typing import NDArray

_COLUMNS = ("value", "standard_error", "variance", "confidence_low", "confidence_high", "shots", "bounded")
_NUMBER_BYTES = 8


@dataclass
class EstimateTable:
    """The estimates of all observables at all points; arrays are points x observables.

    Args:
        values: the values.
        standard_errors: of the values.
        variances: of one shot.
        lower: the lower ends of the confidence intervals.
        upper: the upper ends.
        shots: for each value.
        bounded: whether a standard error is an a-priori bound.
        gradients: points x observables x parameters; None if they were not requested.
        terms: points x terms of all observables; None if they were not requested.
    """

    values: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    variances: NDArray[np.float64]
    lower: NDArray[np.float64]
    upper: NDArray[np.float64]
    shots: NDArray[np.int64]
    bounded: NDArray[np.bool_]
    gradients: NDArray[np.float64] | None = None
    terms: NDArray[np.float64] | None = None

    @classmethod
    def empty(cls, points: int, observables: int, parameters: int | None, terms: int | None) -> EstimateTable:
        """Return estimates of a size, to be filled in."""
        shape = (points, observables)
        values, errors, variances, lower, upper = (np.zeros(shape) for _ in range(5))
        return cls(
            values,
            errors,
            variances,
            lower,
            upper,
            np.zeros(shape, dtype=np.int64),
            np.zeros(shape, dtype=np.bool_),
            None if parameters is None else np.zeros((*shape, parameters)),
            None if terms is None else np.zeros((points, terms)),
        )

    def part(self, first: int, end: int) -> EstimateTable:
        """Return the estimates of a range of points."""
        own = slice(first, end)
        return EstimateTable(
            self.values[own],
            self.standard_errors[own],
            self.variances[own],
            self.lower[own],
            self.upper[own],
            self.shots[own],
            self.bounded[own],
            None if self.gradients is None else self.gradients[own],
            None if self.terms is None else self.terms[own],
        )


def check_estimates(points: int, observables: int, parameters: int, max_bytes: int) -> None:
    """Reject estimates that are too large, before they are computed.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    size = points * observables * (len(_COLUMNS) + parameters) * _NUMBER_BYTES
    if max_bytes and size > max_bytes:
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the estimates of {observables} observables at {points} points have {size} bytes, and a result may have "
            f"at most {max_bytes} (max_result_bytes): use fewer points or observables, or several jobs",
        )


def encode_estimates(
    result: Result, estimates: EstimateTable, exact: bool, level: float, parameters: Sequence[str]
) -> bytes:
    """Fill in a result's estimates, or refer to rows; return the rows.

    Args:
        result: already has all other fields.
        estimates: of all points.
        exact: whether they are exact.
        level: of the confidence intervals.
        parameters: the names of the parameters of the gradients.
    """
    points, observables = estimates.values.shape
    result.result_type = ResultType.RESULT_TYPE_EXPECTATION_VALUES
    member = result.expectation_values
    member.exact, member.confidence_level = exact, level
    member.num_points, member.num_observables = points, observables
    if estimates.gradients is not None:
        member.parameters.extend(parameters)
    _fill(result, estimates)
    if fits_message(result):
        return b""
    for field in ("values", "standard_errors", "variances", "gradients", "shots", "confidence_intervals", "bounded"):
        member.ClearField(field)
    columns = [
        estimates.values,
        estimates.standard_errors,
        estimates.variances,
        estimates.lower,
        estimates.upper,
        estimates.shots,
        estimates.bounded,
    ]
    rows = np.stack([each.reshape(-1).astype(np.float64) for each in columns], axis=1)
    names = list(_COLUMNS)
    if estimates.gradients is not None:
        rows = np.concatenate([rows, estimates.gradients.reshape(points * observables, -1)], axis=1)
        names += [f"gradient {name}" for name in parameters]
    return into_buffer(result, number_columns(*names), rows.astype(">f8").tobytes(), rows.shape[1] * _NUMBER_BYTES)


def encode_terms(result: Result, terms: NDArray[np.float64], sizes: Sequence[int], max_bytes: int) -> bytes:
    """Fill in the values of single terms, or refer to rows; return the rows.

    Args:
        result: already has all other fields.
        terms: points x terms of all observables.
        sizes: the number of terms of each observable.
        max_bytes: maximum size of the rows; 0 means no limit.

    Raises:
        LimitError: reason RESULT_TOO_LARGE.
    """
    result.result_type = ResultType.RESULT_TYPE_TERM_VALUES
    member = result.term_values
    member.num_terms.extend(sizes)
    if max_bytes and terms.nbytes > max_bytes:
        raise LimitError(
            "RESULT_TOO_LARGE",
            f"the values of terms have {terms.nbytes} bytes, and a result may have at most {max_bytes} "
            "(max_result_bytes): submit the job without estimator.per_term",
        )
    member.values.extend(terms.reshape(-1).tolist())
    if fits_message(result):
        return b""
    member.ClearField("values")
    return into_buffer(result, number_columns("value"), terms.astype(">f8").tobytes(), _NUMBER_BYTES)


def _fill(result: Result, estimates: EstimateTable) -> None:
    member = result.expectation_values
    member.values.extend(estimates.values.reshape(-1).tolist())
    member.standard_errors.extend(estimates.standard_errors.reshape(-1).tolist())
    member.variances.extend(estimates.variances.reshape(-1).tolist())
    member.shots.extend(estimates.shots.reshape(-1).tolist())
    member.bounded.extend(estimates.bounded.reshape(-1).tolist())
    ends = np.stack([estimates.lower, estimates.upper], axis=-1)
    member.confidence_intervals.extend(ends.reshape(-1).tolist())
    if estimates.gradients is not None:
        member.gradients.extend(estimates.gradients.reshape(-1).tolist())
