# SPDX-License-Identifier: Apache-2.0
"""Faults of real worker machines and of a real RabbitMQ; rare orders are in `tests/unit/execution/test_machines.py`."""

from __future__ import annotations

import signal
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import kombu
import pytest
from amqp.exceptions import PreconditionFailed

from qonduit.execution.v1.machine_pb2 import MachineMessage
from qonduit_server.execution.celery import broker_link
from qonduit_server.execution.celery import machines as machines_module
from qonduit_server.execution.celery.broker_link import tls_options
from qonduit_server.execution.celery.celery_executor import CeleryExecutor, make_celery_executor
from qonduit_server.execution.celery.messages import PART_BYTES
from qonduit_server.execution.executor import ExecutorOptions, LossKind
from qonduit_server.observer import Observer
from tests.certificate_authority import CertificateAuthority
from tests.e2e.test_client import Proxy
from tests.rabbitmq import RabbitmqBroker, start_or_skip
from tests.unit.execution.machine_process import RunningMachine
from tests.unit.execution.pool_fixture import PATIENCE, PROGRAM, Gate, RecordingListener, environment, task


def _options(broker: RabbitmqBroker) -> ExecutorOptions:
    return ExecutorOptions(
        providers=("TEST",),
        workers=2,
        worker_arguments=PROGRAM,
        server="here",
        environment=environment(),
        broker=broker.url(),
    )


@contextmanager
def _executor(
    broker: RabbitmqBroker, options: ExecutorOptions | None = None
) -> Iterator[tuple[CeleryExecutor, RecordingListener]]:
    executor, listener = make_celery_executor(options or _options(broker)), RecordingListener()
    executor.launch()
    try:
        executor.start(listener)
        # A machine takes seconds to start while others use the processors.
        listener.wait(lambda: bool(executor.capacity()))
        yield executor, listener
    finally:
        executor.stop(PATIENCE)


@pytest.fixture
def start(rabbitmq: RabbitmqBroker) -> Iterator[object]:
    """Start machines, which end with the test."""
    with ExitStack() as ends:

        def begin(host: str) -> RunningMachine:
            machine = RunningMachine(_options(rabbitmq), host)
            ends.callback(machine.end)
            return machine

        yield begin


def test_a_killed_machine_is_lost_within_seconds_and_others_go_on(
    rabbitmq: RabbitmqBroker, start: object, tmp_path: Path
) -> None:
    first = start("first")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener):
        executor.submit([task(1, f"wait {Gate(tmp_path).path}")])
        listener.wait_begun(1)
        second = start("second")  # type: ignore[operator]
        listener.wait(lambda: executor.capacity().get("TEST", 0) > 1)
        first.signal(signal.SIGKILL)
        killed = time.monotonic()
        listener.wait_ended(1)
        print(f"killed machine: lost after {time.monotonic() - killed:.1f} s")
        assert listener.losses[1].kind is LossKind.DIED
        assert "the worker machine first was lost" in listener.losses[1].message
        executor.submit([task(1, attempt=2)])
        listener.wait(lambda: 1 in listener.finished)
        assert second.process.poll() is None


def test_the_ends_of_worker_processes_reach_the_server(rabbitmq: RabbitmqBroker, start: object, tmp_path: Path) -> None:
    class Recording(Observer):
        def worker_ended(self, provider: str, cause: str, count: int = 1) -> None:
            seen.put((provider, cause, count))

    seen: SimpleQueue[tuple[str, str, int]] = SimpleQueue()
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq, replace(_options(rabbitmq), observer=Recording())) as (executor, listener):
        executor.submit([task(1, f"wait {Gate(tmp_path).path}")])
        listener.wait_begun(1)
        executor.cancel(1, 1)
        assert seen.get(timeout=PATIENCE) == ("TEST", "cancelled", 1)


