# SPDX-License-Identifier: Apache-2.0
"""Any order of calls and of workers' doings leads to what a simple model says, on every database."""

from __future__ import annotations

from hypothesis import HealthCheck, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.contract.rpc_fixture import by_name, rpc_fixture
from tests.fuzz.machine import Machine
from tests.fuzz.observing import Clock


def test_jobs_deployments_and_streams_are_what_the_contract_says(database_url: str) -> None:
    clock = Clock()
    few = database_url.startswith("postgresql")
    with rpc_fixture(database_url, clock=clock, authenticate=by_name("nobody")) as rpc:
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
