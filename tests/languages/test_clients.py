# SPDX-License-Identifier: Apache-2.0
"""The clients in other languages, built by their make targets, work as documented against a real server."""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest

from qonduit.v1.job_pb2 import JobState
from qonduit.v1.job_service_pb2 import ListJobsRequest
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from tests.missing_components import lacking
from tests.server_process import Server

ROOT = Path(__file__).resolve().parents[2]
#: The command of each client, once it is built.
COMMANDS = {
    "cpp": ["clients/cpp/build/bell"],
    "go": ["clients/go/build/bell"],
    "java": ["java", "-jar", "clients/java/target/bell.jar"],
    "rust": ["clients/rust/target/debug/bell"],
    "typescript": ["node", "clients/typescript/dist/bell.js"],
}
TITLES = {"cpp": "C++", "go": "Go", "java": "Java", "rust": "Rust", "typescript": "TypeScript"}
#: Six standard deviations of 1000 tosses of a coin.
SIX_SIGMA = 95

pytestmark = pytest.mark.timeout(1200)  # A build without caches downloads and compiles a language's gRPC.


@dataclass(frozen=True)
class Program:
    """A client that is built."""

    language: str

    def run(self, target: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run it against a server."""
        return subprocess.run(
            [*COMMANDS[self.language], *arguments],
            cwd=ROOT,
            env=os.environ | {"QONDUIT_SERVER": target},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )


def _make(target: str) -> subprocess.CompletedProcess[str]:
    command = ["make", "--no-print-directory", target]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1100, check=False)


def _events(output: str) -> list[int]:
    return [int(number) for number in re.findall(r"^event (\d+):", output, re.MULTILINE)]


@pytest.fixture(scope="module", params=COMMANDS)
def program(request: pytest.FixtureRequest) -> Program:
    """The client in each language, as its make target builds it."""
    language: str = request.param
    if (tools := _make(f"tools-{language}")).returncode:
        # "LANGUAGE needs TOOL on this machine"
        tool = tools.stderr.split()[2]
        lacking(f"the client in {TITLES[language]}", "the C++ tools" if language == "cpp" else tool)
    built = _make(f"client-{language}")
    assert built.returncode == 0, built.stdout + built.stderr
    return Program(language)


def test_every_language_is_tested() -> None:
    assert sorted(COMMANDS) == sorted(template.parent.name for template in ROOT.glob("clients/*/buf.gen.yaml"))


def test_a_job_is_followed_across_a_disconnect_to_its_counts(program: Program, server: Server) -> None:
    done = program.run(server.target)
    assert done.returncode == 0, done.stderr

    counts = dict(line.split() for line in done.stdout.splitlines())
    assert list(counts) == ["0x0", "0x3"]
    assert sum(map(int, counts.values())) == 1000
    assert abs(int(counts["0x0"]) - 500) < SIX_SIGMA

    with grpc.insecure_channel(server.target) as channel:
        job = JobServiceStub(channel).ListJobs(ListJobsRequest(page_size=1)).jobs[0]
    assert job.state == JobState.JOB_STATE_SUCCEEDED
    assert _events(done.stderr) == list(range(1, job.last_sequence + 1)), done.stderr
    before, broken, after = done.stderr.partition("resuming after event 2\n")
    assert broken
    assert _events(before) == [1, 2]
    assert "resuming" not in after
    assert re.search(r"SUCCEEDED, 100 ?%$", done.stderr.rstrip()), done.stderr


def test_an_error_is_printed_with_status_message_and_reason(program: Program, server: Server) -> None:
    done = program.run(server.target, "IBM/no_such_device")
    assert done.returncode == 1
    assert done.stdout == ""
    # Each language spells a status differently: NOT_FOUND, NotFound, not_found.
    assert re.search(r"not_?found\b.*IBM/no_such_device does not exist", done.stderr, re.IGNORECASE), done.stderr
    assert re.search(r"reason:? NOT_FOUND\b", done.stderr), done.stderr
