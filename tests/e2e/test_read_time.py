# SPDX-License-Identifier: Apache-2.0
"""A program that takes too long to read fails alone, with the reason, and costs one worker."""

from __future__ import annotations

from pathlib import Path

import pytest

from qonduit_client import Client, JobFailed, LimitExceeded
from tests.benchmarks.programs import BELL
from tests.contract.rpc_fixture import until
from tests.server_process import serving
from tests.unit.languages.test_deadline import LONG


@pytest.mark.timeout(200)
def test_a_program_that_takes_too_long_to_read(tmp_path: Path) -> None:
    settings = {"providers": "IBM", "workers": "1", "max_read_seconds": "0.5", "max_program_bytes": "4000000"}
    with serving(f"sqlite:///{tmp_path / 'q.sqlite3'}", **settings) as server, Client(server.target) as client:
        client.run(BELL).result(timeout=120)
        before = set(server.family())
        job = client.run([LONG, BELL])
        with pytest.raises(JobFailed):
            job.results(timeout=120)
        long, bell = job.job().program_runs
        assert (long.failure.reason, len(bell.result_ids)) == ("READ_TIME", 1)
        assert "max_read_seconds" in long.failure.message
        client.run(BELL).result(timeout=120)
        # The interrupted process ended with all of its state.
        until(lambda: len(before - set(server.family())) == 1)
        with pytest.raises(LimitExceeded, match="max_read_seconds"):
            client.check(LONG)
