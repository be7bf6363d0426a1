# SPDX-License-Identifier: Apache-2.0
"""Unsupported-feature errors list the compatible devices, and no others."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from qonduit.execution.v1.task_pb2 import ProgramFailed, ProgramNeeds, TaskEvent
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.failure_pb2 import Failure, FailureCategory
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.execution.dispatcher.compatible_devices import add_compatible_devices
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database, open_database
from tests.store_fixture import submit

ALL = {"mid_circuit_measurement": True, "reset": True, "conditionals": True, "loops": True}


def device(name: str, qubits: int, available: bool = True, simulator: bool = True, **has: bool) -> Device:
    return Device(
        name=name,
        num_qubits=qubits,
        is_simulator=simulator,
        is_local=simulator,
        available=available,
        capabilities=DeviceCapabilities(**has),  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def db(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    found = open_database(f"sqlite:///{tmp_path_factory.mktemp('alternatives') / 'store.sqlite3'}")
    devices = [
        device("plain", 20),
        device("able", 28, **ALL),
        device("away", 60, available=False, **ALL),
        device("chip", 30, simulator=False, reset=True, mid_circuit_measurement=True),
    ]
    catalogue.sync(found, [ProviderDescription(provider=Provider(name="P"), devices=devices)])
    yield found
    found.close()


def message(db: Database, on: str, reason: str = "UNSUPPORTED_CONSTRUCT", **needs: int | bool) -> str:
    job = submit(db, device=catalogue.device_by_name(db, f"P/{on}"))
    failure = Failure(category=FailureCategory.FAILURE_CATEGORY_DEVICE, reason=reason, message="no")
    failed = ProgramFailed(failure=failure, needs=ProgramNeeds(**needs))  # type: ignore[arg-type]
    event = TaskEvent(job_id=job.id, attempt=1, program_failed=failed)
    add_compatible_devices(db, event)
    assert not event.program_failed.HasField("needs")
    return event.program_failed.failure.message


def test_those_that_have_everything_are_named(db: Database) -> None:
    assert message(db, "plain", num_qubits=5, conditionals=True) == "no; compatible devices: P/able"
    assert message(db, "plain", num_qubits=5, reset=True) == "no; compatible devices: P/able, P/chip"
    assert message(db, "plain", num_qubits=30, reset=True) == "no; compatible devices: P/chip"


def test_a_failure_without_compatible_devices_states_that(db: Database) -> None:
    assert message(db, "plain", num_qubits=30, loops=True) == "no; this server has no compatible device"


def test_a_failure_for_another_reason_names_nothing(db: Database) -> None:
    assert message(db, "able", num_qubits=5, conditionals=True) == "no"


def test_memory_counts_as_qubits(db: Database) -> None:
    assert message(db, "plain", reason="MEMORY_LIMIT", num_qubits=28) == "no; compatible devices: P/able, P/chip"
    assert message(db, "able", reason="MEMORY_LIMIT", num_qubits=31) == "no; this server has no compatible device"


def test_a_device_without_the_memory_is_not_its_own_alternative(db: Database) -> None:
    # It has the qubits that the program declares, but mid-circuit measurements take more.
    assert message(db, "plain", reason="MEMORY_LIMIT", num_qubits=15) == "no; compatible devices: P/able, P/chip"


def test_a_deleted_job_lists_no_devices(db: Database) -> None:
    event = TaskEvent(job_id=999_999, program_failed=ProgramFailed(needs=ProgramNeeds(num_qubits=99)))
    add_compatible_devices(db, event)
    assert event.program_failed.failure.message == ""
