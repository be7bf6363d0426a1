# SPDX-License-Identifier: Apache-2.0
"""The tasks of a server on their way to worker machines, and those that wait for one. `Machines` uses it."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from qonduit.execution.v1.machine_pb2 import TaskMessage
from qonduit.execution.v1.task_pb2 import Task
from qonduit_server.execution.celery import placement
from qonduit_server.execution.celery.messages import VERSION, Outgoing, interactive_lane, message_id_of
from qonduit_server.execution.celery.remote_machine import RemoteMachine, SentTask
from qonduit_server.execution.celery.task_credentials import TaskCredentials
from qonduit_server.execution.executor import Key, Loss, LossKind
from qonduit_server.execution.pending_notifications import PendingNotifications
from qonduit_server.version_requirements import requirements_of

#: The ticks after which a task is sent again that was not accepted. They double each time, up to 160: the queue of a
#: machine that accepts nothing must not fill.
_RESEND_TICKS: Final = 5
_MOST_DOUBLINGS: Final = 5


class SentTasks:
    """The tasks of a server that have not ended. The executor locks it.

    Args:
        server: the queue of the server, which identifies it.
        providers: the names of the providers that the server offers.
        machines: the known machines, by id; `Machines` changes them.
        credentials: encrypts the credentials of tasks.
        notifications: receives the ends of tasks.
    """

    def __init__(
        self,
        server: str,
        providers: Sequence[str],
        machines: Mapping[str, RemoteMachine],
        credentials: TaskCredentials,
        notifications: PendingNotifications,
    ) -> None:
        self._server = server
        self._machines = machines
        self._credentials = credentials
        self._notifications = notifications
        self._tasks: dict[Key, SentTask] = {}
        #: The waiting tasks, by lane.
        self._backlog: dict[str, OrderedDict[Key, SentTask]] = {
            lane: OrderedDict() for lane in (*providers, *(interactive_lane(name) for name in ("", *providers)))
        }
        #: The messages of tasks to send.
        self.outgoing: Final[deque[Outgoing]] = deque()
        self._now = 0

    def keys(self) -> set[Key]:
        """Return the tasks that have not ended."""
        return set(self._tasks)

    def get(self, key: Key) -> SentTask | None:
        """Return a task; None if it has ended."""
        return self._tasks.get(key)

    def waiting(self, lane: str) -> int:
        """Return the number of tasks of a lane that wait for a machine."""
        return len(self._backlog[lane])

    def submit(self, tasks: Iterable[Task]) -> None:
        """Place tasks on machines; those without a free place wait."""
        for task in tasks:
            self._wait(SentTask(task, requirements=requirements_of(task.spec)))
        self.place()

    def cancel(self, key: Key) -> None:
        """Cancel a task: at once if no machine has it, otherwise when its machine answers."""
        sent = self._tasks.get(key)
        if sent is None:
            return
        if sent.machine is None:
            self.lose(key, Loss(LossKind.CANCELLED, "cancelled before it began"))
        else:
            sent.cancelled, sent.moving = True, False
            sent.machine.cancels.add(key)
            sent.machine.due = True

    def lose_all(self, kind: LossKind, message: str) -> None:
        """Lose every task; running ones are cancelled at their machines."""
        for key, sent in list(self._tasks.items()):
            if sent.machine is not None:
                sent.machine.cancels.add(key)
                sent.machine.due = True
            self.lose(key, Loss(kind, message))

    def lose(self, key: Key, loss: Loss) -> None:
        """End a task with a loss."""
        self.forget(key)
        self._notifications.lose(key, loss)

    def forget(self, key: Key) -> None:
        """Remove a task that has ended."""
        sent = self._tasks.pop(key)
        self._backlog[sent.lane].pop(key, None)
        if sent.machine is not None:
            sent.machine.tasks.pop(key, None)

    def move(self, sent: SentTask, machine: RemoteMachine) -> None:
        """Request a task from its machine, for another one."""
        sent.moving = True
        machine.cancels.add(sent.key)
        machine.due = True

    def send_elsewhere(self, sent: SentTask) -> None:
        """Send a task that its machine has returned to another one."""
        sent.task.declined_before = True
        self.take_back(sent)
        self.place()

    def take_back(self, sent: SentTask) -> None:
        """Let a task that its machine will not run wait for another one."""
        assert sent.machine is not None
        sent.machine.tasks.pop(sent.key)
        sent.refused.add(sent.machine.id)
        sent.machine, sent.message_id, sent.sends = None, "", 0
        sent.accepted = sent.moving = sent.dropped = False
        self._wait(sent)
        self._backlog[sent.lane].move_to_end(sent.key, last=False)

    def place(self) -> None:
        """Send waiting tasks to the machines with the most room."""
        for lane, waiting in self._backlog.items():
            placed: dict[str, list[SentTask]] = {}
            if not waiting or not (room := placement.room_for(lane, self._machines.values())):
                continue
            for sent in list(waiting.values()):
                if (machine := placement.choose(sent, self._machines.values())) is None:
                    continue
                del waiting[sent.key]
                sent.machine = machine
                machine.tasks[sent.key] = sent
                machine.sent[lane] = machine.sent.get(lane, 0) + 1
                placed.setdefault(machine.id, []).append(sent)
                room -= 1
                if not room:
                    break
            for machine_id, batch in placed.items():
                for message in placement.messages(batch):
                    self._send(self._machines[machine_id], message)

    def check(self, now: int) -> None:
        """Send tasks again that were not accepted, and end those that no machine can take; `now` is in ticks."""
        self._now = now
        for sent in self._tasks.values():
            if sent.machine is None or sent.accepted:
                continue
            if now - sent.sent_at >= _RESEND_TICKS << min(sent.sends - 1, _MOST_DOUBLINGS):
                self._send(sent.machine, [sent])
        for sent in [each for waiting in self._backlog.values() for each in waiting.values()]:
            end = placement.hopeless(sent, self._machines.values(), now - sent.waits_since)
            if isinstance(end, Loss):
                self.lose(sent.key, end)
            elif end is not None:
                self.forget(sent.key)
                self._notifications.event(end)

    def _wait(self, sent: SentTask) -> None:
        """Let a task wait for a machine."""
        sent.waits_since = self._now
        self._tasks[sent.key] = self._backlog[sent.lane][sent.key] = sent

    def _send(self, machine: RemoteMachine, batch: Sequence[SentTask]) -> None:
        message_id = batch[0].message_id or message_id_of((each.task.job_id, each.task.attempt) for each in batch)
        message = TaskMessage(
            version=VERSION,
            server=self._server,
            session=machine.session,
            message_id=message_id,
            tasks=[each.task for each in batch],
        )
        self._credentials.seal(message)
        for each in batch:
            each.message_id, each.sent_at = message_id, self._now
            each.sends += 1
        self.outgoing.append(Outgoing(machine.task_queue, message.SerializeToString(), message_id))
