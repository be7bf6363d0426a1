# SPDX-License-Identifier: Apache-2.0
"""The metrics of a real server agree with the work that it did, and the guide explains each of them."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from qonduit_client import Client, JobFailed
from qonduit_server import cli
from tests.benchmarks.programs import BELL
from tests.contract.rpc_fixture import until
from tests.server_process import Server, free_port, log_lines, serving

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "metrics.md"
DEVICE = "IBM/aer_simulator"
Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scrape(url: str) -> Samples:
    """Return the value of each sample of an endpoint, by its name and labels."""
    with urllib.request.urlopen(url, timeout=60) as response:
        families = text_string_to_metric_families(response.read().decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def of(samples: Samples, name: str, **labels: str) -> float:
    return samples[f"qonduit_{name}", tuple(sorted(labels.items()))]


def scrape_until(url: str, value: float, name: str, **labels: str) -> Samples:
    """Wait until a sample has a value: transitions of jobs are counted after their clients are notified."""
    found: list[Samples] = []

    def reached() -> bool:
        found.append(scrape(url))
        return found[-1].get((f"qonduit_{name}", tuple(sorted(labels.items())))) == value

    until(reached)
    return found[-1]


def working(client: Client) -> int:
    """Wait until a worker has begun a task, and return its process id."""
    found: list[int] = []

    def begun() -> bool:
        found.extend(each.pid for each in client.workers() if each.phase)
        return bool(found)

    until(begun)
    return found[0]


def url_of(server: Server) -> str:
    (line,) = log_lines(server, lambda line: line["event"] == "serving metrics")
    return str(line["url"])


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with metrics, whose jobs these tests count."""
    folder = tmp_path_factory.mktemp("metrics")
    database = f"sqlite:///{folder / 'q.sqlite3'}"
    with serving(database, log=folder / "log", providers="IBM", workers="1", metrics_address="127.0.0.1:0") as server:
        yield server


def test_metrics_agree_with_the_work_that_was_done(measured: Server) -> None:
    url = url_of(measured)
    before = scrape(url)
    assert of(before, "database_available") == 1
    with Client(measured.target) as client:
        for _ in range(3):
            client.run(BELL, DEVICE, 100).result(timeout=100)
        with pytest.raises(JobFailed):
            client.run(f"{BELL} wrong q[0];", DEVICE, 100).result(timeout=100)
    after = scrape_until(url, 1, "jobs_ended_total", device=DEVICE, state="failed")
    assert of(after, "jobs_submitted_total", device=DEVICE) == 4
    assert of(after, "jobs_started_total", device=DEVICE) == 4
    assert of(after, "jobs_ended_total", device=DEVICE, state="succeeded") == 3
    assert of(after, "job_failures_total", category="program", reason="UNKNOWN_GATE") == 1
    assert of(after, "owner_jobs_ended_total", owner="anonymous", state="succeeded") == 3
    assert of(after, "job_run_seconds_count", device=DEVICE) == 4
    assert of(after, "job_queue_seconds_count", device=DEVICE) == 4
    assert of(after, "program_phase_seconds_count", phase="run") == 3
    assert of(after, "calls_total", method="JobService/CreateJob", code="OK") == 4
    assert of(after, "claimed_jobs_total", provider="IBM") == 4
    assert of(after, "event_delay_seconds_count") >= 4
    assert of(after, "store_commit_calls_sum") > of(before, "store_commit_calls_sum")
    assert of(after, "worker_memory_bytes", provider="IBM") > 1e6
    assert of(after, "limit", setting="workers") == 1
    # Counted before: the database is asked seldom.
    assert of(after, "jobs", state="queued") == 0


def test_refused_calls_count_with_their_reason(measured: Server) -> None:
    url = url_of(measured)
    with grpc.insecure_channel(measured.target) as channel, pytest.raises(grpc.RpcError):
        channel.unary_unary("/qonduit.v1.JobService/Unknown")(b"", timeout=60)
    samples = scrape(url)
    assert of(samples, "calls_total", method="unknown", code="UNIMPLEMENTED") == 1
    assert of(samples, "call_errors_total", reason="UNIMPLEMENTED") == 1


