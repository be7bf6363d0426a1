# SPDX-License-Identifier: Apache-2.0
"""The choice of a machine for a task: by its device, by the memory that a worker estimated, and by free places."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from typing import Final

from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit_server.execution.celery.remote_machine import RemoteMachine, SentTask
from qonduit_server.execution.executor import NO_WORKER, Loss, LossKind
from qonduit_server.version_requirements import Environment, matches

#: With this many tasks of a provider that no machine with a free place can take, no more of its tasks are wanted.
MOST_WAITING: Final = 32
#: The ticks after which a waiting task that no machine can take returns to the queue, or fails if only its device is
#: missing, or a caller waits for it. A server that has just started finds its machines within two.
_CALLER_TICKS: Final = 5
_RETURN_TICKS: Final = 10
_MISSING_TICKS: Final = 60
#: The largest number of tasks, and of bytes of tasks, in one message.
_MESSAGE_TASKS: Final = 32
_MESSAGE_BYTES: Final = 4 * 1024**2
#: Failures of a program that a machine with more memory may not have.
_TOO_SMALL: Final = frozenset({"MEMORY_LIMIT", "TOO_MANY_QUBITS"})


def room_for(lane: str, machines: Iterable[RemoteMachine]) -> int:
    """Return the number of further tasks in a lane that machines accept.

    Machines without its SDK count if no other one accepts any: the executor then fails the tasks with the reason.
    """
    room = {True: 0, False: 0}
    for machine in machines:
        if places := machine.room(lane):
            room[not machine.lacks_sdk(lane)] += places
    return room[True] or room[False]


def takers(sent: SentTask, machines: Iterable[RemoteMachine]) -> Iterator[RemoteMachine]:
    """Yield the machines that can take a task when they have a place and memory."""
    for machine in machines:
        if (
            machine.accepts(sent.task)
            and has_versions(sent, machine)
            and machine.id not in sent.refused
            and machine.fits(sent.need)
        ):
            yield machine


def has_versions(sent: SentTask, machine: RemoteMachine) -> bool:
    """Return whether a machine has the versions that a task requires."""
    return not sent.requirements or matches(sent.requirements, machine.versions(sent.task.provider))


def environments(provider: str, machines: Iterable[RemoteMachine]) -> list[Environment]:
    """Return the different environments of a provider on machines, with the number of tasks that each takes now."""
    rooms: dict[tuple[tuple[str, str], ...], int] = {}
    for machine in machines:
        if versions := machine.versions(provider):
            key = tuple(sorted(versions.items()))
            rooms[key] = rooms.get(key, 0) + machine.room(provider)
    return [Environment(dict(key), room) for key, room in sorted(rooms.items())]


def choose(sent: SentTask, machines: Iterable[RemoteMachine]) -> RemoteMachine | None:
    """Return the machine with the most room that can take a task now."""
    found = [each for each in takers(sent, machines) if each.room(sent.lane) and each.has_memory_for(sent)]
    return max(found, key=lambda each: each.room(sent.lane), default=None)


def moves(sent: SentTask, machine: RemoteMachine, machines: Collection[RemoteMachine]) -> bool:
    """Return whether a task that its machine declined for memory is better at another machine.

    It is if its machine is too small and another one is not, or if its machine has no free memory and another one has.
    """
    others = [each for each in takers(sent, machines) if each is not machine]
    if not machine.fits(sent.need):
        return bool(others)
    if machine.has_memory_for(sent):
        return False
    return any(each.room(sent.lane) and each.has_memory_for(sent) for each in others)


def outgrows(sent: SentTask, event: TaskEvent, machine: RemoteMachine, machines: Iterable[RemoteMachine]) -> bool:
    """Return whether a program failed because its machine has too little memory, and another one has more."""
    if not event.HasField("program_failed") or event.program_failed.failure.reason not in _TOO_SMALL:
        return False
    larger = replace(sent, need=machine.task_memory_bytes + 1)
    return machine.task_memory_bytes > 0 and any(takers(larger, machines))


def hopeless(sent: SentTask, machines: Collection[RemoteMachine], waited: int) -> Loss | TaskEvent | None:
    """Return how a task ends that waits although no machine can take it; None if it waits longer.

    It returns to the queue, or fails if its device alone is missing, or a caller waits for it.

    Args:
        sent: the task.
        machines: all machines.
        waited: for how many ticks it has waited.
    """
    if waited < (_CALLER_TICKS if sent.interactive else _RETURN_TICKS) or any(takers(sent, machines)):
        return None
    provider, device = sent.task.provider, sent.task.device
    if sent.interactive:
        what = f"the device {provider}/{device}" if provider else "the packages that read programs"
        message = f"no worker machine that is connected has {what}"
        failure = Failure(category=FailureCategory.FAILURE_CATEGORY_PROVIDER, reason=NO_WORKER, message=message)
        return TaskEvent(job_id=sent.key[0], attempt=sent.key[1], finished=TaskFinished(failure=failure))
    present = [each for each in machines if provider in each.descriptions]
    if not present or sent.requirements or any(each.offers(provider, device) for each in present):
        return Loss(LossKind.STOPPED, "no worker machine can take it now")
    if waited < _MISSING_TICKS:
        return None
    failure = Failure(
        category=FailureCategory.FAILURE_CATEGORY_DEVICE,
        reason="UNKNOWN_DEVICE",
        message=f"no worker machine has the device {provider}/{device} any more",
        retryable=True,
    )
    return TaskEvent(job_id=sent.key[0], attempt=sent.key[1], finished=TaskFinished(failure=failure))


def messages(batch: Iterable[SentTask]) -> Iterator[list[SentTask]]:
    """Divide tasks into messages of a limited number and size."""
    message: list[SentTask] = []
    size = 0
    for sent in batch:
        size += sent.task.ByteSize()
        if message and (len(message) >= _MESSAGE_TASKS or size > _MESSAGE_BYTES):
            yield message
            message, size = [], sent.task.ByteSize()
        message.append(sent)
    if message:
        yield message
