# SPDX-License-Identifier: Apache-2.0
"""Programs that worker machines read for waiting calls, with a real RabbitMQ: the server of these tests has no SDK."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from math import inf
from pathlib import Path

import pytest

from qonduit.execution.v1.task_pb2 import Task, TaskProgram
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.program_service_pb2 import TranslateProgramResponse
from qonduit_server.errors import Unavailable
from qonduit_server.execution.celery.celery_executor import CeleryExecutor, make_celery_executor
from qonduit_server.execution.executor import ExecutorOptions
from qonduit_server.execution.local.interactive_pools import InteractivePools
from qonduit_server.execution.local.translator import Translator
from tests.rabbitmq import RabbitmqBroker
from tests.unit.execution.machine_process import RunningMachine
from tests.unit.execution.pool_fixture import PATIENCE, RecordingListener, environment, wait_gone
from tests.unit.execution.test_translator import PROGRAM, QASM2, Waiting, ask, text_of

Start = Callable[[], RunningMachine]


def _options(broker: RabbitmqBroker) -> ExecutorOptions:
    return ExecutorOptions(
        providers=("IBM",), workers=1, worker_arguments=PROGRAM, environment=environment(), broker=broker.url()
    )


@contextmanager
def _translator(
    broker: RabbitmqBroker, remote_patience: float = PATIENCE
) -> Iterator[tuple[Translator, CeleryExecutor, RecordingListener]]:
    """Yield the translator of a server without SDKs, its executor, and the listener of the tasks of jobs."""
    executor, listener = make_celery_executor(_options(broker)), RecordingListener()
    executor.launch()
    executor.start(listener)
    pools = InteractivePools(pythons={"IBM": "/no/python"}, languages=False, program=PROGRAM)
    limits = {"max_seconds": PATIENCE, "compile_seconds": PATIENCE, "patience": PATIENCE, "analyze_patience": PATIENCE}
    made = Translator(pools, executor, remote_patience=remote_patience, **limits)
    try:
        yield made, executor, listener
    finally:
        assert made.processes() == []
        made.stop(PATIENCE)
        executor.stop(PATIENCE)


@pytest.fixture
def start(rabbitmq: RabbitmqBroker) -> Iterator[Start]:
    """Start machines, which end with the test."""
    with ExitStack() as ends:

        def begin() -> RunningMachine:
            machine = RunningMachine(_options(rabbitmq))
            ends.callback(machine.end)
            return machine

        yield begin


def _job(text: str, provider: str = "IBM", device: str = "aer_simulator") -> Task:
    return Task(provider=provider, device=device, programs=[TaskProgram(language=QASM2, text=text)])


def test_a_machine_translates_compiles_and_analyzes_and_the_dispatcher_hears_nothing_of_it(
    rabbitmq: RabbitmqBroker, start: Start
) -> None:
    start()
    with _translator(rabbitmq) as (made, executor, listener):
        listener.wait(lambda: bool(executor.capacity()))
        charged: list[float] = []
        compiled = made.compile(_job("emit hello"), inf, lambda _: True, charged.append)
        assert not isinstance(compiled, Failure)
        assert list(compiled[0][0].warnings) == ["hello for IBM/aer_simulator with {}"]
        assert len(charged) == 1
        analyzed = made.analyze(_job("emit hello", "", ""), inf, lambda _: True)
        assert not isinstance(analyzed, Failure)
        assert analyzed[0][0].needs.num_qubits == 5
        failed = made.compile(_job("fail PROGRAM UNKNOWN_GATE no gate foo"), inf, lambda _: True)
        assert not isinstance(failed, Failure)
        assert failed[1][0].failure.reason == "UNKNOWN_GATE"
        # More callers than a machine has places, and a response of several messages.
        with ThreadPoolExecutor(40) as callers:
            answers = callers.map(lambda number: text_of(ask(made, f"emit {number}")), range(80))
            assert [answer.split()[0] for answer in answers] == [str(number) for number in range(80)]
        assert len(text_of(ask(made, "grow 3000000"))) == 3_000_000
        assert not listener.received
        assert not listener.endings
        assert not executor.tasks()


def test_jobs_that_occupy_a_machine_delay_no_translation(
    rabbitmq: RabbitmqBroker, start: Start, tmp_path: Path
) -> None:
    start()
    gate = tmp_path / "job"
    os.mkfifo(gate)
    os.mkfifo(gate.with_suffix(".pid"))
    with _translator(rabbitmq) as (made, executor, listener):
        listener.wait(lambda: bool(executor.capacity()))
        job = _job(f"wait {gate}")
        job.job_id, job.attempt = 1, 1
        executor.submit([job])
        gate.with_suffix(".pid").read_text()  # it occupies the only worker
        assert text_of(ask(made, "emit on")).startswith("on")
        gate.open("wb").close()
        listener.wait_ended(1)


def test_without_a_machine_the_call_is_refused_and_nothing_is_left(rabbitmq: RabbitmqBroker) -> None:
    with _translator(rabbitmq) as (made, executor, _):
        for call, missing in (
            (lambda: ask(made, "emit hello"), "the packages that read programs"),
            (lambda: made.compile(_job("emit hello"), inf, lambda _: True), "the device IBM/aer_simulator"),
        ):
            with pytest.raises(Unavailable) as caught:
                call()
            assert caught.value.reason == "PROVIDER_UNAVAILABLE"
            assert f"no worker machine that is connected has {missing}" in str(caught.value)
        assert not executor.tasks()


def test_a_program_moves_to_another_machine_when_its_machine_is_killed_or_drains(
    rabbitmq: RabbitmqBroker, start: Start, tmp_path: Path
) -> None:
    with _translator(rabbitmq) as (made, _, _):
        machine = start()
        waiting = Waiting(made, tmp_path)
        waiting.worker()
        second = start()
        machine.signal(signal.SIGKILL)
        waiting.worker()
        waiting.gate.open()
        assert text_of(waiting.result())
        again = Waiting(made, tmp_path)
        again.worker()
        start()
        second.end()
        again.worker()
        again.gate.open()
        assert text_of(again.result())


def test_a_caller_that_disconnects_ends_its_program_at_the_machine(
    rabbitmq: RabbitmqBroker, start: Start, tmp_path: Path
) -> None:
    start()
    with _translator(rabbitmq) as (made, executor, listener):
        waiting = Waiting(made, tmp_path)
        worker = waiting.worker()
        waiting.over[0]()
        failure = waiting.result()
        assert isinstance(failure, Failure)
        assert failure.reason == "CANCELLED"
        wait_gone([worker])
        listener.wait(lambda: not executor.tasks())


def test_a_call_has_a_bound_while_the_broker_is_away(rabbitmq: RabbitmqBroker, start: Start) -> None:
    start()
    with _translator(rabbitmq) as (made, executor, listener):
        listener.wait(lambda: bool(executor.capacity()))
        assert isinstance(ask(made, "emit on"), TranslateProgramResponse)
        made._remote_patience = 0.5
        rabbitmq.kill()
        try:
            with pytest.raises(Unavailable, match=r"no worker machine began it within 0\.5 s"):
                ask(made, "emit on")
        finally:
            rabbitmq.start()
        made._remote_patience = PATIENCE
        assert text_of(ask(made, "emit on")).startswith("on")
        listener.wait(lambda: not executor.tasks())


def test_a_server_that_stops_ends_its_calls(rabbitmq: RabbitmqBroker, start: Start, tmp_path: Path) -> None:
    start()
    with _translator(rabbitmq) as (made, executor, listener):
        listener.wait(lambda: bool(executor.capacity()))
        waiting = Waiting(made, tmp_path)
        worker = waiting.worker()
        made.stop(PATIENCE)
        with pytest.raises(Unavailable) as caught:
            waiting.result()
        assert caught.value.reason == "DRAINING"
        with pytest.raises(Unavailable):
            ask(made, "emit late")
    wait_gone([worker])
