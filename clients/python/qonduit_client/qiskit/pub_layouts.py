# SPDX-License-Identifier: Apache-2.0
"""How to read the results of a pub: the shapes that its job does not have. Stored in the client data of the job."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from qiskit.circuit import QuantumCircuit
from qiskit.primitives import BitArray, DataBin, PubResult, SamplerPubResult

from qonduit_client.estimates import estimate_of
from qonduit_client.result import Result
from qonduit_client.shots import rows_of


class PubLayout(ABC):
    """The layout of one pub."""

    @property
    @abstractmethod
    def points(self) -> list[int]:
        """The number of points of each part of the pub."""

    @abstractmethod
    def finish(self, circuit: QuantumCircuit | None, results: Sequence[Sequence[Result]]) -> PubResult:
        """Return the result of the pub from the results of its parts.

        Args:
            circuit: with the registers and the metadata; None for a pub of no points.
            results: of each part.
        """

    def to_list(self) -> list[Any]:
        """Return the layout as values of JSON."""
        return list(asdict(self).values())  # type: ignore[call-overload]


@dataclass(frozen=True)
class SamplerLayout(PubLayout):
    """The layout of a pub of a sampler.

    Attributes:
        shape: of the pub.
        shots: of the pub.
    """

    shape: tuple[int, ...]
    shots: int

    @property
    def points(self) -> list[int]:
        """One part: a circuit at all points."""
        return [math.prod(self.shape)]

    def finish(self, circuit: QuantumCircuit | None, results: Sequence[Sequence[Result]]) -> SamplerPubResult:
        """Return an array of shots for each register, in the shape of the pub."""
        sizes = {} if circuit is None else {register.name: register.size for register in circuit.cregs}
        arrays = {
            name: np.zeros((*self.shape, self.shots, (size + 7) // 8), dtype=np.uint8) for name, size in sizes.items()
        }
        for at, result in zip(np.ndindex(self.shape), results[0], strict=True):
            for name, rows in rows_of(result).items():
                if name in arrays:  # bits without a register form an unnamed register
                    arrays[name][at] = rows
        data = {name: BitArray(arrays[name], size) for name, size in sizes.items()}
        return SamplerPubResult(
            DataBin(**data, shape=self.shape),
            metadata={"shots": self.shots, "circuit_metadata": None if circuit is None else circuit.metadata},
        )


class Group(NamedTuple):
    """Points at which the same observables are needed; both by their index in the flat arrays of the pub."""

    points: NDArray[np.int64]
    observables: NDArray[np.int64]


@dataclass(frozen=True)
class EstimatorLayout(PubLayout):
    """The layout of a pub of an estimator.

    Attributes:
        parameters: the shape of the parameter values.
        observables: the shape of the observables.
        precision: of the pub; 0 for exact values.
    """

    parameters: tuple[int, ...]
    observables: tuple[int, ...]
    precision: float

    @property
    def points(self) -> list[int]:
        """The number of points of each group."""
        return [len(group.points) for group in self.groups]

    @cached_property
    def pairs(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """For each place of the result the index of its point, and that of its observable: NumPy's broadcasting."""
        point: NDArray[np.int64] = np.arange(math.prod(self.parameters)).reshape(self.parameters)
        observable: NDArray[np.int64] = np.arange(math.prod(self.observables)).reshape(self.observables)
        first, second = np.broadcast_arrays(point, observable)
        return first, second

    @cached_property
    def groups(self) -> list[Group]:
        """The parts: a server's job estimates every observable of a program at every one of its points."""
        points, observables = (each.reshape(-1) for each in self.pairs)
        if not len(points):
            return []
        number = math.prod(self.parameters) * math.prod(self.observables)
        if len(np.unique(self._keys(points, observables))) == number:
            return [Group(np.arange(math.prod(self.parameters)), np.arange(math.prod(self.observables)))]
        needed: dict[int, set[int]] = {}
        for point, observable in zip(points.tolist(), observables.tolist(), strict=True):
            needed.setdefault(point, set()).add(observable)
        by_observables: dict[tuple[int, ...], list[int]] = {}
        for point, own in needed.items():
            by_observables.setdefault(tuple(sorted(own)), []).append(point)
        return [Group(np.array(own), np.array(key)) for key, own in by_observables.items()]

    def finish(self, circuit: QuantumCircuit | None, results: Sequence[Sequence[Result]]) -> PubResult:
        """Return values and standard errors in the shape of the pub."""
        keys, values, errors, most_shots = [], [], [], 0
        for group, own in zip(self.groups, results, strict=True):
            keys.append(self._keys(group.points[:, None], group.observables[None, :]).reshape(-1))
            for found in (estimate_of(each, has_points=True) for each in own):
                values.append(found.values.reshape(-1))
                errors.append(found.standard_errors.reshape(-1))
                most_shots = max(most_shots, int(found.shots.max(initial=0)))
        points, observables = self.pairs
        evs, stds = np.zeros(points.shape), np.zeros(points.shape)
        if keys:
            known = np.concatenate(keys)
            order = np.argsort(known)
            place = order[np.searchsorted(known[order], self._keys(points, observables))]
            evs, stds = np.concatenate(values)[place], np.concatenate(errors)[place]
        shots = {"shots": most_shots} if self.precision else {}
        return PubResult(
            DataBin(evs=evs, stds=stds, shape=points.shape),
            metadata={
                "target_precision": self.precision,
                **shots,
                "circuit_metadata": None if circuit is None else circuit.metadata,
            },
        )

    def _keys(self, points: NDArray[np.int64], observables: NDArray[np.int64]) -> NDArray[np.int64]:
        return points * max(1, math.prod(self.observables)) + observables
