# SPDX-License-Identifier: Apache-2.0
"""Missing tools: tests that need one are skipped, and the suite lists each once at its end with how to install it.

In CI, where everything is installed, such a test fails instead.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable
from typing import Final, NoReturn

import pytest
from _pytest.terminal import TerminalReporter

#: How to install each tool.
BRINGS: Final = {
    "PostgreSQL": "apt-get install postgresql, or any installation whose initdb is on PATH",
    "PgBouncer": "apt-get install pgbouncer",
    "RabbitMQ": "apt-get install rabbitmq-server",
    "Slurm": "apt-get install slurmctld slurmd slurm-client munge",
    "grpcurl": "go install github.com/fullstorydev/grpcurl/cmd/grpcurl@v1.9.3, or a release of it on PATH",
    "jq": "apt-get install jq",
    "the C++ tools": "apt-get install cmake g++ protobuf-compiler protobuf-compiler-grpc libprotobuf-dev libgrpc++-dev",
    "protoc": "apt-get install protobuf-compiler",
    "Prometheus": "apt-get install prometheus",
    "go": "an installation of Go 1.25 or newer on PATH",
    "node": "an installation of Node.js 20 or newer on PATH",
    "npm": "an installation of Node.js 20 or newer on PATH",
    "javac": "apt-get install default-jdk-headless",
    "mvn": "apt-get install maven",
    "cargo": "an installation of Rust on PATH",
    "Qrisp": "make qrisp",
    "buildah": "apt-get install buildah",
    "podman": "apt-get install podman",
    "runc": "apt-get install runc",
    "catatonit": "apt-get install catatonit",
    "systemd-nspawn": "apt-get install systemd-container",
    "systemd-analyze": "apt-get install systemd",
    "uv": "make setup without an environment of your own, or pip install uv",
    "an npm registry": "a connection to the registry that npm is configured for",
    "a package index": "a connection to the package index that pip or uv is configured for",
}
_LACKS: Final = re.compile(r"lacks ([^:]+): (.*)", re.DOTALL)


def lacking(untested: str, *tools: str) -> NoReturn:
    """Skip the test because tools are missing; fail it in CI.

    Args:
        untested: what is not tested without them.
        tools: keys of `BRINGS`.
    """
    brings = "; ".join(BRINGS[tool] for tool in tools)
    reason = f"lacks {' and '.join(tools)}: {untested}"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; to get it: {brings}", pytrace=False)
    pytest.skip(reason)


def summary(reasons: Iterable[str]) -> list[str]:
    """Return the lines that list the missing tools, each once.

    Args:
        reasons: why tests were skipped, one each.
    """
    untested: dict[str, Counter[str]] = {}
    for reason in reasons:
        if match := _LACKS.search(reason):
            for tool in match[1].split(" and "):
                untested.setdefault(tool, Counter())[match[2]] += 1
    lines = []
    for tool, tests in sorted(untested.items()):
        lines.append(f"{tool} (tests skipped: {tests.total()}): {'; '.join(sorted(tests))}")
        lines.append(f"    to get it: {BRINGS[tool]}")
    return lines


def pytest_terminal_summary(terminalreporter: TerminalReporter) -> None:
    """Print the missing tools at the end of the run, from all test processes."""
    skipped = [report.longrepr for report in terminalreporter.stats.get("skipped", [])]
    lines = summary(str(reason[2]) for reason in skipped if isinstance(reason, tuple))
    if lines:
        terminalreporter.section("what this machine lacks")
        for line in lines:
            terminalreporter.write_line(line)
