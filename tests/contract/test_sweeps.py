# SPDX-License-Identifier: Apache-2.0
"""RUNNER and SAMPLER jobs with parameter sets: a point gives what the program gives with these inputs."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest

from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import JobType, ProgramOptions, StopCondition
from qonduit.v1.result_pb2 import Result, ResultType
from qonduit.v1.sampler_pb2 import SamplerOptions
from qonduit_server.providers import registry
from tests.contract.worker_jobs import HEADER3, RUNNER, SAMPLER, WorkerJob, sets
from tests.universal_providers import universal_providers

AER = "IBM/aer_simulator"
#: Every device of the universal providers that simulates no machine, and one machine of each.
DEVICES = [
    f"{name}/{device.name}"
    for name in universal_providers()
    for device in registry.get(name).describe().devices
    if not device.capabilities.coupling_map or device.name in ("fake_lima", "rainbow")
]
#: The distributions of a and b differ, and the bits of the second register stand crosswise.
TURNS = HEADER3 + (
    "input float a; input array[float, 2] b; qubit[3] q; bit[2] c; bit d; ry(a) q[0]; ry(b[0] + 2 * b[1]) q[1]; "
    "cx q[0], q[2]; c[1] = measure q[0]; c[0] = measure q[1]; d = measure q[2];"
)
POINTS = {"a": [0.5, 2.0, 3.0], "b__0": [0.4, 0.2, -0.3], "b__1": [0.3, 0.9, 1.1]}
SHOTS = 3000


def probabilities(point: int) -> dict[str, float]:
    """Return the exact distribution of TURNS at a point."""
    one = math.sin(POINTS["a"][point] / 2) ** 2
    other = math.sin((POINTS["b__0"][point] + 2 * POINTS["b__1"][point]) / 2) ** 2
    return {
        "0x0 0x0": (1 - one) * (1 - other),
        "0x0 0x1": (1 - one) * other,
        "0x1 0x2": one * (1 - other),
        "0x1 0x3": one * other,
    }


def inputs(point: int) -> dict[str, object]:
    return {"a": POINTS["a"][point], "b": [POINTS["b__0"][point], POINTS["b__1"][point]]}


def shares(result: Result) -> dict[str, float]:
    if result.HasField("quasi_distribution"):
        return dict(result.quasi_distribution.quasi_probabilities)
    return dict(result.counts_and_probabilities.probabilities)


def differ(found: dict[str, float], wanted: dict[str, float], shots: int, slack: float = 0.0) -> list[str]:
    """Return the outcomes whose share is more than five standard errors away."""
    keys = {*found, *wanted}
    return [
        key
        for key in keys
        if abs(found.get(key, 0) - wanted.get(key, 0))
        > 5 * math.sqrt(wanted.get(key, 0) * (1 - wanted.get(key, 0)) / shots) + 1e-9 + slack
    ]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("kind", [RUNNER, SAMPLER])
def test_points_have_the_distribution_of_their_inputs(device: str, kind: JobType) -> None:
    job = WorkerJob(device, TURNS, type=kind, shots=SHOTS, parameter_sets=sets(**POINTS))
    assert not job.failures
    results = job.results()
    assert [result.point for result in results] == [0, 1, 2]
    machine = "fake" in device or "rainbow" in device
    for point, result in enumerate(results):
        assert result.shots == SHOTS
        assert [register.name for register in result.registers] == ["d", "c"]
        assert not differ(shares(result), probabilities(point), SHOTS, 0.15 if machine else 0.0), point


@pytest.mark.parametrize("device", [each for each in DEVICES if "fake" not in each and "rainbow" not in each])
def test_exact_samplers(device: str) -> None:
    options = SamplerOptions(exact=True)
    results = WorkerJob(device, TURNS, type=SAMPLER, sampler=options, parameter_sets=sets(**POINTS)).results()
    assert len(results) == 3
    for point, result in enumerate(results):
        found = result.quasi_distribution
        assert found.exact
        assert (result.shots, result.partial) == (0, False)
        assert dict(found.quasi_probabilities) == pytest.approx(probabilities(point), abs=1e-9)
        alone = WorkerJob(device, TURNS, type=SAMPLER, sampler=options, inputs=inputs(point)).result()
        assert not alone.HasField("point")
        assert dict(alone.quasi_distribution.quasi_probabilities) == pytest.approx(
            dict(found.quasi_probabilities), abs=1e-9
        )


def test_programs_without_exact_probabilities_say_so() -> None:
    job = WorkerJob(
        "STIM/stim", HEADER3 + "qubit q; bit c; h q; c = measure q;", type=SAMPLER, sampler=SamplerOptions(exact=True)
    )
    assert job.failures[0].reason == "NO_EXACT_PROBABILITIES"
    assert "sampler.exact" in job.failures[0].message


def test_registers_have_their_own_distributions() -> None:
    result = WorkerJob(AER, TURNS, type=SAMPLER, shots=SHOTS, inputs=inputs(0)).result()
    assert result.result_type == ResultType.RESULT_TYPE_QUASI_DISTRIBUTION
    joint = dict(result.quasi_distribution.quasi_probabilities)
    first, second = result.quasi_distribution.by_register
    assert (first.register, second.register) == ("d", "c")
    for place, each in enumerate((first, second)):
        wanted: dict[str, float] = {}
        for key, share in joint.items():
            own = key.split()[place]
            wanted[own] = wanted.get(own, 0.0) + share
        assert dict(each.quasi_probabilities) == pytest.approx(wanted, abs=1e-12)
    assert sum(joint.values()) == pytest.approx(1)


def shots_of(result: Result, buffer: bytes = b"") -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """Return the rows of the shots, one byte a register."""
    data = buffer or result.quasi_distribution.outcomes
    return np.frombuffer(data, dtype=np.uint8).reshape(result.shots, -1)


@pytest.mark.parametrize("device", DEVICES)
def test_shots_in_order(device: str) -> None:
    """The shots are those of the distribution, and an outcome does not depend on its position or its predecessor."""
    options = {"type": SAMPLER, "shots": SHOTS, "inputs": inputs(1), "sampler": SamplerOptions(per_shot=True)}
    result = WorkerJob(device, TURNS, **options).result()
    rows = shots_of(result)
    keys = [f"{d:#x} {c:#x}" for d, c in rows.tolist()]
    counted = {key: keys.count(key) / SHOTS for key in set(keys)}
    assert counted == pytest.approx(shares(result), abs=1e-12)
    ones = rows[:, 0].astype(float)
    halves = ones[: SHOTS // 2].mean() - ones[SHOTS // 2 :].mean()
    assert abs(halves) < 5 / math.sqrt(SHOTS)
    following = np.corrcoef(ones[:-1], ones[1:])[0, 1]
    assert abs(following) < 5 / math.sqrt(SHOTS)
    again = WorkerJob(device, TURNS, **options).result()
    assert again.quasi_distribution.outcomes == result.quasi_distribution.outcomes
    other = WorkerJob(device, TURNS, **options, seed=12).result()
    assert other.quasi_distribution.outcomes != result.quasi_distribution.outcomes


def test_many_shots_are_a_buffer() -> None:
    job = WorkerJob(AER, TURNS, type=SAMPLER, shots=200_000, inputs=inputs(1), sampler=SamplerOptions(per_shot=True))
    result, (buffer,) = job.result(), job.buffers
    assert result.ByteSize() < 2000
    assert result.buffer.rows == 200_000
    assert [(column.name, column.width) for column in result.buffer.columns] == [("d", 1), ("c", 1)]
    assert shots_of(result, buffer)[:, 0].mean() == pytest.approx(shares(result)["0x1 0x2"] + shares(result)["0x1 0x3"])


def test_many_outcomes_are_a_buffer() -> None:
    wide = (
        HEADER3
        + "qubit[14] q; bit[14] c; "
        + "".join(f"ry({0.5 + k / 10}) q[{k}]; " for k in range(14))
        + "c = measure q;"
    )
    job = WorkerJob(AER, wide, type=SAMPLER, sampler=SamplerOptions(exact=True))
    result, (buffer,) = job.result(), job.buffers
    assert not result.quasi_distribution.quasi_probabilities
    assert result.buffer.rows == 1 << 14
    rows = np.frombuffer(buffer, dtype=[("c", ">u2"), ("p", ">f8")])
    assert rows["c"].tolist() == list(range(1 << 14))
    assert rows["p"].sum() == pytest.approx(1, abs=1e-9)
    one = math.sin((0.5 + 3 / 10) / 2) ** 2
    assert rows["p"][rows["c"] >> 3 & 1 == 1].sum() == pytest.approx(one, abs=1e-9)
    refused = WorkerJob(AER, wide, type=SAMPLER, sampler=SamplerOptions(exact=True), max_result_bytes=1000)
    assert refused.failures[0].reason == "RESULT_TOO_LARGE"


def test_integers_and_booleans_of_points() -> None:
    program = HEADER3 + "input int n; input bool on; qubit[3] q; bit[3] c; if (on) { x q[n]; } c = measure q;"
    job = WorkerJob(AER, program, type=RUNNER, shots=10, parameter_sets=sets(n=[0, 2, 1], on=[1, 1, 0]))
    assert job.counts() == [{"0x1": 10}, {"0x4": 10}, {"0x0": 10}]
    for values, name in (({"n": [0.5], "on": [1]}, "n"), ({"n": [0], "on": [2]}, "on")):
        failure = WorkerJob(AER, program, type=RUNNER, shots=10, parameter_sets=sets(**values)).failures[0]
        assert failure.category == FailureCategory.FAILURE_CATEGORY_PROGRAM
        assert name in failure.message


def test_a_program_that_cannot_be_read_once() -> None:
    """An input decides the size of a loop: each point is read by itself."""
    program = HEADER3 + "input int n; input float t; qubit q; bit c; for int k in [1:n] { ry(t) q; } c = measure q;"
    ts = [math.pi, math.pi / 2, math.pi / 3]
    job = WorkerJob(AER, program, type=RUNNER, shots=20, parameter_sets=sets(n=[1, 2, 3], t=ts))
    assert job.counts() == [{"0x1": 20}] * 3
    missing = WorkerJob(AER, program, type=RUNNER, shots=20, parameter_sets=sets(n=[1, 2]))
    assert "t" in missing.failures[0].message


def test_the_points_before_one_that_fails_are_kept() -> None:
    program = HEADER3 + "input int n; qubit[3] q; bit[3] c; x q[n]; c = measure q;"
    job = WorkerJob(AER, program, program, type=RUNNER, shots=10, parameter_sets=sets(n=[0, 2, 5, 1]))
    assert [result.point for result in job.results(0)] == [0, 1]
    assert [result.point for result in job.results(1)] == [0, 1]
    for index in (0, 1):
        assert "(at point 2)" in job.failures[index].message
    first = WorkerJob(AER, program, type=RUNNER, shots=10, parameter_sets=sets(n=[5, 1]))
    assert first.failures
    assert not first.results()


@pytest.mark.parametrize("device", [AER, "GOOGLE/cirq_simulator"])
def test_a_continued_sweep_equals_an_undisturbed_one(device: str) -> None:
    """A worker continues after the points that are stored: none is missing, none is doubled, and draws are the same."""
    number = 150
    grid = sets(a=np.linspace(0, 3, number), b__0=np.zeros(number), b__1=np.linspace(1, 2, number))
    options = {"type": RUNNER, "shots": 50, "parameter_sets": grid}
    whole = WorkerJob(device, TURNS, **options).results()
    assert [result.point for result in whole] == list(range(number))
    for done in (1, 63, 64, 100, number - 1, number):
        rest = WorkerJob(device, TURNS, points_done=done, **options)
        assert [result.point for result in rest.results()] == list(range(done, number))
        firsts = [event.points_done.first_point for event in rest.events if event.HasField("points_done")]
        assert firsts[:1] == ([done] if done < number else [])
        assert [shares(each) for each in rest.results()] == [shares(each) for each in whole[done:]]


def test_programs_and_points_have_different_draws() -> None:
    job = WorkerJob(
        AER, TURNS, TURNS, type=RUNNER, shots=SHOTS, parameter_sets=sets(a=[1.0] * 3, b__0=[0.5] * 3, b__1=[0.1] * 3)
    )
    drawn = [tuple(sorted(shares(each).items())) for index in (0, 1) for each in job.results(index)]
    assert len(set(drawn)) == 6
    for result in job.results(1):
        seed = int(result.meta_data["seed"])
        assert seed == result.meta_data["seed"] < 1 << 53


def test_options_of_one_program() -> None:
    own = sets(a=[3.141592653589793], b__0=[0.0], b__1=[0.0])
    job = WorkerJob(
        AER, TURNS, TURNS, type=SAMPLER, shots=20, parameter_sets=sets(**POINTS),
        program_options=[ProgramOptions(index=1, parameter_sets=own, shots=5, sampler=SamplerOptions(per_shot=True))],
    )  # fmt: skip
    assert [result.shots for result in job.results(0)] == [20] * 3
    (result,) = job.results(1)
    assert (result.shots, result.quasi_distribution.outcomes) == (5, b"\1\2" * 5)


@pytest.mark.parametrize("kind", [RUNNER, SAMPLER])
def test_a_stop_condition_ends_early_with_the_shots_that_ran(kind: JobType) -> None:
    options = {"type": kind, "shots": 100_000, "stop_when": StopCondition(standard_error=0.02)}
    for result in WorkerJob(AER, TURNS, **options, parameter_sets=sets(**POINTS)).results():
        assert result.partial
        assert result.shots < 5000
        assert math.log2(result.shots / 128).is_integer()
        assert max(math.sqrt(p * (1 - p) / result.shots) for p in shares(result).values()) <= 0.02
        assert not differ(shares(result), probabilities(result.point), result.shots)
    never = WorkerJob(AER, TURNS, **(options | {"shots": 300}), inputs=inputs(0)).result()
    assert (never.shots, never.partial) == (300, False)


def test_a_cached_program_and_a_sweep_do_not_mix() -> None:
    """The number of results follows the job, not what an earlier job left in the cache."""
    program: Sequence[str] = (HEADER3 + "input float a; qubit q; bit c; ry(a) q; c = measure q;",)
    assert WorkerJob(AER, *program, type=RUNNER, shots=5, inputs={"a": math.pi}).counts() == [{"0x1": 5}]
    swept = WorkerJob(AER, *program, type=RUNNER, shots=5, parameter_sets=sets(a=[0.0, math.pi]))
    assert swept.counts() == [{"0x0": 5}, {"0x1": 5}]
    assert WorkerJob(AER, *program, type=RUNNER, shots=5, inputs={"a": 0.0}).counts() == [{"0x0": 5}]
