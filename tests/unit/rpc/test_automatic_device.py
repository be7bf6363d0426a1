# SPDX-License-Identifier: Apache-2.0
"""The choice among compared devices, and its reason."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.device_pb2 import Device
from qonduit_server.cost_estimates import Estimate
from qonduit_server.device_fit import Candidate, Fit
from qonduit_server.errors import FailedPrecondition
from qonduit_server.rpc.automatic_device import choose, is_automatic
from qonduit_server.store.jobs.job_rows import NewJob


def fit(name: str, queue_depth: int = 0, **fields: object) -> Fit:
    return Fit(
        Candidate(name, Device(id=len(name)), frozenset(), queue_depth), **{"methods": ("statevector",)} | fields
    )  # type: ignore[arg-type]


def accept(device: Device) -> NewJob:
    return NewJob(caller="a", spec=JobSpec(), device_id=device.id)


@pytest.mark.parametrize(
    ("name", "automatic"), [("AUTO", True), ("IBM/AUTO", True), ("IBM/auto", False), ("IBM/xAUTO", False), ("", False)]
)
def test_names_of_automatic_devices(name: str, automatic: bool) -> None:
    assert is_automatic(name) is automatic


def test_reason_of_a_choice() -> None:
    fits = [
        fit("A/one", 2, memory_bytes=2048, estimate=Estimate(0.25, 1.5)),
        fit("B/second", memory_bytes=1024, seconds=3.0),
        fit("B/single", exclusion="it simulates in single precision"),
    ]
    choice = choose("AUTO", fits, accept).spec.device_choice
    assert choice.reason == (
        "A/one comes first of 2 exact simulators that can run the job: statevector, 2.0 KiB, estimated 0.25 s "
        "(p90 1.5 s), 2 in its queue; next is B/second: statevector, 1.0 KiB, time unknown, assumed 3 s, 0 in its queue"
    )
    assert (choice.estimated_seconds_p50, choice.estimated_seconds_p90) == (0.25, 1.5)
    assert choose("B/AUTO", fits, accept).device_id == len("B/second")


def test_reason_of_an_approximate_choice() -> None:
    reason = choose("AUTO", [fit("A/one", exact=False)], accept).spec.device_choice.reason
    assert reason.startswith("A/one runs the job by an approximate method, and no exact method can: statevector")


def test_device_that_the_checks_of_a_submission_refuse_is_passed_over() -> None:
    def check(device: Device) -> NewJob:
        if device.id == len("A/one"):
            raise FailedPrecondition("deployment.programs[0]: the program declares 50 qubits", subject="device")
        return accept(device)

    fits = [fit("A/one"), fit("B/second")]
    assert choose("AUTO", fits, check).device_id == len("B/second")
    with pytest.raises(FailedPrecondition, match=r"A/AUTO finds no device for this job: A/one: .* declares 50 qubits$"):
        choose("A/AUTO", fits, check)


def test_server_without_devices() -> None:
    with pytest.raises(FailedPrecondition, match="this server has no device"):
        choose("AUTO", [], accept)
