# SPDX-License-Identifier: Apache-2.0
"""How devices fit a job, from features of programs and the real descriptions of the built-in devices."""

from __future__ import annotations

from typing import Any

import pytest

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.task_pb2 import ProgramFeatures, ProgramNeeds
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.noise_pb2 import NoiseModel
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.simulation_pb2 import SimulationOptions
from qonduit_server.cost_estimates import Estimates, RunTime, work_of
from qonduit_server.device_fit import AnalyzedJob, Candidate, Fit, fit, ranked
from qonduit_server.providers import registry

QASM2 = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
QRISP = AssemblerLanguage.ASSEMBLER_LANGUAGE_QRISP
LANGUAGES = frozenset((QASM2,))
LIMIT, RESULT_LIMIT = 2**33, 2**26


def described() -> dict[str, Device]:
    """Return the built-in devices as available ones, also if their SDKs are not installed here."""
    found = {}
    for name in registry.PROVIDERS:
        for device in registry.get(name).describe().devices:
            device.id = len(found) + 1
            device.available = True
            found[f"{name}/{device.name}"] = device
    return found


DEVICES = described()


def program(qubits: int, *, operations: int = 40, clifford: bool = False, **needs: Any) -> ProgramFeatures:
    obstacle = "" if clifford else "gate t at qubit 0"
    needs["clifford"] = clifford
    return ProgramFeatures(needs=ProgramNeeds(num_qubits=qubits, **needs), operations=operations, obstacle=obstacle)


def job(*programs: ProgramFeatures, languages: frozenset[AssemblerLanguage] = LANGUAGES, **spec: Any) -> AnalyzedJob:
    asked = JobSpec(**{"shots": 1000, "type": JobType.JOB_TYPE_RUNNER, **spec})
    return AnalyzedJob(asked, programs, languages, LIMIT, RESULT_LIMIT)


def fits(
    asked: AnalyzedJob,
    *,
    busy: dict[str, int] | None = None,
    estimates: Estimates | None = None,
    devices: dict[str, Device] | None = None,
) -> list[Fit]:
    candidates = [
        Candidate(name, device, LANGUAGES, (busy or {}).get(name, 0)) for name, device in (devices or DEVICES).items()
    ]
    return ranked(fit(each, asked, estimates or Estimates()) for each in candidates)


def of(name: str, found: list[Fit]) -> Fit:
    return next(each for each in found if each.candidate.name == name)


def eligible(found: list[Fit]) -> list[str]:
    return [each.candidate.name for each in found if each.eligible]


def test_small_circuit_runs_on_every_exact_simulator() -> None:
    found = fits(job(program(3, clifford=True)))
    assert found[0].candidate.name == "IBM/aer_simulator"
    assert found[0].methods == ("statevector",)
    assert set(eligible(found)) == {
        "IBM/aer_simulator",
        "AWS/local_simulator",
        "AWS/braket_dm",
        "GOOGLE/cirq_simulator",
        "GOOGLE/cirq_density_matrix",
        "STIM/stim",
    }


def test_wide_clifford_circuit_runs_on_stabilizers_only() -> None:
    found = fits(job(program(200, clifford=True)))
    assert set(eligible(found)) == {"IBM/aer_simulator", "STIM/stim"}
    assert {each.methods for each in found[:2]} == {("stabilizer",)}


def test_wide_circuit_with_other_gates_runs_nowhere_and_each_device_has_a_reason() -> None:
    found = fits(job(program(60)))
    assert not eligible(found)
    assert all(each.obstacle or each.exclusion for each in found)
    assert of("AWS/local_simulator", found).obstacle == "the program has 60 qubits, it has 28"
    assert of("STIM/stim", found).obstacle == "it runs Clifford gates only, and the program has the gate t at qubit 0"


