# SPDX-License-Identifier: Apache-2.0
"""Qiskit's sampler on a device of a server: all pubs are one job."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from typing import Any, Final

import numpy as np
from qiskit.primitives import BaseSamplerV2, SamplerPubLike
from qiskit.primitives.backend_sampler_v2 import Options
from qiskit.primitives.containers.sampler_pub import SamplerPub

from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.circuit_preparation import parts_of, rows_of
from qonduit_client.qiskit.mode import backend_of, options_of, seed_of
from qonduit_client.qiskit.primitive_job import QonduitPrimitiveJob, submitted
from qonduit_client.qiskit.pub_layouts import SamplerLayout

#: The kind of its jobs.
SAMPLER: Final = "qiskit.sampler"


class SamplerV2(BaseSamplerV2):  # type: ignore[misc]
    """Samples what circuits measure, register by register.

    Args:
        mode: a `QonduitBackend`, or the name of a device.
        backend: the same, as named by Qiskit's `BackendSamplerV2`.
        default_shots: the shots of pubs that set none; 1024 by default.
        seed: fixes the randomness of simulators, for all pubs of a run together; a number, or a generator of one.
        options: the same things as Qiskit's `BackendSamplerV2` takes them: a dictionary with `default_shots`,
            `seed_simulator` and `run_options`: options of `QonduitBackend.run`, such as `noise_model`.
    """

    def __init__(
        self,
        mode: QonduitBackend | str | None = None,
        *,
        backend: QonduitBackend | str | None = None,
        default_shots: int | None = None,
        seed: int | np.random.Generator | None = None,
        options: Mapping[str, Any] | Options | None = None,
    ) -> None:
        self._backend = backend_of(mode, backend)
        self._options = options_of(Options, options, default_shots=default_shots, seed_simulator=seed_of(seed))

    @property
    def backend(self) -> QonduitBackend:
        """The backend."""
        return self._backend

    @property
    def options(self) -> Options:
        """`default_shots`, `seed_simulator` and `run_options`."""
        return self._options

    @property
    def default_shots(self) -> int:
        """The shots of pubs that set none."""
        return int(self._options.default_shots)

    @property
    def seed(self) -> int | None:
        """The seed of simulators; None: random."""
        return None if self._options.seed_simulator is None else int(self._options.seed_simulator)

    def run(self, pubs: Iterable[SamplerPubLike], *, shots: int | None = None) -> QonduitPrimitiveJob:
        """Submit pubs and return immediately.

        Args:
            pubs: circuits, or tuples of a circuit, values for its parameters, and shots.
            shots: of pubs that set none.

        Raises:
            ValueError, TypeError: a pub is invalid, as in Qiskit.
            QiskitError: a circuit or an option is not supported, or the server rejected the job.
        """
        default = self._options.default_shots if shots is None else shots
        coerced = [SamplerPub.coerce(pub, default) for pub in pubs]
        for place, pub in enumerate(coerced):
            if not pub.circuit.cregs:
                warnings.warn(
                    f"the circuit of pub {place} has no classical registers, so its result is empty: add measurements",
                    UserWarning,
                    stacklevel=2,
                )
        further = self._options.run_options or {}
        seed = self._options.seed_simulator
        options = [self._backend.run_options(shots=pub.shots, seed_simulator=seed, **further) for pub in coerced]
        parts = [
            part
            for pub, chosen in zip(coerced, options, strict=True)
            for part in parts_of(
                pub.circuit, rows_of(pub.circuit, pub.parameter_values), chosen.widest, chosen.shots, per_shot=True
            )
        ]
        layouts = [SamplerLayout(pub.shape, pub.shots) for pub in coerced]
        first = options[0] if options else self._backend.run_options()
        return submitted(self._backend, SAMPLER, [pub.circuit for pub in coerced], layouts, parts, first)
