# SPDX-License-Identifier: Apache-2.0
"""Tasks of remote providers in a worker: the submissions of a task, and its results from their outcomes."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import Task, TaskEvent
from qonduit.execution.v1.vendor_pb2 import NativeCircuit, Submission, VendorOutcomes
from qonduit.v1.device_pb2 import Device, DevicePrice, VendorJobLimits
from qonduit.v1.failure_pb2 import FAILURE_CATEGORY_LIMIT, Failure
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server.errors import LimitError, ProviderError, RunError
from qonduit_server.ir.circuit import Outcome
from qonduit_server.languages.registry import Languages
from qonduit_server.providers.provider import CompiledCircuit
from qonduit_server.providers.remote_devices import PENDING, RemoteDevices
from qonduit_server.providers.remote_provider import SubmissionLimits, vendor_outcome
from qonduit_server.worker.runner import Runner
from tests.vendor_cloud.provider import ByToken


class Limited(ByToken):
    def limits(self, device: str) -> SubmissionLimits:
        return SubmissionLimits(circuits=2, shots=100, bytes=40)


class Unpriced(Limited):
    """Its devices have prices in the catalogue."""

    price = None  # type: ignore[assignment]


def circuits(*texts: str) -> list[CompiledCircuit]:
    return [CompiledCircuit(NativeCircuit(text=text), 1) for text in texts]


def begun(outcomes: Sequence[VendorOutcomes] = ()) -> tuple[RemoteDevices, list[None]]:
    devices, muted = RemoteDevices(Limited()), list[None]()
    devices.begin(outcomes, lambda: muted.append(None), Device())
    return devices, muted


def run(devices: RemoteDevices, *texts: str, shots: int = 10) -> list[Outcome | RunError]:
    return list(devices.run("machine", circuits(*texts), shots, None))


def answered(wanted: Submission, *counts: dict[int, int]) -> VendorOutcomes:
    found = VendorOutcomes(key=wanted.key, part=wanted.part, first_circuit=wanted.first_circuit)
    found.outcomes.extend(vendor_outcome(each) for each in counts)
    return found


def test_a_call_without_outcomes_becomes_submissions() -> None:
    devices, muted = begun()
    (outcome,) = run(devices, "a")
    assert isinstance(outcome, ProviderError)
    assert outcome.reason == PENDING
    (wanted,) = devices.submissions()
    assert (wanted.device, wanted.shots, wanted.circuits[0].text) == ("machine", 10, "a")
    assert muted


def test_calls_are_divided_by_circuits_bytes_and_shots() -> None:
    devices, _ = begun()
    run(devices, "a" * 25, "b" * 25, "c", "d", "e", shots=250)
    found = [
        ([circuit.text[0] for circuit in each.circuits], each.shots, each.part, each.first_circuit)
        for each in devices.submissions()
    ]
    assert found == [
        (["a"], 84, 0, 0),
        (["a"], 83, 1, 0),
        (["a"], 83, 2, 0),
        (["b", "c"], 84, 3, 1),
        (["b", "c"], 83, 4, 1),
        (["b", "c"], 83, 5, 1),
        (["d", "e"], 84, 6, 3),
        (["d", "e"], 83, 7, 3),
        (["d", "e"], 83, 8, 3),
    ]


def test_the_prices_and_the_limit_of_shots_of_a_device_apply() -> None:
    device = Device(max_shots=60, price=DevicePrice(job=1.5, shot=0.25, unit="USD"))
    devices = RemoteDevices(Unpriced())
    devices.begin((), lambda: None, device)
    run(devices, "a", "b", shots=100)
    found = [(len(each.circuits), each.shots, each.price.amount) for each in devices.submissions()]
    assert found == [(2, 50, 26.5), (2, 50, 26.5)]
    cost = devices.cost()
    assert cost is not None
    assert (cost.amount, cost.unit) == (53, "USD")


def test_outcomes_of_parts_are_joined() -> None:
    devices, _ = begun()
    run(devices, "a", "b", "c", shots=150)
    parts = [
        answered(each, *({1 << 70: each.shots} for _ in each.circuits)) for each in reversed(devices.submissions())
    ]
    again, muted = begun(parts)
    outcomes = run(again, "a", "b", "c", shots=150)
    assert [each.counts for each in outcomes if isinstance(each, Outcome)] == [{1 << 70: 150}] * 3
    assert not muted
    assert again.submissions() == []


def test_equal_calls_are_submitted_each_and_get_an_outcome_each() -> None:
    devices, _ = begun()
    run(devices, "a")
    run(devices, "a")
    first, second = devices.submissions()
    assert first.key != second.key
    again, _ = begun([answered(second, {1: 10}), answered(first, {0: 10})])
    ((one,), (two,)) = run(again, "a"), run(again, "a")
    assert isinstance(one, Outcome)
    assert isinstance(two, Outcome)
    assert (one.counts, two.counts) == ({0: 10}, {1: 10})


def test_a_later_call_may_depend_on_the_outcome_of_an_earlier_one() -> None:
    devices, _ = begun()
    run(devices, "a")
    again, _ = begun([answered(devices.submissions()[0], {0: 10})])
    run(again, "a")
    run(again, "b")
    (wanted,) = again.submissions()
    assert wanted.circuits[0].text == "b"


def test_programs_that_compile_differently_are_not_submitted_again() -> None:
    devices, _ = begun()
    run(devices, "a")
    again, _ = begun([answered(devices.submissions()[0], {0: 10})])
    run(again, "another circuit")
    with pytest.raises(ProviderError, match="not submitted again") as raised:
        again.submissions()
    assert raised.value.reason == "NOT_REPRODUCIBLE"


def test_a_failed_part_fails_its_circuits_alone() -> None:
    devices, _ = begun()
    run(devices, "a", "b", "c")
    first, second = devices.submissions()
    failed = VendorOutcomes(key=first.key, part=first.part)
    failure = Failure(category=FAILURE_CATEGORY_LIMIT, reason="R", message="m", provider_code="E-1")
    failed.outcomes.add(failure=failure)
    failed.outcomes.extend([vendor_outcome({0: 10})])
    again, _ = begun([failed, answered(second, {1: 10})])
    one, two, three = run(again, "a", "b", "c")
    assert isinstance(one, LimitError)
    assert (one.reason, one.provider_code) == ("R", "E-1")
    assert isinstance(two, Outcome)
    assert isinstance(three, Outcome)


def test_a_call_without_all_outcomes_names_the_missing_ones() -> None:
    devices, _ = begun()
    run(devices, "a", "b", "c")
    again, _ = begun([answered(devices.submissions()[0], {0: 10}, {0: 10})])
    *_, missing = run(again, "a", "b", "c")
    assert isinstance(missing, ProviderError)
    assert missing.reason == "RESULT_MISSING"


def test_a_sweep_of_which_some_points_are_stored_continues_with_its_next_call() -> None:
    runner = Runner(RemoteDevices(ByToken()), Languages())
    runner.load()
    text = 'OPENQASM 3.0; include "stdgates.inc"; input float a; qubit q; bit c; rz(a) q; c = measure q;'
    sets = ParameterSets(names=["a"], values=[point / 100 for point in range(192)])
    task = Task(job_id=1, attempt=1, device="machine", spec=JobSpec(type=JobType.JOB_TYPE_RUNNER, shots=10, seed=1))
    task.spec.parameter_sets.CopyFrom(sets)
    task.vendor_device.CopyFrom(ByToken().describe().devices[0])
    task.programs.add(text=text, language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    keys: list[str] = []
    for stored in (0, 0, 65, 130):  # a task runs once for each 64 points, and emits some points before its next call
        task.programs[0].points_done = stored
        events: list[TaskEvent] = []
        runner.run(task, events.append)
        end = events[-1].finished
        assert not end.HasField("failure"), end.failure
        assert not [event for event in events if event.HasField("program_failed")]
        keys += sorted({each.key for each in end.submissions})
        task.vendor_outcomes.extend(answered(each, *[{0: each.shots}] * len(each.circuits)) for each in end.submissions)
    assert len(set(keys)) == 3
    points = [each.result.point for event in events for each in event.points_done.results]
    assert points == list(range(130, 192))


@pytest.mark.parametrize(
    ("number", "shots", "limits", "parts"),
    [
        (50, 100, VendorJobLimits(circuits=100, shots=100_000), [(50, 100)]),
        (5, 100, VendorJobLimits(circuits=2, shots=100_000), [(2, 100), (2, 100), (1, 100)]),
        (5, 100, VendorJobLimits(circuits=100, shots=250), [(2, 100), (2, 100), (1, 100)]),
        (3, 100, VendorJobLimits(circuits=100, shots=50), [(1, 100)] * 3),
        (3, 300, VendorJobLimits(circuits=100, shots=400), [(2, 150), (2, 150), (1, 150), (1, 150)]),
        (3, 10, VendorJobLimits(circuits=2, shots=0, min_shots=20), [(2, 10), (1, 10)]),
        (2, 5, VendorJobLimits(circuits=2, shots=0, min_shots=20), [(1, 5), (1, 5)]),
    ],
    ids=["one task", "circuits", "shots", "more shots than a set has", "divided shots", "the minimum", "too few shots"],
)
def test_several_circuits_share_a_job_within_the_limits_of_the_device(
    number: int, shots: int, limits: VendorJobLimits, parts: list[tuple[int, int]]
) -> None:
    class Wide(ByToken):
        def limits(self, device: str) -> SubmissionLimits:
            return SubmissionLimits(circuits=1, shots=200, bytes=100_000)

    devices = RemoteDevices(Wide())
    device = Device(vendor_job=limits, price=DevicePrice(job=0.3, shot=0.01, unit="USD"))
    devices.begin((), lambda: None, device)
    run(devices, *map(str, range(number)), shots=shots)
    found = devices.submissions()
    assert [(len(each.circuits), each.shots) for each in found] == parts
    assert [each.first_circuit for each in found][-1] == number - parts[-1][0]
