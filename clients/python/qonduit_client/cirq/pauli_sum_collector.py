# SPDX-License-Identifier: Apache-2.0
"""Cirq's collector of the energy of a Pauli sum, by one job of the server."""

from __future__ import annotations

from typing import Final

import cirq

from qonduit_client.cirq.sampler import QonduitSampler

_SAMPLES_PER_JOB: Final = 1_000_000


class QonduitPauliSumCollector(cirq.PauliSumCollector):  # type: ignore[misc]
    """Estimates the energy of a Pauli sum as `cirq.PauliSumCollector`, with the same arguments and methods.

    `collect` with a `QonduitSampler` is one job of the type ESTIMATOR: each group of terms that commute qubit by qubit
    is measured `samples_per_term` times. Cirq's collector sends a circuit for each term, of which `concurrency` run at
    a time. This class does the same with other samplers, with a limit of samples (`max_total_samples`, or
    `samples_per_term` above `max_samples_per_job`), for circuits with measurements and for samplers with noise.
    """

    def __init__(
        self,
        circuit: cirq.AbstractCircuit,
        observable: cirq.PauliSumLike,
        *,
        samples_per_term: int,
        max_samples_per_job: int = _SAMPLES_PER_JOB,
    ) -> None:
        super().__init__(
            circuit, observable, samples_per_term=samples_per_term, max_samples_per_job=max_samples_per_job
        )
        sum_ = cirq.PauliSum.wrap(observable)
        self._program = circuit
        self._has_terms = any(len(string) for string in sum_)
        self._parts = _part(sum_, imaginary=False), _part(sum_, imaginary=True)
        self._samples = samples_per_term
        self._few = 0 < samples_per_term <= max_samples_per_job
        self._energy: complex | None = None

    async def collect_async(
        self, sampler: cirq.Sampler, *, concurrency: int = 2, max_total_samples: int | None = None
    ) -> None:
        """Collect the samples; see the class. A repeated call collects no more samples, as in Cirq.

        Raises:
            ValueError, RuntimeError, TimedOut, QonduitError: as `QonduitSampler.run_sweep`.
        """
        if self._energy is not None:
            return
        parts = [each for each in self._parts if len(each)]
        one_job = self._few and self._has_terms and max_total_samples is None and isinstance(sampler, QonduitSampler)
        if not one_job or not sampler.can_estimate(self._program, parts):
            await super().collect_async(sampler, concurrency=concurrency, max_total_samples=max_total_samples)
            return
        found = iter(await sampler.estimate_async(self._program, parts, self._samples))
        real, imaginary = (next(found) if len(each) else 0.0 for each in self._parts)
        self._energy = complex(real, imaginary)

    def estimated_energy(self) -> float | complex:
        """Return the estimated energy: a complex number only if coefficients are complex."""
        if self._energy is None:
            cirqs: float | complex = super().estimated_energy()
            return cirqs
        return self._energy if self._energy.imag else self._energy.real


def _part(observable: cirq.PauliSum, *, imaginary: bool) -> cirq.PauliSum:
    """Return the sum with the real or the imaginary parts of the coefficients."""
    found = cirq.PauliSum()
    for string in observable:
        value = string.coefficient.imag if imaginary else string.coefficient.real
        if value:
            found += string.with_coefficient(value)
    return found
