# SPDX-License-Identifier: Apache-2.0
"""After a restore, no stream or list continues after an event of the lost log: it is refused, with the reason."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1.job_pb2 import Job
from qonduit_server.store.admin import backup, restoration
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, bell, details_of, programs, rpc_fixture, sequences


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path) as it:
        yield it


def watched(rpc: RpcFixture, job_id: int, after: int, epoch: int) -> list[int]:
    """Return the sequences that a stream sends until its job ends."""
    request = job_service.WatchJobRequest(job_id=job_id, after_sequence=after, after_epoch=epoch)
    return sequences([response.event for response in rpc.jobs.WatchJob(request, timeout=WAIT)])


def listed(rpc: RpcFixture, job_id: int, after: int, epoch: int, size: int = 0) -> list[int]:
    """Return the sequences on all pages of a list."""
    request = job_service.ListJobEventsRequest(job_id=job_id, after_sequence=after, after_epoch=epoch, page_size=size)
    found: list[int] = []
    while True:
        response = rpc.jobs.ListJobEvents(request, timeout=WAIT)
        found += [event.sequence for event in response.events]
        if not response.next_page_token:
            return found
        request.page_token = response.next_page_token


def resumed(rpc: RpcFixture, request: job_service.RunJobRequest, after: int, epoch: int) -> list[Any]:
    """Repeat a request that creates a job, and return the events of the stream."""
    again = job_service.RunJobRequest()
    again.CopyFrom(request)
    again.after_sequence, again.after_epoch = after, epoch
    return [response.event for response in rpc.jobs.RunJob(again, timeout=WAIT)]


def reason(call: Any, *arguments: Any) -> str:
    """Return the reason for which a call fails."""
    with pytest.raises(grpc.RpcError) as raised:
        call(*arguments)
    code, details = details_of(raised.value)
    if (found := str(details["ErrorInfo"].reason)) == "LOG_RESTORED":
        assert code == "FAILED_PRECONDITION"
        assert details["PreconditionFailure"].violations[0].type == "LOG_EPOCH"
        assert "restored from a backup" in details["PreconditionFailure"].violations[0].description
    return found


def test_streams_and_lists_continue_in_one_log_only(rpc: RpcFixture) -> None:
    request = bell(request_id=str(uuid.uuid4()))
    stream = rpc.jobs.RunJob(request, timeout=WAIT)
    job_id = next(stream).event.job_id
    stream.cancel()
    rpc.claim()
    epoch = restoration.begin_log(rpc.db).log_epoch
    rpc.claim()
    rpc.finish(job_id)
    last = rpc.jobs.GetJob(job_service.GetJobRequest(id=job_id)).job
    assert last.log_epoch == epoch
    every = list(range(1, last.last_sequence + 1))
    events = rpc.jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=job_id)).events
    assert [event.log_epoch for event in events] == [0, 0, *[epoch] * (len(every) - 2)]
    assert {event.state_change.job.log_epoch for event in events if event.state_change.to_state} == {0, epoch}
    assert events[-1].state_change.job.log_epoch == epoch
    for read in (watched, listed):
        assert read(rpc, job_id, 0, 0) == every
        # Event 2 is in the backup, and event 3 is not that of the lost log.
        assert read(rpc, job_id, 2, 0) == every[2:]
        assert read(rpc, job_id, 3, epoch) == every[3:]
        assert reason(read, rpc, job_id, 3, 0) == "LOG_RESTORED"
        assert reason(read, rpc, job_id, 2, epoch) == "LOG_RESTORED"
        assert reason(read, rpc, job_id, last.last_sequence + 5, 0) == "LOG_RESTORED"
    assert listed(rpc, job_id, 0, 0, size=1) == every
    assert listed(rpc, job_id, last.last_sequence + 5, epoch) == []
    assert reason(watched, rpc, job_id, last.last_sequence + 5, epoch) == "INVALID_FIELD"
    assert sequences(resumed(rpc, request, 2, 0)) == every[2:]
    assert sequences(resumed(rpc, request, 4, epoch)) == every[4:]
    assert reason(resumed, rpc, request, 4, 0) == "LOG_RESTORED"


def test_a_page_token_of_the_lost_log_is_refused(rpc: RpcFixture, tmp_path: Path) -> None:
    request = job_service.CreateJobRequest(job=Job(shots=10), device="IBM/aer_simulator", deployment=programs(BELL))
    job_id = rpc.jobs.CreateJob(request).job.id
    rpc.claim()

    def page(server: RpcFixture, size: int, token: str = "") -> job_service.ListJobEventsResponse:
        request = job_service.ListJobEventsRequest(job_id=job_id, page_size=size, page_token=token)
        return server.jobs.ListJobEvents(request, timeout=WAIT)

    backup.copy(f"sqlite:///{tmp_path / 'qonduit.sqlite3'}", tmp_path / "copy.sqlite3")
    rpc.log(job_id, "three")
    rpc.log(job_id, "four")
    in_backup, lost = page(rpc, 1).next_page_token, page(rpc, 3).next_page_token
    with rpc_fixture(f"sqlite:///{tmp_path / 'copy.sqlite3'}") as restored:
        restoration.begin_log(restored.db)
        assert [event.sequence for event in page(restored, 9, in_backup).events] == [2, 3, 4]
        assert reason(page, restored, 9, lost) == "LOG_RESTORED"
    assert [event.sequence for event in page(rpc, 9, lost).events] == [4]


def test_a_job_that_the_restore_lost_is_not_created_by_its_stream(rpc: RpcFixture) -> None:
    """The client has events of it, so it may have been sent to a vendor. Only a request without a cursor creates it."""
    lost = bell(request_id=str(uuid.uuid4()))
    epoch = restoration.begin_log(rpc.db).log_epoch
    before = len(rpc.jobs.ListJobs(job_service.ListJobsRequest()).jobs)
    assert reason(resumed, rpc, lost, 3, 0) == "LOG_RESTORED"
    assert len(rpc.jobs.ListJobs(job_service.ListJobsRequest()).jobs) == before
    stream = rpc.jobs.RunJob(lost, timeout=WAIT)
    assert next(stream).event.log_epoch == epoch
    stream.cancel()
    # A deleted job is created again, as on a server that was never restored.
    deleted = bell(request_id=str(uuid.uuid4()), after_sequence=3, after_epoch=epoch)
    stream = rpc.jobs.RunJob(deleted, timeout=WAIT)
    assert next(stream).event.sequence == 1
    stream.cancel()
