# SPDX-License-Identifier: Apache-2.0
"""A real server sends metrics, spans and log lines to a collector, and works as well without one."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

from qonduit.v1.job_pb2 import Job, JobState
from qonduit.v1.job_service_pb2 import RerunJobRequest, RunJobRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import Client
from qonduit_server import cli
from tests.benchmarks.programs import BELL
from tests.e2e.test_metrics import DEVICE, of, scrape, url_of
from tests.otlp_receiver import Receiver, attributes, receiving
from tests.server_process import Server, free_port, serving

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
SIGNALS = "metrics,traces,logs"


@contextmanager
def sending(folder: Path, endpoint: str, **settings: str) -> Iterator[Server]:
    database = f"sqlite:///{folder / 'q.sqlite3'}"
    given = {"providers": "IBM", "otlp_endpoint": endpoint, "otlp_signals": SIGNALS} | settings
    with serving(database, log=folder / "log", **given) as server:
        yield server


def run(target: str, traceparent: str = "", text: str = BELL) -> Job:
    """Run a job in the trace of its caller; return it after its end."""
    request = RunJobRequest(job=Job(shots=10), device=DEVICE)
    request.deployment.programs.add(quantum_circuit=text, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2)
    metadata = (("traceparent", traceparent),) if traceparent else ()
    with grpc.insecure_channel(target) as channel:
        *_, last = JobServiceStub(channel).RunJob(request, timeout=100, metadata=metadata)
    return last.event.state_change.job


def test_a_call_its_job_and_their_log_lines_are_in_the_trace_of_the_caller(tmp_path: Path) -> None:
    with receiving() as receiver:
        with sending(tmp_path, receiver.url, otlp_trace_ratio="0") as server:
            job = run(server.target, f"00-{TRACE}-{PARENT}-01")
            untraced = run(server.target)
        # The stop of the server has sent the rest.
        (call,) = receiver.spans("qonduit.v1.JobService/RunJob")
        (whole,), (queue,), (ran,) = (receiver.spans(name) for name in ("job", "queue", "run"))
        assert {span.trace_id.hex() for span in (call, whole, queue, ran)} == {TRACE}
        assert call.parent_span_id.hex() == PARENT
        assert whole.parent_span_id == call.span_id
        assert queue.parent_span_id == ran.parent_span_id == whole.span_id
        assert attributes(call.attributes)["qonduit.job_id"] == job.id
        assert attributes(call.attributes)["rpc.grpc.status_code"] == "OK"
        assert attributes(whole.attributes)["qonduit.device"] == DEVICE
        assert whole.start_time_unix_nano == job.created_at.ToNanoseconds()
        assert ran.end_time_unix_nano == job.finished_at.ToNanoseconds()
        assert job.traceparent == f"00-{TRACE}-{call.span_id.hex()}-01"
        assert untraced.traceparent == ""
        resource = receiver.resource()
        assert resource["service.name"] == "qonduit"
        # The log lines of the call and of the job have the same ids, in the log and at the collector.
        lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
        (line,) = (line for line in lines if line.get("trace_id") == TRACE and line["event"] == "call")
        assert (line["span_id"], line["job_id"]) == (call.span_id.hex(), job.id)
        states = [each["state"] for each in lines if each.get("trace_id") == TRACE and each["event"] == "job"]
        assert states == ["QUEUED", "RUNNING", "SUCCEEDED"]
        (record,) = (each for each in receiver.records("call") if each.trace_id.hex() == TRACE)
        assert record.span_id == call.span_id
        assert attributes(record.attributes)["job_id"] == job.id
        assert len([each for each in receiver.records("job") if attributes(each.attributes)["job_id"] == job.id]) == 3
        assert len(receiver.records("call")) >= 2
        metrics = receiver.metrics()
        (ended,) = metrics["qonduit_jobs_ended"].sum.data_points
        assert ended.as_double == 2
        assert metrics["qonduit_telemetry_lost"].sum.is_monotonic
        assert all(request["content-encoding"] == "gzip" for request in receiver.requests)


def test_a_rerun_is_in_the_trace_of_its_own_call(tmp_path: Path) -> None:
    with receiving() as receiver, sending(tmp_path, receiver.url, otlp_trace_ratio="0") as server:
        job = run(server.target, f"00-{TRACE}-{PARENT}-01")
        with grpc.insecure_channel(server.target) as channel:
            stub = JobServiceStub(channel)
            assert stub.RerunJob(RerunJobRequest(id=job.id), timeout=60).job.traceparent == ""
            other = TRACE[::-1]
            again = stub.RerunJob(
                RerunJobRequest(id=job.id), timeout=60, metadata=(("traceparent", f"00-{other}-{PARENT}-01"),)
            ).job
        assert again.traceparent.split("-")[1] == other


def test_a_client_cannot_set_the_context_of_a_job(tmp_path: Path) -> None:
    with sending(tmp_path, "http://127.0.0.1:9", otlp_trace_ratio="0") as server:
        request = RunJobRequest(job=Job(shots=10, traceparent=f"00-{TRACE}-{PARENT}-01"), device=DEVICE)
        request.deployment.programs.add(
            quantum_circuit=BELL, assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
        )
        with grpc.insecure_channel(server.target) as channel:
            *_, last = JobServiceStub(channel).RunJob(request, timeout=100)
        assert last.event.state_change.job.traceparent == ""


def wait_until_lost(url: str, signal: str) -> None:
    deadline = time.monotonic() + 100
    while not of(scrape(url), "telemetry_lost_total", signal=signal):
        assert time.monotonic() < deadline, "nothing was counted as lost"
        time.sleep(0.2)


def check_service(server: Server, signal: str) -> None:
    """Check that jobs run while the collector takes nothing, and that the loss is counted."""
    url = url_of(server)
    for _ in range(5):
        assert run(server.target).state == JobState.JOB_STATE_SUCCEEDED
    began = time.monotonic()
    for _ in range(20):
        assert run(server.target).state == JobState.JOB_STATE_SUCCEEDED
    # Far below the seconds after which a request to the collector ends, for each job.
    assert time.monotonic() - began < 60
    wait_until_lost(url, signal)


def test_a_collector_that_does_not_read_delays_neither_jobs_nor_the_stop(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:  # accepts connections and reads nothing
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with sending(tmp_path, endpoint, metrics_address="127.0.0.1:0", otlp_trace_ratio="1") as server:
            check_service(server, "traces")
            check_service(server, "logs")
            began = time.monotonic()
            server.process.terminate()
            assert server.process.wait(60) == 0
            assert time.monotonic() - began < 30
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert {line["signal"] for line in lines if line["event"] == "collector unavailable"} >= {"traces", "logs"}
    assert not [line for line in lines if "opentelemetry" in str(line)]


def test_an_absent_collector_delays_nothing_and_a_later_one_is_used(tmp_path: Path) -> None:
    port = free_port()
    with sending(tmp_path, f"http://127.0.0.1:{port}", metrics_address="127.0.0.1:0", otlp_trace_ratio="1") as server:
        check_service(server, "traces")


def test_a_collector_that_refuses_is_counted_and_used_again(tmp_path: Path) -> None:
    def has_job(receiver: Receiver) -> bool:
        return bool(receiver.spans("job"))

    with (
        receiving() as receiver,
        sending(tmp_path, receiver.url, metrics_address="127.0.0.1:0", otlp_trace_ratio="1") as server,
    ):
        receiver.status = 400
        run(server.target)
        wait_until_lost(url_of(server), "traces")
        receiver.status = 200
        run(server.target)
        receiver.wait_for(has_job)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--otlp-endpoint", "http://collector.example:4318"], "otlp_endpoint must be an https:// URL"),
        (["--otlp-endpoint", "127.0.0.1:4318"], "otlp_endpoint must be an https:// URL"),
        (["--otlp-signals", "metrics,profiles"], "otlp_signals must be of metrics, traces, logs, got profiles"),
        (["--otlp-trace-ratio", "1.5"], "otlp_trace_ratio must be from 0 to 1, got 1.5"),
    ],
)
def test_invalid_settings_stop_the_start(options: list[str], message: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    command = [sys.executable, "-m", "qonduit_server", "serve", "--listen", "127.0.0.1:0", "--database", database]
    done = subprocess.run([*command, *options], capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == cli.EXIT_FAILED
    assert message in done.stderr
    assert "Traceback" not in done.stderr


def test_without_the_libraries_the_error_names_the_extra(tmp_path: Path) -> None:
    hide = "import sys; sys.modules['opentelemetry.sdk'] = None; from qonduit_server.cli import main; main()"
    arguments = ["serve", "--listen", "127.0.0.1:0", "--database", f"sqlite:///{tmp_path / 'q.sqlite3'}"]
    done = subprocess.run(
        [sys.executable, "-c", hide, *arguments, "--otlp-endpoint", "http://127.0.0.1:4318"],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == cli.EXIT_FAILED
    assert 'pip install "qonduit-quantum[server,telemetry]"' in done.stderr


def test_a_server_without_a_collector_loads_no_library_of_opentelemetry(tmp_path: Path) -> None:
    code = (
        "import threading, sys\nfrom qonduit_server import app\nfrom qonduit_server.settings import Settings\n"
        f"settings = Settings(listen='127.0.0.1:0', database='sqlite:///{tmp_path / 'q.sqlite3'}', "
        "providers=('IBM',), log_level='error')\n"
        "running = app.start(settings)\nrunning.stop(0, threading.Event())\n"
        "print(*[name for name in sys.modules if name.partition('.')[0] in ('opentelemetry', 'prometheus_client')])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100, check=True)
    assert done.stdout.split() == []


def test_a_client_runs_jobs_while_everything_is_sent(tmp_path: Path) -> None:
    with receiving() as receiver:
        with sending(tmp_path, receiver.url, otlp_trace_ratio="1") as server, Client(server.target) as client:
            counts = client.run(BELL, DEVICE, 100).result(timeout=100).counts
        assert sum(counts.values()) == 100
        assert receiver.spans("qonduit.v1.JobService/CreateJob")
        assert receiver.spans("job")
