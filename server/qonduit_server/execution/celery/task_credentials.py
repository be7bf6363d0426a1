# SPDX-License-Identifier: Apache-2.0
"""The credentials of tasks on their way through the broker: encrypted with a key of servers and worker machines."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.machine_pb2 import SealedCredential, TaskMessage
from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.encryption.sealing import Binding, Sealed, Sealer, Unreadable
from qonduit_server.execution.celery.messages import key_of, keys_of
from qonduit_server.execution.executor import Key

#: Why a task with a credential cannot be sent or run, for its owner.
NO_KEY: Final = "this server sends no credentials to worker machines: the operator must set worker_key_file"


class TaskCredentials:
    """Encrypts the credentials of messages of tasks, and decrypts them. Thread-safe.

    Each credential is bound to its job, provider and server, so that a message cannot attach it to another task.

    Args:
        ring: the keys, which servers and worker machines share.
    """

    def __init__(self, ring: KeyRing) -> None:
        self._sealer = Sealer(ring)

    @property
    def enabled(self) -> bool:
        """Whether there is a key."""
        return bool(self._sealer.current_key)

    def seal(self, message: TaskMessage) -> None:
        """Replace the credentials of the tasks by encrypted ones. Raises FailedPrecondition without a key."""
        for task in message.tasks:
            if task.credential:
                sealed = self._sealer.seal(task.credential, _binding(message, task))
                task.ClearField("credential")
                (key,) = keys_of([(task.job_id, task.attempt)])
                message.credentials.append(SealedCredential(task=key, key_id=sealed.key_id, data=sealed.data))

    def open(self, message: TaskMessage) -> dict[Key, str]:
        """Put the credentials into their tasks; return why those that remain encrypted cannot be read, by task."""
        tasks = {(task.job_id, task.attempt): task for task in message.tasks}
        unreadable = {}
        for sealed in message.credentials:
            key = key_of(sealed.task)
            if (task := tasks.get(key)) is None:
                continue
            try:
                task.credential = self._sealer.open(Sealed(sealed.key_id, sealed.data), _binding(message, task))
            except Unreadable:
                why = "has another form, or belongs to another task"
                if not self._sealer.has_key(sealed.key_id):
                    why = f"needs the key {sealed.key_id}, which the machine does not have (worker_key_file)"
                unreadable[key] = why
        return unreadable


def _binding(message: TaskMessage, task: Task) -> Binding:
    return Binding("tasks", task.job_id, message.server, task.provider)
