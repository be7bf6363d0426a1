# SPDX-License-Identifier: Apache-2.0
"""What ends the choice of a device for "AUTO": the end of the call, or the end of its time."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_service_pb2 import CompiledProgram, CreateJobRequest
from qonduit_server.device_choice import Candidate
from qonduit_server.errors import Abandoned
from qonduit_server.rpc import automatic_device
from qonduit_server.store.jobs.job_rows import NewJob

CANDIDATES = [Candidate(f"A/{number}", Device(id=number), 0, 1.0) for number in (1, 2)]


def chosen(monkeypatch: pytest.MonkeyPatch, seconds: float) -> NewJob:
    """Choose a device if the compilation is abandoned after some seconds."""
    now = [100.0]
    monkeypatch.setattr(automatic_device.time, "monotonic", lambda: now[0])

    def compile_job(new: NewJob, left: float) -> Sequence[CompiledProgram]:
        now[0] += seconds
        raise Abandoned("the client cancelled the call")

    return automatic_device.choose(
        CreateJobRequest(device="AUTO"),
        CANDIDATES,
        {},
        lambda candidate: NewJob(caller="a", spec=JobSpec(), device_id=candidate.device.id),
        compile_job,
    )


def test_a_call_that_ends_during_the_choice_creates_no_job(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Abandoned):
        chosen(monkeypatch, 0.5)


def test_the_best_device_is_taken_unchecked_when_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    new = chosen(monkeypatch, 2.5)
    assert new.device_id == 1
    assert "not compiled within 2 s" in new.spec.device_choice.reason
