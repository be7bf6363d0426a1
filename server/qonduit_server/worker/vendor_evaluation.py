# SPDX-License-Identifier: Apache-2.0
"""Evaluates observables at the points of a program by the estimator of the vendor."""

from __future__ import annotations

import math
from collections.abc import Iterator
from statistics import NormalDist
from typing import Final

import numpy as np

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.execution.v1.vendor_pb2 import Estimation, VendorOutcome
from qonduit_server.providers.remote_devices import RemoteDevices
from qonduit_server.worker.estimator_results import EstimateTable
from qonduit_server.worker.observable_evaluation import DEFAULT_LEVEL
from qonduit_server.worker.observed_program import ObservedCircuits

#: The points of one call of the device.
_POINTS: Final = 64


class VendorEvaluation:
    """As `Evaluation`: the values, the standard errors and the shots are those that the vendor reports.

    Args:
        remote: the devices of the vendor.
        device: the name of the device.
        circuits: those of the program.
        spec: of the program.
        table: is filled in.
    """

    def __init__(
        self, remote: RemoteDevices, device: str, circuits: ObservedCircuits, spec: JobSpec, table: EstimateTable
    ) -> None:
        self._remote = remote
        self._device = device
        self._circuits = circuits
        self._table = table
        options = spec.estimator
        self._estimation = Estimation(resilience_level=spec.vendor_options.resilience_level)
        self._shots = spec.shots
        if options.HasField("precision"):
            # The shots of a job with a precision are a maximum.
            self._estimation.precision = max(options.precision, spec.shots**-0.5 if spec.shots else 0.0)
            self._shots = math.ceil(self._estimation.precision**-2)
        self.level: float = options.confidence_level if options.HasField("confidence_level") else DEFAULT_LEVEL
        self.meta_data: dict[str, object] = {}
        self.stopped = False

    def run(self) -> Iterator[int]:
        """Fill in the table; yield each point that is done, in order. Raises RunError: the vendor ran it in vain."""
        points = range(len(self._circuits.points))
        # All calls are made before the first is read, so that the vendor gets all points at once.
        calls = [
            self._remote.estimate(
                self._device,
                self._circuits.unmeasured(points[first : first + _POINTS]),
                self._circuits.sums,
                self._shots,
                self._estimation,
            )
            for first in range(0, len(points), _POINTS)
        ]
        found = (outcome for call in calls for outcome in call)
        for point, outcome in zip(points, found, strict=True):
            if not isinstance(outcome, VendorOutcome):
                raise outcome
            self._record(point, outcome)
            yield point

    def _record(self, point: int, outcome: VendorOutcome) -> None:
        table, errors = self._table, np.array(outcome.standard_errors)
        width = NormalDist().inv_cdf((1 + self.level) / 2) * errors
        table.values[point] = outcome.values
        table.standard_errors[point] = errors
        table.variances[point] = errors**2 * outcome.shots
        table.lower[point], table.upper[point] = table.values[point] - width, table.values[point] + width
        table.shots[point] = outcome.shots
        self.meta_data = self.meta_data or dict(outcome.meta_data)
