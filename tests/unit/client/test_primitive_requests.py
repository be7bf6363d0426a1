# SPDX-License-Identifier: Apache-2.0
"""The requests of estimators and samplers, and the events of results as they are so far."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

import numpy as np
import pytest

from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.event_pb2 import JobEvent, PartialResult, QueueChange
from qonduit.v1.job_pb2 import JobType, QueuePlace, StopCondition
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_client.client import Client
from tests.unit.client.peer import BELL, JOB, Peer


def test_an_estimator_sends_its_options(peer: Peer, client: Client) -> None:
    job = client.submit_estimate(
        *(BELL, ["Z0", {"X0": 2}], "GOOGLE/cirq_simulator"),
        precision=0.1,
        shots=500,
        parameter_values={"a": [1, 2]},
        gradient=True,
        per_term=True,
        confidence_level=0.9,
        seed=4,
        name="vqe",
        labels={"project": "h2"},
        inputs={"b": 1},
        request_id="3f1c7d0e-5b0a-4a53-9c6b-2a0d7f6f1e11",
    )
    assert job.id == JOB
    (request,) = peer.created
    sent = request.job
    assert sent.type == JobType.JOB_TYPE_ESTIMATOR
    assert sent.estimator == EstimatorOptions(
        observables=[Observable(expression="Z0"), Observable(expression="2.0*X0")],
        precision=0.1,
        per_term=True,
        gradient=True,
        confidence_level=0.9,
    )
    assert sent.parameter_sets == ParameterSets(names=["a"], values=[1, 2])
    assert (sent.shots, sent.seed, sent.name, dict(sent.labels)) == (500, 4, "vqe", {"project": "h2"})
    assert (request.device, request.request_id) == ("GOOGLE/cirq_simulator", "3f1c7d0e-5b0a-4a53-9c6b-2a0d7f6f1e11")


@pytest.mark.parametrize(
    ("options", "shots"), [({}, 1000), ({"exact": True}, 0), ({"precision": 0.1}, 0), ({"shots": 7, "exact": True}, 7)]
)
def test_shots_of_estimators(peer: Peer, client: Client, options: dict[str, Any], shots: int) -> None:
    client.submit_estimate(BELL, "Z0", **options)
    assert peer.created[0].job.shots == shots


@pytest.mark.parametrize(("options", "shots"), [({}, 1000), ({"exact": True}, 0), ({"shots": 7}, 7)])
def test_shots_of_samplers(peer: Peer, client: Client, options: dict[str, Any], shots: int) -> None:
    client.submit_sample(BELL, per_shot=True, stop_when=0.01, **options)
    sent = peer.created[0].job
    assert sent.type == JobType.JOB_TYPE_SAMPLER
    assert sent.sampler == SamplerOptions(per_shot=True, exact=options.get("exact", False))
    assert (sent.shots, sent.stop_when) == (shots, StopCondition(standard_error=0.01))


def test_an_unknown_option_is_refused(client: Client) -> None:
    with pytest.raises(TypeError, match="shoots"):
        client.submit_estimate(BELL, "Z0", shoots=3)  # type: ignore[call-arg]


def test_results_of_a_range_of_points(peer: Peer, client: Client) -> None:
    client.job(JOB).results(points=range(10, 20), program=1)
    (request,) = peer.listed
    assert (request.first_point, request.end_point, request.program_index) == (10, 20, 1)
    for points in (range(0, 9, 2), range(-1, 3), range(3, 3)):
        with pytest.raises(ValueError, match="consecutive points"):
            client.job(JOB).results(points=points)


def test_events_that_are_not_stored_reach_a_watcher_that_requests_them(peer: Peer, client: Client) -> None:
    peer.unstored = [
        JobEvent(job_id=JOB, partial_result=PartialResult(program_id=5, first_point=3)),
        JobEvent(job_id=JOB, queue_change=QueueChange(queue=QueuePlace(position=2))),
    ]
    job = client.job(JOB)
    plain = [event.WhichOneof("event") for event in job.events()]
    assert "partial_result" not in plain
    found = list(job.events(partial_results=True, queue_updates=True))
    assert found[:2] == peer.unstored
    assert [event.sequence for event in found[2:]] == [1, 2, 3, 4, 5, 6], "each once, although others came before"


def test_a_schedule_is_part_of_each_kind_of_job(peer: Peer, client: Client) -> None:
    later = datetime(2030, 1, 31, 12, tzinfo=timezone(timedelta(hours=2)))
    schedule = {"priority": np.int64(-3), "not_before": later, "expires_at": later + timedelta(hours=1)}
    client.run(BELL, schedule=schedule)
    client.submit_estimate(BELL, "Z0", schedule=schedule)
    client.submit_sample(BELL, schedule=schedule)
    assert len(peer.created) == 3
    for request in peer.created:
        assert request.job.priority == -3
        assert request.job.not_before.ToJsonString() == "2030-01-31T10:00:00Z"
        assert request.job.expires_at.ToJsonString() == "2030-01-31T11:00:00Z"


@pytest.mark.parametrize(
    ("schedule", "error", "message"),
    [
        ({"shots": 1}, ValueError, "fields are priority, not_before, expires_at, got 'shots'"),
        ({"priority": "high"}, TypeError, "str"),
        ({"not_before": "2030-01-31"}, TypeError, "not_before must be a datetime, got '2030-01-31'"),
        ({"expires_at": datetime(2030, 1, 31)}, ValueError, "expires_at must have a time zone"),
    ],
)
def test_an_invalid_schedule_is_an_error_before_a_call(
    peer: Peer, client: Client, schedule: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        client.run(BELL, schedule=schedule)
    assert not peer.created
