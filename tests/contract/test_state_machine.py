# SPDX-License-Identifier: Apache-2.0
"""Any order of calls and of worker events matches a simple model, on every database."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.rpc_fixture import by_name, rpc_fixture
from tests.fuzz.machine import Machine
from tests.fuzz.observing import Clock


def test_jobs_deployments_and_streams_match_the_contract(database_url: str) -> None:
    clock = Clock()
    few = database_url.startswith("postgresql")
    with rpc_fixture(database_url, clock=clock, authenticate=by_name("unnamed")) as rpc:
        run_state_machine_as_test(
            lambda: Machine(rpc, clock),
            settings=settings(
                max_examples=10 if few else 30,
                stateful_step_count=30 if few else 50,
                deadline=None,
                database=None,
                derandomize=True,
                suppress_health_check=list(HealthCheck),
            ),
        )
