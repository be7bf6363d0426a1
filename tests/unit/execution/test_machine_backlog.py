# SPDX-License-Identifier: Apache-2.0
"""What waits at a worker machine for a server that is slow, or away with the broker: bounded, and nothing is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from qonduit.execution.v1.machine_pb2 import MachineMessage, MachineRequest
from qonduit.execution.v1.task_pb2 import TaskEvent, TaskFinished, TaskProgress
from qonduit.v1.event_pb2 import LogLine
from qonduit_server.execution.celery import machine_session, worker_machine
from qonduit_server.execution.celery.machine_session import MachineSession
from qonduit_server.execution.celery.messages import Outgoing
from qonduit_server.execution.executor import LossKind
from tests.unit.execution.machine_network import SERVER, FakePool, Network
from tests.unit.execution.pool_fixture import PATIENCE
from tests.unit.execution.test_machines import task

MOST = 100_000
EVENT = 5_000


@pytest.fixture(autouse=True)
def peak(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Lower the limits, and return the bytes that waited, after each message."""
    monkeypatch.setattr(worker_machine, "_HELLO_SECONDS", 0.0)  # a turn is a second, whatever the time
    monkeypatch.setattr(machine_session, "MOST_BYTES", MOST)
    monkeypatch.setattr(machine_session, "_MANY_BYTES", MOST // 2)
    monkeypatch.setattr(machine_session, "_BATCH_BYTES", 10_000)
    seen: list[int] = []
    add = MachineSession.add

    def recording(session: MachineSession, message: MachineMessage) -> None:
        add(session, message)
        seen.append(session.bytes)

    monkeypatch.setattr(MachineSession, "add", recording)
    return seen


@pytest.fixture
def threads() -> Iterator[ThreadPoolExecutor]:
    """Threads of pools, which may wait for the machine."""
    with ThreadPoolExecutor() as made:
        yield made


def _cut(network: Network, pool: FakePool) -> None:
    """Let the machine run a task, and then lose every message."""
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    assert pool.running
    network.loses = lambda: True


def _logs(count: int) -> list[TaskEvent]:
    logs = [LogLine(message=f"{i} ".ljust(EVENT, "x")) for i in range(count)]
    return [TaskEvent(job_id=1, attempt=1, log=each) for each in logs]


def _wait_for(network: Network, done: Future[None]) -> None:
    for _ in range(int(PATIENCE * 1000)):
        network.turn()
        if done.done():
            return done.result()
        threading.Event().wait(0.001)
    raise AssertionError("the pool waits for ever")


def test_the_bytes_that_wait_for_a_server_have_a_bound_and_all_of_them_arrive(
    peak: list[int], threads: ThreadPoolExecutor
) -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    assert pool.listener is not None
    end = TaskEvent(job_id=1, attempt=1, finished=TaskFinished())
    waiting = threads.submit(pool.listener.events, [*_logs(100), end])
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    assert 0 < max(peak) <= MOST * 1.01
    network.loses = lambda: False
    _wait_for(network, waiting)
    network.turn(5)
    assert max(peak) <= MOST * 1.01
    assert [int(each.log.message.split()[0]) for each in network.events if each.HasField("log")] == list(range(100))
    assert network.ends == {(1, 1): 1}


def test_one_event_may_be_larger_than_the_bound(peak: list[int], threads: ThreadPoolExecutor) -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    network.loses = lambda: False
    log = LogLine(message="x" * 2 * MOST)
    _wait_for(network, threads.submit(pool.emit, (1, 1), log=log))
    network.turn(5)
    assert network.events[-1].log == log


def test_progress_is_dropped_while_many_bytes_wait_and_the_end_is_not(peak: list[int]) -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    for _ in range(1000):
        pool.emit((1, 1), progress=TaskProgress(message="x" * 1000))
    pool.finish((1, 1))
    assert max(peak) <= MOST
    network.loses = lambda: False
    network.turn(5)
    assert network.ends == {(1, 1): 1}
    assert not network.losses


def test_a_machine_with_many_waiting_bytes_takes_no_more_tasks() -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    assert _places(network.hosts["a"].outgoing()) != {1}
    for each in _logs(MOST // EVENT - 5):
        pool.emit((1, 1), log=each.log)
    network.hosts["a"].capacity_changed()
    assert _places(network.hosts["a"].outgoing()) == {1}
    network.loses = lambda: False
    network.turn(5)
    assert network.machines.capacity() == {"TEST": 3}


def _places(sent: list[Outgoing] | object) -> set[int]:
    """Return the numbers of tasks that states permit in total."""
    assert isinstance(sent, list)
    states = [MachineMessage.FromString(each.body) for each in sent]
    return {each.state.limits["TEST"] for each in states if each.HasField("state")}


def test_a_machine_that_stops_while_nothing_more_may_wait_hands_its_task_back(threads: ThreadPoolExecutor) -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    assert pool.listener is not None
    waiting = threads.submit(pool.listener.events, _logs(100))
    with pytest.raises(TimeoutError):
        waiting.result(0.2)
    network.hosts["a"].stop(0.0, threading.Event())
    waiting.result(PATIENCE)
    network.loses = lambda: False
    network.turn(5)
    assert network.losses[1, 1].kind is LossKind.STOPPED
    assert network.ends == {(1, 1): 1}


def test_a_broker_that_is_away_for_longer_than_the_patience_of_servers_costs_no_task(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    away = [0.0]
    monkeypatch.setattr(worker_machine, "time", SimpleNamespace(monotonic=lambda: time.monotonic() + away[0]))
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    away[0] = 600.0  # the link asks for nothing while it has no connection
    network.hosts["a"].outgoing()
    assert pool.running
    network.turn(3)
    pool.finish((1, 1))
    network.turn(3)
    assert network.ends == {(1, 1): 1}
    assert not network.losses


def test_a_server_that_is_silent_while_the_broker_is_there_loses_its_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr(worker_machine, "time", SimpleNamespace(monotonic=lambda: now[0]))
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    for second in range(61):
        assert pool.running, second
        now[0] += 1.0
        network.hosts["a"].outgoing()
    assert not pool.running


def test_missing_messages_are_requested_once_and_repeated_at_intervals() -> None:
    network = Network()
    pool = network.add("a")
    _cut(network, pool)
    pool.emit((1, 1), log=LogLine(message="lost"))
    network.turn()
    network.loses = lambda: False
    pool.emit((1, 1), log=LogLine(message="later"))
    network.turn()
    requests = [network.machines.outgoing(tick=True) for _ in range(3)]
    repeats = [MachineRequest.FromString(sent[0].body).repeat for sent in requests]
    assert repeats == [True, False, False]  # further messages of the machine show whether some are still missing
    session = MachineSession(SERVER, 1, "a")
    for _ in range(3):
        session.add(MachineMessage())
    session.sent = 3
    session.acknowledge(0, repeat=True, repeat_seconds=PATIENCE)
    assert session.sent == 0
    session.sent = 3
    session.acknowledge(0, repeat=True, repeat_seconds=PATIENCE)
    assert session.sent == 3
