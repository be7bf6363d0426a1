# SPDX-License-Identifier: Apache-2.0
"""The executor `celery`: tasks run on worker machines (`qonduit worker`), which a message broker connects."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Final
from uuid import uuid4

from qonduit.execution.v1.machine_pb2 import MachineMessage
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.execution.celery.broker_check import check_broker
from qonduit_server.execution.celery.broker_link import BrokerLink, own_queue
from qonduit_server.execution.celery.celery_messages import encode, make_application
from qonduit_server.execution.celery.machines import Machines
from qonduit_server.execution.celery.messages import Outgoing
from qonduit_server.execution.celery.task_credentials import NO_KEY, TaskCredentials
from qonduit_server.execution.executor import (
    ExecutorOptions,
    InteractiveTasks,
    Key,
    Listener,
    Loss,
    LossKind,
    is_interactive,
)
from qonduit_server.execution.pending_notifications import PendingNotifications
from qonduit_server.observer import UNOBSERVED, Observer
from qonduit_server.version_requirements import Environment

#: The time without a request after which a machine cancels the tasks of a server.
_PATIENCE_SECONDS: Final = 60.0
_TICK_SECONDS: Final = 1.0
_JOIN_SECONDS: Final = 5.0
#: How long a start waits for machines that run already.
_FIRST_SECONDS: Final = 5.0
#: How long `list_workers` waits for the answers of machines.
_LIST_SECONDS: Final = 1.0
#: The pause after a description that was not stored, because the database was unavailable.
_STORE_AGAIN_SECONDS: Final = 1.0


class CeleryExecutor:
    """Runs tasks on worker machines. Thread-safe.

    One thread delivers to the listener, without the lock. While the listener waits, no message is received.

    Args:
        broker: the URL of the message broker.
        providers: the names of the providers.
        authorities: the file of the CAs of the broker's certificate; default: those of the system.
        server: the id of the server in the list of workers.
        keys: encrypt the credentials of tasks; without a key, such tasks fail.
        on_description: called, in a thread of its own, with a copy of each description that changed after the first
            ones; called again later if it raises `Unavailable`.
        observer: receives the ends of the machines' worker processes.
    """

    def __init__(
        self,
        broker: str,
        providers: Sequence[str],
        *,
        authorities: str = "",
        server: str = "",
        keys: KeyRing,
        on_description: Callable[[ProviderDescription], None] = lambda description: None,
        observer: Observer = UNOBSERVED,
    ) -> None:
        self._server = server
        self._providers = tuple(dict.fromkeys(providers))
        self._on_description = on_description
        queue = f"qonduit.server.{uuid4()}"
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._credentials = TaskCredentials(keys)
        self._notifications = PendingNotifications()
        self._machines = Machines(
            queue, self._providers, _PATIENCE_SECONDS, self._credentials, self._notifications, observer
        )
        self._link = BrokerLink(
            broker,
            own_queue(queue, hellos=True),
            self,
            encode=partial(encode, make_application("")),
            authorities=authorities,
            tick_seconds=_TICK_SECONDS,
        )
        self._requests = itertools.count(1)
        self._ticked_at = 0.0
        self._created_at = time.monotonic()
        self._listener: Listener | None = None
        #: The listener of interactive tasks.
        self._callers: Listener | None = None
        self._started = False
        self._stopping = False
        self._deliverer = threading.Thread(target=self._deliver_all, name="celery-deliverer", daemon=True)
        self._describer = threading.Thread(target=self._describe_changes, name="celery-describer", daemon=True)
        self._known: dict[str, ProviderDescription] = {}

    # The server's interface.

    def launch(self) -> None:
        """Connect to the broker in the background."""
        self._link.start()
        self._deliverer.start()
        self._describer.start()

    def descriptions(self, timeout: float) -> list[ProviderDescription]:
        """Return the description of each provider; one that no machine offers within seconds is unavailable."""
        with self._changed:
            everything = set(self._providers)
            # Machines send a hello every second; those that start later are reported by `on_description`.
            self._changed.wait_for(
                lambda: set(self._machines.descriptions()) >= everything, min(timeout, _FIRST_SECONDS)
            )
            self._known = {name: self._described(name) for name in self._providers}
            self._machines.changed_providers.clear()
            return [_copy(each) for each in self._known.values()]

    def describe(self, provider: str, timeout: float) -> ProviderDescription:
        """Return the description of a provider as new processes of the machines read it."""
        if provider not in self._providers:
            raise FailedPrecondition(
                f"this server does not offer provider {provider} (providers)", subject=provider, kind="PROVIDER"
            )
        request = next(self._requests)
        with self._changed:
            if not self._machines.describe(provider, request, timeout):
                self._machines.answer(request)
                raise Unavailable(f"no worker machine offers {provider}", retry_after=timeout)
            self._link.wake()
            self._changed.wait_for(lambda: request in self._machines.described, timeout + _TICK_SECONDS)
            answer = self._machines.answer(request)
        if answer is None:
            raise Unavailable(f"{provider} did not describe itself within {timeout:g} s", retry_after=timeout)
        if answer.error and answer.temporary:
            raise Unavailable(answer.error, retry_after=timeout)
        if answer.error:
            raise FailedPrecondition(answer.error, subject=provider, kind="PROVIDER")
        return answer.description

    def preload(self, providers: Iterable[str] | None = None) -> None:
        """Request all machines to load SDKs."""
        with self._lock:
            self._machines.preload(list(self._providers if providers is None else providers))
        self._link.wake()

    def start(self, listener: Listener) -> None:
        """Begin to run tasks."""
        with self._changed:
            self._listener = listener
            self._notifications.capacity_changed = True
            self._changed.notify_all()

    def capacity(self) -> Mapping[str, int]:
        """Return the number of further tasks that the machines want now, by provider name."""
        with self._lock:
            return {} if self._stopping else self._machines.capacity()

    def environments(self) -> Mapping[str, Sequence[Environment]]:
        """Return the environments of the machines, by provider name, with the number of tasks that each takes now."""
        with self._lock:
            return {} if self._stopping else self._machines.environments()

    def submit(self, tasks: Sequence[Task]) -> None:
        """Send tasks to machines; those without a free place wait here."""
        with self._changed:
            offered = []
            for task in tasks:
                if self._stopping:
                    self._notifications.lose((task.job_id, task.attempt), Loss(LossKind.STOPPED, "the server stopped"))
                elif reason := self._unavailable(task):
                    self._notifications.fail(task, "SDK_UNAVAILABLE", reason)
                elif task.credential and not self._credentials.enabled:
                    self._notifications.fail(task, "CREDENTIAL_MISSING", NO_KEY)
                else:
                    offered.append(task)
            self._machines.submit(offered)
            self._changed.notify_all()
        self._link.wake()

    def tasks(self) -> set[Key]:
        """Return the tasks that have not ended, or whose ends are not delivered."""
        with self._lock:
            return self._machines.keys() | self._notifications.ended()

    def cancel(self, job_id: int, attempt: int) -> None:
        """End a waiting or running task."""
        with self._changed:
            self._machines.cancel((job_id, attempt))
            self._changed.notify_all()
        self._link.wake()

    def interactive(self, listener: Listener) -> InteractiveTasks:
        """Return this executor: `submit` and `cancel` also take interactive tasks."""
        self._callers = listener
        return self

    def list_workers(self) -> list[Worker]:
        """Return the worker processes of all machines: as they are now, of those that answer within a second."""
        with self._changed:
            asked = self._machines.ask_all()
            self._link.wake()
            self._changed.wait_for(lambda: self._machines.answered(asked) or self._stopping, _LIST_SECONDS)
            workers = self._machines.workers()
        for worker in workers:
            worker.server = self._server
        return sorted(workers, key=lambda worker: (worker.provider, worker.host, worker.pid))

    def stop(self, grace: float) -> None:
        """Lose all tasks as STOPPED; the machines cancel them and continue for other servers."""
        with self._changed:
            self._machines.lose_all(LossKind.STOPPED, "the server stopped")
            self._stopping = True
            self._changed.notify_all()
        if self._deliverer.ident is not None:
            self._deliverer.join(grace + _JOIN_SECONDS)
            self._describer.join(grace + _JOIN_SECONDS)
            self._link.stop()

    def lag(self) -> float:
        """Return how much older than usual the newest message is that has come back through the broker."""
        return max(0.0, time.monotonic() - (self._machines.path_sent_at or self._created_at) - _TICK_SECONDS)

    def resize(self, workers: int) -> None:
        """Do nothing: each machine has a number of its own."""

    def use_broker(self, url: str) -> None:
        """Use another URL of the broker from the next connection on."""
        self._link.use_broker(url)

    # The endpoint of the link.

    def outgoing(self) -> Sequence[Outgoing]:
        """Return the messages to send now."""
        now = time.monotonic()
        with self._lock:
            tick = now - self._ticked_at >= _TICK_SECONDS and self._link.receiving
            if tick:
                self._ticked_at = now
            return self._machines.outgoing(tick=tick, sent_at=now)

    def receive(self, body: bytes) -> None:
        """Handle a message; wait until its events are delivered, so that unread events stay at their machines."""
        with self._changed:
            self._machines.receive(MachineMessage.FromString(body))
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._notifications.items or self._stopping or not self._listener)
            due = self._machines.requests_due()
        if due:
            self._link.wake()

    def away(self, peer: str) -> None:
        """Handle that a machine has no queue."""
        with self._changed:
            self._machines.away(peer)
            self._changed.notify_all()

    def connected(self) -> None:
        """Handle that the broker is there, perhaps again."""
        with self._lock:
            self._machines.connected()

    # Threads.

    def _deliver_all(self) -> None:
        """Deliver notifications until everything is delivered after `stop`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (self._listener and self._notifications))
                if self._stopping and not self._notifications.items:
                    return
                taken, listener = self._notifications.take(), self._listener
                self._changed.notify_all()
            if listener is not None:
                taken.deliver(_Recipients(listener, self._callers))
            with self._changed:
                self._notifications.delivered(taken)

    def _describe_changes(self) -> None:
        """Report changed descriptions until `stop`."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._stopping or (self._known and self._machines.changed_providers))
                if self._stopping:
                    return
                names, self._machines.changed_providers = self._machines.changed_providers, set()
                changed = [each for name in sorted(names) if (each := self._described(name)) != self._known.get(name)]
            for description in changed:
                self._report(description)

    # Parts.

    def _report(self, description: ProviderDescription) -> None:
        """Report a changed description; if it cannot be stored, note it for later and pause."""
        name = description.provider.name
        try:
            self._on_description(_copy(description))
        except Unavailable:
            with self._changed:
                self._machines.changed_providers.add(name)
                self._changed.wait_for(lambda: self._stopping, _STORE_AGAIN_SECONDS)
        else:
            with self._lock:
                self._known[name] = description

    def _described(self, name: str) -> ProviderDescription:
        described = self._machines.descriptions().get(name)
        if described is None:
            return ProviderDescription(provider=Provider(name=name), unavailable="no worker machine offers it")
        return _copy(described)

    def _unavailable(self, task: Task) -> str:
        """Return why a task fails at once; empty if it can run or wait."""
        provider = task.provider
        described = self._machines.descriptions().get(provider)
        why = described.unavailable if described is not None else ""
        if provider not in self._providers and not (is_interactive(task) and not provider):
            why = "this server does not offer the provider"
        return f"The provider {provider} is not available on this server: {why}" if why else ""


def make_celery_executor(options: ExecutorOptions) -> CeleryExecutor:
    """Return a new executor, which is not started.

    Raises:
        StartError: the settings of the broker are wrong.
    """
    check_broker(options.broker, options.broker_ca)
    return CeleryExecutor(
        options.broker,
        options.providers,
        authorities=options.broker_ca,
        server=options.server,
        keys=options.worker_keys,
        on_description=options.on_description,
        observer=options.observer,
    )


def _copy(description: ProviderDescription) -> ProviderDescription:
    copy = ProviderDescription()
    copy.CopyFrom(description)
    return copy


class _Recipients:
    """Delivers to the listener of interactive tasks, whose ids are negative, and to that of all others."""

    def __init__(self, jobs: Listener, callers: Listener | None) -> None:
        self._jobs = jobs
        self._callers = callers

    def events(self, events: Sequence[TaskEvent]) -> None:
        if jobs := [event for event in events if event.job_id >= 0]:
            self._jobs.events(jobs)
        if self._callers is not None and len(jobs) < len(events):
            self._callers.events([event for event in events if event.job_id < 0])

    def lost(self, job_id: int, attempt: int, loss: Loss) -> None:
        if job_id >= 0:
            self._jobs.lost(job_id, attempt, loss)
        elif self._callers is not None:
            self._callers.lost(job_id, attempt, loss)

    def capacity_changed(self) -> None:
        self._jobs.capacity_changed()
