# SPDX-License-Identifier: Apache-2.0
"""Large results: rows are streamed from any offset, and a reader uses the memory of at most one chunk."""

from __future__ import annotations

import hashlib
import random
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from qonduit.v1.job_service_pb2 import CreateJobRequest, DeleteJobRequest
from qonduit.v1.result_pb2 import Result
from qonduit.v1.result_service_pb2 import GetResultRequest, ListResultsRequest, ReadBufferRequest
from qonduit.v1.system_service_pb2 import GetServerInfoRequest
from qonduit_server.rpc import buffer_streams
from qonduit_server.store.results import buffers
from tests.contract.rpc_fixture import CALLER_KEY, WAIT, RpcFixture, bell, by_name, refused, rpc_fixture, until
from tests.large_result_samples import noise, packed, unpacked

COUNTS = noise(127, 50_000)


@pytest.fixture
def rpc(database_url: str) -> Iterator[RpcFixture]:
    with rpc_fixture(database_url, authenticate=by_name()) as it:
        yield it


@pytest.fixture
def impatient(tmp_path: Path) -> Iterator[RpcFixture]:
    """A server with a send timeout of half a second."""
    with rpc_fixture(tmp_path, stream_send_timeout_seconds=0.5 / 6) as it:
        yield it


def large_result(rpc: RpcFixture) -> Result:
    """The result of a job with 100,000 shots of noise."""
    request = bell(100_000)
    job = rpc.jobs.CreateJob(CreateJobRequest(job=request.job, device=request.device, deployment=request.deployment))
    rpc.claim()
    rpc.record(job.job.id, program_succeeded=packed(COUNTS, 127))
    rpc.record(job.job.id, finished={})
    (result,) = rpc.results.ListResults(ListResultsRequest(job_id=job.job.id)).results
    return result


def reading(rpc: RpcFixture, result: Result, offset: int = 0) -> Any:
    return rpc.results.ReadBuffer(ReadBufferRequest(name=result.buffer.name, offset=offset), timeout=WAIT)


def rest(stream: Any) -> bytes:
    """Read a stream to its end."""
    return b"".join(piece.data for piece in stream)


def test_a_buffer_is_streamed_whole_and_from_any_offset(rpc: RpcFixture) -> None:
    result = large_result(rpc)
    assert result == rpc.results.GetResult(GetResultRequest(id=result.id)).result
    assert not result.counts_and_probabilities.counts
    data = b""
    for piece in reading(rpc, result):
        assert piece.offset == len(data)
        assert 0 < len(piece.data) <= 1024**2
        data += piece.data
    assert len(data) == result.buffer.size_bytes
    assert hashlib.sha256(data).hexdigest() == result.buffer.sha256
    assert unpacked(data, 127) == COUNTS
    draw = random.Random(3)
    offsets = [draw.randrange(len(data)) for _ in range(8)]
    for offset in (*offsets, 1, buffers.CHUNK_BYTES - 1, buffers.CHUNK_BYTES, buffers.CHUNK_BYTES + 1, len(data) - 1):
        pieces = list(reading(rpc, result, offset))
        assert pieces[0].offset == offset
        assert b"".join(piece.data for piece in pieces) == data[offset:], offset
    assert list(reading(rpc, result, len(data))) == []


def test_an_invalid_read_is_refused(rpc: RpcFixture) -> None:
    result = large_result(rpc)
    code, details = refused(lambda: rest(reading(rpc, result, result.buffer.size_bytes + 1)))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].field == "offset"
    assert str(result.buffer.size_bytes) in details["BadRequest"].field_violations[0].description
    for name in ("results/0", "results/999999", "nonsense", "results/" + "9" * 100):
        code, details = refused(partial(rest, rpc.results.ReadBuffer(ReadBufferRequest(name=name))))
        assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "buffer")
    for wrong in (
        ReadBufferRequest(),
        ReadBufferRequest(name="results/1", offset=-1),
        ReadBufferRequest(name="x" * 256),
    ):
        assert refused(partial(rest, rpc.results.ReadBuffer(wrong)))[0] == "INVALID_ARGUMENT"
    stranger = rpc.results.ReadBuffer(
        ReadBufferRequest(name=result.buffer.name), metadata=((CALLER_KEY, "another caller"),)
    )
    assert refused(lambda: rest(stranger))[0] == "NOT_FOUND"
    rpc.jobs.DeleteJob(DeleteJobRequest(id=result.job_id))
    assert refused(lambda: rest(reading(rpc, result)))[0] == "NOT_FOUND"


def test_deleting_a_job_ends_the_streams_of_its_buffers(rpc: RpcFixture) -> None:
    result = large_result(rpc)
    stream = reading(rpc, result)
    next(stream)
    rpc.jobs.DeleteJob(DeleteJobRequest(id=result.job_id))
    assert refused(lambda: rest(stream))[0] == "NOT_FOUND"


def test_draining_ends_the_streams_and_opens_no_new_ones(rpc: RpcFixture) -> None:
    result = large_result(rpc)
    stream = reading(rpc, result)
    next(stream)
    rpc.server.drain()
    for each in (stream, reading(rpc, result)):
        code, details = refused(partial(rest, each))
        assert (code, details["ErrorInfo"].reason) == ("UNAVAILABLE", "DRAINING")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0


def test_stalled_readers_are_cut_off_and_delay_no_other(impatient: RpcFixture) -> None:
    rpc = impatient
    result = large_result(rpc)
    stuck = [reading(rpc, result) for _ in range(50)]
    for stream in stuck:
        next(stream)
    # This client has one thread a stream; the server starts none for them.
    assert sum("buffer" in thread.name or "rpc" in thread.name for thread in threading.enumerate()) < 50
    for _ in range(3):
        assert len(rest(reading(rpc, result))) == result.buffer.size_bytes
        rpc.system.GetServerInfo(GetServerInfoRequest())
    until(lambda: rpc.server.readings == 0)
    for stream in stuck:
        with pytest.raises(grpc.RpcError) as raised:
            rest(stream)
        assert raised.value.code() is grpc.StatusCode.CANCELLED


def test_a_slow_reader_that_accepts_chunks_is_not_cut_off(impatient: RpcFixture) -> None:
    result = large_result(impatient)
    pause = threading.Event()
    got = b""
    for piece in reading(impatient, result):
        got += piece.data
        pause.wait(0.25)  # in total longer than the server's timeout for one chunk
    assert hashlib.sha256(got).hexdigest() == result.buffer.sha256


def test_at_the_stream_limit_a_stalled_reader_is_evicted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(buffer_streams.BufferStreams.__init__, "__kwdefaults__", {"patience": 60.0, "most": 3})
    with rpc_fixture(tmp_path) as rpc:
        result = large_result(rpc)
        monkeypatch.setattr(buffer_streams, "_STUCK_SECONDS", 60.0)
        stuck = [reading(rpc, result) for _ in range(3)]
        for stream in stuck:
            next(stream)
        code, details = refused(lambda: rest(reading(rpc, result)))
        assert (code, details["QuotaFailure"].violations[0].subject) == ("RESOURCE_EXHAUSTED", "buffers")
        assert details["RetryInfo"].retry_delay.ToNanoseconds() > 0
        monkeypatch.setattr(buffer_streams, "_STUCK_SECONDS", 0.0)
        assert hashlib.sha256(rest(reading(rpc, result))).hexdigest() == result.buffer.sha256
        until(lambda: rpc.server.readings == 2)
        for stream in stuck:
            stream.cancel()
        until(lambda: rpc.server.readings == 0)
