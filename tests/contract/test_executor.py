# SPDX-License-Identifier: Apache-2.0
"""The contract between every executor and its dispatcher, however the executor runs tasks."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.execution import executor as seam
from qonduit_server.execution.executor import Executor, ExecutorOptions, LossKind, make_executor
from qonduit_server.execution.stderr_log import StderrLog
from tests.rabbitmq import RabbitmqBroker
from tests.unit.execution.fake_forkserver import DEVICES
from tests.unit.execution.machine_process import RunningMachine
from tests.unit.execution.pool_fixture import PATIENCE, PROGRAM, Gate, RecordingListener, environment, task

#: Memory of all tasks together, and of a large task: two large tasks do not fit.
BUDGET, LARGE = 1024**3, 600 * 1024**2
#: Makes a started executor that runs two tasks at once, and its listener; stops the executor afterwards.
Making = Callable[..., AbstractContextManager[tuple[Executor, RecordingListener]]]


class _Machines:
    """The worker machine of executors on other machines: tests with the same environment share one."""

    def __init__(self, broker: str) -> None:
        self.broker = broker
        self._running: RunningMachine | None = None
        self._environment: object = None

    def use(self, options: ExecutorOptions) -> None:
        """Have a machine with these options."""
        if self._running is None or self._environment != options.environment:
            self.end()
            self._running, self._environment = RunningMachine(options), options.environment

    def end(self) -> None:
        if self._running is not None:
            self._running.end()
            self._running = None


@pytest.fixture(scope="module")
def machines(rabbitmq: RabbitmqBroker) -> Iterator[_Machines]:
    made = _Machines(rabbitmq.url())
    yield made
    made.end()


@pytest.fixture(params=seam.names())
def making(request: pytest.FixtureRequest) -> Making:
    """Each registered executor, with workers that follow the instructions in a task's program."""
    machines: _Machines | None = request.getfixturevalue("machines") if request.param == "celery" else None

    @contextmanager
    def make(**variables: str) -> Iterator[tuple[Executor, RecordingListener]]:
        stderr, listener = StderrLog(lambda *record: print(*record)), RecordingListener()
        options = ExecutorOptions(
            providers=("TEST", "BROKEN"),
            workers=2,
            worker_arguments=PROGRAM,
            memory_bytes=BUDGET,
            server="here",
            stderr=stderr,
            environment=environment(**variables),
            broker=machines.broker if machines else "",
        )
        if machines:
            machines.use(options)
        executor = make_executor(request.param, options)
        stderr.start()
        executor.launch()
        try:
            executor.start(listener)
            # A machine connects within seconds; on a busy system, they are more than an executor waits.
            while machines and any("no worker machine" in each.unavailable for each in executor.descriptions(PATIENCE)):
                pass
            yield executor, listener
        finally:
            executor.stop(PATIENCE)
            stderr.stop()

    return make


