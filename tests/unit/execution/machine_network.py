# SPDX-License-Identifier: Apache-2.0
"""Servers and worker machines over a broker that loses, repeats and delays messages; pools are simulated."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence

from qonduit.execution.v1.machine_pb2 import MachineMessage, TaskMessage
from qonduit.execution.v1.task_pb2 import Task, TaskDeclined, TaskEvent, TaskFinished, TaskProgress, TaskStarted
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.encryption.key_ring import Key as SecretKey
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.execution.celery.machines import Machines
from qonduit_server.execution.celery.messages import Outgoing
from qonduit_server.execution.celery.task_credentials import TaskCredentials
from qonduit_server.execution.celery.worker_machine import WorkerMachine
from qonduit_server.execution.executor import Key, Listener, Loss, LossKind
from qonduit_server.execution.pending_notifications import PendingNotifications

SERVER = "qonduit.server.s"
NO_KEYS = KeyRing()
KEYS = KeyRing(keys=[SecretKey("one", b"1" * 32)])


class FakePool:
    """A pool whose tasks run until `finish`."""

    def __init__(self, slots: int = 4, devices: Sequence[str] = ("stage",)) -> None:
        self.slots = slots
        self.devices = devices
        self.versions: Mapping[str, str] = {}
        self.running: dict[Key, Task] = {}
        self.submitted: Counter[Key] = Counter()
        self.listener: Listener | None = None

    def start(self, listener: Listener) -> None:
        self.listener = listener

    def stop(self, grace: float) -> None:
        for key in list(self.running):
            self._lose(key, LossKind.STOPPED)

    def capacity(self) -> Mapping[str, int]:
        return {"TEST": max(0, self.slots - len(self.running))}

    def submit(self, tasks: Sequence[Task]) -> None:
        for each in tasks:
            key = (each.job_id, each.attempt)
            assert key not in self.running
            self.running[key] = each
            self.submitted[key] += 1

    def cancel(self, job_id: int, attempt: int) -> None:
        if (job_id, attempt) in self.running:
            self._lose((job_id, attempt), LossKind.CANCELLED)

    def list_workers(self) -> list[Worker]:
        return [Worker(provider="TEST", pid=7, job_id=job_id) for job_id, _ in self.running]

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        devices = [Device(name=name, available=True) for name in self.devices]
        return [ProviderDescription(provider=Provider(name="TEST"), devices=devices, versions=self.versions)]

    def preload(self, providers: Iterable[str] | None = None) -> None:
        pass

    def adopt(self, description: ProviderDescription) -> None:
        pass

    def finish(self, key: Key, size: int = 0) -> None:
        del self.running[key]
        assert self.listener is not None
        job_id, attempt = key
        progress = TaskProgress(message="x" * size)
        self.listener.events(
            [
                TaskEvent(job_id=job_id, attempt=attempt, started=TaskStarted()),
                TaskEvent(job_id=job_id, attempt=attempt, progress=progress),
                TaskEvent(job_id=job_id, attempt=attempt, finished=TaskFinished()),
            ]
        )
        self.listener.capacity_changed()

    def decline(self, key: Key, memory: int) -> None:
        """Decline a task, which then waits for memory."""
        assert self.listener is not None
        declined = TaskDeclined(memory_bytes=memory)
        self.listener.events([TaskEvent(job_id=key[0], attempt=key[1], declined=declined)])

    def emit(self, key: Key, **fields: object) -> None:
        """Emit an event of a task."""
        assert self.listener is not None
        self.listener.events([TaskEvent(job_id=key[0], attempt=key[1], **fields)])  # type: ignore[arg-type]

    def _lose(self, key: Key, kind: LossKind) -> None:
        del self.running[key]
        assert self.listener is not None
        self.listener.lost(*key, Loss(kind, "x", 7, 1.5))
        self.listener.capacity_changed()


class Network:
    """One server and its machines, with a broker that misbehaves as requested.

    Args:
        loses: returns whether a message is lost.
        repeats: returns whether a message arrives twice.
        server: the queue of the server.
        keys: of the server, and of machines without their own.
    """

    def __init__(
        self,
        loses: Callable[[], bool] = lambda: False,
        repeats: Callable[[], bool] = lambda: False,
        server: str = SERVER,
        keys: KeyRing = NO_KEYS,
    ) -> None:
        self.keys = keys
        self.loses, self.repeats = loses, repeats
        self.server = server
        self.notifications = PendingNotifications()
        self.machines = Machines(server, ["TEST"], 60.0, TaskCredentials(keys), self.notifications)
        self.hosts: dict[str, WorkerMachine] = {}
        self.pools: dict[str, FakePool] = {}
        #: What runs the interactive tasks of machines, by name.
        self.interactive: dict[str, FakePool] = {}
        self.events: list[TaskEvent] = []
        self.ends: Counter[Key] = Counter()
        self.losses: dict[Key, Loss] = {}
        #: The machines whose messages do not arrive, and those without a queue.
        self.frozen: set[str] = set()
        #: Whether tasks do not arrive, although requests do.
        self.drops_tasks = False
        self.task_messages: list[tuple[str, TaskMessage]] = []

    def add(
        self,
        name: str,
        slots: int = 4,
        keys: KeyRing | None = None,
        devices: Sequence[str] = ("stage",),
        memory: int = 0,
        versions: Mapping[str, str] | None = None,
        lanes: Sequence[str] = ("", "TEST"),
    ) -> FakePool:
        pool = self.pools[name] = FakePool(slots, devices)
        pool.versions = versions or {}
        interactive = self.interactive[name] = FakePool()
        host = WorkerMachine(
            name,
            f"host-{name}",
            pool,  # type: ignore[arg-type]
            interactive,  # type: ignore[arg-type]
            lanes=lanes,
            request_queue=f"requests.{name}",
            task_queue=f"tasks.{name}",
            task_memory_bytes=memory,
            memory_bytes=memory,
            credentials=TaskCredentials(self.keys if keys is None else keys),
            repeat_seconds=0.0,
            in_background=lambda function: function(),
        )
        host.start(lambda: None)
        host.ready()
        self.hosts[name] = host
        return pool

    def turn(self, turns: int = 1, *, tick: bool = True) -> None:
        """Let server and machines send once; `tick` is a second of the server."""
        for _ in range(turns):
            for outgoing in self.machines.outgoing(tick=tick):
                self.pass_on(outgoing)
            for name, host in list(self.hosts.items()):
                if name not in self.frozen:
                    for outgoing in host.outgoing():
                        self.pass_on(outgoing)
            self.collect()

    def collect(self) -> None:
        taken = self.notifications.take()
        self.notifications.delivered(taken)
        for item in taken.items:
            if isinstance(item, tuple):
                self.ends[item[0]] += 1
                self.losses[item[0]] = item[1]
            else:
                self.events.append(item)
                if item.HasField("finished"):
                    self.ends[item.job_id, item.attempt] += 1

    def pass_on(self, outgoing: Outgoing) -> None:
        """Deliver a message, or lose it."""
        name = outgoing.queue.rpartition(".")[2]
        if outgoing.queue.startswith(("requests.", "tasks.")) and name not in self.hosts:
            if outgoing.peer:
                self.machines.away(outgoing.peer)
            return
        if self.loses() or name in self.frozen:
            return
        for _ in range(2 if self.repeats() else 1):
            if outgoing.queue.startswith("tasks."):
                self.task_messages.append((outgoing.message_id, TaskMessage.FromString(outgoing.body)))
                if not self.drops_tasks:
                    self.hosts[name].run_tasks(outgoing.body)
            elif outgoing.queue.startswith("requests."):
                self.hosts[name].receive(outgoing.body)
            elif outgoing.queue in ("", self.server):
                self.machines.receive(MachineMessage.FromString(outgoing.body))
