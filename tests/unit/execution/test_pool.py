# SPDX-License-Identifier: Apache-2.0
"""The process pool with real processes: crashes, restarts and task assignment."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.system_service_pb2 import WorkerState
from qonduit_server.execution.executor import LossKind
from qonduit_server.execution.local.worker_processes import MAX_AHEAD
from tests.unit.execution.fake_forkserver import DEVICES
from tests.unit.execution.pool_fixture import (
    PATIENCE,
    ROOT,
    Gate,
    RecordingListener,
    environment,
    pool,
    task,
    wait_gone,
)


def test_providers_are_described_before_any_sdk_is_loaded_silent_ones_too() -> None:
    with pool("TEST", "SILENT") as (made, _):
        deadline = time.monotonic() + PATIENCE
        test, silent = made.descriptions(timeout=0.1)
        while test.unavailable and time.monotonic() < deadline:
            test, silent = made.descriptions(timeout=0.1)
        assert test.provider.name == "TEST"
        assert [device.name for device in test.devices] == ["stage"]
        assert silent.provider.name == "SILENT"
        assert "did not answer" in silent.unavailable


def test_runs_tasks_in_order_in_warm_workers() -> None:
    with pool(workers=1) as (made, listener):
        made.submit([task(i) for i in range(1, 51)])
        listener.wait_ended(*range(1, 51))
        assert listener.endings == list(range(1, 51))
        assert len({listener.pid(i) for i in range(1, 51)}) == 1
        kinds = [event.WhichOneof("event") for event in listener.received[7]]
        assert kinds == ["started", "program_started", "program_succeeded", "progress", "finished"]


def test_a_provider_whose_sdk_is_missing_fails_its_tasks_with_the_reason() -> None:
    with pool("BROKEN", "TEST") as (made, listener):
        made.submit([task(1, provider="BROKEN"), task(2)])
        listener.wait_ended(1, 2)
        failure = listener.finished[1].finished.failure
        assert failure.reason == "SDK_UNAVAILABLE"
        assert "qonduit-quantum[broken]" in failure.message
        assert not listener.finished[2].finished.HasField("failure")
        made.submit([task(3, provider="BROKEN"), task(4, provider="UNKNOWN")])
        listener.wait_ended(3, 4)
        assert "UNKNOWN" in listener.finished[4].finished.failure.message


def test_a_provider_that_dies_while_loading_fails_its_tasks_instead_of_hanging() -> None:
    with pool("DYING") as (made, listener):
        made.submit([task(1, provider="DYING")])
        listener.wait_ended(1)
        assert "exit code 3" in listener.finished[1].finished.failure.message


def test_a_provider_whose_workers_die_at_once_fails_its_tasks_instead_of_forking_for_ever() -> None:
    with pool("FRAIL") as (made, listener):
        made.preload()
        listener.wait(lambda: made.capacity() == {"FRAIL": MAX_AHEAD})  # tasks are requested, so that they fail
        made.submit([task(1, provider="FRAIL")])
        listener.wait_ended(1)
        failure = listener.finished[1].finished.failure
        assert failure.reason == "SDK_UNAVAILABLE"
        assert "die at their start: the last one ended with exit code 4" in failure.message


@pytest.mark.parametrize("word", ["wait", "hold"])
def test_cancel_kills_a_running_task_and_harms_no_other(tmp_path: Path, word: str) -> None:
    gate, other = Gate(tmp_path), Gate(tmp_path, "other")
    with pool(workers=2) as (made, listener):
        made.submit([task(1, f"{word} {gate.path}"), task(2, f"wait {other.path}")])
        listener.wait_begun(1, 2)
        began = time.monotonic()
        made.cancel(1, 1)
        listener.wait_ended(1)
        assert time.monotonic() - began < 2.0
        assert listener.losses[1].kind is LossKind.CANCELLED
        made.submit([task(3)])
        listener.wait_ended(3)
        other.open()
        listener.wait_ended(2)
        assert 2 in listener.finished


def test_cancelling_a_waiting_task_does_not_affect_the_running_one(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(workers=1) as (made, listener):
        made.submit([task(i) for i in range(1, 30)])
        listener.wait_ended(*range(1, 30))  # the worker counts as quick now, and is queued several tasks ahead
        made.submit([task(101, f"hold {gate.path}"), *(task(i) for i in range(102, 106))])
        made.cancel(103, 1)
        listener.wait_ended(103)
        assert listener.losses[103].kind is LossKind.CANCELLED
        made.cancel(999, 1)
        gate.open()
        listener.wait_ended(101, 102, 104, 105)
        assert set(listener.losses) == {103}
        assert listener.endings[-4:] == [101, 102, 104, 105]


def test_tasks_stuck_behind_a_slow_one_move_to_an_idle_worker(tmp_path: Path) -> None:
    slow, brief = Gate(tmp_path), Gate(tmp_path, "brief")
    with pool(workers=2) as (made, listener):
        made.submit([task(i) for i in range(1, 100)])
        listener.wait_ended(*range(1, 100))
        made.submit([task(200, f"wait {brief.path}")])
        made.submit([task(201, f"hold {slow.path}"), *(task(i) for i in range(202, 210))])
        brief.open()
        listener.wait_ended(200, *range(202, 210))
        assert 201 not in listener.finished
        assert not listener.losses
        slow.open()
        listener.wait_ended(201)


def test_a_replaced_fork_server_ends_with_its_last_task(tmp_path: Path) -> None:
    one, two, devices = Gate(tmp_path, "one"), Gate(tmp_path, "two"), tmp_path / "devices"
    devices.write_text("stage")
    with pool(workers=2, **{DEVICES: str(devices)}) as (made, listener):
        made.submit([task(1, f"hold {one.path}"), task(2, f"hold {two.path}")])
        listener.wait_begun(1, 2)
        (old, *_) = made.processes()["TEST"]
        devices.write_text("other")
        made.describe("TEST", PATIENCE)
        made.submit([task(3)])  # waits: both slots are in use
        one.open()
        listener.wait_ended(1, 3)
        assert 2 not in listener.endings
        made.cancel(2, 1)
        listener.wait_ended(2)
        wait_gone([old])
        assert not listener.finished[3].finished.HasField("failure")
        assert {number: loss.kind for number, loss in listener.losses.items()} == {2: LossKind.CANCELLED}


def test_a_replaced_fork_server_that_dies_loses_its_tasks_only(tmp_path: Path) -> None:
    gate, other, devices = Gate(tmp_path), Gate(tmp_path, "other"), tmp_path / "devices"
    devices.write_text("stage")
    with pool(workers=2, **{DEVICES: str(devices)}) as (made, listener):
        made.submit([task(1, f"hold {gate.path}")])
        listener.wait_begun(1)
        (old, *_) = made.processes()["TEST"]
        devices.write_text("other")
        made.describe("TEST", PATIENCE)
        made.submit([task(2, f"wait {other.path}")])
        listener.wait_begun(2)
        os.kill(old, signal.SIGKILL)
        listener.wait_ended(1)
        assert listener.losses[1].kind is LossKind.DIED
        made.submit([task(3)])
        listener.wait_ended(3)
        other.open()
        listener.wait_ended(2)
        assert set(listener.losses) == {1}


def test_no_task_is_lost_while_the_description_changes_often() -> None:
    with pool(workers=2) as (made, listener):
        ids: set[int] = set()
        for number in range(5):
            first = 1 + 40 * number
            made.submit([task(i) for i in range(first, first + 40)])
            listener.wait_ended(first)
            ids.update(made.processes()["TEST"])
            made.adopt(ProviderDescription(provider=Provider(name="TEST"), devices=[Device(name=f"other {number}")]))
        listener.wait_ended(*range(1, 201))
        made.submit([task(201)])
        listener.wait_ended(201)
        assert not listener.losses
        assert sorted(listener.endings) == list(range(1, 202))
        wait_gone(sorted(ids))


def test_a_worker_that_dies_loses_its_task_only_and_is_replaced() -> None:
    with pool(workers=1) as (made, listener):
        made.submit([task(1), task(2, "kill SIGSEGV"), task(3), task(4, "exit 7"), task(5)])
        listener.wait_ended(1, 2, 3, 4, 5)
        assert {job_id: loss.kind for job_id, loss in listener.losses.items()} == {
            2: LossKind.DIED,
            4: LossKind.DIED,
        }
        assert "SIGSEGV" in listener.losses[2].message
        assert "exit code 7" in listener.losses[4].message
        assert set(listener.finished) == {1, 3, 5}


def test_a_task_that_was_with_a_dead_worker_has_its_worker_for_itself() -> None:
    with pool(workers=1) as (made, listener):
        made.submit([task(i) for i in range(1, 30)])
        listener.wait_ended(*range(1, 30))
        made.submit([task(100), task(101, "die 2", attempt=2), task(102), task(103)])
        listener.wait_ended(100, 101, 102, 103)
        assert set(listener.losses) == {101}


def test_a_killed_fork_server_is_restarted_and_its_workers_end(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(workers=2) as (made, listener):
        made.submit([task(1, f"hold {gate.path}")])
        listener.wait_begun(1)
        before = made.processes()["TEST"]
        os.kill(before[0], signal.SIGKILL)
        listener.wait_ended(1)
        assert listener.losses[1].kind is LossKind.DIED
        assert "SIGKILL" in listener.losses[1].message
        wait_gone(before[1:])
        made.submit([task(2)])
        listener.wait_ended(2)
        assert listener.pid(2) not in before


def test_time_limit_ends_a_task_and_names_itself(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(workers=1) as (made, listener):
        made.submit([task(1, f"hold {gate.path}", seconds=0.2), task(2)])
        listener.wait_ended(1, 2)
        assert listener.losses[1].kind is LossKind.TIME_LIMIT
        assert 2 in listener.finished


def test_a_task_that_needs_too_much_memory_fails_and_its_worker_survives() -> None:
    with pool(workers=1, memory_limit_bytes=256 * 1024**2) as (made, listener):
        made.submit([task(1), task(2, f"allocate {2 * 1024**3}"), task(3, f"allocate {64 * 1024**2}")])
        listener.wait_ended(1, 2, 3)
        assert listener.finished[2].finished.failure.reason == "MEMORY_LIMIT"
        assert not listener.finished[3].finished.HasField("failure")
        assert listener.pid(1) == listener.pid(3)


def test_a_runner_that_forgets_to_finish_a_task_does_not_leave_it_running() -> None:
    with pool(workers=1) as (made, listener):
        made.submit([task(1, "forget")])
        listener.wait_ended(1)
        assert listener.finished[1].finished.failure.reason == "INTERNAL"


def test_tasks_larger_than_any_socket_buffer_block_no_thread() -> None:
    large = "noop " + "x" * 3_000_000
    with pool(workers=2) as (made, listener):
        made.submit([task(i, large) for i in range(1, 9)])
        listener.wait_ended(*range(1, 9))
        assert len(listener.finished) == 8


def test_providers_share_the_slots_the_oldest_task_first(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool("TEST", "OTHER", workers=1) as (made, listener):
        made.preload()
        made.submit([task(1, f"wait {gate.path}")])
        listener.wait_begun(1)
        made.submit([task(2, provider="OTHER"), task(3), task(4, provider="OTHER")])
        gate.open()
        listener.wait_ended(1, 2, 3, 4)
        assert sorted(listener.endings) == [1, 2, 3, 4]
        assert listener.endings[0] == 1


def test_more_slots_take_waiting_tasks_at_once(tmp_path: Path) -> None:
    one, two = Gate(tmp_path, "one"), Gate(tmp_path, "two")
    with pool(workers=1) as (made, listener):
        made.submit([task(1, f"wait {one.path}"), task(2, f"wait {two.path}")])
        listener.wait_begun(1)
        assert made.capacity() == {}
        made.resize(2)
        listener.wait_begun(2)
        made.resize(3)
        assert made.capacity() == {"TEST": 1}
        one.open()
        two.open()
        listener.wait_ended(1, 2)


def test_fewer_slots_are_left_as_tasks_end(tmp_path: Path) -> None:
    gates = {number: Gate(tmp_path, f"gate{number}") for number in range(1, 5)}
    with pool(workers=3) as (made, listener):
        made.submit([task(number, f"wait {gate.path}") for number, gate in gates.items()])
        listener.wait_begun(1, 2, 3)
        made.resize(1)
        gates[1].open()
        gates[2].open()
        listener.wait_ended(1, 2)
        # One runs, so the last one waits, and its idle processes end.
        listener.wait(lambda: len(made.processes()["TEST"]) == 2)
        assert not listener.received[4]
        assert made.capacity() == {}
        gates[3].open()
        gates[4].open()
        listener.wait_ended(3, 4)
        assert not listener.losses


def test_fewer_slots_are_left_under_a_load_of_short_tasks() -> None:
    with pool(workers=3) as (made, listener):
        made.submit([task(number) for number in range(1, 100)])
        listener.wait_ended(*range(1, 100))
        made.submit([task(number) for number in range(100, 1000)])
        made.resize(1)
        listener.wait_ended(*range(100, 500))
        listener.wait(lambda: len(made.processes()["TEST"]) == 2)
        listener.wait_ended(*range(500, 1000))
        assert not listener.losses


def test_a_later_preload_does_not_replace_an_earlier_one() -> None:
    with pool("TEST", "OTHER") as (made, listener):
        made.preload(["TEST"])
        made.preload(["OTHER"])
        listener.wait(lambda: {worker.provider for worker in made.list_workers()} == {"TEST", "OTHER"})


@pytest.mark.parametrize("fold", ["1", "8"])
def test_each_of_thousands_ends_once_while_workers_are_killed(fold: str) -> None:
    count, dice = 3000, random.Random(1)
    with pool(workers=3, ACTING_FOLD=fold) as (made, listener):
        next_id, kills = 1, 0
        while len(listener.endings) < count:
            wanted = min(made.capacity().get("TEST", 0), count + 1 - next_id)
            made.submit([task(i) for i in range(next_id, next_id + wanted)])
            next_id += wanted
            if len(listener.endings) > 150 * (kills + 1):
                kills += 1
                workers = made.processes()["TEST"][1:]
                if workers:
                    try:
                        os.kill(dice.choice(workers), signal.SIGKILL)
                    except ProcessLookupError:
                        kills -= 1
            listener.more.clear()
            if not made.capacity():
                listener.more.wait(1.0)
        assert kills >= 5
        assert sorted(listener.endings) == list(range(1, count + 1))
        assert all(loss.kind is LossKind.DIED for loss in listener.losses.values())
        assert len(listener.losses) <= kills


def test_nothing_survives_a_killed_server(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    server = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.execution.fake_server", str(gate.path)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
        cwd=ROOT,
    )
    assert server.stdout is not None
    pids = [int(pid) for pid in server.stdout.readline().split()]
    assert len(pids) >= 3
    server.kill()
    server.wait(PATIENCE)
    server.stdout.close()
    wait_gone(pids)


def test_stop_ends_running_tasks_and_leaves_no_process(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    listener: RecordingListener
    with pool(workers=1) as (made, listener):
        made.submit([task(1, f"hold {gate.path}"), task(2)])
        listener.wait_begun(1)
        pids = made.processes()["TEST"]
    wait_gone(pids)
    assert {job_id: loss.kind for job_id, loss in listener.losses.items()} == {
        1: LossKind.STOPPED,
        2: LossKind.STOPPED,
    }


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_after_a_fault_every_task_has_an_ending_and_no_process_lives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = Gate(tmp_path)
    with pool(workers=1) as (made, listener):
        made.submit([task(1, f"hold {gate.path}")])
        listener.wait_begun(1)
        pids = made.processes()["TEST"]

        def fault(now: float) -> None:
            raise AssertionError("a fault")

        monkeypatch.setattr(made, "_check_deadlines", fault)
        made.preload()  # wakes its thread
        listener.wait_ended(1)
        wait_gone(pids[1:])
        assert made.capacity() == {}
        made.submit([task(2)])
        listener.wait_ended(2)
        assert {loss.kind for loss in listener.losses.values()} == {LossKind.STOPPED}
    wait_gone(pids)


def test_capacity_asks_for_one_a_worker_first_and_for_more_when_tasks_are_short() -> None:
    with pool(workers=2) as (made, listener):
        made.submit([task(1)])
        listener.wait_ended(1)
        made.submit([task(i) for i in range(2, 200)])
        listener.wait_ended(*range(2, 200))
        assert made.capacity()["TEST"] > 2


def test_capacity_asks_for_no_more_than_can_run_when_tasks_are_long(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(workers=1) as (made, listener):
        made.submit([task(1, f"wait {gate.path}")])
        listener.wait_begun(1)
        assert made.capacity() == {}
        gate.open()
        listener.wait_ended(1)
        assert made.capacity()["TEST"] >= 1


def test_a_long_task_is_logged_repeatedly_with_its_phase(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with capture_logs() as lines, pool(slow_seconds=0.05, server="the server") as (made, listener):
        made.submit([task(1, f"wait {gate.path}")])
        listener.wait_begun(1)
        deadline = time.monotonic() + PATIENCE
        while sum(line["event"] == "slow" for line in lines) < 3:
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        (worker,) = [worker for worker in made.list_workers() if worker.job_id == 1]
        gate.open()
        listener.wait_ended(1)
    slow = [line for line in lines if line["event"] == "slow"]
    assert [line["seconds"] for line in slow[:3]] == [0.05, 0.1, 0.2]
    assert {line["pid"] for line in slow} == {worker.pid}
    assert {(line["job_id"], line["attempt"], line["owner"]) for line in slow} == {(1, 1, "the server")}
    assert {line["log_level"] for line in slow} == {"info"}


def test_workers_are_listed_with_their_tasks(tmp_path: Path) -> None:
    gate = Gate(tmp_path)
    with pool(server="the server") as (made, listener):
        made.submit([task(1, f"phase compiling program 2 of 3 {gate.path}")])
        listener.wait_begun(1)
        deadline = time.monotonic() + PATIENCE
        while not (found := [worker for worker in made.list_workers() if worker.phase]):
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        (busy,) = found
        assert (busy.provider, busy.job_id, busy.server) == ("TEST", 1, "the server")
        assert busy.phase == "compiling program 2 of 3"
        assert busy.state == WorkerState.WORKER_STATE_BUSY
        assert busy.memory_bytes > 0
        gate.open()
        listener.wait_ended(1)
        (idle,) = [worker for worker in made.list_workers() if worker.pid == busy.pid]
        assert (idle.state, idle.job_id, idle.phase) == (WorkerState.WORKER_STATE_IDLE, 0, "")
        assert idle.since.ToNanoseconds() >= busy.since.ToNanoseconds()
        assert not any(event.HasField("phase") for event in listener.received[1])