def test_a_frozen_machine_loses_its_tasks_and_returns_without_them(
    rabbitmq: RabbitmqBroker, start: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines_module, "SILENT_TICKS", 3)
    gate = Gate(tmp_path)
    frozen = start("frozen")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener):
        executor.submit([task(1, f"wait {gate.path}")])
        listener.wait_begun(1)
        frozen.signal(signal.SIGSTOP)
        listener.wait_ended(1)
        assert listener.losses[1].kind is LossKind.DIED
        assert not executor.capacity()
        gate.open()  # its worker continues, and its event waits for the machine
        frozen.signal(signal.SIGCONT)
        listener.wait(lambda: executor.capacity().get("TEST", 0) == 2)
        executor.submit([task(1, attempt=2)])
        listener.wait(lambda: 1 in listener.finished)
        assert listener.finished[1].attempt == 2
        assert listener.endings == [1, 1]


def test_a_broker_that_is_killed_and_restarted_costs_no_task(
    rabbitmq: RabbitmqBroker, start: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the machine takes to connect again: its queues have gone, which counts only once it was there again.
    monkeypatch.setattr(machines_module, "SILENT_TICKS", int(PATIENCE))
    monkeypatch.setattr(machines_module, "GONE_TICKS", 1)
    one, two = Gate(tmp_path, "one"), Gate(tmp_path, "two")
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener):
        executor.submit([task(1, f"wait {one.path}"), task(2, f"wait {two.path}")])
        listener.wait_begun(1, 2)
        rabbitmq.kill()
        one.open()  # ends while the broker is away
        executor.submit([task(3), task(4)])
        executor.cancel(2, 1)
        rabbitmq.start()
        listener.wait_ended(1, 2, 3, 4)
        assert set(listener.finished) == {1, 3, 4}
        assert listener.losses[2].kind is LossKind.CANCELLED
        assert sorted(listener.endings) == [1, 2, 3, 4]


@pytest.fixture
def way(rabbitmq: RabbitmqBroker) -> Iterator[Proxy]:
    """A way to the broker that can be cut."""
    proxy = Proxy(rabbitmq.address)
    yield proxy
    proxy.close()


def _over(way: Proxy, rabbitmq: RabbitmqBroker) -> ExecutorOptions:
    return replace(_options(rabbitmq), broker=rabbitmq.url().replace(rabbitmq.address, way.target))


def _block(way: Proxy) -> None:
    """Cut the way and keep it closed until `forward_to`."""
    way.forward_to("127.0.0.1:1")
    way.cut()


def _wait(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_a_server_that_is_cut_off_the_broker_loses_no_task(
    rabbitmq: RabbitmqBroker, start: object, way: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machines_module, "SILENT_TICKS", 5)
    monkeypatch.setattr(machines_module, "GONE_TICKS", 5)
    one, two = Gate(tmp_path, "one"), Gate(tmp_path, "two")
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq, _over(way, rabbitmq)) as (executor, listener):
        executor.submit([task(1, f"wait {one.path}"), task(2, f"wait {two.path}")])
        listener.wait_begun(1, 2)
        _block(way)
        one.open()  # ends while the server is cut off
        executor.submit([task(3), task(4)])
        executor.cancel(2, 1)
        _wait(lambda: executor.lag() > 3)
        way.forward_to(rabbitmq.address)
        listener.wait_ended(1, 2, 3, 4)
        _wait(lambda: executor.lag() < 1)
        assert set(listener.finished) == {1, 3, 4}
        assert listener.losses[2].kind is LossKind.CANCELLED
        assert sorted(listener.endings) == [1, 2, 3, 4]


