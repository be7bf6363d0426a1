# SPDX-License-Identifier: Apache-2.0
"""Results that are too large for a message, with a real server and the client: read in the same way as all others."""

from __future__ import annotations

import hashlib
import json
import random
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit.v1.job_service_pb2 import CreateJobRequest
from qonduit.v1.result_pb2 import Result as ResultMessage
from qonduit_client import Client, JobHandle, NotFound, QonduitError, Result
from qonduit_client.cli.commands import qonduit
from tests.contract.rpc_fixture import RpcFixture, bell, rpc_fixture
from tests.e2e.test_client import Proxy
from tests.large_result_samples import noise, packed
from tests.server_process import Server

#: 127 bits of noise: one qubit, measured repeatedly.
NOISE = "\n".join(
    [
        "OPENQASM 3;",
        'include "stdgates.inc";',
        "qubit q; bit[100] low; bit[27] high;",
        *(f"h q; low[{bit}] = measure q; reset q;" for bit in range(100)),
        *(f"h q; high[{bit}] = measure q; reset q;" for bit in range(27)),
    ]
)
SHOTS = 5_000
WAIT = 100.0


@pytest.fixture(scope="module")
def job(server: Server) -> Iterator[JobHandle]:
    """A job with a large result, on a real server."""
    with Client(server.target) as client:
        handle = client.run(NOISE, shots=SHOTS, seed=5)
        handle.wait(WAIT)
        yield handle


def test_a_large_result_of_a_real_job_is_read_like_a_small_one(job: JobHandle) -> None:
    result = job.result(WAIT)
    assert result.buffer is not None
    assert not result.message.counts_and_probabilities.counts
    assert result.message.ByteSize() < 2000
    assert "not read yet" in repr(result)
    counts = result.counts
    assert sum(counts.values()) == SHOTS
    assert len(counts) > SHOTS * 0.99
    assert result.probabilities == {key: count / SHOTS for key, count in counts.items()}
    assert "not read yet" not in repr(result)
    assert list(counts) == sorted(counts, key=lambda key: [int(number, 16) for number in key.split()])
    assert [(each.name, each.size) for each in result.registers] == [("high", 27), ("low", 100)]
    ones = [0] * 127
    for key, count in counts.items():
        high, low = (int(number, 16) for number in key.split())
        for bit in range(127):
            ones[bit] += count * ((high << 100 | low) >> bit & 1)
    # Fair coins: 10 standard deviations.
    assert all(abs(number - SHOTS / 2) < 5 * SHOTS**0.5 for number in ones)
    bits = next(iter(result.bitstrings))
    assert [len(part) for part in bits.split()] == [27, 100]


def test_the_command_line_shows_the_most_frequent_outcomes_and_writes_all_as_json(
    job: JobHandle, server: Server
) -> None:
    runner = CliRunner()
    shown = runner.invoke(qonduit, ["result", str(job.id), "--server", server.target, "--top", "5"])
    assert shown.exit_code == 0, shown.output
    assert f"{SHOTS} shots" in shown.output
    assert "others" in shown.output
    assert len(shown.output.splitlines()) < 12
    written = runner.invoke(qonduit, ["result", str(job.id), "--server", server.target, "--json"])
    (found,) = json.loads(written.output)["results"]
    assert found["counts_and_probabilities"]["counts"] == job.result(WAIT).counts
    assert found["buffer"]["rows"] == len(found["counts_and_probabilities"]["counts"])


def test_a_stream_that_breaks_repeatedly_is_resumed(job: JobHandle, server: Server) -> None:
    known = job.result(WAIT)
    assert known.buffer is not None
    proxy = Proxy(server.target)
    try:
        with Client(proxy.target) as client:
            buffer = client.job(job.id).result(WAIT).buffer
            assert buffer is not None
            draw = random.Random(8)
            pieces = []
            for piece in buffer.read():
                pieces.append(piece)
                if draw.random() < 0.8:
                    proxy.cut()
            data = b"".join(pieces)
            assert hashlib.sha256(data).hexdigest() == known.message.buffer.sha256
            for offset in (draw.randrange(len(data)) for _ in range(5)):
                proxy.cut()
                assert b"".join(buffer.read(offset)) == data[offset:]
            proxy.cut()
            assert client.job(job.id).result(WAIT).counts == known.counts
    finally:
        proxy.close()


