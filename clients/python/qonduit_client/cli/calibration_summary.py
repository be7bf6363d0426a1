# SPDX-License-Identifier: Apache-2.0
"""The summary of a device's calibration: median, best and worst of each measured property."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from statistics import median
from typing import TYPE_CHECKING

from qonduit_client.formatting import local_time
from qonduit_client.text_table import table_of

if TYPE_CHECKING:
    from qonduit.v1.calibration_pb2 import DeviceCalibration, QubitCalibration


def summary(name: str, calibration: DeviceCalibration) -> str:
    """Return a table of the properties that were measured, below a line with their time."""
    when = f" of {local_time(calibration.calibrated_at)}" if calibration.HasField("calibrated_at") else ""
    table = table_of(["PROPERTY", "MEDIAN", "BEST", "WORST", "OF"], list(_rows(calibration)), right={1, 2, 3})
    return f"calibration of {name}{when}\n{table}"


def _rows(calibration: DeviceCalibration) -> Iterator[list[str]]:
    qubits = calibration.qubits
    yield from _row("T1", (each.t1 for each in qubits if each.HasField("t1")), "qubits", max, _time)
    yield from _row("T2", (each.t2 for each in qubits if each.HasField("t2")), "qubits", max, _time)
    yield from _row("readout error", (each for qubit in qubits for each in _readout(qubit)), "qubits", min, _error)
    errors: dict[str, list[float]] = {}
    for gate in calibration.gates:
        if len(gate.qubits) == 2 and gate.HasField("error"):
            errors.setdefault(gate.gate, []).append(gate.error)
    for name, found in sorted(errors.items()):
        yield from _row(f"{name} error", found, "gates", min, _error)


def _readout(qubit: QubitCalibration) -> Iterator[float]:
    """Yield the mean of both readout errors, if both are known."""
    if qubit.HasField("prob_1_given_0") and qubit.HasField("prob_0_given_1"):
        yield (qubit.prob_1_given_0 + qubit.prob_0_given_1) / 2


def _row(
    title: str,
    values: Iterable[float],
    of: str,
    best: Callable[[list[float]], float],
    shown: Callable[[float], str],
) -> Iterator[list[str]]:
    if found := list(values):
        worst = min(found) if best is max else max(found)
        yield [title, shown(median(found)), shown(best(found)), shown(worst), f"{len(found)} {of}"]


def _time(seconds: float) -> str:
    return f"{seconds * 1e6:.1f} us"


def _error(error: float) -> str:
    return f"{error:.4f}"
