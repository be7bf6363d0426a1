# SPDX-License-Identifier: Apache-2.0
"""The messages between servers and worker machines: their versions, names at the broker, sizes and ids."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from qonduit.execution.v1.machine_pb2 import MachineMessage, MessagePart, TaskKey
from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.execution.executor import Key, is_interactive

#: The version of the messages that this release sends. It also understands those of the release before.
VERSION: Final = 1
OLDEST_VERSION: Final = 1
#: The task of Celery that takes a `TaskMessage` in base64.
CELERY_TASK: Final = "qonduit.run_tasks"
#: The exchange by which machines reach all servers.
HELLO_EXCHANGE: Final = "qonduit.machines"
#: An exchange that Celery requires.
TASK_EXCHANGE: Final = "qonduit.tasks"
#: The largest message that is sent at once; RabbitMQ advises against messages of many megabytes.
PART_BYTES: Final = 512 * 1024
#: The time after which a connection is broken that accepts or confirms nothing: a network can lose bytes silently.
STALL_SECONDS: Final = 20
#: The prefix of the lanes of interactive tasks.
_INTERACTIVE: Final = "interactive:"
#: The namespace of the ids of messages.
_NAMESPACE: Final = uuid.UUID("5b0f7b2c-6d1e-5d0a-9a51-0a2b8f5c3d17")


@dataclass(frozen=True)
class Outgoing:
    """A message to send.

    Attributes:
        queue: the queue; empty for the exchange of all servers.
        body: the bytes.
        message_id: for tasks: the id of the message of Celery.
        peer: the machine to report as away if the queue does not exist; empty: none is reported.
    """

    queue: str
    body: bytes
    message_id: str = ""
    peer: str = ""


def lane_of(task: Task) -> str:
    """Return the lane of a task: machines count its places by lane."""
    return interactive_lane(task.provider) if is_interactive(task) else task.provider


def interactive_lane(provider: str) -> str:
    """Return the lane of interactive tasks of a provider; "" is for tasks that need none."""
    return f"{_INTERACTIVE}{provider}"


def is_interactive_lane(lane: str) -> bool:
    """Return whether a lane is one of interactive tasks."""
    return lane.startswith(_INTERACTIVE)


def provider_of(lane: str) -> str:
    """Return the provider of a lane."""
    return lane.removeprefix(_INTERACTIVE)


def key_of(key: TaskKey) -> Key:
    """Return a key as a tuple."""
    return key.job_id, key.attempt


def keys_of(keys: Iterable[Key]) -> list[TaskKey]:
    """Return keys as messages."""
    return [TaskKey(job_id=job_id, attempt=attempt) for job_id, attempt in keys]


def message_id_of(keys: Iterable[Key]) -> str:
    """Return the id of a message with these tasks: the same for each repetition of it."""
    return str(uuid.uuid5(_NAMESPACE, " ".join(f"{job_id}/{attempt}" for job_id, attempt in sorted(keys))))


def understood(version: int) -> bool:
    """Return whether messages of this version are understood: newer versions only add fields."""
    return version >= OLDEST_VERSION


def in_parts(message: MachineMessage) -> Iterator[MachineMessage]:
    """Return a message, or the parts of a large one, without sequences."""
    if message.ByteSize() <= PART_BYTES:
        yield message
        return
    data = message.SerializeToString()
    for start in range(0, len(data), PART_BYTES):
        end = start + PART_BYTES
        part = MessagePart(data=data[start:end], last=end >= len(data))
        yield MachineMessage(version=message.version, machine=message.machine, session=message.session, part=part)
