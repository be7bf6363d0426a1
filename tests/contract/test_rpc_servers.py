# SPDX-License-Identifier: Apache-2.0
"""Two servers on one PostgreSQL: a job is submitted at one, runs at the other, and can be watched at both."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.job_pb2 import JobState
from tests.contract.rpc_house import WAIT, House, bell, house, sequences
from tests.postgresql import PostgresqlServer


@pytest.fixture(scope="module")
def doors(postgresql: PostgresqlServer, postgresql_template: str) -> Iterator[tuple[House, House]]:
    name = postgresql.new_database(postgresql_template)
    with house(postgresql.url(name)) as first, house(postgresql.url(name)) as second:
        yield first, second
    postgresql.drop_database(name)


def watching(door: House, job_id: int, after: int) -> Any:
    """Open a stream at a server. Its heartbeats are far apart: only a wake can bring an event in time."""
    request = job_service.WatchJobRequest(job_id=job_id, after_sequence=after)
    request.heartbeat_interval.FromSeconds(3600)
    return door.jobs.WatchJob(request, timeout=WAIT)


def test_an_event_at_one_server_reaches_a_watcher_at_the_other(doors: tuple[House, House]) -> None:
    here, there = doors
    stream = here.jobs.RunJob(bell(), timeout=WAIT)
    job_id = next(stream).event.job_id
    other = watching(here, job_id, 1)
    assert next(other).event.WhichOneof("event") == "heartbeat"
    there.claim()
    assert next(stream).event.state_change.to_state == JobState.JOB_STATE_RUNNING
    assert next(other).event.sequence == 2
    there.finish(job_id)
    assert [response.event for response in stream] == [response.event for response in other]
    assert stream.code() is other.code() is grpc.StatusCode.OK


def test_a_stream_broken_at_one_server_goes_on_at_the_other(doors: tuple[House, House]) -> None:
    chance = random.Random("two servers")
    request = bell(request_id=str(uuid.uuid4()))
    stream = doors[0].jobs.RunJob(request, timeout=WAIT)
    job_id = next(stream).event.job_id
    doors[1].claim()
    mine = [1]
    for _ in range(60):
        doors[1].say(job_id, "a remark")
        if chance.random() < 0.5:
            stream.cancel()
            door = chance.choice(doors)
            if chance.random() < 0.5:
                stream = watching(door, job_id, len(mine))
            else:
                request.after_sequence = len(mine)
                stream = door.jobs.RunJob(request, timeout=WAIT)
        told = mine[-1]
        while mine[-1] == told:
            mine += sequences([next(stream).event])
    doors[1].finish(job_id)
    mine += sequences([response.event for response in stream])
    assert mine == list(range(1, mine[-1] + 1))
    assert stream.code() is grpc.StatusCode.OK