def test_approximate_method_needs_consent_and_comes_last() -> None:
    consent = SimulationOptions(allow_approximate=True)
    found = fits(job(program(60), simulation=consent))
    assert eligible(found) == ["IBM/aer_simulator"]
    assert found[0].methods == ("matrix_product_state",)
    assert not found[0].exact
    assert fits(job(program(20), simulation=consent))[0].exact


def test_named_method_is_respected() -> None:
    found = fits(job(program(4, clifford=True), simulation=SimulationOptions(method="stabilizer")))
    assert set(eligible(found)) == {"IBM/aer_simulator", "STIM/stim"}
    assert "no simulation method" in of("AWS/local_simulator", found).obstacle


def test_noise_of_the_job_needs_a_device_with_noise() -> None:
    found = fits(job(program(4, noise=True), noise_model=NoiseModel()))
    assert set(eligible(found)) == {
        "IBM/aer_simulator",
        "AWS/braket_dm",
        "GOOGLE/cirq_simulator",
        "GOOGLE/cirq_density_matrix",
    }
    assert of("IBM/aer_simulator", found).methods == ("density_matrix",)
    assert of("GOOGLE/cirq_simulator", found).methods == ("trajectories",)
    assert of("IBM/aer_simulator", fits(job(program(12, noise=True)))).methods == ("trajectories",)
    assert of("IBM/aer_simulator", fits(job(program(12, noise=True, clifford=True)))).methods == ("stabilizer",)


def test_single_precision_and_shaped_devices_are_not_chosen_but_can_run_the_job() -> None:
    found = fits(job(program(4)))
    for name in ("GOOGLE/qsim_simulator", "IBM/fake_manila"):
        each = of(name, found)
        assert (each.obstacle, each.eligible) == ("", False)
    assert of("IBM/fake_manila", found).exclusion == "it adds noise of its own"
    single = fits(job(program(4), simulation=SimulationOptions(floating_point="single")))
    assert set(eligible(single)) == {"IBM/aer_simulator", "GOOGLE/qsim_simulator"}


def test_all_programs_of_a_job_must_run() -> None:
    found = fits(job(program(3, clifford=True), program(20)))
    assert "STIM/stim" not in eligible(found)
    assert of("IBM/aer_simulator", found).memory_bytes == 16 << 20
    assert of("IBM/aer_simulator", fits(job(program(3, noise=True), program(4)))).methods == (
        "density_matrix",
        "statevector",
    )


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (job(program(2), shots=10**9), "shots"),
        (job(program(2), languages=frozenset((QASM2, QRISP))), "it does not support QRISP"),
        (job(program(2), type=JobType.JOB_TYPE_IBM_RUNNER), "it does not support IBM_RUNNER jobs"),
        (job(program(26), include_statevector=True), "max_task_memory_bytes"),
        (job(program(23), include_statevector=True), "128 MiB, more than a result may have (max_result_bytes)"),
    ],
)
def test_obstacles(asked: AnalyzedJob, reason: str) -> None:
    assert reason in of("IBM/aer_simulator", fits(asked)).obstacle


def test_unavailable_and_remote_devices() -> None:
    away, remote, processor = Device(), Device(), Device()
    for device in (away, remote, processor):
        device.CopyFrom(DEVICES["IBM/aer_simulator"])
    away.available, away.status_message = False, "disabled by the operator"
    remote.is_local, processor.is_simulator = False, False
    found = fits(job(program(2)), devices={"A/away": away, "B/remote": remote, "C/processor": processor})
    assert not eligible(found)
    assert of("A/away", found).obstacle == "disabled by the operator"
    assert of("B/remote", found).exclusion == of("C/processor", found).exclusion == "it is no simulator on this server"


def test_of_devices_with_similar_times_the_shortest_queue_decides() -> None:
    found = fits(job(program(3)), busy={"IBM/aer_simulator": 5, "AWS/local_simulator": 1})
    assert found[0].candidate.name == "AWS/braket_dm"
    assert found[0].candidate.queue_depth == 0


