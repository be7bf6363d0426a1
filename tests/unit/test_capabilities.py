# SPDX-License-Identifier: Apache-2.0
"""The check of a job's requirements against a device: missing features, and compatible devices."""

from __future__ import annotations

import subprocess
import sys

import pytest

from qonduit.execution.v1.task_pb2 import ProgramNeeds
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.capabilities import (
    CLIFFORD,
    FEATURES,
    JOB_TYPE,
    QUBITS,
    STATEVECTOR,
    Requirements,
    compatible_devices,
    has_every_feature,
    list_devices,
    max_qubits,
    meets,
    missing_features,
)

RUNNER = JobType.JOB_TYPE_RUNNER
EVERYTHING = Requirements(
    ProgramNeeds(num_qubits=5, **dict.fromkeys(FEATURES, True)),  # type: ignore[arg-type]
    RUNNER,
    statevector=True,
)


def able(device_id: int = 0, qubits: int = 5, available: bool = True, **differently: bool) -> Device:
    features = dict.fromkeys((*FEATURES, STATEVECTOR), True) | differently
    capabilities = DeviceCapabilities(job_types=[RUNNER], **features)  # type: ignore[arg-type]
    return Device(id=device_id, num_qubits=qubits, available=available, capabilities=capabilities)


@pytest.mark.parametrize(
    ("device", "name", "reason", "message"),
    [
        (able(loops=False), "loops", "UNSUPPORTED_CONSTRUCT", "P/d has no loops that end by a measurement"),
        (able(reset=False), "reset", "UNSUPPORTED_CONSTRUCT", "P/d has no resets within a circuit"),
        (able(statevector=False), STATEVECTOR, "NO_STATEVECTOR", "P/d does not support statevectors"),
        (able(qubits=4), QUBITS, "TOO_MANY_QUBITS", "the program has 5 qubits, P/d has 4"),
    ],
)
def test_each_missing_feature_is_named(device: Device, name: str, reason: str, message: str) -> None:
    (missing,) = missing_features(device, "P/d", EVERYTHING)
    assert (missing.name, missing.reason, missing.message) == (name, reason, message)
    assert not meets(device, EVERYTHING)


def test_a_job_type_that_a_device_does_not_list_is_missing() -> None:
    device = able()
    for job_type, message in (
        (JobType.JOB_TYPE_SAMPLER, "P/d does not support SAMPLER jobs"),
        (77, "P/d does not support 77 jobs"),
    ):
        requirements = Requirements(job_type=job_type)  # type: ignore[arg-type]
        assert [each.message for each in missing_features(device, "P/d", requirements)] == [message]
        assert [each.name for each in missing_features(device, "P/d", requirements)] == [JOB_TYPE]


def test_features_come_before_qubits_and_the_most_specific_first() -> None:
    names = [missing.name for missing in missing_features(Device(num_qubits=1), "P/d", EVERYTHING)]
    assert names == [
        JOB_TYPE, STATEVECTOR, "loops", "conditionals", "reset", "mid_circuit_measurement", "noise", QUBITS,
    ]  # fmt: skip


def test_a_device_with_everything_meets_everything_and_only_that_one_needs_no_check() -> None:
    assert meets(able(), EVERYTHING)
    assert has_every_feature(able())
    assert not any(has_every_feature(able(**{feature: False})) for feature in FEATURES)


def test_a_device_whose_number_of_qubits_is_not_known_is_not_judged_by_it() -> None:
    assert meets(able(qubits=0), EVERYTHING)


def test_compatible_devices_are_available_meet_all_requirements_and_are_sorted() -> None:
    devices = {
        "Z/able": able(1),
        "A/able": able(2),
        "A/away": able(3, available=False),
        "A/small": able(4, qubits=4),
        "A/counts": able(5, statevector=False),
    }
    assert compatible_devices(devices, EVERYTHING) == ["A/able", "Z/able"]
    assert compatible_devices(devices, EVERYTHING, exclude_id=2) == ["Z/able"]


def test_a_message_lists_at_most_ten_devices() -> None:
    assert list_devices([f"P/{number}" for number in range(12)]).count("P/") == 10
    assert list_devices(["A/x"]) == "compatible devices: A/x"
    assert list_devices([]) == "this server has no compatible device"


def test_the_check_loads_neither_an_sdk_nor_the_store() -> None:
    code = (
        "import sys, qonduit_server.capabilities\n"
        "unwanted = {'qiskit', 'numpy', 'sqlalchemy', 'grpc', 'qonduit_server.ir', 'qonduit_server.store'}\n"
        "print(unwanted & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_a_device_for_clifford_gates_lacks_others_once_the_program_is_read() -> None:
    device = able(qubits=4096)
    device.capabilities.methods.add(name="stabilizer", max_qubits=4096, exact=True, noise=True, clifford_only=True)
    assert meets(device, Requirements(ProgramNeeds(num_qubits=40)))
    assert meets(device, Requirements(ProgramNeeds(num_qubits=40, clifford=True)))
    (missing,) = missing_features(device, "P/d", Requirements(ProgramNeeds(num_qubits=40, clifford=False)))
    assert (missing.name, missing.message) == (CLIFFORD, "P/d runs Clifford gates only")


def test_the_widest_method_that_may_run_a_job_decides_the_number_of_qubits() -> None:
    device = able(qubits=28)
    for name, qubits, exact, noise, clifford in (
        ("statevector", 28, True, False, False),
        ("stabilizer", 4096, True, True, True),
        ("density_matrix", 14, True, True, False),
        ("matrix_product_state", 900, False, False, False),
    ):
        device.capabilities.methods.add(name=name, max_qubits=qubits, exact=exact, noise=noise, clifford_only=clifford)

    def widest(method: str = "", consent: bool = False, **needs: bool) -> int:
        simulation = SimulationOptions(method=method, allow_approximate=consent)
        return max_qubits(device, Requirements(ProgramNeeds(**needs), simulation=simulation))  # type: ignore[arg-type]

    assert widest() == 4096
    assert widest(clifford=False) == 28
    assert widest(clifford=False, consent=True) == 900
    assert widest(clifford=False, noise=True) == 14
    assert widest("statevector") == 28
    assert widest("matrix_product_state") == 900


def test_devices_with_noise_of_their_own_are_not_suggested() -> None:
    shaped = able(2)
    shaped.capabilities.coupling_map = True
    assert compatible_devices({"P/a": able(1), "P/b": shaped}, EVERYTHING) == ["P/a"]
