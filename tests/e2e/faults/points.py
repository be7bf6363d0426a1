# SPDX-License-Identifier: Apache-2.0
"""The points where processes are killed: each of the twelve steps of a job, before and after it.

With worker machines there are further ones, and points at which the broker is killed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

Process = Literal["client", "server", "forkserver", "worker", "machine", "broker"]


@dataclass(frozen=True)
class KillPoint:
    """A call in one of the processes.

    Attributes:
        name: describes the committed state at that moment.
        step: the step of a job, 1 to 12.
        process: the process that dies. It makes the call, except the broker: that dies while the call is stopped.
        module: where the function is defined.
        function: its path in the module.
        moment: whether the process dies before the call or after it.
        often: the n-th call kills, n from 1 to this.
        when: only calls that match this predicate of `deadly/sitecustomize.py`.
    """

    name: str
    step: int
    process: Process
    module: str
    function: str
    moment: Literal["before", "after"]
    often: int = 4
    when: str = ""


def _server(
    step: int, name: str, module: str, function: str, moment: Literal["before", "after"], often: int = 4, when: str = ""
) -> KillPoint:
    return KillPoint(name, step, "server", f"qonduit_server.{module}", function, moment, often, when)


def _worker(
    step: int, name: str, module: str, function: str, moment: Literal["before", "after"], often: int = 4
) -> KillPoint:
    return KillPoint(name, step, "worker", f"qonduit_server.{module}", function, moment, often)


_CLIENT: Final = "tests.e2e.faults.running"
#: A step inside a transaction is killed after its statements and before its commit.
POINTS: Final = (
    KillPoint("submit-not-sent", 1, "client", "qonduit_client.transport", "_bytes_of", "before", often=1),
    KillPoint("event-not-received", 1, "client", _CLIENT, "receive", "before"),
    KillPoint("event-received", 1, "client", _CLIENT, "receive", "after"),
    _server(2, "call-arrived", "rpc.call_context", "CallContext.__init__", "after", when="is a submit"),
    _server(2, "call-not-answered", "rpc.call_context", "CallContext.ended", "before"),
    _server(3, "request-not-checked", "rpc.request_validation", "parse", "before"),
    _server(3, "submit-checked", "rpc.submission_checks", "new_job", "after"),
    _server(4, "job-not-written", "store.jobs.job_creation", "CREATE.run", "before"),
    _server(4, "job-not-committed", "store.jobs.job_creation", "CREATE.run", "after"),
    _server(4, "job-committed", "store.jobs.job_rows", "create", "after"),
    _server(5, "job-not-claimed", "store.jobs.queue", "_CLAIM.run", "before"),
    _server(5, "claim-not-committed", "store.jobs.queue", "_CLAIM.run", "after"),
    _server(5, "claim-committed", "store.jobs.queue", "claim", "after"),
    _server(6, "task-not-handed-over", "execution.local.pool", "ProcessPool.submit", "before"),
    _server(6, "task-handed-over", "execution.local.pool", "ProcessPool.submit", "after"),
    KillPoint("worker-not-forked", 6, "forkserver", "os", "fork", "before", often=1),
    KillPoint("worker-forked", 6, "forkserver", "os", "fork", "after", often=1),
    _worker(7, "task-not-begun", "worker.runner", "Runner.run", "before"),
    _worker(7, "program-prepared", "worker.preparation", "Preparation.compiled", "after", often=8),
    _worker(8, "circuits-not-run", "providers.aer.aer_execution", "AerExecution._simulate", "before", often=6),
    _worker(8, "circuits-run", "providers.aer.aer_execution", "AerExecution._simulate", "after", often=6),
    _worker(9, "result-not-made", "worker.circuit_runs", "CircuitRuns._result", "before", often=8),
    _worker(9, "result-made", "worker.circuit_runs", "CircuitRuns._result", "after", often=8),
    _worker(9, "events-not-sent", "worker.loop", "Outbox.flush", "before", often=8),
    _worker(9, "events-sent", "worker.loop", "Outbox.flush", "after", often=8),
    _server(10, "events-arrived", "execution.dispatcher.dispatcher", "Dispatcher.events", "before", often=8),
    _server(10, "events-not-committed", "store.jobs.queue", "_RECORD.run", "after", often=3),
    _server(10, "events-committed", "store.jobs.queue", "record", "after", often=8),
    _server(11, "end-not-committed", "store.jobs.queue", "_RECORD_ENDS.run", "after"),
    _server(11, "end-committed", "store.notification_bus", "NotificationBus.deliver", "before", when="ends a job"),
    _server(11, "end-notified", "store.notification_bus", "NotificationBus.deliver", "after", when="ends a job"),
    _server(12, "event-not-sent", "rpc.stream_sender", "Stream.send", "before", often=12),
    _server(12, "event-sent", "rpc.stream_sender", "Stream.send", "after", often=12),
    _server(12, "last-event-not-sent", "rpc.stream_sender", "Stream.finish", "before"),
    _server(12, "last-event-sent", "rpc.stream_sender", "Stream.finish", "after"),
)

#: Events of jobs that another server has taken over are refused.
REFUSED: Final = KillPoint(
    "late-events-refused", 11, "server", "qonduit_server.store.jobs.queue", "record", "after", when="refuses"
)

_LOCAL_HANDOVER: Final = frozenset({"task-not-handed-over", "task-handed-over"})
_ENGINE: Final = "execution.celery"


def _machine(
    step: int, name: str, module: str, function: str, moment: Literal["before", "after"], often: int = 4
) -> KillPoint:
    return KillPoint(name, step, "machine", f"qonduit_server.{module}", function, moment, often)


def _broker(
    step: int, name: str, module: str, function: str, moment: Literal["before", "after"], often: int = 4
) -> KillPoint:
    return KillPoint(name, step, "broker", f"qonduit_server.{_ENGINE}.{module}", function, moment, often)


#: The points between a server and its worker machines.
ENGINE_POINTS: Final = (
    _server(6, "task-not-sent", f"{_ENGINE}.celery_executor", "CeleryExecutor.submit", "before"),
    _server(6, "task-sent", f"{_ENGINE}.celery_executor", "CeleryExecutor.submit", "after"),
    _server(10, "message-not-received", f"{_ENGINE}.celery_executor", "CeleryExecutor.receive", "before", often=12),
    _server(10, "message-received", f"{_ENGINE}.celery_executor", "CeleryExecutor.receive", "after", often=12),
    _machine(6, "task-not-accepted", f"{_ENGINE}.worker_machine", "WorkerMachine.run_tasks", "before"),
    _machine(6, "task-accepted", f"{_ENGINE}.worker_machine", "WorkerMachine.run_tasks", "after"),
    _machine(6, "task-not-in-pool", "execution.local.pool", "ProcessPool.submit", "before"),
    _machine(6, "task-in-pool", "execution.local.pool", "ProcessPool.submit", "after"),
    _machine(9, "events-not-queued", f"{_ENGINE}.worker_machine", "WorkerMachine.events", "before", often=8),
    _machine(9, "events-queued", f"{_ENGINE}.worker_machine", "WorkerMachine.events", "after", often=8),
    _broker(6, "broker-gone-before-a-task", "celery_executor", "CeleryExecutor.submit", "before"),
    _broker(6, "broker-gone-with-a-task", "worker_machine", "WorkerMachine.run_tasks", "before"),
    _broker(9, "broker-gone-before-events", "worker_machine", "WorkerMachine.events", "before", often=8),
    _broker(9, "broker-gone-with-events", "worker_machine", "WorkerMachine.events", "after", often=8),
    _broker(10, "broker-gone-before-an-answer", "celery_executor", "CeleryExecutor.receive", "after", often=12),
)


def points_of(executor: str) -> tuple[KillPoint, ...]:
    """Return the points of an executor: "local" or "celery"."""
    if executor == "local":
        return POINTS
    return (*(point for point in POINTS if point.name not in _LOCAL_HANDOVER), *ENGINE_POINTS)


def named(name: str, points: Iterable[KillPoint] = POINTS) -> KillPoint:
    """Return the point of this name."""
    return next(point for point in points if point.name == name)
