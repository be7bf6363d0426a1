# SPDX-License-Identifier: Apache-2.0
"""Evaluates observables at the points of circuits: exactly, with given shots, or to a precision."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, NamedTuple

import numpy as np

from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit_server.estimation.allocation import pilot_shots, second_stage
from qonduit_server.estimation.exact_values import expectation, from_distribution
from qonduit_server.estimation.grouping import GroupTerm
from qonduit_server.estimation.statistics import Estimates, estimates
from qonduit_server.estimation.term_values import term_values
from qonduit_server.providers.provider import program_seed
from qonduit_server.worker.circuit_outcomes import round_seed, rounds
from qonduit_server.worker.estimator_results import EstimateTable
from qonduit_server.worker.observed_program import ObservedCircuits

if TYPE_CHECKING:
    from numpy.typing import NDArray

#: The circuits of one call of the provider. Fixed, because Aer's seeds within a call depend on its other circuits.
_CIRCUITS: Final = 64
DEFAULT_LEVEL: Final = 0.95


class ExactValues(NamedTuple):
    """The state at a point, with the values and the variances of the observables."""

    state: NDArray[np.complex128]
    values: NDArray[np.float64]
    variances: NDArray[np.float64]


class Evaluation:
    """The evaluation of observables at all points of circuits.

    Args:
        circuits: the circuits.
        options: of the estimator.
        shots: of each circuit; with a precision, the maximum of a point.
        seed: of the first circuit.
        table: is filled in.
        stop_at: the standard error at which a point ends before all its shots ran; 0 for none.
        looked: called with a point whose estimates are preliminary.
        exact_values: yields those at points, if they are not to come from the device.

    Attributes:
        meta_data: about the first run.
        stopped: whether a point ended before all its shots ran.
    """

    def __init__(
        self,
        circuits: ObservedCircuits,
        options: EstimatorOptions,
        shots: int,
        seed: int | None,
        table: EstimateTable,
        stop_at: float = 0.0,
        looked: Callable[[int], object] = lambda _: None,
        exact_values: Callable[[Sequence[int]], Iterator[ExactValues]] | None = None,
    ) -> None:
        self._exact_values = exact_values or self._of_device
        self._stop_at = stop_at
        self._looked = looked
        self._circuits = circuits
        self._options = options
        self._shots = shots
        self._seed = seed
        self._table = table
        self._sizes = [len(each.coefficients) for each in circuits.sums]
        self._starts = np.concatenate([[0], np.cumsum(self._sizes)])
        self.level: float = options.confidence_level if options.HasField("confidence_level") else DEFAULT_LEVEL
        self.meta_data: dict[str, object] = {}
        self.stopped = False

    def run(self) -> Iterator[int]:
        """Fill in the table; yield each point that is done, in order."""
        points = range(len(self._circuits.points))
        if self._options.exact:
            for first in range(0, len(points), _CIRCUITS):
                yield from self._exact(points[first : first + _CIRCUITS])
        elif self._options.HasField("precision"):
            for point in points:
                self._record(point, self._reach(point))
                yield point
        elif self._stop_at:
            for point in points:
                self._record(point, self._until_stopped(point))
                yield point
        else:
            yield from self._sampled()

    # ---- exact values

    def _exact(self, points: range) -> Iterator[int]:
        """Fill in the rows of points; yield each."""
        circuits, table = self._circuits, self._table
        if not circuits.state:
            self.meta_data = {"method": "exact probabilities"}
            self._evaluate_groups(points)
            yield from points
            return
        self.meta_data = {"method": "statevector"}
        for point, found in zip(points, self._exact_values(points), strict=True):
            table.values[point], table.variances[point] = found.values, found.variances
            table.lower[point] = table.upper[point] = found.values
            if table.terms is not None:
                table.terms[point] = np.concatenate(term_values(found.state, circuits.sums))
            yield point

    def _of_device(self, points: Sequence[int]) -> Iterator[ExactValues]:
        for state in self._circuits.statevectors(points):
            yield ExactValues(state, *expectation(state, self._circuits.sums))

    def _evaluate_groups(self, points: range) -> None:
        """Fill in the rows of points, one group after another, so that the circuits of a group stand together."""
        grouping, table = self._circuits.grouping, self._table
        rows = slice(points.start, points.stop)
        table.values[rows] = grouping.constants
        for place, group in enumerate(grouping.groups):
            for point, distribution in zip(points, self._circuits.distributions(points, place), strict=True):
                moments = from_distribution(distribution, group, len(self._sizes))
                table.values[point] += moments.means
                table.variances[point] += moments.variances
                self._record_parities(point, group.terms, moments.parities)
        table.lower[rows] = table.upper[rows] = table.values[rows]
        if table.terms is not None:
            for observable, index in enumerate(grouping.identities):
                if index >= 0:
                    table.terms[rows, self._starts[observable] + index] = 1.0

    def _record_parities(self, point: int, terms: Sequence[GroupTerm], parities: Mapping[int, float]) -> None:
        if self._table.terms is not None:
            for term in terms:
                self._table.terms[point, self._starts[term.observable] + term.index] = parities[term.support]

    # ---- sampled values

    def _sampled(self) -> Iterator[int]:
        """Run every group at every point with the same shots."""
        grouping, points = self._circuits.grouping, len(self._circuits.points)
        groups = len(grouping.groups)
        if not groups:
            for point in range(points):
                self._record(point, estimates(grouping, []))
                yield point
            return
        pending: list[Mapping[int, int]] = []
        point = 0
        for first in range(0, points * groups, _CIRCUITS):
            circuits = [divmod(place, groups) for place in range(first, min(first + _CIRCUITS, points * groups))]
            seed = program_seed(self._seed, first)
            for counts, meta_data in self._circuits.sample(circuits, self._shots, seed):
                self.meta_data = self.meta_data or dict(meta_data)
                pending.append(counts)
                if len(pending) == groups:
                    self._record(point, estimates(grouping, pending))
                    yield point
                    pending, point = [], point + 1

    def _reach(self, point: int) -> Estimates:
        """Run a point in two stages, so that its estimates have the precision that the job asks for."""
        grouping, precision = self._circuits.grouping, self._options.precision
        counts: list[dict[int, int]] = [{} for _ in grouping.groups]
        place = point * 2 * len(counts)
        self._add_shots(point, pilot_shots(grouping, precision, self._shots), counts, place)
        pilot = estimates(grouping, counts)
        self._record(point, pilot)
        self._looked(point)
        self._add_shots(point, second_stage(grouping, pilot, precision, self._shots), counts, place + len(counts))
        return estimates(grouping, counts)

    def _until_stopped(self, point: int) -> Estimates:
        """Run a point until all standard errors are small enough, at most with the job's shots of each group."""
        grouping = self._circuits.grouping
        counts: list[dict[int, int]] = [{} for _ in grouping.groups]
        place = point * len(counts)
        found = estimates(grouping, counts)
        done = 0
        for number, shots in enumerate(rounds(self._shots if counts else 0)):
            self._add_shots(point, [shots] * len(counts), counts, place, number)
            found = estimates(grouping, counts)
            done += shots
            if done < self._shots and found.standard_errors.max(initial=0.0) <= self._stop_at:
                self.stopped = True
                break
            self._record(point, found)
            self._looked(point)
        return found

    def _add_shots(
        self, point: int, shots: Sequence[int], counts: list[dict[int, int]], place: int, number: int = 0
    ) -> None:
        """Run the groups of a point with shots of their own each, and add the counts."""
        for group, own in enumerate(shots):
            if own:
                seed = round_seed(program_seed(self._seed, place + group), number)
                for found, meta_data in self._circuits.sample([(point, group)], own, seed):
                    self.meta_data = self.meta_data or dict(meta_data)
                    for outcome, times in found.items():
                        counts[group][outcome] = counts[group].get(outcome, 0) + times

    def _record(self, point: int, found: Estimates) -> None:
        table = self._table
        table.values[point] = found.values
        table.standard_errors[point] = found.standard_errors
        table.variances[point] = found.variances
        table.bounded[point] = found.bounded
        ends = found.confidence_interval(self.level)
        table.lower[point], table.upper[point] = ends[:, 0], ends[:, 1]
        table.shots[point] = self._shots_of(found)
        if table.terms is not None:
            table.terms[point] = np.concatenate(found.term_values())

    def _shots_of(self, found: Estimates) -> NDArray[np.int64]:
        """Return the shots of the groups that have a term of each observable."""
        shots: NDArray[np.int64] = np.zeros(len(self._sizes), dtype=np.int64)
        for group, own in zip(self._circuits.grouping.groups, found.group_shots, strict=True):
            for observable in {term.observable for term in group.terms}:
                shots[observable] += own
        return shots
