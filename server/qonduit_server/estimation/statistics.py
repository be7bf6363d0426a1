# SPDX-License-Identifier: Apache-2.0
"""Estimates of observables from the counts of their groups: values, errors and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from qonduit_server.estimation.confidence import Part, interval
from qonduit_server.estimation.group_moments import GroupMoments, group_moments
from qonduit_server.estimation.grouping import Grouping

#: Below, a group has no sample variance.
_FEWEST_SHOTS: Final = 2


@dataclass(frozen=True)
class Estimates:
    """The estimates of each observable from the counts of all groups. Arrays have one entry an observable.

    A group's part of an observable is one random variable a shot: its variance contains the covariances of its terms.

    Args:
        values: the estimates; a group without shots contributes 0.
        variances: of one shot of every group together; they do not depend on the number of shots.
        standard_errors: plug-in values, sample variance / shots summed over the groups.
        bounded: where a group has less than two shots. Then the group's part of the error and of the variance is the
            bound that no state exceeds, from the sum of its absolute coefficients.
        group_variances: the sample variances of each group's part (groups x observables), for the allocation of shots.
        shots: of all groups together.
        group_shots: of each group.
    """

    values: NDArray[np.float64]
    variances: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    bounded: NDArray[np.bool_]
    group_variances: NDArray[np.float64]
    shots: int
    group_shots: tuple[int, ...]
    _grouping: Grouping
    _moments: tuple[GroupMoments, ...]

    def confidence_interval(self, level: float = 0.95) -> NDArray[np.float64]:
        """Return the lower and the upper end for each observable (observables x 2); `confidence` has the methods.

        The interval of one observable contains its exact value with at least this probability, whatever the state.
        """
        parts = self._parts()
        return np.array(
            [
                np.array(interval(own, level)[:2]) + constant
                for own, constant in zip(parts, self._grouping.constants, strict=True)
            ]
        ).reshape(-1, 2)

    def confidence_methods(self, level: float = 0.95) -> list[str]:
        """Return the name of the method for each observable."""
        return [interval(own, level)[2] for own in self._parts()]

    def term_values(self) -> list[NDArray[np.float64]]:
        """Return the mean of each term's product, without its coefficient, in the order of each observable's terms."""
        found: list[NDArray[np.float64]] = [np.zeros(size) for size in self._grouping.sizes]
        for place, index in enumerate(self._grouping.identities):
            if index >= 0:
                found[place][index] = 1.0
        for group, moments in zip(self._grouping.groups, self._moments, strict=True):
            for term in group.terms:
                found[term.observable][term.index] = moments.parities[term.support]
        return found

    def term_standard_errors(self) -> list[NDArray[np.float64]]:
        """Return the standard error of each term's value; 1 below two shots."""
        found: list[NDArray[np.float64]] = [np.zeros(size) for size in self._grouping.sizes]
        for group, moments, shots in zip(self._grouping.groups, self._moments, self.group_shots, strict=True):
            for term in group.terms:
                spread = 1.0 - moments.parities[term.support] ** 2
                error = math.sqrt(max(spread, 0.0) / (shots - 1)) if shots >= _FEWEST_SHOTS else 1.0
                found[term.observable][term.index] = error
        return found

    def _parts(self) -> list[list[Part]]:
        """Return the parts of each observable."""
        found: list[list[Part]] = [[] for _ in self._grouping.constants]
        entries = zip(self._grouping.groups, self._moments, self.group_shots, strict=True)
        for place, (group, moments, shots) in enumerate(entries):
            terms: dict[int, tuple[list[float], list[float]]] = {}
            for term in group.terms:
                own = terms.setdefault(term.observable, ([], []))
                own[0].append(term.coefficient)
                own[1].append(moments.parities[term.support])
            for observable, (coefficients, parities) in terms.items():
                # Without shots, parities are 0 and this is 0.
                minus = np.rint(shots * (1 - np.array(parities)) / 2).astype(np.int64)
                variance = float(self.group_variances[place, observable])
                found[observable].append(Part(shots, np.array(coefficients), minus, variance))
        return found


def estimates(grouping: Grouping, counts: Sequence[Mapping[int, int]]) -> Estimates:
    """Return the estimates from the counts of each group.

    Args:
        grouping: the groups of all observables.
        counts: of each group's circuit, with bit k of an outcome the value of qubit k after the group's basis changes.
    """
    number = grouping.num_observables
    values = np.array(grouping.constants, dtype=np.float64)
    spread, errors, unknown = np.zeros(number), np.zeros(number), np.zeros(number)
    bounded: NDArray[np.bool_] = np.zeros(number, dtype=np.bool_)
    samples: NDArray[np.float64] = np.zeros((len(grouping.groups), number))
    found, group_shots = [], []
    for place, (group, own) in enumerate(zip(grouping.groups, counts, strict=True)):
        moments = group_moments(group, own, number)
        shots = sum(own.values())
        values += moments.means
        if shots >= _FEWEST_SHOTS:
            samples[place] = moments.variances * (shots / (shots - 1))
            spread += samples[place]
            errors += samples[place] / shots
        else:
            bounds = np.zeros(number)
            for term in group.terms:
                bounds[term.observable] += abs(term.coefficient)
            samples[place] = bounds**2
            spread += samples[place]
            unknown += bounds
            bounded |= bounds > 0
        found.append(moments)
        group_shots.append(shots)
    return Estimates(
        values,
        spread,
        np.sqrt(errors) + unknown,
        bounded,
        samples,
        sum(group_shots),
        tuple(group_shots),
        grouping,
        tuple(found),
    )