class TestExecutor:
    """The contract."""

    def test_it_describes_its_providers_before_any_sdk_is_loaded(self, making: Making) -> None:
        with making() as (executor, _):
            descriptions = {each.provider.name: each for each in executor.descriptions(PATIENCE)}
            assert set(descriptions) == {"TEST", "BROKEN"}
            assert [device.name for device in descriptions["TEST"].devices] == ["stage"]
            assert not descriptions["TEST"].unavailable

    def test_a_description_is_read_again_and_later_tasks_run_with_it(self, making: Making, tmp_path: Path) -> None:
        gate, devices = Gate(tmp_path), tmp_path / "devices"
        devices.write_text("stage")
        with making(**{DEVICES: str(devices)}) as (executor, listener):
            executor.descriptions(PATIENCE)
            executor.submit([task(1)])
            listener.wait_ended(1)
            assert [device.name for device in executor.describe("TEST", PATIENCE).devices] == ["stage"]
            executor.submit([task(2)])
            listener.wait_ended(2)
            executor.submit([task(3, f"wait {gate.path}")])
            listener.wait_begun(3)
            devices.write_text("stage other")
            assert [device.name for device in executor.describe("TEST", PATIENCE).devices] == ["stage", "other"]
            executor.submit([task(4)])
            listener.wait_ended(4)
            devices.write_text("other")
            executor.describe("TEST", PATIENCE)
            last = task(5)
            last.device = "other"
            executor.submit([last])
            listener.wait_ended(5)
            assert 3 not in listener.finished
            gate.open()
            listener.wait_ended(3)
            described = {each.provider.name: each for each in executor.descriptions(PATIENCE)}["TEST"]
            assert [device.name for device in described.devices] == ["other"]
        assert not listener.losses
        parents = [listener.pid(number, "parent") for number in (1, 2, 3, 4, 5)]
        assert [parents.index(each) for each in parents] == [0, 0, 0, 3, 4]

    def test_a_provider_becomes_available_and_unavailable_with_its_description(
        self, making: Making, tmp_path: Path
    ) -> None:
        devices = tmp_path / "devices"
        devices.write_text("missing")
        with making(**{DEVICES: str(devices)}) as (executor, listener):
            assert {each.unavailable for each in executor.descriptions(PATIENCE)} == {"install the SDK"}
            devices.write_text("stage")
            assert not executor.describe("TEST", PATIENCE).unavailable
            executor.submit([task(1)])
            listener.wait_ended(1)
            assert 1 in listener.finished
            assert not listener.finished[1].finished.HasField("failure")
            devices.write_text("missing")
            assert executor.describe("TEST", PATIENCE).unavailable == "install the SDK"
            executor.submit([task(2)])
            listener.wait_ended(2)
            assert listener.finished[2].finished.failure.reason == "SDK_UNAVAILABLE"

    def test_a_provider_that_does_not_describe_itself_keeps_its_processes(self, making: Making, tmp_path: Path) -> None:
        gate, devices = Gate(tmp_path), tmp_path / "devices"
        devices.write_text("stage")
        with making(**{DEVICES: str(devices)}) as (executor, listener):
            executor.descriptions(PATIENCE)
            executor.submit([task(1)])
            listener.wait_ended(1)
            devices.write_text(f"hang {gate.path}")
            with pytest.raises(Unavailable, match=r"TEST did not describe itself within 0\.5 s"):
                executor.describe("TEST", 0.5)
            with pytest.raises(OSError, match="No such device"):  # no process reads the pipe
                os.open(gate.path, os.O_WRONLY | os.O_NONBLOCK)
            devices.write_text("crash")
            with pytest.raises(
                FailedPrecondition, match="TEST cannot be described: its process ended with exit code 7"
            ):
                executor.describe("TEST", PATIENCE)
            with pytest.raises(FailedPrecondition, match="does not offer provider OTHER"):
                executor.describe("OTHER", PATIENCE)
            executor.submit([task(2)])
            listener.wait_ended(2)
            assert listener.pid(1, "parent") == listener.pid(2, "parent")

    def test_preloaded_providers_have_workers_before_the_first_task(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.descriptions(PATIENCE)
            listener.more.clear()
            executor.preload(["TEST"])
            assert listener.more.wait(PATIENCE)
            listener.wait(lambda: {worker.provider for worker in executor.list_workers()} == {"TEST"})

    def test_workers_are_listed_with_their_task(self, making: Making, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        with making() as (executor, listener):
            executor.submit([task(1, f"wait {gate.path}")])
            listener.wait_begun(1)
            (busy,) = [worker for worker in executor.list_workers() if worker.job_id == 1]
            assert (busy.provider, busy.server) == ("TEST", "here")
            gate.open()
            listener.wait_ended(1)

    def test_capacity_is_reported_by_provider_and_grows_again(self, making: Making) -> None:
        with making() as (executor, listener):
            listener.wait(lambda: executor.capacity().get("TEST", 0) >= 1)
            executor.submit([task(1)])
            listener.wait_ended(1)
            listener.wait(lambda: executor.capacity().get("TEST", 0) >= 1)
            assert listener.more.is_set()

    def test_each_task_ends_once_and_emits_nothing_afterwards(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.submit([task(i, "progress 3") for i in range(1, 301)])
            listener.wait_ended(*range(1, 301))
        assert sorted(listener.endings) == list(range(1, 301))
        assert not listener.losses
        for events in listener.received.values():
            kinds = [event.WhichOneof("event") for event in events if event.WhichOneof("event") != "started"]
            assert kinds == ["program_started", *["progress"] * 3, "program_succeeded", "progress", "finished"]
            assert {event.attempt for event in events} == {1}

    def test_tasks_are_listed_until_their_ends_are_delivered(self, making: Making, tmp_path: Path) -> None:
        """The dispatcher requeues a job whose task is not listed, so a task that ends must be listed until then."""
        gate = Gate(tmp_path)
        with making() as (executor, listener):
            listed: list[bool] = []
            listener.on_end = lambda key: listed.append(key in executor.tasks())
            assert not executor.tasks()
            executor.submit([task(1, f"hold {gate.path}"), task(2, f"need {LARGE} wait {gate.path}")])
            listener.wait_granted(2)
            executor.submit([task(3, f"need {LARGE}"), *(task(i) for i in range(4, 50))])
            executor.submit([task(50, provider="BROKEN"), task(51, provider="NOT OFFERED")])
            listener.wait_begun(1)
            assert {(1, 1), (2, 1), (3, 1)} <= set(executor.tasks())
            executor.cancel(1, 1)
            executor.cancel(3, 1)
            executor.submit([task(52, "kill SIGKILL")])
            listener.wait_ended(1, *range(3, 53))
            gate.open()
            listener.wait_ended(2)
            listener.wait(lambda: len(listener.endings) == 52)
            executor.submit([task(53, f"wait {gate.path}")])
            listener.wait_begun(53)
            assert set(executor.tasks()) == {(53, 1)}
        assert len(listed) == 53
        assert all(listed)

    def test_more_tasks_may_be_submitted_than_the_capacity(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.submit([task(i) for i in range(1, 101)])
            assert all(count > 0 for count in executor.capacity().values())
            listener.wait_ended(*range(1, 101))

    def test_as_many_tasks_run_at_once_as_there_are_workers(self, making: Making, tmp_path: Path) -> None:
        one, two, three = (Gate(tmp_path, name) for name in ("one", "two", "three"))
        with making() as (executor, listener):
            executor.submit([task(1, f"wait {one.path}"), task(2, f"wait {two.path}"), task(3, f"wait {three.path}")])
            listener.wait_begun(1, 2)
            assert not listener.received[3]
            two.open()
            listener.wait_ended(2)
            listener.wait_begun(3)
            one.open()
            three.open()
            listener.wait_ended(1, 3)

    def test_events_of_a_running_task_arrive_while_it_runs(self, making: Making, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        with making() as (executor, listener):
            executor.submit([task(1, f"wait {gate.path}")])
            listener.wait(lambda: any(event.HasField("program_started") for event in listener.received[1]))
            assert 1 not in listener.finished
            gate.open()
            listener.wait_ended(1)

    def test_cancel_ends_running_and_waiting_tasks_and_no_others(self, making: Making, tmp_path: Path) -> None:
        one, two = Gate(tmp_path, "one"), Gate(tmp_path, "two")
        with making() as (executor, listener):
            executor.submit([task(1, f"hold {one.path}"), task(2, f"wait {two.path}"), *(task(i) for i in range(3, 9))])
            listener.wait_begun(1, 2)
            executor.cancel(5, 1)
            executor.cancel(1, 1)
            executor.cancel(1, 1)
            listener.wait_ended(1, 5)
            assert {listener.losses[i].kind for i in (1, 5)} == {LossKind.CANCELLED}
            two.open()
            listener.wait_ended(*range(1, 9))
            assert set(listener.finished) == {2, 3, 4, 6, 7, 8}

    def test_cancel_of_an_unknown_task_does_nothing(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.submit([task(1)])
            listener.wait_ended(1)
            executor.cancel(1, 1)
            executor.cancel(2, 1)
            executor.submit([task(1, attempt=2)])
            listener.wait(lambda: len(listener.endings) == 2)
            assert not listener.losses

    def test_a_worker_death_names_the_signal_and_affects_no_other_task(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.submit([task(1), task(2, "kill SIGKILL"), *(task(i) for i in range(3, 30))])
            listener.wait_ended(*range(1, 30))
            assert set(listener.losses) == {2}
            assert listener.losses[2].kind is LossKind.DIED
            assert "SIGKILL" in listener.losses[2].message

    def test_the_time_limit_is_enforced(self, making: Making, tmp_path: Path) -> None:
        with making() as (executor, listener):
            executor.submit([task(1, f"hold {Gate(tmp_path).path}", seconds=0.1), task(2, seconds=60)])
            listener.wait_ended(1, 2)
            assert listener.losses[1].kind is LossKind.TIME_LIMIT
            assert set(listener.losses) == {1}

    def test_two_tasks_that_do_not_fit_run_in_sequence_and_small_tasks_pass_them(
        self, making: Making, tmp_path: Path
    ) -> None:
        gate = Gate(tmp_path)
        with making() as (executor, listener):
            executor.submit([task(1, f"need {LARGE} wait {gate.path}")])
            listener.wait_granted(1)
            executor.submit([task(2, f"need {LARGE}")])
            listener.wait_short(2)
            listener.wait(lambda: executor.capacity()["TEST"] >= 1)
            executor.submit([task(i) for i in range(3, 50)])
            listener.wait_ended(*range(3, 50))
            assert not {1, 2} & set(listener.endings)
            gate.open()
            listener.wait_ended(1, 2)
            assert listener.endings[-2:] == [1, 2]
            assert not listener.losses
            logs = [event.log.message for event in listener.received[2] if event.HasField("log")]
            assert logs == ["the job needs 600 MiB of memory and waits until they are free"]
            assert not any(event.HasField("log") for event in listener.received[1])
            declined = {key for key, events in listener.received.items() if any(e.HasField("declined") for e in events)}
            assert declined == {1, 2}

    def test_a_task_that_waits_for_memory_is_cancelled_at_once(self, making: Making, tmp_path: Path) -> None:
        gate = Gate(tmp_path)
        with making() as (executor, listener):
            executor.submit([task(1, f"need {LARGE} wait {gate.path}")])
            listener.wait_granted(1)
            executor.submit([task(i, f"need {LARGE}") for i in (2, 3, 4)])
            listener.wait_short(2, 3, 4)
            executor.cancel(3, 1)
            listener.wait_ended(3)
            assert listener.losses[3].kind is LossKind.CANCELLED
            assert listener.endings == [3]
            gate.open()
            listener.wait_ended(1, 2, 4)
            assert listener.endings == [3, 1, 2, 4]
            assert set(listener.losses) == {3}

    def test_a_provider_that_cannot_run_fails_its_tasks(self, making: Making) -> None:
        with making() as (executor, listener):
            executor.submit([task(1, provider="BROKEN"), task(2, provider="NOT OFFERED"), task(3)])
            listener.wait_ended(1, 2, 3)
            assert {listener.finished[i].finished.failure.reason for i in (1, 2)} == {"SDK_UNAVAILABLE"}
            assert not listener.finished[3].finished.HasField("failure")

    def test_stop_reports_every_task(self, making: Making, tmp_path: Path) -> None:
        with making() as (executor, listener):
            executor.submit([task(1, f"need {LARGE} wait {Gate(tmp_path).path}")])
            listener.wait_granted(1)
            executor.submit([task(2, f"need {LARGE}")])
            listener.wait_short(2)
            executor.submit([task(i, f"wait {Gate(tmp_path, str(i)).path}") for i in range(3, 6)])
            listener.wait_begun(3)
        assert {loss.kind for loss in listener.losses.values()} == {LossKind.STOPPED}
        assert sorted(listener.losses) == [1, 2, 3, 4, 5]

    def test_several_threads_may_submit_and_cancel(self, making: Making) -> None:
        with making() as (executor, listener):

            def submit(start: int) -> None:
                for i in range(start, start + 100):
                    executor.submit([task(i)])
                    if i % 10 == 0:
                        executor.cancel(i, 1)

            threads = [threading.Thread(target=submit, args=(start,)) for start in (1, 101, 201)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(PATIENCE)
            listener.wait_ended(*range(1, 301))
        assert sorted(listener.endings) == list(range(1, 301))
        assert all(job_id % 10 == 0 for job_id in listener.losses)
