# SPDX-License-Identifier: Apache-2.0
"""Messages between servers and worker machines: each task ends once, whatever the broker loses or repeats."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs

from qonduit.execution.v1.machine_pb2 import MachineMessage, MachineRequest, TaskMessage
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit_server.encryption.key_ring import Key as SecretKey
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.errors import StartError
from qonduit_server.execution.celery import machines as machines_module
from qonduit_server.execution.celery import worker_machine as machine_module
from qonduit_server.execution.celery.broker_check import check_broker
from qonduit_server.execution.celery.celery_executor import CeleryExecutor
from qonduit_server.execution.celery.messages import HELLO_EXCHANGE, PART_BYTES, VERSION
from qonduit_server.execution.celery.worker_ends import MachineEnds, WorkerEnds
from qonduit_server.execution.executor import Loss, LossKind
from qonduit_server.observer import Observer
from qonduit_server.process.release import installed_release
from tests.unit.execution.machine_network import KEYS, NO_KEYS, SERVER, Network
from tests.unit.execution.pool_fixture import task

SECRET = "a secret of the vendor"


@pytest.fixture(autouse=True)
def _hello_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is a second, whatever the clock says."""
    monkeypatch.setattr(machine_module, "_HELLO_SECONDS", 0.0)


@pytest.mark.parametrize(("loss", "repetition"), [(0.0, 0.0), (0.0, 0.5), (0.2, 0.2), (0.5, 0.1)])
@pytest.mark.parametrize("seed", range(8))
def test_each_task_ends_once_over_a_broker_that_loses_and_repeats(loss: float, repetition: float, seed: int) -> None:
    chance = random.Random(seed)
    network = Network(lambda: chance.random() < loss, lambda: chance.random() < repetition)
    # With this many losses a machine may seem silent: then its tasks end as DIED, and the dispatcher repeats them.
    pools = [network.add("a"), network.add("b", slots=2)]
    network.turn(10)
    network.machines.submit(task(i) for i in range(1, 41))
    for _ in range(2000):
        network.turn()
        for pool in pools:
            for key in [key for key in pool.running if chance.random() < 0.3]:
                pool.finish(key, size=chance.choice([0, 0, 3 * PART_BYTES]))
        if not network.machines.keys():
            break
    assert set(network.ends) == {(i, 1) for i in range(1, 41)}
    assert set(network.ends.values()) == {1}
    assert all(count == 1 for pool in pools for count in pool.submitted.values())
    if loss == 0.0:
        assert not network.losses
    finished = {event.job_id for event in network.events if event.HasField("finished")}
    assert all(pool.submitted[i, 1] for i in finished for pool in pools if (i, 1) in pool.submitted)
    for i in finished:
        kinds = [event.WhichOneof("event") for event in network.events if event.job_id == i]
        assert kinds == ["started", "progress", "finished"]


def test_machines_receive_no_more_tasks_than_they_have_places_for() -> None:
    network = Network()
    pools = [network.add("a", slots=3), network.add("b", slots=2)]
    network.turn(5)
    assert network.machines.capacity() == {"TEST": 5}
    network.machines.submit(task(i) for i in range(1, 101))
    network.turn(20)
    assert [len(pool.running) for pool in pools] == [3, 2]
    assert network.machines.capacity() == {}
    pools[1].finish(next(iter(pools[1].running)))
    network.turn(5)
    assert [len(pool.running) for pool in pools] == [3, 2]


def test_a_repeated_publication_has_the_same_id_and_runs_once() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.loses = lambda: True  # neither the tasks nor their acceptance arrive
    network.turn(3)
    assert not pool.running
    network.loses = lambda: False
    network.turn(10)
    assert set(pool.running) == {(1, 1), (2, 1)}
    ids = {message_id for message_id, _ in network.task_messages}
    assert len(ids) == 1
    for key in list(pool.running):
        pool.finish(key)
    network.turn(3)
    started = [event.started.message_id for event in network.events if event.HasField("started")]
    assert started == [*ids] * 2


def test_a_dead_machine_is_noticed_earlier_than_a_frozen_one() -> None:
    network = Network()
    network.add("dead")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(2)
    del network.hosts["dead"]  # its queues end with its connections
    network.turn(machines_module.GONE_TICKS + 3)
    assert network.losses[1, 1].kind is LossKind.DIED
    assert "host-dead" in network.losses[1, 1].message
    network.add("frozen")
    network.turn(5)
    network.machines.submit([task(2)])
    network.turn(2)
    network.frozen.add("frozen")
    network.turn(machines_module.SILENT_TICKS - 1)
    assert (2, 1) not in network.losses
    network.turn(4)
    assert network.losses[2, 1].kind is LossKind.DIED


