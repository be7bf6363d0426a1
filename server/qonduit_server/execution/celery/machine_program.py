# SPDX-License-Identifier: Apache-2.0
"""A worker machine as a whole: its process pool, its connections to the broker, and the worker of Celery.

It knows no database and no gRPC; `qonduit worker` runs it.
"""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final
from uuid import uuid4

import kombu
from celery.worker import WorkController, state
from celery.worker.consumer import Consumer

from qonduit_server.execution.celery.broker_check import check_broker
from qonduit_server.execution.celery.broker_link import BrokerLink, own_queue, tls_options
from qonduit_server.execution.celery.celery_messages import make_application, register
from qonduit_server.execution.celery.task_credentials import TaskCredentials
from qonduit_server.execution.celery.worker_ends import WorkerEnds
from qonduit_server.execution.celery.worker_machine import WorkerMachine
from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.interactive_pools import NO_PROVIDER, make_interactive_pools
from qonduit_server.execution.local.local_executor import make_local_executor
from qonduit_server.execution.local.memory_shares import memory_shares

#: The threads that take messages of tasks: handing them to the pool takes milliseconds.
_THREADS: Final = 2
_JOIN_SECONDS: Final = 5.0
#: The pause of Celery between two attempts to connect; its own pauses grow to half a minute.
_RECONNECT_SECONDS: Final = 1
#: Loggers of Celery that report a lost connection as errors with tracebacks, and the bodies of unknown messages.
#: `BrokerLink` reports that the broker is away, and repeated messages do no harm.
_SILENT_LOGGERS: Final = ("celery.worker.consumer.consumer", "celery.worker.loops", "celery.worker.request")


class _Consumer(Consumer):  # type: ignore[misc]
    """The consumer of Celery, which connects again as soon as the broker is back. `BrokerLink` logs that it is away."""

    def ensure_connected(self, conn: kombu.Connection) -> kombu.Connection:
        """Connect; try again until `state.should_stop` is set."""
        made = conn.ensure_connection(interval_start=_RECONNECT_SECONDS, interval_step=0, callback=state.maybe_shutdown)
        # Celery then limits the messages of each consumer, and not those of the channel, which RabbitMQ 4.3 rejects.
        made.transport.qos_semantics_matches_spec = lambda connection: True
        return made


class _CeleryWorker(WorkController):  # type: ignore[misc]
    """A worker of Celery that reports when it consumes its queue: messages to it would be lost before."""

    def on_before_init(self, *, ready: Callable[[], None], **_: Any) -> None:
        """Keep the function to call."""
        self._ready = ready

    def on_consumer_ready(self, consumer: object) -> None:
        """Report it, also after each new connection."""
        self._ready()


class MachineProgram:
    """Runs the tasks of servers until `stop`.

    Args:
        options: those of the local pool, and the broker.
        host: the name of the machine, for display; default: its host name.
        on_fault: called if Celery ends by itself, as when the broker refuses access; the caller should then stop.
    """

    def __init__(self, options: ExecutorOptions, host: str = "", on_fault: Callable[[], None] = lambda: None) -> None:
        check_broker(options.broker, options.broker_ca)
        self._on_fault = on_fault
        self._authorities = options.broker_ca
        self._stopping = False
        self.id = str(uuid4())
        requests, tasks = f"qonduit.requests.{self.id}", f"qonduit.tasks.{self.id}"
        ends = WorkerEnds()
        self._pool, interactive = make_local_executor(replace(options, observer=ends)), make_interactive_pools(options)
        self._machine = WorkerMachine(
            self.id,
            host or socket.gethostname(),
            self._pool,
            interactive,
            lanes=(*([NO_PROVIDER] if interactive.has_sdk(NO_PROVIDER) else []), *options.providers),
            request_queue=requests,
            task_queue=tasks,
            task_memory_bytes=options.task_memory_bytes or options.memory_bytes,
            memory_bytes=memory_shares(options).job_bytes,
            credentials=TaskCredentials(options.worker_keys),
            worker_ends=ends.counts,
        )
        self._link = BrokerLink(options.broker, own_queue(requests), self._machine, authorities=options.broker_ca)
        application = make_application(options.broker, tls_options(options.broker, options.broker_ca))
        register(application, self._machine.run_tasks)
        application.conf.task_queues = [own_queue(tasks)]
        logging.getLogger("celery").setLevel(logging.WARNING)
        for name in _SILENT_LOGGERS:
            logging.getLogger(name).setLevel(logging.CRITICAL + 1)
        self._celery = _CeleryWorker(
            ready=self._machine.ready,
            app=application,
            hostname=f"{self.id}@{host or socket.gethostname()}",
            pool="threads",
            concurrency=_THREADS,
            consumer_cls=_Consumer,
            # Without both, it has no connection for events, which nothing reads.
            without_gossip=True,
            without_heartbeat=True,
            without_mingle=True,
            optimization="fair",
        )
        self._thread = threading.Thread(target=self._consume, name="celery-worker", daemon=True)

    def start(self, preload: Sequence[str] = ()) -> None:
        """Start the pool, load the SDKs of these providers (default: all), and connect, all in the background."""
        self._pool.launch()
        self._machine.start(self._link.wake)
        self._pool.preload(preload or None)
        self._thread.start()
        self._link.start()

    def _consume(self) -> None:
        try:
            self._celery.start()
        finally:
            if not self._stopping:
                self._on_fault()

    def resize(self, workers: int) -> None:
        """Run another number of tasks at once: more of them now, or fewer as tasks end."""
        self._pool.resize(workers)

    def use_broker(self, url: str) -> None:
        """Use another user or password at the broker from the next connection on."""
        self._link.use_broker(url)
        self._celery.app.conf.update(broker_url=url, broker_use_ssl=tls_options(url, self._authorities))

    def wait_idle(self, seconds: float, deadline: float) -> bool:
        """Wait until the machine has had no task for `seconds`; return whether it has, or else the deadline passed."""
        return self._machine.wait_idle(seconds, deadline)

    def stop(self, grace: float, force: threading.Event) -> None:
        """Accept no more tasks, wait up to `grace` seconds for running ones, hand back the rest, and end.

        Args:
            grace: seconds.
            force: when set, the machine does not wait longer.
        """
        self._stopping = True
        self._machine.stop(grace, force)
        self._link.stop()
        self._machine.close()
        # Celery's own `stop` would use the connection of the other thread, and wait for half a minute.
        state.should_stop = 0
        self._thread.join(_JOIN_SECONDS)