def test_a_machine_whose_connections_break_continues_its_task(
    rabbitmq: RabbitmqBroker, way: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # However long the machine takes to connect again.
    monkeypatch.setattr(machines_module, "GONE_TICKS", int(PATIENCE))
    monkeypatch.setattr(machines_module, "SILENT_TICKS", int(PATIENCE))
    gate, machine = Gate(tmp_path), RunningMachine(_over(way, rabbitmq))
    try:
        with _executor(rabbitmq) as (executor, listener):
            executor.submit([task(1, f"wait {gate.path}")])
            listener.wait_begun(1)
            way.cut()
            gate.open()
            listener.wait_ended(1)
            executor.submit([task(2)])
            listener.wait_ended(2)
            assert set(listener.finished) == {1, 2}
            assert not listener.losses
    finally:
        machine.end()


def test_a_machine_that_is_cut_off_the_broker_loses_its_tasks_and_returns_without_them(
    rabbitmq: RabbitmqBroker, way: Proxy, tmp_path: Path
) -> None:
    gate, machine = Gate(tmp_path), RunningMachine(_over(way, rabbitmq), "cut off")
    try:
        with _executor(rabbitmq) as (executor, listener):
            executor.submit([task(1, f"wait {gate.path}")])
            listener.wait_begun(1)
            _block(way)
            listener.wait_ended(1)
            assert listener.losses[1].kind is LossKind.DIED
            assert "the worker machine cut off was lost" in listener.losses[1].message
            assert not executor.capacity()
            way.forward_to(rabbitmq.address)
            # Both places are free: the old attempt, which still waits for its gate, was killed.
            listener.wait(lambda: executor.capacity().get("TEST", 0) == 2)
            executor.submit([task(1, attempt=2)])
            listener.wait(lambda: 1 in listener.finished)
            assert listener.finished[1].attempt == 2
            assert listener.endings == [1, 1]
    finally:
        machine.end()


def test_with_tls_the_certificate_of_the_broker_is_verified(tmp_path: Path) -> None:
    authority, other = CertificateAuthority(tmp_path), CertificateAuthority(tmp_path, "other")
    broker = start_or_skip(authority.issue("broker"))
    try:
        trusting = replace(_options(broker), broker_ca=str(authority.file))
        machine = RunningMachine(trusting)
        try:
            with _executor(broker, trusting) as (executor, listener):
                executor.submit([task(1)])
                listener.wait(lambda: 1 in listener.finished)
        finally:
            machine.end()
        for authorities in ("", str(other.file)):
            options = tls_options(broker.url(), authorities)
            with (
                kombu.Connection(broker.url(), ssl=options, connect_timeout=PATIENCE) as connection,
                pytest.raises(ssl.SSLCertVerificationError, match=r"self-signed|unable to get local issuer|signature"),
            ):
                connection.connect()
        # The name of another host: the certificate is for 127.0.0.1 and localhost.
        named = tls_options(broker.url(), str(authority.file))
        assert named is not None
        with (
            kombu.Connection(broker.url(), ssl=named | {"server_hostname": "other.invalid"}) as connection,
            pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"),
        ):
            connection.connect()
    finally:
        broker.close()


def test_the_broker_holds_no_queue_of_the_database(rabbitmq: RabbitmqBroker, start: object, tmp_path: Path) -> None:
    """Waiting tasks stay at the server. RabbitMQ 4.3 rejects transient queues that others may use, and a global QoS."""
    gate = Gate(tmp_path)
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener):
        executor.submit([task(i, f"wait {gate.path}") for i in range(1, 501)])
        listener.wait_begun(1, 2)
        lines = rabbitmq.control("list_queues", "name", "durable", "exclusive", "messages", "--no-table-headers")
        queues = [line.split() for line in lines.splitlines() if line.startswith("qonduit.")]
        assert {name.split(".")[1] for name, *_ in queues} == {"server", "requests", "tasks"}
        assert all(durable == "false" and exclusive == "true" for _, durable, exclusive, _ in queues)
        assert sum(int(messages) for *_, messages in queues if messages) <= 4
        columns = ("prefetch_count", "global_prefetch_count", "--no-table-headers")
        limits = [line.split() for line in rabbitmq.control("list_channels", *columns).splitlines() if line.split()]
        assert {of_all for _, of_all in limits} == {"0"}
        limits = [line.split() for line in rabbitmq.control("list_consumers", "queue_name", *columns[::2]).splitlines()]
        assert {int(each) for name, each in limits if name.startswith("qonduit.tasks")} == {32}
        for i in range(3, 501):
            executor.cancel(i, 1)
        threading.Thread(target=lambda: [gate.open() for _ in range(2)], daemon=True).start()
        listener.wait_ended(*range(1, 501))


