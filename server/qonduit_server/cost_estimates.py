# SPDX-License-Identifier: Apache-2.0
"""Estimates of the time of a run, from the times of finished runs.

A formula for each simulation method gives the work of a run in arbitrary units. The seconds per unit depend on machine,
device, method and size. They are taken from finished runs of the same device and method, of the most similar sizes.
Estimates are for display and for the choice of a device; no job is refused because of one.
"""

from __future__ import annotations

import heapq
import math
import threading
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from qonduit.v1.result_pb2 import Result

#: The work of starting a run: about 1 ms.
_START: Final = 3e5
#: Seconds per unit of work where no run is known: a gate on one amplitude of a statevector takes 2 to 5 ns.
_TYPICAL_SECONDS: Final = 3e-9
#: An estimate uses this number of runs, of the most similar sizes.
_NEAREST: Final = 12
_LEAST_RUNS: Final = 5
#: The newest runs that are kept of each device and method.
_KEPT: Final = 256
#: The estimate is unknown if all runs are smaller or larger by more than this factor.
_FARTHEST: Final = 1000.0
#: The work of one shot that is drawn from a known state.
_DRAW: Final = 50.0
#: The bond dimension that is assumed for a matrix product state: circuits that need more seldom fit.
_BOND: Final = 32
_MAX_EXPONENT: Final = 900
#: Sizes within an eighth, in logarithms, count as equal.
_STEPS: Final = 8
#: In place of a device: all of them.
_ANY_DEVICE: Final = 0


class RunTime(NamedTuple):
    """A finished run of one program.

    Args:
        device_id: the device.
        method: the simulation method.
        work: of the run, by `work_of`.
        seconds: the time of the run.
    """

    device_id: int
    method: str
    work: float
    seconds: float


class Estimate(NamedTuple):
    """An estimated time in seconds that half of such runs (p50), and nine of ten (p90), take at most."""

    p50: float
    p90: float


def work_of(method: str, qubits: int, operations: int, shots: int) -> float:
    """Return the work of a run, in units of one gate on one amplitude. It is always finite.

    Args:
        method: the simulation method; an unknown one counts as a statevector.
        qubits: of the circuit.
        operations: of the circuit.
        shots: of the program.
    """
    operations = max(1, operations)
    if method == "stabilizer":
        return _START + operations * qubits + shots * float(qubits) ** 2
    if method == "matrix_product_state":
        bond = min(_BOND, 1 << min(_BOND, qubits // 2))
        return _START + operations * bond**3 + shots * qubits * bond**2
    if method == "density_matrix":
        return _START + operations * float(1 << min(_MAX_EXPONENT, 2 * qubits)) + shots * _DRAW
    state = operations * float(1 << min(_MAX_EXPONENT, qubits))
    return _START + (shots * state if method == "trajectories" else state + shots * _DRAW)


def run_time_of(device_id: int, result: Result) -> RunTime | None:
    """Return the time of the run that a result is of; None if its metadata do not contain it."""
    fields = result.meta_data.fields
    if "operations" not in fields or "run_seconds" not in fields or "qubits" not in fields:
        return None
    method, seconds = fields["method"].string_value, fields["run_seconds"].number_value
    if seconds <= 0:
        return None
    qubits, operations = int(fields["qubits"].number_value), int(fields["operations"].number_value)
    return RunTime(device_id, method, work_of(method, qubits, operations, result.shots), seconds)


class Estimates:
    """Estimates from finished runs. Thread-safe.

    Args:
        runs: the first runs to learn from.
    """

    def __init__(self, runs: Iterable[RunTime] = ()) -> None:
        self._lock = threading.Lock()
        #: By device and method: the logarithm of the work, and the seconds per unit.
        self._runs: dict[tuple[int, str], deque[tuple[float, float]]] = {}
        #: The p50 and p90 of the seconds per unit, by device, method and size, until a run is added: a job may have
        #: hundreds of programs.
        self._factors: dict[tuple[int, str, int], Estimate | None] = {}
        self.add(runs)

    def add(self, runs: Iterable[RunTime]) -> None:
        """Learn from finished runs."""
        with self._lock:
            for run in runs:
                known = self._runs.setdefault((run.device_id, run.method), deque(maxlen=_KEPT))
                known.append((math.log(run.work), run.seconds / run.work))
            self._factors.clear()

    def estimate(self, device_id: int, method: str, work: float) -> Estimate | None:
        """Return the estimated time of a run; None if too few similar runs are known."""
        step = round(math.log(work) * _STEPS)
        key = (device_id, method, step)
        with self._lock:
            if key not in self._factors:
                known = self._runs.get(key[:2], ()) if device_id != _ANY_DEVICE else self._of_method(method)
                self._factors[key] = _factors(list(known), step / _STEPS)
            found = self._factors[key]
        return None if found is None else Estimate(found.p50 * work, found.p90 * work)

    def assumed_seconds(self, method: str, work: float) -> float:
        """Return the time of a run on a device with too few similar runs, for comparisons with other devices.

        It is the p50 estimate over all devices with the method; if that is unknown too, 3 ns per unit of work.
        """
        found = self.estimate(_ANY_DEVICE, method, work)
        return found.p50 if found else work * _TYPICAL_SECONDS

    def _of_method(self, method: str) -> list[tuple[float, float]]:
        return [run for (_, name), runs in self._runs.items() if name == method for run in runs]


def _factors(known: Sequence[tuple[float, float]], size: float) -> Estimate | None:
    """Return the seconds per unit of work, from the runs of the most similar sizes."""
    if len(known) < _LEAST_RUNS:
        return None
    near = heapq.nsmallest(_NEAREST, known, key=lambda run: abs(run[0] - size))
    if abs(near[0][0] - size) > math.log(_FARTHEST):
        return None
    factors = sorted(factor for _, factor in near)
    return Estimate(factors[len(factors) // 2], factors[int(0.9 * (len(factors) - 1) + 0.5)])
