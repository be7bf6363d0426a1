# SPDX-License-Identifier: Apache-2.0
"""The order in which the server prefers devices for a job that names "AUTO"."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.simulation_pb2 import SimulationMethod, SimulationOptions
from qonduit_server.capabilities import Requirements
from qonduit_server.device_choice import is_automatic, rank

RUNNER = JobType.JOB_TYPE_RUNNER


def device(number: int, bytes_each: int, *, clifford: bool = False, precision: str = "double", **has: bool) -> Device:
    method = SimulationMethod(
        name="m", max_qubits=20, max_memory_bytes=bytes_each << 20, exact=True, noise=True, clifford_only=clifford
    )
    capabilities = DeviceCapabilities(
        job_types=[RUNNER], methods=[method], floating_point=[precision], **{"noise": True, **has}
    )
    return Device(
        id=number, provider_id=1, is_simulator=True, is_local=True, available=True, num_qubits=20,
        capabilities=capabilities,
    )  # fmt: skip


DEVICES = {
    "A/slow": device(1, 72),
    "A/quick": device(2, 16),
    "B/clifford": device(3, 1, clifford=True),
    "B/single": device(4, 8, precision="single"),
    "B/shaped": device(5, 4, coupling_map=True),
    "B/quiet": device(6, 40, noise=False),
}
ANY = Requirements(ProgramNeeds(), RUNNER)


def names(requested: str = "AUTO", requirements: Requirements = ANY, **waiting: int) -> list[str]:
    by_id = {DEVICES[name.replace("_", "/")].id: number for name, number in waiting.items()}
    found, refused = rank(DEVICES, requested, requirements, {1: [1, 2]}, [1], by_id)
    provider = requested.rpartition("/")[0]
    assert len(found) + len(refused) == sum(not provider or name.startswith(provider) for name in DEVICES)
    return [each.name for each in found]


def test_the_cheapest_universal_device_comes_first() -> None:
    assert names() == ["A/quick", "B/quiet", "A/slow", "B/clifford"]


def test_waiting_jobs_raise_the_cost() -> None:
    assert names(A_quick=2) == ["B/quiet", "A/quick", "A/slow", "B/clifford"]


def test_devices_that_lack_a_feature_are_no_candidates() -> None:
    assert names(requirements=Requirements(ProgramNeeds(noise=True), RUNNER)) == ["A/quick", "A/slow", "B/clifford"]
    single = Requirements(ProgramNeeds(), RUNNER, simulation=SimulationOptions(floating_point="single"))
    assert names(requirements=single) == ["B/single"]


def test_a_provider_and_languages_narrow_the_choice() -> None:
    assert names("B/AUTO") == ["B/quiet", "B/clifford"]
    found, refused = rank(DEVICES, "AUTO", ANY, {1: [1]}, [1, 9], {})
    assert not found
    assert refused["A/quick"] == "A/quick does not read the language of a program"
    assert refused["B/shaped"] == "B/shaped has noise of its own"


@pytest.mark.parametrize(("name", "automatic"), [("AUTO", True), ("IBM/AUTO", True), ("IBM/auto", False), ("", False)])
def test_names_of_automatic_devices(name: str, automatic: bool) -> None:
    assert is_automatic(name) is automatic