def test_a_large_result_survives_a_broker_that_is_killed_while_it_travels(
    rabbitmq: RabbitmqBroker, start: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 20 * 1024**2
    some, received = threading.Event(), CeleryExecutor.receive
    parts: list[int] = []

    def receive(executor: CeleryExecutor, body: bytes) -> None:
        received(executor, body)
        message = MachineMessage.FromString(body)
        if message.HasField("part"):
            parts.append(message.sequence)
            if len(parts) == 5:
                some.set()

    monkeypatch.setattr(CeleryExecutor, "receive", receive)
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener):
        executor.submit([task(1, f"large {size}")])
        assert some.wait(PATIENCE)
        rabbitmq.kill()
        rabbitmq.start()
        listener.wait(lambda: 1 in listener.finished)
        whole = [each.points_done.results[0].buffer for each in listener.received[1] if each.HasField("points_done")]
        assert whole == [bytes(size)]
        assert not listener.losses
    assert len(set(parts)) >= size // PART_BYTES


def test_a_task_outlives_the_patience_of_the_broker(tmp_path: Path) -> None:
    """RabbitMQ closes the channel of a consumer that acknowledges too late: by default after 30 minutes."""
    gate = Gate(tmp_path)
    broker = start_or_skip(settings={"consumer_timeout": 1000, "channel_tick_interval": 200})
    try:
        machine = RunningMachine(_options(broker))
        try:
            with _executor(broker) as (executor, listener):
                executor.submit([task(1, f"wait {gate.path}"), task(2)])
                listener.wait_begun(1)
                listener.wait_ended(2)
                _wait_for_consumer_timeout(broker)
                gate.open()
                listener.wait(lambda: 1 in listener.finished)
                assert not listener.losses
        finally:
            machine.end()
    finally:
        broker.close()


def _wait_for_consumer_timeout(broker: RabbitmqBroker) -> None:
    """Receive a message without an acknowledgement until the broker has closed the channel."""
    with kombu.Connection(broker.url()) as connection:
        queue = connection.SimpleQueue("slow")
        queue.put("message")
        queue.get(timeout=PATIENCE)
        with pytest.raises(PreconditionFailed):
            connection.drain_events(timeout=PATIENCE)


@pytest.mark.parametrize("silent", ["server", "machine"])
def test_connections_that_swallow_everything_are_replaced(
    rabbitmq: RabbitmqBroker, way: Proxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, silent: str
) -> None:
    # However long it takes to notice.
    monkeypatch.setattr(machines_module, "GONE_TICKS", int(PATIENCE))
    monkeypatch.setattr(machines_module, "SILENT_TICKS", int(PATIENCE))
    monkeypatch.setattr(broker_link, "STALL_SECONDS", 2)
    gate = Gate(tmp_path)
    direct, over = _options(rabbitmq), _over(way, rabbitmq)
    machine = RunningMachine(over if silent == "machine" else direct)
    try:
        with _executor(rabbitmq, over if silent == "server" else direct) as (executor, listener):
            executor.submit([task(1, f"wait {gate.path}")])
            listener.wait_begun(1)
            way.silence()
            executor.submit([task(2)])
            executor.cancel(1, 1)
            listener.wait_ended(1, 2)
            assert listener.losses[1].kind is LossKind.CANCELLED
            assert set(listener.finished) == {2}
    finally:
        machine.end()


def test_messages_that_cannot_be_read_are_dropped(rabbitmq: RabbitmqBroker, start: object) -> None:
    start("there")  # type: ignore[operator]
    with _executor(rabbitmq) as (executor, listener), kombu.Connection(rabbitmq.url()) as connection:
        producer = connection.Producer(serializer="json")
        listed = rabbitmq.control("list_queues", "name", "--no-table-headers").split()
        for queue in [name for name in listed if name.startswith("qonduit.")]:
            producer.publish(b"\xff" * 100, routing_key=queue, content_type="application/octet-stream")
        executor.submit([task(1)])
        listener.wait(lambda: 1 in listener.finished)