def test_a_worker_that_dies_is_counted_and_its_job_runs_again(measured: Server) -> None:
    url = url_of(measured)
    gates = " ".join(f"h q[{k % 24}]; rx(0.1) q[{k % 24}];" for k in range(4000))
    slow = f"OPENQASM 3; qubit[24] q; bit[24] c; {gates} c = measure q;"
    with Client(measured.target) as client:
        job = client.run(slow, DEVICE, 10)
        first = working(client)
        assert of(scrape(url), "running_jobs") == 1
        assert of(scrape(url), "workers", provider="IBM", state="busy") == 1
        os.kill(first, signal.SIGKILL)
        until(lambda: working(client) != first)
        job.cancel()
        job.wait(timeout=100)
    samples = scrape_until(url, 1, "jobs_ended_total", device=DEVICE, state="cancelled")
    assert of(samples, "worker_ends_total", provider="IBM", cause="died") == 1
    assert of(samples, "worker_ends_total", provider="IBM", cause="cancelled") == 1
    assert of(samples, "lost_tasks_total", kind="died") == 1
    assert of(samples, "jobs_requeued_total", device=DEVICE) == 1


def test_the_guide_explains_every_metric_and_no_other(measured: Server) -> None:
    with urllib.request.urlopen(url_of(measured), timeout=60) as response:
        names = re.findall(r"^# TYPE (\w+) ", response.read().decode(), re.MULTILINE)
    section = GUIDE.read_text().partition("\n## What each metric means\n")[2].partition("\n## ")[0]
    explained = re.findall(r"^\| `(\w+)` \|", section, re.MULTILINE)
    assert sorted(explained) == sorted(names)
    assert len(explained) == len(set(explained))


def test_the_guide_names_the_labels_of_each_metric(measured: Server) -> None:
    section = GUIDE.read_text().partition("\n## What each metric means\n")[2].partition("\n## ")[0]
    explained = {
        name: set(re.findall(r"`(\w+)`", labels))
        for name, labels in re.findall(r"^\| `(\w+)` \|([^|]*)\|", section, re.MULTILINE)
    }
    found: dict[str, set[str]] = {}
    for name, labels in scrape(url_of(measured)):
        family = re.sub(r"_(bucket|sum|count)$", "", name)
        found.setdefault(family if family in explained else name, set()).update(key for key, _ in labels if key != "le")
    assert found
    assert {name: explained[name] for name in found} == found


def test_without_the_setting_nothing_is_measured(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, providers="IBM") as server:
        maps = Path(f"/proc/{server.process.pid}/task").iterdir()
        names = {(thread / "comm").read_text().strip() for thread in maps}
    assert "serving metrics" not in log.read_text()
    assert not [name for name in names if name.startswith("metrics")]


@pytest.mark.parametrize("address", ["0.0.0.0:0", "[::]:0", "example.org:9464"])
def test_metrics_are_refused_on_an_address_that_other_machines_reach(address: str, tmp_path: Path) -> None:
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    arguments = ["serve", "--listen", "127.0.0.1:0", "--database", database, "--metrics-address", address]
    done = CliRunner().invoke(cli.main, ["doctor", *arguments[1:], "--providers", "IBM"])
    assert f"refusing to serve metrics on {address} (metrics_address)" in done.output
    assert "allow_insecure_remote_metrics=on" in done.output
    assert done.exit_code == cli.EXIT_FAILED
    served = subprocess.run(
        [sys.executable, "-m", "qonduit_server", *arguments], capture_output=True, text=True, timeout=100, check=False
    )
    assert served.returncode == cli.EXIT_FAILED
    assert f"refusing to serve metrics on {address}" in served.stderr


def test_an_operator_can_accept_such_an_address(tmp_path: Path) -> None:
    port = free_port()
    database = f"sqlite:///{tmp_path / 'q.sqlite3'}"
    with serving(
        database,
        log=tmp_path / "log",
        providers="IBM",
        metrics_address=f"0.0.0.0:{port}",
        allow_insecure_remote_metrics="on",
    ):
        assert of(scrape(f"http://127.0.0.1:{port}/metrics"), "database_available") == 1


def test_a_used_address_stops_the_start_with_its_setting(measured: Server, tmp_path: Path) -> None:
    used = url_of(measured).removeprefix("http://").removesuffix("/metrics")
    log = tmp_path / "log"
    with (
        pytest.raises(RuntimeError),
        serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", log=log, providers="IBM", metrics_address=used),
    ):
        pass
    assert f"cannot listen on {used} (metrics_address)" in log.read_text()
