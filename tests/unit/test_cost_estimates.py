# SPDX-License-Identifier: Apache-2.0
"""Estimates of run times from finished runs of similar size."""

from __future__ import annotations

import math

import pytest

from qonduit.v1.result_pb2 import Result
from qonduit_server.cost_estimates import Estimates, RunTime, run_time_of, work_of

METHODS = ("statevector", "density_matrix", "trajectories", "stabilizer", "matrix_product_state")


def runs(*works: float, factor: float = 1e-9, device: int = 1) -> list[RunTime]:
    return [RunTime(device, "statevector", work, work * factor) for work in works]


@pytest.mark.parametrize("method", METHODS)
def test_work_grows_with_qubits_operations_and_shots(method: str) -> None:
    base = work_of(method, 16, 1000, 10_000)
    assert work_of(method, 18, 1000, 10_000) > base
    assert work_of(method, 16, 2000, 10_000) > base or method == "stabilizer"
    assert work_of(method, 16, 1000, 100_000) > base
    assert 0 < work_of(method, 0, 0, 1) < work_of(method, 4096, 10**6, 10**9) < math.inf


def test_unknown_without_enough_runs_of_the_device_and_method() -> None:
    assert Estimates().estimate(1, "statevector", 1e6) is None
    assert Estimates(runs(*[1e6] * 4)).estimate(1, "statevector", 1e6) is None
    known = Estimates(runs(*[1e6] * 5))
    assert known.estimate(1, "statevector", 1e6) is not None
    assert known.estimate(2, "statevector", 1e6) is None
    assert known.estimate(1, "stabilizer", 1e6) is None


def test_unknown_far_from_all_runs() -> None:
    known = Estimates(runs(*[1e6] * 10))
    assert known.estimate(1, "statevector", 9e8) is not None
    assert known.estimate(1, "statevector", 2e9) is None
    assert known.estimate(1, "statevector", 5e2) is None


def test_runs_of_similar_size_count_most() -> None:
    """Small runs cost more for each unit of work: they must not raise the estimate of a large one."""
    known = Estimates([*runs(*[1e6] * 200, factor=1e-6), *runs(*[1e10] * 40, factor=1e-9)])
    large = known.estimate(1, "statevector", 2e10)
    small = known.estimate(1, "statevector", 2e6)
    assert large is not None
    assert small is not None
    assert large.p50 == pytest.approx(20)
    assert small.p50 == pytest.approx(2)


def test_assumed_seconds_of_an_unknown_device_are_those_of_the_others() -> None:
    known = Estimates([*runs(*[1e6] * 3, factor=1e-6, device=1), *runs(*[1e6] * 3, factor=1e-6, device=2)])
    assert known.estimate(1, "statevector", 2e6) is None
    assert known.assumed_seconds("statevector", 2e6) == pytest.approx(2.0)
    assert known.assumed_seconds("stabilizer", 2e6) == pytest.approx(6e-3)
    assert Estimates().assumed_seconds("statevector", 1e9) == pytest.approx(3.0)


def test_p50_and_p90() -> None:
    spread = [RunTime(1, "statevector", 1e6, seconds) for seconds in range(1, 11)]
    found = Estimates(spread).estimate(1, "statevector", 1e6)
    assert found == pytest.approx((6, 9))


def test_newest_runs_replace_old_ones() -> None:
    known = Estimates(runs(*[1e6] * 300, factor=1e-6))
    known.add(runs(*[1e6] * 256, factor=1e-9))
    found = known.estimate(1, "statevector", 1e6)
    assert found is not None
    assert found.p90 == pytest.approx(1e-3)


def test_run_time_of_a_result() -> None:
    result = Result(shots=100)
    result.meta_data.update({"method": "stabilizer", "qubits": 5, "operations": 9, "run_seconds": 0.5})
    assert run_time_of(3, result) == RunTime(3, "stabilizer", work_of("stabilizer", 5, 9, 100), 0.5)


@pytest.mark.parametrize(
    "change", [{"run_seconds": 0}, {"run_seconds": "soon"}, {"operations": None}, {"qubits": None}]
)
def test_result_without_times(change: dict[str, object]) -> None:
    result = Result(shots=100)
    meta = {"method": "stabilizer", "qubits": 5, "operations": 9, "run_seconds": 0.5, **change}
    result.meta_data.update({key: value for key, value in meta.items() if value is not None})  # type: ignore[arg-type]
    assert run_time_of(3, result) is None


def test_a_new_run_changes_a_known_estimate() -> None:
    known = Estimates(runs(*[1e6] * 5, factor=1e-6))
    assert known.assumed_seconds("statevector", 1e6) == pytest.approx(1.0)
    known.add(runs(*[1e6] * 20, factor=1e-5))
    found = known.estimate(1, "statevector", 1e6)
    assert found is not None
    assert found.p50 == pytest.approx(10.0)
    assert known.assumed_seconds("statevector", 1e6) == pytest.approx(10.0)