def test_a_task_whose_end_is_too_large_to_receive_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machines_module, "_MAX_PARTS_BYTES", 2 * PART_BYTES)
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.turn(3)
    pool.finish((1, 1), size=5 * PART_BYTES)
    network.turn(3)
    assert network.losses[1, 1].kind is LossKind.DIED
    assert "host-a has reported its end in a message that is larger than 1.0 MiB" in network.losses[1, 1].message
    pool.finish((2, 1), size=PART_BYTES)
    network.turn(3)
    assert network.ends == {(1, 1): 1, (2, 1): 1}
    assert set(network.losses) == {(1, 1)}


def test_machines_may_connect_to_a_restarted_broker_later_than_the_server() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(2)
    slow = network.hosts.pop("a")  # no queue outlives a broker
    network.machines.connected()
    network.turn(machines_module.SILENT_TICKS - 1)
    assert not network.machines.capacity()
    network.hosts["a"] = slow
    network.turn(3)
    pool.finish((1, 1))
    network.turn(3)
    assert network.ends == {(1, 1): 1}
    assert not network.losses
    # From then on, a machine without a queue is lost soon.
    network.machines.submit([task(2)])
    network.turn(2)
    del network.hosts["a"]
    network.turn(machines_module.GONE_TICKS + 3)
    assert network.losses[2, 1].kind is LossKind.DIED


