# SPDX-License-Identifier: Apache-2.0
"""The doctor's findings about a machine and about conflicting settings."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from qonduit_server import diagnostics
from qonduit_server.settings import Settings
from qonduit_server.store.admin.finding import Finding

SMALL: dict[str, Any] = {"max_task_memory_bytes": 100 * 1024**2, "max_memory_bytes": 200 * 1024**2, "max_streams": 10}


def examine(**settings: Any) -> list[Finding]:
    """Return the problems with these settings, on a machine with sufficient resources."""
    chosen = Settings(**{"translation_cache_bytes": 0, **SMALL, **settings})
    known = ("IBM", "AWS")
    found = (*diagnostics.check_settings(chosen, known), *diagnostics.examine(chosen, known))
    return [each for each in found if each.level != "ok"]


def test_nothing_is_wrong() -> None:
    assert examine() == []


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"max_program_bytes": 2**30}, "max_program_bytes (1.0 GiB) is more than max_request_bytes (16.0 MiB)"),
        ({"max_result_bytes": 2**28}, "max_result_bytes (256 MiB) is more than max_task_memory_bytes"),
        ({"max_memory_bytes": 2**50}, "max_memory_bytes is 1.0 PiB, but this machine has"),
        ({"max_task_memory_bytes": 2**50, "max_memory_bytes": 2**50}, "less than the limit of one task"),
        ({"max_streams": 2**40}, "max_streams is 1099511627776"),
        ({"preload": ("IBM", "GOOGLE")}, "preload names providers that are not offered: GOOGLE"),
        ({"providers": ("IBM",), "preload": ("AWS",)}, "preload names providers that are not offered: AWS"),
        ({"provider_python": {"NOBODY": sys.executable}}, "provider_python names providers that are not offered"),
        ({"language_python": {"CIRQ": sys.executable}}, "language_python names languages that are not enabled"),
        ({"lease_seconds": 0.5}, "lease_seconds is 0.5"),
        ({"provider_python": {"IBM": "/no/such/python"}}, "/no/such/python, for IBM, cannot be executed"),
        ({"translation_cache_bytes": 1, "translation_cache": "/dev/null/cache"}, "translation_cache"),
    ],
)
def test_conflicting_settings(settings: dict[str, Any], words: str) -> None:
    found = [each for each in examine(**settings) if words in each.what]
    assert len(found) == 1, examine(**settings)
    assert found[0].how_to_mend


def test_too_few_open_files() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (512, hard))
    try:
        (finding,) = examine(max_streams=1000)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert "512 files may be open, enough for about 256 clients" in finding.what
    assert "ulimit -n 1256" in finding.how_to_mend


def test_no_limit_above_the_hard_one_is_recommended_as_something_that_can_be_set() -> None:
    look = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_NOFILE, (512, 1024)); "
        "from qonduit_server import diagnostics; from qonduit_server.settings import Settings; "
        "print(*(each.how_to_mend for each in diagnostics._files(Settings(max_streams=20000))))"
    )
    # Only the superuser could raise a hard limit again: use a separate process.
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True, timeout=60)
    assert "The hard limit is 1024: this user can set `ulimit -n 1024`" in done.stdout
    assert "`ulimit -n 20256`" not in done.stdout
    assert "LimitNOFILE=20256" in done.stdout
    assert "QONDUIT_MAX_STREAMS to 768" in done.stdout


def test_the_sandbox_is_entered() -> None:
    settings = Settings(**SMALL, translation_cache_bytes=0, enable_python_source=("QISKIT",))
    assert "Python source of QISKIT runs in its sandbox" in [
        each.what for each in diagnostics.examine(settings, ("IBM",))
    ]


def test_a_python_without_the_sdk_is_reported(tmp_path: Path) -> None:
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 1\n")
    broken.chmod(0o755)
    found = examine(enable_python_source=("QISKIT",), language_python={"QISKIT": str(broken)})
    assert [each.level for each in found] == ["error"]
    assert "Python source of QISKIT cannot be run" in found[0].what


def test_the_command_for_machines(tmp_path: Path) -> None:
    import json

    command = [sys.executable, "-m", "qonduit_server", "doctor", "--json", "--deep", "--providers", "IBM"]
    done = subprocess.run(
        [*command, "--database", f"sqlite:///{tmp_path}/no/x.sqlite3"], capture_output=True, text=True, check=False
    )
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 1
    assert all(set(each) == {"level", "what", "how_to_mend"} for each in found)
    assert found[0]["level"] == "error"
    assert found[-1]["level"] == "ok"
    assert found[-1]["what"].startswith("provider IBM offers IBM/aer_simulator, IBM/fake_manila")
    assert found[-1]["how_to_mend"] == ""
