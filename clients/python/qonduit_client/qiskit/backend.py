# SPDX-License-Identifier: Apache-2.0
"""A device of a Qonduit server as a Qiskit backend."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from operator import index
from typing import Any

from qiskit.circuit import Parameter, QuantumCircuit
from qiskit.exceptions import QiskitError
from qiskit.providers import BackendV2, Options
from qiskit.transpiler import Target

from qonduit_client.adapter_data import packed
from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.job_labels import labels_of
from qonduit_client.job_parts import Part, submit
from qonduit_client.qiskit.backend_job import BACKEND, QonduitJob
from qonduit_client.qiskit.circuit_preparation import bindings_of, listed, parts_of
from qonduit_client.qiskit.devices import NamedDevice, find_device
from qonduit_client.qiskit.noise_options import OPTIONS, run_arguments
from qonduit_client.qiskit.qiskit_errors import as_qiskit_has_it
from qonduit_client.qiskit.target import target_of


@dataclass(frozen=True)
class RunOptions:
    """Options of a run.

    Attributes:
        shots: per circuit.
        seed: None: random.
        memory: whether single shots are returned.
        arguments: `simulation` and `noise_model` of `Client.run`, if given.
        tags: of the job.
        widest: the number of qubits from which idle qubits of circuits are removed; None: never, since a noise model
            names qubits by their numbers.
    """

    shots: int
    seed: int | None
    memory: bool
    arguments: Mapping[str, Any] = field(default_factory=dict)
    tags: Sequence[str] = ()
    widest: int | None = None


class QonduitBackend(BackendV2):  # type: ignore[misc]
    """A device of a Qonduit server.

    Circuits need not be transpiled: the server compiles them for the device. Those that were transpiled for
    `backend.target` run as well. On a device with a coupling map they run unchanged, on the qubits that they name.

    Args:
        device: "PROVIDER/device", or the device's name alone where only one provider has one of that name.
        client: a client, or the server as "HOST:PORT" or by its name; by default that of `Client`.
        provider: the provider object that the backend is from.
        fields: options for all runs, as of `run`.

    Attributes:
        client: the connection.
        device: the server's description of the device.

    Raises:
        QiskitBackendNotFoundError: the device does not exist.
        QiskitError: the server is unreachable.
        AttributeError: an option is unknown.
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
        return Options(
            shots=1024, memory=False, seed_simulator=None, job_name=None, job_tags=None, **dict.fromkeys(OPTIONS)
        )

    @cached_property
    def target(self) -> Target:
        """The device's qubits, gates and capabilities, for the transpiler.

        That of a device with a coupling map has its native gates, errors and durations, read from the server once.

        Raises:
            QiskitError: the server is unreachable.
        """
        device = self.device.device
        if not device.capabilities.coupling_map:
            return target_of(device)
        with as_qiskit_has_it():
            return target_of(device, self.client.calibration(device))

    @property
    def max_circuits(self) -> int | None:
        """None: a job has any number of circuits; the adapter splits them by the server's limits."""
        return None

    def run(
        self,
        run_input: QuantumCircuit | Iterable[QuantumCircuit],
        parameter_binds: Sequence[Mapping[Parameter, Any]] | Mapping[Parameter, Any] | None = None,
        **options: Any,
    ) -> QonduitJob:
        """Submit circuits and return immediately; the job then survives any crash of the server.

        Args:
            run_input: one circuit or any number of them.
            parameter_binds: as Aer takes it: a mapping for each circuit, from parameters to lists of values. The
                circuit is run once for each place of the lists.
            options: `shots`, `memory` (whether single shots are returned), `seed_simulator` (the seed of all
                circuits; their samples are independent); `noise_model`: one of Qiskit Aer, or a `NoiseModel` message
                or a dict of its fields; `method`, `precision` and `max_bond_dimension`, as of Aer's simulator;
                `allow_approximate` and `min_fidelity`: see `SimulationOptions`; `optimization_level`: how much a
                device with a coupling map optimizes circuits that are not native; `job_name` and `job_tags` (a list of
                texts), by which `QonduitProvider.jobs` finds the job. By default those of `backend.options`.

        Raises:
            QiskitError: a circuit or an option is not supported, or the server rejected the job.
            TypeError: an input is not a circuit.
        """
        chosen = self.run_options(**options)
        circuits = listed(run_input)
        if isinstance(parameter_binds, Mapping):
            parameter_binds = [parameter_binds]
        run: list[QuantumCircuit] = []
        parts: list[Part] = []
        data: list[int | bool | None] = [chosen.memory, chosen.seed]
        for circuit, rows in zip(circuits, bindings_of(circuits, parameter_binds), strict=True):
            run += [circuit] * len(rows)
            data.append(len(rows))
            parts += parts_of(circuit, rows, chosen.widest, chosen.shots, per_shot=False)
        send = partial(
            submit,
            self.client,
            parts,
            device=self.device.path,
            seed=chosen.seed,
            labels=labels_of(BACKEND, chosen.tags),
            client_data=packed(data, [circuit.metadata for circuit in circuits]),
            **chosen.arguments,
        )
        job = QonduitJob(self, send, run, seed=chosen.seed, memory=chosen.memory)
        job.submit()
        return job

    def run_options(self, **options: Any) -> RunOptions:
        """Return the options of a run; by default those of the backend.

        Raises:
            QiskitError: an option has an unsupported value.
        """
        given = {**vars(self.options), **{name: value for name, value in options.items() if value is not None}}
        shots, memory, seed = (given.pop(name, None) for name in ("shots", "memory", "seed_simulator"))
        if int(given.pop("meas_level", 2)) != 2:
            raise QiskitError("meas_level must be 2: results are classified")
        name, tags = given.pop("job_name", None), given.pop("job_tags", None) or ()
        if isinstance(tags, str) or not all(isinstance(tag, str) for tag in tags):
            raise QiskitError(f"job_tags must be a list of texts, got {tags!r}")
        arguments = run_arguments({option: given.pop(option, None) for option in OPTIONS})
        if name is not None:
            arguments["name"] = str(name)
        if given:
            unused = ", ".join(given)
            warnings.warn(f"{self.name} ignores the options {unused}", UserWarning, stacklevel=3)
        most = self.device.device.max_shots
        number = _whole(shots)
        if number is None or not 1 <= number <= most:
            raise QiskitError(f"shots must be an integer from 1 to {most}, got {shots!r}")
        own_seed = _whole(seed)
        if seed is not None and (own_seed is None or own_seed < 0):
            raise QiskitError(f"seed_simulator must be an integer of at least 0, got {seed!r}")
        widest = None if "noise_model" in arguments else self.device.device.num_qubits
        return RunOptions(number, own_seed, bool(memory), arguments, tuple(tags), widest)


def _whole(value: Any) -> int | None:
    """Return an integer of any type (NumPy's, 1e4), or None for other values."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return None if isinstance(value, bool) else index(value)
    except TypeError:
        return None
