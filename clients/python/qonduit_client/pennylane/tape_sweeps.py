# SPDX-License-Identifier: Apache-2.0
"""Combine programs that differ in angles only into one program with a parameter set for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.job_parts import Part
from qonduit_client.pennylane.tape_programs import Program, input_name


class Wanted(NamedTuple):
    """A program and what a job computes of it.

    Attributes:
        program: the program.
        shots: for each circuit; 0 for exact values.
        estimator: its observables; None to sample it.
        trainable: the places of the angles by which values are differentiated.
    """

    program: Program
    shots: int
    estimator: EstimatorOptions | None = None
    trainable: tuple[int, ...] = ()


class Sweep(NamedTuple):
    """One part of a job, and the programs that are its points, by their index."""

    part: Part
    members: list[int]


def sweeps_of(wanted: Sequence[Wanted]) -> list[Sweep]:
    """Return programs as parts; those that differ in angles only are points of one part."""
    groups: dict[tuple[object, ...], list[int]] = {}
    for place, each in enumerate(wanted):
        options = None if each.estimator is None else each.estimator.SerializeToString()
        alone = None if each.program.angles else place
        key = (each.program.outline, each.shots, options, each.trainable, alone)
        groups.setdefault(key, []).append(place)
    return [Sweep(_part([wanted[place] for place in members]), members) for members in groups.values()]


def _part(wanted: Sequence[Wanted]) -> Part:
    first = wanted[0]
    angles = np.array([each.program.angles for each in wanted], dtype=np.float64)
    varying = np.flatnonzero((angles != angles[0]).any(axis=0)).tolist()
    # The derivatives are by the parameters, so these are the trainable angles first, in their order.
    free = [*first.trainable, *(place for place in varying if place not in first.trainable)]
    if not free and len(wanted) > 1:  # equal programs become points by any angle
        free = [0]
    sets = None
    if free:
        sets = ParameterSets(names=map(input_name, free), values=angles[:, free].reshape(-1).tolist())
    return Part(
        first.program.with_inputs(free),
        first.shots,
        estimator=first.estimator,
        sampler=SamplerOptions(per_shot=True) if first.estimator is None else None,
        parameter_sets=sets,
    )
