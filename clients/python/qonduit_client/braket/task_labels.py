# SPDX-License-Identifier: Apache-2.0
"""Labels of jobs with the programs of their tasks, from which another process builds the same results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from braket.ir.openqasm import Program

from qonduit.v1.job_pb2 import Job
from qonduit_client.batch import derived_seed
from qonduit_client.braket.openqasm_parsing import Plan
from qonduit_client.job_labels import data_of, kind_of, labels_of, packed, unpacked

_KIND: Final = "braket.task"


class StoredProgram(NamedTuple):
    """One program of a job: as Braket has it, its shots, and the seed of the order of its shots."""

    program: Program
    shots: int
    order: int


def order_seed(seed: int, place: int) -> int:
    """Return the seed of the order of a program's shots.

    Args:
        seed: of all programs that were submitted together.
        place: the program's index among them.
    """
    return derived_seed(seed, place + 1)


def task_labels(plans: Sequence[Plan], places: Sequence[int], seed: int, tags: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a job.

    Args:
        plans: its programs, all with the same number of shots.
        places: the indices of its programs among those that were submitted together.
        seed: the seed of the order of shots of all of them.
        tags: the user's own.

    Raises:
        ValueError: a tag is too long, or there are too many.
    """
    entries = [
        [plan.program.source, plan.program.inputs, place] if plan.alone else None
        for plan, place in zip(plans, places, strict=True)
    ]
    # The programs of a batch are much alike, so all of them together take little more than one.
    return labels_of(_KIND, [plans[0].shots, seed, packed(entries)], tags) | dict(tags)


def stored_program(job: Job, place: int) -> StoredProgram:
    """Return a program of a job.

    Args:
        job: the job.
        place: the program's index in the job.

    Raises:
        ValueError: this adapter did not submit the job, or the labels do not contain the program.
    """
    way = f"read it with Client(...).job({job.id})"
    if kind_of(job.labels) != _KIND:
        raise ValueError(f"job {job.id} is no task of Braket: {way}")
    data, _ = data_of(job.labels)
    if data is None:
        raise ValueError(f"the programs of job {job.id} are too large to be stored in its labels: {way}")
    shots, seed, text = data
    entries = unpacked(text)
    if place >= len(entries):
        raise ValueError(f"job {job.id} has {len(entries)} programs, numbered from 0: there is no program {place}")
    if entries[place] is None:
        raise ValueError(
            f"program {place} of job {job.id} belongs to a set of programs, not to a task of its own: {way}"
        )
    source, inputs, index = entries[place]
    return StoredProgram(Program(source=source, inputs=inputs), shots, order_seed(seed, index))
