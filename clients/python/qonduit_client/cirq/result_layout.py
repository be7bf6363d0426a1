# SPDX-License-Identifier: Apache-2.0
"""How to build Cirq's results from those of a server's jobs; stored in the client data of the jobs."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import cirq
import numpy as np

from qonduit_client.adapter_data import packed, unpacked
from qonduit_client.batch import Batch, derived_seed
from qonduit_client.cirq.circuit_serialization import Measured, Measurements, Prepared
from qonduit_client.cirq.records import records_of
from qonduit_client.job_labels import kind_of, labels_of, of_kind
from qonduit_client.result import Result

_KIND: Final = "cirq.sampler"


@dataclass(frozen=True)
class CircuitLayout:
    """The results of one circuit.

    Attributes:
        sweeps: its points.
        repetitions: of each point.
        measurements: of each point; the same object for all points that run the same program.
    """

    sweeps: Sequence[cirq.Sweep]
    repetitions: int
    measurements: Sequence[Measurements]


@dataclass(frozen=True)
class ResultLayout:
    """The results of circuits that were submitted together.

    Attributes:
        circuits: in order.
        seed: of confusion maps.
    """

    circuits: Sequence[CircuitLayout]
    seed: int

    @staticmethod
    def of(circuits: Sequence[CircuitLayout], seed: int | None) -> ResultLayout:
        """Return a layout whose results are the same at each reading, also without a seed."""
        return ResultLayout(circuits, secrets.randbits(32) if seed is None else seed)

    def results(self, found: Sequence[Result]) -> list[list[cirq.Result]]:
        """Return the results of each circuit at its points.

        Args:
            found: of all jobs, in order.

        Raises:
            RuntimeError: the number of results is wrong: not all jobs of the submission are among them.
        """
        expected = sum(len(circuit.measurements) for circuit in self.circuits)
        if len(found) != expected:
            raise RuntimeError(f"there are {len(found)} results, not {expected}: jobs of the submission are missing")
        numbered = iter(enumerate(found))
        return [
            [
                cirq.ResultDict(params=point, records=records_of(result, measurements, derived_seed(self.seed, place)))
                for point, measurements, (place, result) in zip(
                    cirq.to_resolvers(circuit.sweeps), circuit.measurements, numbered, strict=False
                )
            ]
            for circuit in self.circuits
        ]


def layout_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of the jobs: the user's own, and that of samplers.

    Raises:
        ValueError: a label is too long, or there are too many.
    """
    return labels_of(_KIND, labels) | dict(labels)


def layout_data(layout: ResultLayout, prepared: Sequence[Prepared]) -> bytes:
    """Return the client data of the jobs; empty if the layout is too large.

    Args:
        layout: of their results.
        prepared: the programs of all points.
    """
    numbers: dict[int, int] = {}
    programs: list[Any] = []
    circuits: list[Any] = []
    for circuit in layout.circuits:
        for each in circuit.measurements:
            if id(each) not in numbers:
                numbers[id(each)] = len(programs)
                programs.append([each.sampled, [_written(own) for own in each.measured]])
        places = [numbers[id(each)] for each in circuit.measurements]
        circuits.append([circuit.repetitions, len(places), places if len(set(places)) > 1 else places[:1]])
    sweeps = [cirq.to_json(list(circuit.sweeps), indent=None) for circuit in layout.circuits]
    found = packed([layout.seed, programs, circuits, sweeps])
    if not found and _values_suffice(layout, prepared):
        found = packed([layout.seed, programs, circuits, None])
    return found


#: The filter for the jobs of samplers of Cirq.
STORED: Final = of_kind(_KIND)


def is_stored(labels: Mapping[str, str]) -> bool:
    """Return whether a sampler of Cirq submitted a job."""
    return kind_of(labels) == _KIND


def stored_layout(batch: Batch) -> ResultLayout:
    """Return the layout of jobs from their client data.

    Raises:
        ValueError: the client data do not contain it.
        QonduitError: the server is unreachable.
    """
    first = batch.handles[0]
    data, _ = unpacked(first.client_data())
    if data is None:
        raise _too_large(first.id)
    seed, programs, circuits, stored = data
    known = [Measurements(tuple(_read(own) for own in measured), sampled) for sampled, measured in programs]
    if stored is not None:
        sweeps = [cirq.read_json(json_text=each) for each in stored]
    else:
        sweeps = [_sweeps_from_values(batch, circuits[0][1])]
    return ResultLayout(
        [
            CircuitLayout(own, repetitions, [known[place] for place in (places * points)[:points]])
            for own, (repetitions, points, places) in zip(sweeps, circuits, strict=True)
        ],
        seed,
    )


def _values_suffice(layout: ResultLayout, prepared: Sequence[Prepared]) -> bool:
    """Return whether the parameter values that the server stores are the points of the sweep."""
    if len(layout.circuits) != 1 or not prepared or not prepared[0].values:
        return False
    points = cirq.to_resolvers(layout.circuits[0].sweeps)
    return all(dict(point.param_dict) == each.values for point, each in zip(points, prepared, strict=True))


def _too_large(job_id: int) -> ValueError:
    return ValueError(
        f"the circuits or the sweep of job {job_id} are too large to be stored with it: "
        f"read it with Client(...).job({job_id})"
    )


def _sweeps_from_values(batch: Batch, points: int) -> list[cirq.Sweep]:
    """Return the sweep of jobs that run one circuit.

    Raises:
        ValueError: a job has further parameter values for single programs.
    """
    found: list[cirq.ParamResolver] = []
    for handle in batch.handles:
        sets = handle.parameter_sets()
        columns = [sets.values[place :: len(sets.names)] for place in range(len(sets.names))]
        found += [cirq.ParamResolver(dict(zip(sets.names, row, strict=True))) for row in zip(*columns, strict=True)]
    if len(found) != points:
        raise _too_large(batch.handles[0].id)
    return [cirq.ListSweep(found)]


def _written(each: Measured) -> list[Any]:
    register = None if each.register == each.key else each.register
    flips = "".join("01"[flip] for flip in each.flips)
    confusion = [[list(places), matrix.tolist()] for places, matrix in each.confusion]
    return [each.key, register, flips, confusion, each.rounds]


def _read(entry: Sequence[Any]) -> Measured:
    key, register, flips, confusion, rounds = entry
    maps = tuple((tuple(places), np.array(matrix)) for places, matrix in confusion)
    return Measured(key, register or key, tuple(flip == "1" for flip in flips), maps, rounds)