def test_much_faster_device_is_worth_a_queue() -> None:
    aer, cirq = DEVICES["IBM/aer_simulator"], DEVICES["GOOGLE/cirq_simulator"]
    asked = job(program(22, operations=400))
    work = work_of("statevector", 22, 400, 1000)
    runs = [RunTime(aer.id, "statevector", work, 2.0 + 0.01 * run) for run in range(10)]
    runs += [RunTime(cirq.id, "statevector", work, 40.0) for _ in range(10)]
    only = {"IBM/aer_simulator": aer, "GOOGLE/cirq_simulator": cirq}
    found = fits(asked, busy={"IBM/aer_simulator": 3}, estimates=Estimates(runs), devices=only)
    assert [each.candidate.name for each in found] == ["IBM/aer_simulator", "GOOGLE/cirq_simulator"]
    assert found[0].estimate is not None
    assert 2.0 <= found[0].estimate.p50 <= found[0].estimate.p90 <= 2.1
    assert found[0].memory_bytes == 16 << 22


def test_estimate_of_a_job_is_unknown_if_that_of_a_program_is() -> None:
    aer = DEVICES["IBM/aer_simulator"]
    work = work_of("statevector", 10, 40, 1000)
    known = Estimates([RunTime(aer.id, "statevector", work, 0.01)] * 10)
    both = job(program(10), program(4, noise=True))
    assert of("IBM/aer_simulator", fits(job(program(10)), estimates=known)).estimate is not None
    assert of("IBM/aer_simulator", fits(both, estimates=known)).estimate is None


def test_unknown_times_count_as_those_of_other_devices() -> None:
    """A device without runs is not preferred because the usual time is shorter than the times on this machine."""
    aer = DEVICES["IBM/aer_simulator"]
    work = work_of("statevector", 20, 400, 1000)
    slow = Estimates([RunTime(aer.id, "statevector", work, 100.0)] * 10)
    asked = job(program(20, operations=400))
    found = fits(asked, estimates=slow)
    assert found[0].candidate.name == "IBM/aer_simulator"
    assert of("AWS/local_simulator", found).estimate is None
    assert of("AWS/local_simulator", found).seconds == pytest.approx(100.0)
    assert of("AWS/local_simulator", fits(asked)).seconds == pytest.approx(3e-9 * work)


def test_device_with_little_memory_for_branches_comes_last() -> None:
    methods = DEVICES["AWS/local_simulator"].capabilities.methods
    widest = next(method.max_qubits for method in methods if method.name == "statevector")
    only = {name: DEVICES[name] for name in ("IBM/aer_simulator", "AWS/local_simulator")}
    busy = {"IBM/aer_simulator": 9}
    assert fits(job(program(widest)), busy=busy, devices=only)[0].candidate.name == "AWS/local_simulator"
    branches = fits(job(program(widest, mid_circuit_measurement=True)), busy=busy, devices=only)
    assert branches[0].candidate.name == "IBM/aer_simulator"
    assert branches[1].eligible
    narrower = job(program(widest - 2, mid_circuit_measurement=True))
    assert fits(narrower, busy=busy, devices=only)[0].candidate.name == "AWS/local_simulator"


def test_programs_that_were_not_read_go_to_a_device_with_all_features() -> None:
    assert eligible(fits(job())) == [
        "IBM/aer_simulator",
        "GOOGLE/cirq_simulator",
        "AWS/braket_dm",
        "GOOGLE/cirq_density_matrix",
        "AWS/local_simulator",
    ]
    found = fits(job(), busy={"IBM/aer_simulator": 1})
    assert found[0].candidate.name == "GOOGLE/cirq_simulator"
    assert "STIM/stim" not in eligible(found)
    assert of("STIM/stim", found).obstacle == "it runs Clifford gates only"
    assert {(each.methods, each.estimate, each.memory_bytes) for each in found} == {((), None, 0)}
    named = fits(job(simulation=SimulationOptions(method="stabilizer")))
    assert eligible(named) == ["IBM/aer_simulator"]
