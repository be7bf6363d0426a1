# SPDX-License-Identifier: Apache-2.0
"""A device of a Qonduit server as a Qiskit backend."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from operator import index
from typing import Any

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from qonduit_client.batch import submit
from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.qiskit.backend_job import QonduitJob
from qonduit_client.qiskit.circuit_preparation import bindings_of, listed, programs_of
from qonduit_client.qiskit.devices import NamedDevice, find_device
from qonduit_client.qiskit.target import target_of


@dataclass(frozen=True)
class RunOptions:
    """How circuits are run: how often, with what seed (None: another one each time), and whether shots are told."""

    shots: int
    seed: int | None
    memory: bool


class QonduitBackend(BackendV2):  # type: ignore[misc]
    """A device of a Qonduit server.

    Circuits need not be transpiled: the server compiles them for the device. Those that were transpiled for
    `backend.target` run as well.

    Args:
        device: "PROVIDER/device", or the device's name alone where only one provider has one of that name.
        client: a client, or the server as "HOST:PORT"; by default as `Client` has it.
        provider: the provider object that the backend is from.
        fields: options for all runs: `shots`, `memory`, `seed_simulator`.

    Attributes:
        client: the connection.
        device: what the server tells of the device.

    Raises:
        QiskitBackendNotFoundError: there is no such device.
        QiskitError: the server is not there.
        AttributeError: there is no such option.
    """

    def __init__(
        self,
        device: str | NamedDevice = DEFAULT_DEVICE,
        client: Client | str | None = None,
        *,
        provider: Any = None,
        **fields: Any,
    ) -> None:
        self.client = connect(client)
        self.device = device if isinstance(device, NamedDevice) else find_device(self.client, device)
        about = self.device.device
        super().__init__(
            provider=provider,
            name=self.device.path,
            description=f"{self.device.path} behind the Qonduit server at {self.client.target}",
            backend_version=about.status_message,
            **fields,
        )

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name!r} at {self.client.target}>"

    @classmethod
    def _default_options(cls) -> Options:
        return Options(shots=1024, memory=False, seed_simulator=None)

    @cached_property
    def target(self) -> Target:
        """The device's qubits, gates and further abilities, for the transpiler."""
        return target_of(self.device.device)

    @property
    def max_circuits(self) -> int | None:
        """None: any number of circuits is a job; what the server takes only in parts is sent in parts."""
        return None

    def run(
        self,
        run_input: QuantumCircuit | Iterable[QuantumCircuit],
        parameter_binds: Sequence[Mapping[Parameter, Any]] | Mapping[Parameter, Any] | None = None,
        **options: Any,
    ) -> QonduitJob:
        """Submit circuits and return at once; once this returned, the job survives any crash of the server.

        Args:
            run_input: one circuit or any number of them.
            parameter_binds: as Aer takes it: a mapping for each circuit, from parameters to lists of values. The
                circuit is run once for each place of the lists.
            options: `shots`, `memory` (whether single shots are told), `seed_simulator` (fixes the randomness of all
                circuits together; each has randomness of its own). By default as `backend.options` has them.

        Raises:
            QiskitError: a circuit or an option is none that can be run, or the server refused.
            TypeError: something is no circuit.
        """
        chosen = self.run_options(**options)
        circuits = listed(run_input)
        if isinstance(parameter_binds, Mapping):
            parameter_binds = [parameter_binds]
        run: list[QuantumCircuit] = []
        programs = []
        for circuit, bindings in zip(circuits, bindings_of(circuits, parameter_binds), strict=True):
            run += [circuit] * len(bindings)
            programs += programs_of(circuit, bindings, self.device.device.num_qubits)
        send = partial(submit, self.client, programs, device=self.device.path, shots=chosen.shots, seed=chosen.seed)
        job = QonduitJob(self, send, run, seed=chosen.seed, memory=chosen.memory)
        job.submit()
        return job

    def run_options(self, **options: Any) -> RunOptions:
        """Return what `run` does with these options; those not given are the backend's.

        Raises:
            QiskitError: an option has a value that cannot be had.
        """
        given = {**vars(self.options), **{name: value for name, value in options.items() if value is not None}}
        shots, memory, seed = (given.pop(name, None) for name in ("shots", "memory", "seed_simulator"))
        if int(given.pop("meas_level", 2)) != 2:
            raise QiskitError("meas_level must be 2: results are classified")
        if given.pop("noise_model", None) is not None:
            raise QiskitError(f"{self.name} takes no noise_model")
        if given:
            unused = ", ".join(given)
            warnings.warn(f"{self.name} has no use for the options {unused}", UserWarning, stacklevel=3)
        most = self.device.device.max_shots
        number = _whole(shots)
        if number is None or not 1 <= number <= most:
            raise QiskitError(f"shots must be a whole number from 1 to {most}, not {shots!r}")
        own_seed = _whole(seed)
        if seed is not None and (own_seed is None or own_seed < 0):
            raise QiskitError(f"seed_simulator must be a whole number that is not negative, not {seed!r}")
        return RunOptions(number, own_seed, bool(memory))


def _whole(value: Any) -> int | None:
    """Return a whole number of any type (numpy's, 1e4), or None for anything else."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None
