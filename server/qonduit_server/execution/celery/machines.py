# SPDX-License-Identifier: Apache-2.0
"""A server's view of the worker machines: their limits, their tasks, and whether they are alive.

It holds no thread and no connection: messages and the passing of time come in by method calls, notifications for the
listener and messages to send go out. The executor locks it.

Time is counted in ticks: messages of the server to itself, one a second, which travel through the same queue as those
of the machines. While the broker is away, or the receiver is blocked, no tick arrives, so no machine seems silent.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

import structlog
from google.protobuf.duration_pb2 import Duration

from qonduit.execution.v1.machine_pb2 import (
    DescribeProvider,
    MachineMessage,
    MachineState,
    MessagePart,
    PathCheck,
    ProviderDescribed,
    TaskLost,
)
from qonduit.execution.v1.machine_pb2 import LossKind as WireLossKind
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.celery import placement
from qonduit_server.execution.celery.messages import (
    VERSION,
    Outgoing,
    key_of,
    understood,
)
from qonduit_server.execution.celery.remote_machine import RemoteMachine, merged
from qonduit_server.execution.celery.sent_tasks import SentTasks
from qonduit_server.execution.celery.task_credentials import TaskCredentials
from qonduit_server.execution.celery.worker_ends import MachineEnds
from qonduit_server.execution.executor import Key, Loss, LossKind
from qonduit_server.execution.pending_notifications import PendingNotifications
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.process.memory import format_bytes
from qonduit_server.version_requirements import Environment

#: The ticks without a message after which a machine is lost: if it is only silent, and if its queue has gone, too. The
#: queues of all machines have gone when the server has connected to a restarted broker: then it waits for the longer.
SILENT_TICKS: Final = 12
GONE_TICKS: Final = 3
#: The maximum of bytes of the parts of one message.
_MAX_PARTS_BYTES: Final = 256 * 1024**2

#: The number of warnings of machines that are too old.
_MOST_REPORTED: Final = 1000

_log = structlog.get_logger("qonduit.machines")
_CANCELLED: Final = WireLossKind.LOSS_KIND_CANCELLED
_KINDS: Final[Mapping[int, LossKind]] = {
    WireLossKind.LOSS_KIND_DIED: LossKind.DIED,
    WireLossKind.LOSS_KIND_CANCELLED: LossKind.CANCELLED,
    WireLossKind.LOSS_KIND_TIME_LIMIT: LossKind.TIME_LIMIT,
    WireLossKind.LOSS_KIND_STOPPED: LossKind.STOPPED,
}


class Machines:
    """The worker machines of a server, and its tasks.

    Args:
        server: the queue of the server, which identifies it.
        providers: the names of the providers that the server offers.
        patience_seconds: the time without a request after which a machine cancels the tasks of this server.
        credentials: encrypts the credentials of tasks.
        notifications: receives ends and events for the listener, in order.
        observer: receives the ends of worker processes.
    """

    def __init__(
        self,
        server: str,
        providers: Iterable[str],
        patience_seconds: float,
        credentials: TaskCredentials,
        notifications: PendingNotifications,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._observer = observer
        self._server = server
        self._providers = tuple(dict.fromkeys(providers))
        self._patience = Duration()
        self._patience.FromNanoseconds(int(patience_seconds * 1e9))
        self._machines: dict[str, RemoteMachine] = {}
        self._sent = SentTasks(server, self._providers, self._machines, credentials, notifications)
        self._sessions = itertools.count(1)
        #: The providers whose SDKs machines load, also those that appear later.
        self._preload: list[str] = []
        #: The number of ticks so far.
        self.now = 0
        #: When the last tick that has arrived was sent.
        self.path_sent_at = 0.0
        self._notifications = notifications
        #: The open requests of `describe`, and the answers to them.
        self.asked: set[int] = set()
        self.described: dict[int, ProviderDescribed] = {}
        #: The machines of releases that are too old, of which the log contains a warning.
        self._not_understood: set[str] = set()
        #: The providers whose descriptions may have changed.
        self.changed_providers: set[str] = set()

    # What the executor asks.

    def capacity(self) -> dict[str, int]:
        """Return the number of further tasks that the machines want, by provider."""
        wanted = {}
        for name in self._providers:
            # Those that wait although there is room need another machine.
            room = placement.room_for(name, self._machines.values())
            if room > 0 and self._sent.waiting(name) < placement.MOST_WAITING:
                wanted[name] = room
        return wanted

    def environments(self) -> dict[str, list[Environment]]:
        """Return the environments of the machines that live, by provider."""
        return {name: placement.environments(name, self._machines.values()) for name in self._providers}

    def descriptions(self) -> dict[str, ProviderDescription]:
        """Return the descriptions of all providers that a live machine has described, by name.

        If machines differ, a device is offered that any of them has.
        """
        known: dict[str, ProviderDescription] = {}
        for machine in self._machines.values():
            if machine.gone or machine.stopping:
                continue
            for name, description in machine.descriptions.items():
                known[name] = merged(known[name], description) if name in known else description
        return known

    def ask_all(self) -> dict[str, int]:
        """Request the states of all machines; return how many each has sent so far."""
        for machine in self._machines.values():
            machine.due = True
        return {machine.id: machine.states for machine in self._machines.values() if not machine.gone}

    def answered(self, asked: Mapping[str, int]) -> bool:
        """Return whether all these machines have sent a state since."""
        return all(name not in self._machines or self._machines[name].states > number for name, number in asked.items())

    def requests_due(self) -> bool:
        """Return whether there is something to send before the next tick."""
        return bool(self._sent.outgoing) or any(machine.due for machine in self._machines.values())

    def workers(self) -> list[Worker]:
        """Return the worker processes of all machines."""
        return [worker for machine in self._machines.values() for worker in machine.workers]

    def keys(self) -> set[Key]:
        """Return the tasks that have not ended."""
        return self._sent.keys()

    # What the executor requests.

    def submit(self, tasks: Iterable[Task]) -> None:
        """Place tasks on machines; those without a free place wait."""
        self._sent.submit(tasks)

    def cancel(self, key: Key) -> None:
        """Cancel a task: at once if no machine has it, otherwise when its machine answers."""
        self._sent.cancel(key)

    def preload(self, providers: Sequence[str]) -> None:
        """Request all machines to load SDKs, now or when they appear."""
        self._preload = list(providers)
        for machine in self._machines.values():
            machine.preload = list(providers)
            machine.due = True

    def describe(self, provider: str, request: int, timeout: float) -> list[str]:
        """Request the description of a provider from every machine that offers it; return their ids."""
        asked = []
        self.asked.add(request)
        for machine in self._machines.values():
            if provider in machine.descriptions and not machine.gone:
                wire = DescribeProvider(provider=provider, request=request)
                wire.timeout.FromNanoseconds(int(timeout * 1e9))
                machine.requests.append(wire)
                machine.due = True
                asked.append(machine.id)
        return asked

    def answer(self, request: int) -> ProviderDescribed | None:
        """Close a request of `describe`, and return the answer to it, if any."""
        self.asked.discard(request)
        return self.described.pop(request, None)

    def lose_all(self, kind: LossKind, message: str) -> None:
        """Lose every task; running ones are cancelled at their machines."""
        self._sent.lose_all(kind, message)

    # What arrives.

    def receive(self, message: MachineMessage) -> None:
        """Handle a message of a machine, or a tick."""
        if message.WhichOneof("message") == "check":
            self._tick(message.check)
            return
        if not understood(message.version):
            self._ignored(message)
            return
        machine = self._machines.get(message.machine)
        if machine is None:
            if message.WhichOneof("message") != "hello":
                return  # the machine was lost; its next hello makes it known again
            machine = self._add(message)
        machine.heard_at, machine.heard = self.now, True
        if machine.gone:
            machine.gone = False
            self._offers_changed(machine)
        if message.HasField("hello"):
            machine.request_queue, machine.task_queue = message.hello.request_queue, message.hello.task_queue
            machine.release = message.hello.release
            return
        if message.session != machine.session:
            machine.due = True
            return
        if message.sequence:
            if message.sequence <= machine.acknowledged:
                return  # a repetition
            if message.sequence > machine.acknowledged + 1:
                machine.repeat = machine.due = True
                return
            machine.acknowledged = message.sequence
            machine.repeat = False
        self._handle(machine, message)
        if message.HasField("state"):
            self._state(machine, message.state)

    def connected(self) -> None:
        """Handle a new connection to the broker: machines may take longer to connect than this server.

        A machine that sent nothing through the last connection gets no further time: connections that break again and
        again must not keep it alive.
        """
        for machine in self._machines.values():
            if machine.heard:
                machine.heard_at, machine.heard = self.now, False

    def away(self, machine_id: str) -> None:
        """Handle that the broker has no queue of a machine: it has ended, or lost its connection."""
        machine = self._machines.get(machine_id)
        if machine is not None and not machine.gone:
            machine.gone = True
            self._offers_changed(machine)

    def outgoing(self, *, tick: bool, sent_at: float = 0.0) -> Sequence[Outgoing]:
        """Return the messages to send; with `tick`, also the periodic ones, sent at a time."""
        out = list(self._sent.outgoing)
        self._sent.outgoing.clear()
        for machine in self._machines.values():
            if tick or machine.due:
                out.append(machine.request(self._server, self._patience))
                machine.due = False
        if tick:
            check = MachineMessage(version=VERSION, check=PathCheck(sent_at=sent_at))
            out.append(Outgoing(self._server, check.SerializeToString()))
        return out

    # Messages.

    def _ignored(self, message: MachineMessage) -> None:
        """Log a machine of a release that is too old, once."""
        if message.machine not in self._not_understood and len(self._not_understood) < _MOST_REPORTED:
            self._not_understood.add(message.machine)
            what = {"machine": message.machine, "host": message.hello.host, "release": message.hello.release}
            _log.warning("worker machine ignored: its release is too old", **what)

    def _add(self, message: MachineMessage) -> RemoteMachine:
        hello = message.hello
        queues = (hello.request_queue, hello.task_queue)
        ends = MachineEnds(self._providers, self._observer)
        machine = RemoteMachine(message.machine, *queues, hello.host, self.now, next(self._sessions), ends)
        machine.preload = list(self._preload)
        self._machines[message.machine] = machine
        _log.info("worker machine connected", machine=machine.id, host=machine.host, release=hello.release)
        return machine

    def _handle(self, machine: RemoteMachine, message: MachineMessage) -> None:
        match message.WhichOneof("message"):
            case "accepted":
                for key in map(key_of, message.accepted.tasks):
                    if (sent := self._sent.get(key)) is not None and sent.machine is machine:
                        sent.accepted = True
            case "events":
                for event in message.events.events:
                    self._event(machine, event)
            case "lost":
                self._lost(machine, message.lost)
            case "described":
                self._described(machine, message.described)
            case "stopping":
                self._stopping(machine)
            case "part":
                self._part(machine, message.part)

    def _part(self, machine: RemoteMachine, part: MessagePart) -> None:
        """Handle a part of a message. The tasks of one that is too large are lost with the next state."""
        machine.too_large = machine.too_large or len(machine.parts) + len(part.data) > _MAX_PARTS_BYTES
        if machine.too_large:
            machine.parts.clear()
        else:
            machine.parts += part.data
        if part.last:
            data, dropped = bytes(machine.parts), machine.too_large
            machine.parts.clear()
            machine.too_large = False
            if not dropped:
                self._handle(machine, MachineMessage.FromString(data))

    def _stopping(self, machine: RemoteMachine) -> None:
        """Place the tasks elsewhere that a stopping machine has not accepted: it ignores them."""
        if not machine.stopping:
            _log.info("worker machine drains", machine=machine.id, host=machine.host, tasks=len(machine.tasks))
        machine.stopping = True
        self._offers_changed(machine)
        for sent in [each for each in machine.tasks.values() if not each.accepted]:
            if sent.cancelled:
                self._sent.lose(sent.key, Loss(LossKind.CANCELLED, "cancelled before it began"))
            else:
                self._sent.take_back(sent)
        self._sent.place()

    def _event(self, machine: RemoteMachine, event: TaskEvent) -> None:
        key = (event.job_id, event.attempt)
        sent = self._sent.get(key)
        if sent is None or sent.machine is not machine:
            machine.cancels.add(key)
            return
        sent.accepted = True
        if not sent.cancelled and placement.outgrows(sent, event, machine, self._machines.values()):
            sent.need, sent.dropped = machine.task_memory_bytes + 1, True
            self._sent.move(sent, machine)
        if sent.dropped:
            if event.HasField("finished") and sent.cancelled:
                self._sent.lose(key, Loss(LossKind.CANCELLED, "cancelled between two machines"))
            elif event.HasField("finished"):
                self._sent.send_elsewhere(sent)
            return
        if event.HasField("declined"):
            sent.need = event.declined.memory_bytes
            if not sent.cancelled and placement.moves(sent, machine, self._machines.values()):
                self._sent.move(sent, machine)
        if event.HasField("started"):
            event.started.message_id = sent.message_id
        self._notifications.event(event)
        if event.HasField("finished"):
            self._sent.forget(key)

    def _lost(self, machine: RemoteMachine, lost: TaskLost) -> None:
        key = key_of(lost.task)
        machine.cancels.discard(key)
        sent = self._sent.get(key)
        if sent is not None and sent.machine is machine and sent.moving and lost.kind == _CANCELLED:
            self._sent.send_elsewhere(sent)
        elif sent is not None and sent.machine is machine:
            seconds = lost.seconds if lost.HasField("seconds") else None
            self._sent.lose(key, Loss(_KINDS.get(lost.kind, LossKind.DIED), lost.message, lost.pid, seconds))

    def _described(self, machine: RemoteMachine, described: ProviderDescribed) -> None:
        if not described.error:
            name = described.description.provider.name
            if name in self._providers and machine.descriptions.get(name) != described.description:
                machine.descriptions[name] = described.description
                self.changed_providers.add(name)
                self._notifications.capacity_changed = True
                self._sent.place()
        if described.request in self.asked:
            answer = self.described.get(described.request)
            if answer is None or (answer.error and not described.error):
                self.described[described.request] = described

    def _state(self, machine: RemoteMachine, state: MachineState) -> None:
        if state.last_sequence > machine.acknowledged:
            machine.repeat = machine.due = True
        machine.states += 1
        machine.limits = dict(state.limits)
        machine.task_memory_bytes, machine.memory_bytes = state.task_memory_bytes, state.memory_bytes
        machine.workers = list(state.workers)
        for worker in machine.workers:
            worker.release = machine.release
        machine.ends.update(state.worker_ends)
        held = set(map(key_of, state.tasks))
        machine.cancels &= held | machine.tasks.keys()
        if state.last_sequence == machine.acknowledged:
            for key in [key for key, sent in machine.tasks.items() if sent.accepted and key not in held]:
                # Its end was in a message that could not be received.
                limit = format_bytes(_MAX_PARTS_BYTES)
                message = f"{machine.host} has reported its end in a message that is larger than {limit}"
                self._sent.lose(key, Loss(LossKind.DIED, message))
        unknown = {key for key in held if key not in machine.tasks}
        if unknown:
            machine.cancels |= unknown
            machine.due = True
        self._notifications.capacity_changed = True
        self._sent.place()

    def _tick(self, check: PathCheck) -> None:
        self.now += 1
        self.path_sent_at = check.sent_at
        for machine in list(self._machines.values()):
            gone = machine.gone and machine.heard
            if self.now - machine.heard_at > (GONE_TICKS if gone else SILENT_TICKS):
                self._remove(machine)
        self._sent.check(self.now)

    def _remove(self, machine: RemoteMachine) -> None:
        """Lose a machine with its tasks."""
        del self._machines[machine.id]
        which = {"machine": machine.id, "host": machine.host}
        if machine.stopping and not machine.tasks:
            _log.info("worker machine stopped", **which)
        else:
            why = "its connection is closed" if machine.gone else "it is silent"
            _log.warning("worker machine lost", **which, tasks=len(machine.tasks), why=why)
        for key in list(machine.tasks):
            accepted = machine.tasks[key].accepted
            message = f"the worker machine {machine.host} was lost" if accepted else "its worker machine was lost"
            self._sent.lose(key, Loss(LossKind.DIED if accepted else LossKind.STOPPED, message))
        self._offers_changed(machine)

    def _offers_changed(self, machine: RemoteMachine) -> None:
        self.changed_providers |= set(machine.descriptions)
        self._notifications.capacity_changed = True
