# SPDX-License-Identifier: Apache-2.0
"""Client data of jobs with the programs of their tasks, from which another process builds the same results."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from qonduit_client.adapter_data import packed, unpacked
from qonduit_client.batch import derived_seed
from qonduit_client.braket.openqasm_parsing import Plan
from qonduit_client.job import JobHandle
from qonduit_client.job_labels import kind_of, labels_of

_KIND: Final = "braket.task"


class StoredTask(NamedTuple):
    """A task as its jobs store it.

    Attributes:
        stored: as of its first program's `Plan`.
        shots: of each program.
        seed: of the order of shots of all programs that were submitted together.
        place: the index of its first program among them.
        programs: the job (its index among those of the task) and the index in the job of each of them.
    """

    stored: list[Any]
    shots: int
    seed: int
    place: int
    programs: dict[int, tuple[int, int]]


def order_seed(seed: int, place: int) -> int:
    """Return the seed of the order of a program's shots.

    Args:
        seed: of all programs that were submitted together.
        place: the program's index among them.
    """
    return derived_seed(seed, place + 1)


def task_labels(tags: Mapping[str, str]) -> dict[str, str]:
    """Return the labels of a job.

    Args:
        tags: the user's own.

    Raises:
        ValueError: a tag is too long, or there are too many.
    """
    return labels_of(_KIND, tags) | dict(tags)


def task_data(plans: Sequence[Plan], places: Sequence[int], seed: int) -> bytes:
    """Return the client data of a job; empty if its programs are too large.

    Args:
        plans: its programs, all with the same number of shots.
        places: the indices of its programs among those that were submitted together.
        seed: the seed of the order of shots of all of them.
    """
    entries = [[plan.stored, place] for plan, place in zip(plans, places, strict=True)]
    return packed([plans[0].shots, seed, entries])


def stored_task(jobs: Sequence[JobHandle], place: int) -> StoredTask:
    """Return a task.

    Args:
        jobs: its jobs; one, or several for a large set of programs.
        place: the index of its first program in the first job.

    Raises:
        ValueError: this adapter did not submit a job, or its client data do not contain the programs.
        QonduitError: the server is unreachable.
    """
    first = jobs[0].id
    shots, seed, entries = _data(jobs[0])
    if place >= len(entries):
        raise ValueError(f"job {first} has {len(entries)} programs, numbered from 0: there is no program {place}")
    stored, own = entries[place]
    if stored is None:
        raise ValueError(
            f"program {place} of job {first} is not the first one of its set of programs: open the set by its id"
        )
    programs = {
        each: (number, index)
        for number, job in enumerate(jobs)
        for index, (_, each) in enumerate(entries if number == 0 else _data(job)[2])
    }
    return StoredTask(stored, shots, seed, own, programs)


def _data(job: JobHandle) -> tuple[int, int, list[Any]]:
    way = f"read it with Client(...).job({job.id})"
    if kind_of(job.job().labels) != _KIND:
        raise ValueError(f"job {job.id} is no task of Braket: {way}")
    data, _ = unpacked(job.client_data())
    if data is None:
        raise ValueError(f"the programs of job {job.id} are too large to be stored with it: {way}")
    shots, seed, entries = data
    return shots, seed, entries