def test_a_result_read_too_late_names_the_reason(server: Server) -> None:
    with Client(server.target) as client:
        result = client.run(NOISE, shots=SHOTS, seed=6).result(WAIT)
    with pytest.raises(QonduitError, match="read it before closing the client"):
        _ = result.counts
    with Client(server.target) as client:
        result = client.job(result.job_id).result(WAIT)
        client.delete_job(result.job_id)
        with pytest.raises(NotFound):
            _ = result.counts


@pytest.fixture
def rpc(tmp_path: Path) -> Iterator[RpcFixture]:
    """A gRPC server in this process, for synthetic results."""
    with rpc_fixture(tmp_path) as it:
        yield it


def finished(rpc: RpcFixture, *succeeded: object) -> int:
    request = bell(100_000)
    created = rpc.jobs.CreateJob(
        CreateJobRequest(job=request.job, device=request.device, deployment=request.deployment)
    )
    rpc.claim()
    for each in succeeded:
        rpc.record(created.job.id, program_succeeded=each)
    rpc.record(created.job.id, finished={})
    return created.job.id


def test_noise_of_127_bits_and_100_000_shots(rpc: RpcFixture) -> None:
    counts = noise(127, 100_000)
    job_id = finished(rpc, packed(counts, 127))
    with Client(rpc.target) as client:
        result = client.job(job_id).result(WAIT)
        assert result.counts == {hex(outcome): count for outcome, count in counts.items()}
        assert sum(result.probabilities.values()) == pytest.approx(1)


def test_a_large_statevector_is_read_like_a_small_one(rpc: RpcFixture) -> None:
    draw = random.Random(2)
    state = [complex(draw.gauss(0, 1), draw.gauss(0, 1)) for _ in range(1 << 15)]
    succeeded = packed({0: 5}, 1)
    rows = b"".join(struct.pack(">dd", each.real, each.imag) for each in state)
    large = succeeded.further.add(buffer=rows).result
    large.statevector.num_qubits = 15
    large.buffer.size_bytes, large.buffer.rows = len(rows), len(state)
    large.buffer.sha256 = hashlib.sha256(rows).hexdigest()
    for name in ("real", "imaginary"):
        large.buffer.columns.add(name=name, kind="COLUMN_KIND_FLOAT64", width=8)
    job_id = finished(rpc, succeeded)
    with Client(rpc.target) as client:
        result = client.job(job_id).result(WAIT)
        assert result.counts == {"0x0": 5}
        assert result.statevector is not None
        assert result.statevector.tolist() == state
        (counts, stored) = client.job(job_id).stored_results()
        assert counts.statevector is None
        assert stored.statevector is not None
        assert stored.statevector.tolist() == state
        assert stored.counts == {}
        assert stored.buffer is not None
        assert [complex(*row) for row in stored.buffer.rows()] == state
    shown = CliRunner().invoke(qonduit, ["result", str(job_id), "--server", rpc.target, "--top", "3"])
    assert "statevector of 15 qubits" in shown.output
    assert "32765 others" in shown.output
    written = CliRunner().invoke(qonduit, ["result", str(job_id), "--server", rpc.target, "--json"])
    # The gRPC server of this process logs to the same place.
    (line,) = (line for line in written.output.splitlines() if line.startswith('{"job"'))
    found = json.loads(line)["results"][1]["statevector"]
    assert [complex(*pair) for pair in zip(found["real"], found["imaginary"], strict=True)] == state


def test_damaged_rows_are_refused(rpc: RpcFixture) -> None:
    succeeded = packed(noise(127, 20_000), 127)
    succeeded.buffer = b"\xff" + succeeded.buffer[1:]
    job_id = finished(rpc, succeeded)
    with Client(rpc.target) as client, pytest.raises(QonduitError, match="corrupt"):
        _ = client.job(job_id).result(WAIT).counts


def test_a_result_without_a_connection_names_the_reason() -> None:
    message = ResultMessage(id=1, shots=1)
    message.counts_and_probabilities.SetInParent()
    message.buffer.size_bytes = 9
    with pytest.raises(QonduitError, match="no connection to a server"):
        _ = Result(message).counts


def test_many_read_at_once(rpc: RpcFixture) -> None:
    counts = noise(127, 20_000)
    job_id = finished(rpc, packed(counts, 127))
    right = []

    def read() -> None:
        with Client(rpc.target) as client:
            right.append(client.job(job_id).result(WAIT).counts == {hex(key): count for key, count in counts.items()})

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert right == [True] * 8