def test_connections_that_break_again_and_again_keep_no_dead_machine_alive() -> None:
    network = Network()
    network.add("a")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(2)
    del network.hosts["a"]
    for _ in range(4):
        network.machines.connected()
        network.turn(machines_module.SILENT_TICKS // 2)
    assert network.losses[1, 1].kind is LossKind.DIED


def test_a_machine_that_accepts_nothing_gets_a_task_again_at_growing_intervals() -> None:
    network = Network()
    network.add("a")
    network.turn(5)
    network.drops_tasks = True
    network.machines.submit([task(1)])
    network.turn(5 + 10 + 20 + 40 + 80 + 160 + 160 + 7)
    assert len(network.task_messages) == 8
    network.drops_tasks = False
    network.turn(165)
    assert set(network.pools["a"].running) == {(1, 1)}


def test_a_machine_that_wakes_up_late_loses_its_tasks_and_takes_new_ones() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.turn(3)
    network.frozen.add("a")
    network.turn(machines_module.SILENT_TICKS + 4)
    assert {loss.kind for loss in network.losses.values()} == {LossKind.DIED}
    pool.finish((1, 1))
    network.frozen.clear()
    network.turn(5)
    assert not pool.running
    assert network.ends == {(1, 1): 1, (2, 1): 1}
    network.machines.submit([task(1, attempt=2)])
    network.turn(3)
    assert set(pool.running) == {(1, 2)}
    pool.finish((1, 2))
    network.turn(3)
    assert network.ends[1, 2] == 1


def test_nobody_seems_silent_while_the_broker_is_away() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(2)
    network.loses = lambda: True
    network.turn(100)
    assert not network.losses
    network.loses = lambda: False
    pool.finish((1, 1))
    network.turn(5)
    assert network.ends == {(1, 1): 1}
    assert not network.losses


def test_a_cancel_is_repeated_until_the_task_has_ended() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(2)
    network.loses = lambda: True
    network.machines.cancel((1, 1))
    network.turn(3)
    assert pool.running
    network.loses = lambda: False
    network.turn(3)
    assert not pool.running
    assert network.losses[1, 1] == Loss(LossKind.CANCELLED, "x", 7, 1.5)


def test_a_stopping_machine_hands_its_tasks_back() -> None:
    network = Network()
    network.add("a", slots=1)
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.turn(2)
    network.hosts["a"].stop(0.0, threading.Event())
    network.turn(5)
    assert network.losses[1, 1].kind is LossKind.STOPPED
    assert (2, 1) not in network.losses
    pool = network.add("b")
    network.turn(5)
    assert set(pool.running) == {(2, 1)}


def test_the_log_of_a_server_contains_the_machines_that_come_and_go() -> None:
    network = Network()
    with capture_logs() as lines:
        for name in ("stopped", "killed", "frozen"):
            network.add(name)
        network.turn(5)
        network.machines.submit([task(number) for number in (1, 2, 3)])
        network.turn(2)
        network.hosts["stopped"].stop(0.0, threading.Event())
        network.turn(5)
        del network.hosts["stopped"], network.hosts["killed"]
        network.frozen.add("frozen")
        network.turn(machines_module.SILENT_TICKS + 3)
    found = [(line["event"], line["host"], line.get("tasks"), line.get("why")) for line in lines if "host" in line]
    assert sorted(found[:3]) == [
        ("worker machine connected", f"host-{name}", None, None) for name in ("frozen", "killed", "stopped")
    ]
    assert found[3:] == [
        ("worker machine drains", "host-stopped", 1, None),
        ("worker machine stopped", "host-stopped", None, None),
        ("worker machine lost", "host-killed", 1, "its connection is closed"),
        ("worker machine lost", "host-frozen", 1, "it is silent"),
    ]
    assert [line["log_level"] for line in lines if line["event"] == "worker machine lost"] == ["warning"] * 2


def test_a_task_that_a_stopping_machine_has_not_accepted_goes_to_another_one_at_once() -> None:
    network = Network()
    network.add("a")
    network.turn(5)
    network.loses = lambda: True
    network.machines.submit([task(1), task(2)])
    network.turn()
    network.machines.cancel((2, 1))
    network.loses = lambda: False
    network.hosts["a"].stop(0.0, threading.Event())
    pool = network.add("b")
    network.turn(3, tick=False)
    assert network.losses[2, 1].kind is LossKind.CANCELLED
    network.turn(3, tick=False)
    assert set(pool.running) == {(1, 1)}
    assert not pool.running[1, 1].declined_before  # its events are not repetitions


def test_a_server_observes_the_ends_of_worker_processes_since_it_knows_their_machine() -> None:
    class Recording(Observer):
        def worker_ended(self, provider: str, cause: str, count: int = 1) -> None:
            seen.append((provider, cause, count))

    seen: list[tuple[str, str, int]] = []
    counted, ends = WorkerEnds(), MachineEnds(["TEST"], Recording())
    counted.worker_ended("TEST", "died")
    ends.update(counted.counts())
    assert seen == []
    counted.worker_ended("TEST", "died", 2)
    counted.worker_ended("TEST", "cancelled")
    # Those of a provider that the server does not offer, and of a later release.
    counted.worker_ended("OTHER", "died")
    counted.worker_ended("TEST", "?")
    ends.update(counted.counts())
    ends.update(counted.counts())
    assert seen == [("TEST", "died", 2), ("TEST", "cancelled", 1)]


def test_an_idle_machine_is_idle_since_its_last_task_ended() -> None:
    network = Network()
    pool = network.add("a")
    machine = network.hosts["a"]
    network.turn(5)
    assert machine.wait_idle(0.0, math.inf)
    assert not machine.wait_idle(math.inf, time.monotonic())
    network.machines.submit([task(1)])
    network.turn(2)
    assert not machine.wait_idle(0.0, time.monotonic())
    begun = time.monotonic()
    ended = threading.Timer(0.2, pool.finish, [(1, 1)])
    ended.start()
    assert machine.wait_idle(0.1, math.inf)
    assert time.monotonic() - begun >= 0.3
    ended.join()


def test_two_servers_share_a_machine_and_one_attempt_of_both_runs_once() -> None:
    one, two = Network(), Network(server="qonduit.server.t")
    pool = one.add("a", slots=4)
    two.hosts, two.pools = one.hosts, one.pools
    queues = {one.server: one, two.server: two}
    for network in (one, two):
        network.machines_of = queues  # type: ignore[attr-defined]

    def turn(turns: int) -> None:
        for _ in range(turns):
            for network in (one, two):
                for outgoing in network.machines.outgoing(tick=True):
                    network.pass_on(outgoing)
            for outgoing in one.hosts["a"].outgoing():
                for name, network in queues.items():
                    if outgoing.queue in ("", name):
                        network.machines.receive(MachineMessage.FromString(outgoing.body))
            for network in (one, two):
                network.collect()

    turn(5)
    assert one.machines.capacity() == two.machines.capacity() == {"TEST": 2}
    one.machines.submit([task(1)])
    turn(2)
    two.machines.submit([task(1)])  # as after a drain, which gives the attempt back
    turn(3)
    assert pool.submitted[1, 1] == 1
    one.machines.lose_all(LossKind.STOPPED, "the server stopped")
    turn(10)
    assert pool.submitted[1, 1] == 2
    pool.finish((1, 1))
    turn(3)
    assert two.ends == {(1, 1): 1}
    assert not two.losses


def test_messages_of_the_next_version_are_understood_and_older_ones_than_supported_ignored() -> None:
    network = Network()
    network.add("a")
    for outgoing in network.hosts["a"].outgoing():
        hello = MachineMessage.FromString(outgoing.body)
        hello.version = 0
        network.machines.receive(hello)
        assert not network.machines.outgoing(tick=False)
        hello.version = VERSION + 1
        # A field that this version does not know.
        network.machines.receive(MachineMessage.FromString(hello.SerializeToString() + b"\xf2\x7f\x03new"))
    (request,) = network.machines.outgoing(tick=False)
    assert MachineRequest.FromString(request.body).describe_all


def test_the_release_of_a_machine_is_that_of_its_workers_and_unknown_for_older_ones() -> None:
    network = Network()
    network.add("a")
    network.add("b")
    old = MachineMessage.FromString(network.hosts["b"]._hello.body)
    old.hello.ClearField("release")
    network.hosts["b"]._hello = replace(network.hosts["b"]._hello, body=old.SerializeToString())
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.turn(3)
    assert sorted(each.release for each in network.machines.workers()) == ["", installed_release()]


def test_a_machine_ignores_tasks_of_an_old_session() -> None:
    network = Network()
    pool = network.add("a")
    network.turn(5)
    message: dict[str, Any] = {"version": VERSION, "server": SERVER, "message_id": "m", "tasks": [task(9)]}
    network.hosts["a"].run_tasks(TaskMessage(**message, session=99).SerializeToString())
    assert not pool.running
    network.hosts["a"].run_tasks(TaskMessage(**message, session=1).SerializeToString())
    assert set(pool.running) == {(9, 1)}


def _with_credential(job_id: int) -> Task:
    made = task(job_id)
    made.credential = SECRET
    return made


def test_a_session_that_ends_while_tasks_arrive_leaves_none_of_them_running(monkeypatch: pytest.MonkeyPatch) -> None:
    network = Network()
    pool = network.add("a")
    network.turn(3)
    submit = pool.submit

    def submit_late(tasks: Sequence[Task]) -> None:
        """Submit tasks after a request of the next session, which another thread receives."""
        request = MachineRequest(version=VERSION, server=SERVER, session=4711)
        network.hosts["a"].receive(request.SerializeToString())
        submit(tasks)

    monkeypatch.setattr(pool, "submit", submit_late)
    network.machines.submit([task(1)])
    network.turn()
    assert pool.submitted == {(1, 1): 1}
    assert not pool.running


def test_a_credential_travels_encrypted_and_only_with_its_own_task() -> None:
    network = Network(keys=KEYS)
    pool = network.add("a")
    network.turn(5)
    network.machines.submit([task(1), _with_credential(2)])
    network.turn(3)
    assert {key: sent.credential for key, sent in pool.running.items()} == {(1, 1): "", (2, 1): SECRET}
    ((_, message),) = network.task_messages
    assert SECRET.encode() not in message.SerializeToString()
    # Attached to another task, it cannot be read.
    message.tasks[0].job_id, message.tasks[1].job_id = 3, 4
    message.credentials[0].task.job_id = 3
    network.hosts["a"].run_tasks(message.SerializeToString())
    assert {key: sent.credential for key, sent in pool.running.items() if key[0] > 2} == {(4, 1): ""}


@pytest.mark.parametrize("keys", [NO_KEYS, KeyRing(keys=[SecretKey("two", b"2" * 32)])])
def test_a_task_whose_credential_a_machine_cannot_decrypt_fails(keys: KeyRing) -> None:
    network = Network(keys=KEYS)
    pool = network.add("a", keys=keys)
    network.turn(5)
    network.machines.submit([task(1), _with_credential(2)])
    network.turn(3)
    assert set(pool.running) == {(1, 1)}
    (failed,) = [event.finished.failure for event in network.events if event.HasField("finished")]
    assert failed.reason == "CREDENTIAL_MISSING"
    assert failed.message == (
        "the credential of the job, sent to host-a, needs the key one, which the machine does not have "
        "(worker_key_file)"
    )


def test_without_a_key_a_task_with_a_credential_fails_at_the_server() -> None:
    executor = CeleryExecutor("amqp://127.0.0.1:1", ["TEST"], keys=NO_KEYS)
    executor.submit([_with_credential(1)])
    assert executor.tasks() == {(1, 1)}
    assert not list(executor.outgoing())
    (failed,) = executor._notifications.items
    assert isinstance(failed, TaskEvent)
    assert failed.finished.failure.reason == "CREDENTIAL_MISSING"
    assert "the operator must set worker_key_file" in failed.finished.failure.message


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("redis://127.0.0.1", "Redis cannot be the broker: after a worker was killed"),
        ("", "needs the URL of a RabbitMQ"),
        ("http://127.0.0.1", "needs the URL of a RabbitMQ"),
        ("amqp://127.0.0.1:rabbit/", "the URL of the broker is invalid: .*'rabbit'.*HOST:PORT"),
    ],
)
def test_other_brokers_are_refused(url: str, why: str) -> None:
    with pytest.raises(StartError, match=why):
        check_broker(url)


def test_the_file_of_the_authorities_must_contain_certificates(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"none.pem: No such file or directory \(broker_ca\)"):
        check_broker("amqps://127.0.0.1", str(tmp_path / "none.pem"))
    (tmp_path / "empty.pem").touch()
    with pytest.raises(StartError, match=r"it contains no certificate \(broker_ca\)"):
        check_broker("amqps://127.0.0.1", str(tmp_path / "empty.pem"))


def test_the_exchange_has_a_fixed_name() -> None:
    """Servers and machines of different releases meet there."""
    assert HELLO_EXCHANGE == "qonduit.machines"
