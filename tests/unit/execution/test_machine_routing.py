# SPDX-License-Identifier: Apache-2.0
"""Which worker machine runs a task: by its device, its versions, and the memory that it needs."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.task_pb2 import ProgramFailed, Task
from qonduit.v1.failure_pb2 import Failure
from qonduit_server.execution.celery import placement
from qonduit_server.execution.celery import worker_machine as machine_module
from qonduit_server.execution.executor import LossKind
from tests.unit.execution.machine_network import Network
from tests.unit.execution.pool_fixture import task

GIB = 1024**3


@pytest.fixture(autouse=True)
def _hello_each_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    """A turn is a second, whatever the clock reads."""
    monkeypatch.setattr(machine_module, "_HELLO_SECONDS", 0.0)


def _on(device: str, job_id: int) -> Task:
    made = task(job_id)
    made.device = device
    return made


def test_a_task_goes_to_a_machine_with_its_device() -> None:
    network = Network()
    plain, graphics = network.add("plain", devices=["cpu"]), network.add("graphics", slots=2, devices=["cpu", "gpu"])
    network.turn(5)
    network.machines.submit([_on("gpu", i) for i in (1, 2, 3)])
    network.turn(3)
    assert set(graphics.running) == {(1, 1), (2, 1)}
    assert not plain.running
    # The third one waits for its device, and others pass it.
    assert network.machines.capacity() == {"TEST": 4}
    network.machines.submit([_on("cpu", 4)])
    network.turn(3)
    assert set(plain.running) == {(4, 1)}
    graphics.finish((1, 1))
    network.turn(3)
    assert set(graphics.running) == {(2, 1), (3, 1)}


def _requiring(requirement: str, job_id: int) -> Task:
    made = task(job_id)
    made.spec.required_versions.requirements.append(requirement)
    return made


def test_a_task_goes_to_a_machine_with_its_versions() -> None:
    network = Network()
    old = network.add("old", slots=2, versions={"numpy": "2.3.5"})
    new = network.add("new", slots=9, versions={"numpy": "2.4.0"})
    network.turn(5)
    offered = network.machines.environments()["TEST"]
    assert [(each.versions["numpy"], each.room > 0) for each in offered] == [("2.3.5", True), ("2.4.0", True)]
    network.machines.submit([_requiring("numpy<2.4", i) for i in (1, 2, 3)])
    network.turn(3)
    assert set(old.running) == {(1, 1), (2, 1)}
    assert not new.running
    first, _ = network.machines.environments()["TEST"]
    assert (first.versions["numpy"], first.room) == ("2.3.5", 0)
    network.machines.submit([_requiring("numpy>=2.4", 4), task(5)])
    network.turn(3)
    assert set(new.running) == {(4, 1), (5, 1)}
    old.finish((1, 1))
    network.turn(3)
    assert set(old.running) == {(2, 1), (3, 1)}


def test_a_task_whose_versions_have_left_returns_to_the_queue() -> None:
    network = Network()
    network.add("new", versions={"numpy": "2.4.0"})
    network.turn(5)
    network.machines.submit([_requiring("numpy<2.4", 1)])
    network.turn(placement._MISSING_TICKS + 5)
    assert network.losses[1, 1].kind is LossKind.STOPPED
    assert not network.pools["new"].submitted


def test_the_environment_of_a_machine_that_has_left_is_not_offered() -> None:
    network = Network()
    network.add("old", versions={"numpy": "2.3.5"})
    network.add("new", versions={"numpy": "2.4.0"})
    network.turn(5)
    del network.hosts["old"]
    network.turn(2)
    assert [each.versions["numpy"] for each in network.machines.environments()["TEST"]] == ["2.4.0"]


def test_a_device_is_offered_while_a_machine_that_has_it_lives() -> None:
    network = Network()
    network.add("plain", devices=["cpu"])
    network.turn(5)

    def offered() -> set[str]:
        described = network.machines.descriptions().get("TEST")
        return {device.name for device in described.devices} if described else set()

    assert offered() == {"cpu"}
    network.add("graphics", devices=["cpu", "gpu"])
    network.turn(5)
    assert offered() == {"cpu", "gpu"}
    network.machines.changed_providers.clear()
    del network.hosts["graphics"]
    network.turn(2)
    assert offered() == {"cpu"}
    assert network.machines.changed_providers == {"TEST"}


def test_a_task_whose_device_has_left_fails_and_one_without_any_machine_returns_to_the_queue() -> None:
    network = Network()
    network.add("plain", devices=["cpu"])
    network.turn(5)
    network.machines.submit([_on("gpu", 1)])
    network.turn(placement._MISSING_TICKS - 2)
    assert not network.ends
    network.turn(5)
    (finished,) = [event.finished for event in network.events if event.HasField("finished")]
    assert finished.failure.reason == "UNKNOWN_DEVICE"
    assert finished.failure.retryable
    del network.hosts["plain"]
    network.turn(10)
    network.machines.submit([_on("cpu", 2)])
    network.turn(placement._RETURN_TICKS + 2)
    assert network.losses[2, 1].kind is LossKind.STOPPED


def test_waiting_tasks_of_a_missing_device_do_not_take_all_jobs_of_the_provider() -> None:
    network = Network()
    network.add("plain", slots=100, devices=["cpu"])
    network.turn(5)
    network.machines.submit(_on("gpu", i) for i in range(placement.MOST_WAITING - 1))
    assert network.machines.capacity() == {"TEST": 100}
    network.machines.submit([_on("gpu", 1000)])
    assert network.machines.capacity() == {}


def test_a_task_that_is_too_large_for_its_machine_runs_at_a_larger_one() -> None:
    network = Network()
    small, large = network.add("small", slots=9, memory=GIB), network.add("large", memory=8 * GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    assert set(small.running) == {(1, 1)}
    small.decline((1, 1), 2 * GIB)
    network.turn(5)
    assert not small.running
    assert large.running[1, 1].declined_before
    large.decline((1, 1), 2 * GIB)
    network.turn(5)
    large.finish((1, 1))
    network.turn(3)
    assert network.ends == {(1, 1): 1}
    assert not network.losses
    # Each estimate reaches the listener: the quota of the owner counts it.
    declined = [event.declined.memory_bytes for event in network.events if event.HasField("declined")]
    assert declined == [2 * GIB, 2 * GIB]


def test_a_task_leaves_a_machine_without_free_memory_for_one_with_it() -> None:
    network = Network()
    first, second = network.add("first", slots=9, memory=GIB), network.add("second", memory=GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    first.decline((1, 1), GIB // 2 + 1)
    network.turn(3)
    assert set(first.running) == {(1, 1)}
    network.machines.submit([task(2)])
    network.turn(3)
    assert set(first.running) == {(1, 1), (2, 1)}
    first.decline((2, 1), GIB // 2 + 1)
    network.turn(5)
    assert set(second.running) == {(2, 1)}
    network.machines.submit([task(3)])
    network.turn(3)
    first.decline((3, 1), GIB // 2 + 1)
    # Both are occupied: it waits where it is.
    network.turn(5)
    assert set(first.running) == {(1, 1), (3, 1)}


def test_a_machine_never_gets_a_task_back_that_it_has_returned() -> None:
    network = Network()
    first, second = network.add("first", slots=9, memory=GIB), network.add("second", memory=GIB)
    network.turn(5)
    for key in ((1, 1), (2, 1)):
        network.machines.submit([task(key[0])])
        network.turn(3)
        first.decline(key, GIB // 2 + 1)
    network.turn(1)
    first.finish((1, 1))  # now its memory is free, but it ignores attempts that it had
    network.turn(5)
    assert set(second.running) == {(2, 1)}
    second.finish((2, 1))
    network.turn(3)
    assert network.ends == {(1, 1): 1, (2, 1): 1}


def test_the_largest_machine_keeps_a_task_that_fits_nowhere() -> None:
    network = Network()
    pool = network.add("only", memory=GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    pool.decline((1, 1), 5 * GIB)
    network.turn(5)
    assert set(pool.running) == {(1, 1)}


def test_a_program_that_is_too_wide_for_a_small_machine_runs_at_a_larger_one() -> None:
    network = Network()
    small, large = network.add("small", slots=9, memory=GIB), network.add("large", memory=8 * GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    failed = ProgramFailed(failure=Failure(reason="TOO_MANY_QUBITS"))
    small.emit((1, 1), program_failed=failed)
    small.finish((1, 1))  # before it is asked to return the task
    network.turn(5)
    assert set(large.running) == {(1, 1)}
    large.emit((1, 1), program_failed=failed)
    large.finish((1, 1))
    network.turn(3)
    assert network.ends == {(1, 1): 1}
    assert sum(event.HasField("program_failed") for event in network.events) == 1


def test_a_cancelled_task_is_not_moved() -> None:
    network = Network()
    small, large = network.add("small", slots=9, memory=GIB), network.add("large", memory=8 * GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    small.decline((1, 1), 2 * GIB)
    network.loses = lambda: True
    network.machines.cancel((1, 1))
    network.turn(3)
    network.loses = lambda: False
    network.turn(5)
    assert network.losses[1, 1].kind is LossKind.CANCELLED
    assert not large.running


def test_a_task_that_is_cancelled_while_it_moves_runs_nowhere() -> None:
    network = Network()
    small, large = network.add("small", slots=9, memory=GIB), network.add("large", memory=8 * GIB)
    network.turn(5)
    network.machines.submit([task(1)])
    network.turn(3)
    small.emit((1, 1), program_failed=ProgramFailed(failure=Failure(reason="MEMORY_LIMIT")))
    for outgoing in network.hosts["small"].outgoing():
        network.pass_on(outgoing)
    network.machines.cancel((1, 1))
    small.finish((1, 1))
    network.turn(5)
    assert network.losses[1, 1].kind is LossKind.CANCELLED
    assert not large.running


def test_a_task_that_moves_while_its_next_machine_dies_returns_to_the_queue() -> None:
    network = Network()
    small, large = network.add("small", slots=9, memory=GIB), network.add("large", slots=1, memory=8 * GIB)
    network.turn(5)
    network.machines.submit([task(i) for i in range(1, 4)])
    network.turn(3)
    large.submit([task(100)])  # of another server: the machine has no place
    large.listener.capacity_changed()  # type: ignore[union-attr]
    network.turn(2)
    key = next(iter(small.running))
    small.decline(key, 2 * GIB)
    network.turn(5)
    assert key not in small.running
    assert key not in large.running
    del network.hosts["large"]
    network.turn(placement._RETURN_TICKS + 10)
    assert network.losses[key].kind is LossKind.STOPPED


def _compilation(job_id: int) -> Task:
    made = task(job_id)
    made.compile_only = True
    return made


def _translation(job_id: int) -> Task:
    return Task(job_id=job_id, attempt=1, analyze_only=True)


def test_interactive_tasks_have_places_of_their_own_and_wait_at_the_server_for_more() -> None:
    network = Network()
    pool = network.add("only", slots=1)
    network.turn(5)
    network.machines.submit([task(1), task(2)])
    network.turn(3)
    network.machines.submit([_translation(-1), _compilation(-2)])
    network.turn(3)
    assert set(pool.running) == {(1, 1)}
    assert set(network.interactive["only"].running) == {(-1, 1), (-2, 1)}
    network.machines.submit(_translation(-i) for i in range(3, 100))
    network.turn(10)
    assert len(network.interactive["only"].running) == machine_module._INTERACTIVE_PLACES + 1
    pool.finish((1, 1))
    network.turn(3)
    assert set(pool.running) == {(2, 1)}
    for _ in range(20):
        for key in list(network.interactive["only"].running):
            network.interactive["only"].finish(key)
        network.turn(3)
    assert len(network.ends) == 100
    assert set(network.ends.values()) == {1}
    assert not network.losses


def test_an_interactive_task_without_a_machine_fails_within_seconds() -> None:
    network = Network()
    # A machine without SDKs that read programs, or of a release before interactive tasks.
    network.add("plain", lanes=())
    network.turn(5)
    network.machines.submit([_translation(-1), _compilation(-2)])
    network.turn(placement._CALLER_TICKS + 2)
    failures = [event.finished.failure for event in network.events if event.HasField("finished")]
    assert [failure.reason for failure in failures] == ["NO_WORKER"] * 2
    assert "the packages that read programs" in failures[0].message
    assert "the device TEST/stage" in failures[1].message
    assert not network.machines.keys()


def test_a_compilation_that_is_too_wide_for_a_small_machine_runs_at_a_larger_one() -> None:
    network = Network()
    network.add("small", memory=GIB)
    network.turn(5)
    network.machines.submit([_compilation(-1)])
    network.turn(3)
    large = network.add("large", memory=8 * GIB)
    network.turn(5)
    large.submit([task(100)])
    small = network.interactive["small"]
    small.emit((-1, 1), program_failed=ProgramFailed(failure=Failure(reason="TOO_MANY_QUBITS")))
    small.finish((-1, 1))
    network.turn(5)
    assert set(network.interactive["large"].running) == {(-1, 1)}


def test_an_interactive_task_is_cancelled_where_it_runs() -> None:
    network = Network()
    network.add("only")
    network.turn(5)
    network.machines.submit([_translation(-1), _compilation(-2)])
    network.turn(3)
    network.machines.cancel((-1, 1))
    network.turn(3)
    assert set(network.interactive["only"].running) == {(-2, 1)}
    assert network.losses[-1, 1].kind is LossKind.CANCELLED
