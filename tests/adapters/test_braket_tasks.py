# SPDX-License-Identifier: Apache-2.0
"""Tasks of Braket that are found again on a real server."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from braket.circuits import Circuit, FreeParameter, Observable
from braket.circuits.observables import Sum
from braket.ir.openqasm import Program
from braket.program_sets import CircuitBinding, ProgramSet

from qonduit_client import Client, adapter_data
from qonduit_client.braket import QonduitDevice
from tests.server_process import serving

COIN = 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; creg c[1]; h q[0]; measure q -> c;'


@pytest.fixture(scope="module")
def device(client: Client) -> QonduitDevice:
    return QonduitDevice("AWS/local_simulator", client)


def free() -> Circuit:
    return (
        Circuit().rx(3, FreeParameter("a")).gpi(3, 0.3).cnot(3, 7).expectation(Observable.Z() @ Observable.X(), [3, 7])
    )


def same(found: Any, wanted: Any) -> None:
    assert found.task_metadata == wanted.task_metadata
    assert found.additional_metadata == wanted.additional_metadata
    assert found.measured_qubits == wanted.measured_qubits
    if wanted.measurements is not None:
        assert (found.measurements == wanted.measurements).all()
    assert [each.type for each in found.result_types] == [each.type for each in wanted.result_types]
    for own, other in zip(found.values, wanted.values, strict=True):
        assert np.array_equal(own, other)


@pytest.mark.parametrize("seed", [None, np.int64(3)])
def test_tasks_of_a_batch_are_found_again(client: Client, device: QonduitDevice, seed: int | None) -> None:
    noisy = Circuit().h(0).depolarizing(0, 0.1).density_matrix()
    feedback = "OPENQASM 3.0; qubit[2] q; bit[2] b; h q[0]; b[0] = measure q[0]; if (b[0]) x q[1]; b[1] = measure q[1];"
    batch = device.run_batch(
        [free(), free(), feedback, Circuit().h(0).state_vector()],
        shots=[40, 0, 40, 0],
        inputs=[{"a": 0.9}, {"a": 1.1}, {}, {}],
        seed=seed,
    )
    mixed = QonduitDevice("IBM/aer_simulator", client).run(noisy, shots=0, seed=seed)
    again = QonduitDevice("AWS/local_simulator", client.target)
    for task in batch.tasks:
        found = again.task(task.id)
        same(found.result(), task.result())
        assert (found, found.state()) == (task, "COMPLETED")
        assert found.metadata() == task.metadata()
    same(QonduitDevice("IBM/aer_simulator", client).task(mixed.id).result(), mixed.result())


def program_set(executables: int, feedback: bool = True) -> ProgramSet:
    """A set with observables, inputs and, on request, a program that is sent with its inputs."""
    circuit = Circuit().ry(0, FreeParameter("a")).cnot(0, 1).unitary(matrix=np.array([[0, 1], [1, 0]]), targets=[1])
    terms = Sum([2 * Observable.Z(0), Observable.X(0) @ (-3 * Observable.Y(1))])
    source = "OPENQASM 3.0; input float a; qubit[2] q; bit b; rx(a) q[0]; b = measure q[0]; if (b) x q[1];"
    going_on = Program(source=source, inputs={"a": [0.0, np.pi]})
    return ProgramSet(
        [
            CircuitBinding(circuit, {"a": np.linspace(0, 1, executables)}, terms),
            CircuitBinding(circuit, {"a": [0.3, 0.4]}, [Observable.Y(1)]),
            Circuit().x(4),
            *([going_on] if feedback else []),
        ]
    )


def same_set(found: Any, wanted: Any) -> None:
    assert found.task_metadata == wanted.task_metadata
    assert found.num_executables == wanted.num_executables
    for own, other in zip(found, wanted, strict=True):
        assert (own.program, own.inputs, own.observables) == (other.program, other.inputs, other.observables)
        if isinstance(other.observables, Sum):
            places = range(len(other.inputs))
            assert [own.expectation(each) for each in places] == [other.expectation(each) for each in places]
        for mine, its in zip(own, other, strict=True):
            assert (mine.measurements == its.measurements).all()
            assert (mine.measured_qubits, mine.inputs) == (its.measured_qubits, its.inputs)
            if its.observable is not None:
                assert mine.expectation == its.expectation


@pytest.mark.parametrize("seed", [None, 3])
def test_sets_of_programs_are_found_again(client: Client, device: QonduitDevice, seed: int | None) -> None:
    programs = program_set(3)
    openqasm = ProgramSet([Circuit().h(0), Circuit().h(0).h(1)]).to_ir()
    batch = device.run_batch([Circuit().h(0), programs, openqasm], shots=[110, 1100, 220], seed=seed)
    again = QonduitDevice("AWS/local_simulator", client.target)
    for task in batch.tasks[1:]:
        found = again.task(task.id)
        same_set(found.result(), task.result())
        assert (found, found.state(), found.metadata()) == (task, "COMPLETED", task.metadata())
    assert len(batch.tasks[1].jobs) == 3  # programs with feedback take their inputs along
    first, *_ = batch.tasks[1].jobs
    with pytest.raises(ValueError, match="whole id"):
        again.task(f"jobs/{first.id}/programs/{batch.tasks[1].id.rpartition('/')[2]}")
    same(again.task(batch.tasks[0].id).result(), batch.tasks[0].result())


def test_a_task_keeps_its_tags(client: Client, device: QonduitDevice) -> None:
    task = device.run(free(), 5, {"a": 1}, tags={"series": "first", "x": ""}, labels={"own": "1"})
    assert device.task(task.id).metadata()["tags"] == {"own": "1", "series": "first", "x": ""}
    assert task.jobs[0].job().labels["series"] == "first"


@pytest.mark.parametrize("tags", [["a"], {"x" * 64: ""}, {"qonduit.kind": "mine"}, {str(k): "" for k in range(40)}])
def test_wrong_tags_are_refused(device: QonduitDevice, tags: Any) -> None:
    with pytest.raises((TypeError, ValueError), match="tag"):
        device.run(free(), 5, {"a": 1}, tags=tags)


def test_a_task_tells_its_place_in_the_queue(device: QonduitDevice) -> None:
    slow = Circuit()
    for _ in range(2):
        slow.ry(range(22), 0.3)
        for qubit in range(21):
            slow.cnot(qubit, qubit + 1)
    tasks = [device.run(slow, shots=1) for _ in range(6)]
    try:
        assert int(device.task(tasks[-1].id).queue_position().queue_position or 0) >= 1
        waiting = tasks[-1].metadata()["queueInfo"]
        assert (waiting["queue"], waiting["queuePriority"]) == ("QUANTUM_TASKS_QUEUE", "Normal")
        assert int(waiting["position"]) >= 1
        assert "before this one" in waiting["message"]
    finally:
        for task in tasks:
            task.cancel()
    done = device.run(Circuit().h(0), shots=1)
    done.result()
    assert done.queue_position().queue_position is None
    assert "COMPLETED" in str(done.queue_position().message)
    assert "queueInfo" not in done.metadata()


def test_what_is_no_task_of_the_device_is_refused(client: Client, device: QonduitDevice) -> None:
    job = client.run(COIN, shots=1)
    with pytest.raises(ValueError, match=rf"Client.*job.{job.id}"):
        device.task(f"jobs/{job.id}/programs/0")
    with pytest.raises(ValueError, match="not exist"):
        device.task("jobs/999999999/programs/0")
    with pytest.raises(ValueError, match="'seven'"):
        device.task("seven")
    task = device.run(Circuit().h(0), shots=1)
    with pytest.raises(ValueError, match="no program 1"):
        device.task(task.id.removesuffix("0") + "1")
    with pytest.raises(ValueError, match="AWS/local_simulator"):
        QonduitDevice("IBM/aer_simulator", client).task(task.id)
    group = device.run(ProgramSet([Circuit().h(0), Circuit().x(0)]), shots=2)
    with pytest.raises(ValueError, match="first one of its set"):
        device.task(group.id.removesuffix("0") + "1")


def test_a_large_program_comes_back_up_to_the_limit_of_client_data(
    device: QonduitDevice, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = Circuit()
    for angle in np.random.default_rng(1).uniform(0, 3, 2000):
        large.rx(0, float(angle))
    task = device.run(large, shots=20)
    assert device.task(task.id).result().measurements.tolist() == task.result().measurements.tolist()
    monkeypatch.setattr(adapter_data, "MAX_BYTES", 2000)
    with pytest.raises(ValueError, match="too large"):
        device.task(device.run(large, shots=1).id)


def test_tasks_come_back_in_another_process_after_a_restart(tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path}/qonduit.db"
    circuit = Circuit().h(0).cnot(0, 1)
    programs = program_set(5, feedback=False)
    # The set takes several jobs, for each of which the server has its limit.
    with serving(database, max_programs="6") as server, Client(server.target) as client:
        device = QonduitDevice("AWS/local_simulator", client)
        task = device.run(circuit, shots=30)
        group = device.run(programs, shots=20 * 13)
        wanted = [task.result().measurements.tolist(), values_of(group.result())]
        assert len(group.jobs) == 3
    script = (
        "import sys\nfrom qonduit_client.braket import QonduitDevice\n"
        "from tests.adapters.test_braket_tasks import values_of\n"
        "device = QonduitDevice('AWS/local_simulator', sys.argv[1])\n"
        "task, group = (device.task(each) for each in sys.argv[2:])\n"
        "print(task.id, task.state(), [task.result().measurements.tolist(), values_of(group.result())])"
    )
    with serving(database) as server:
        done = subprocess.run(
            [sys.executable, "-c", script, server.target, task.id, group.id], capture_output=True, text=True, timeout=60
        )
    assert done.stdout.strip() == f"{task.id} COMPLETED {wanted}", done.stderr


def values_of(result: Any) -> list[Any]:
    """Return measurements and expectations of a set."""
    measured = [[each.measurements.tolist() for each in entry] for entry in result]
    return [measured, [float(result[0].expectation(place)) for place in range(5)]]
