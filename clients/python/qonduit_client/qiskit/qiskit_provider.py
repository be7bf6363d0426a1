# SPDX-License-Identifier: Apache-2.0
"""A Qonduit server as a provider of Qiskit backends."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Any

from qiskit.exceptions import QiskitError
from qiskit.providers import QiskitBackendNotFoundError

from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.job_filters import both, quoted, selection
from qonduit_client.job_labels import tagged
from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.devices import NamedDevice, devices_of, find_device
from qonduit_client.qiskit.stored_jobs import StoredJob, stored_job, stored_jobs


class QonduitProvider:
    """The devices of a Qonduit server as backends; a context manager.

    Args:
        client_or_target: a client, or the server as "HOST:PORT" or by its name; by default that of `Client`.
    """

    def __init__(self, client_or_target: Client | str | None = None) -> None:
        self.client = connect(client_or_target)
        self._own = not isinstance(client_or_target, Client)

    def __enter__(self) -> QonduitProvider:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.client.target}>"

    def close(self) -> None:
        """Close the connection, unless it was passed to the constructor. Jobs continue."""
        if self._own:
            self.client.close()

    def backends(
        self,
        name: str | None = None,
        *,
        filters: Callable[[QonduitBackend], bool] | None = None,
        min_num_qubits: int | None = None,
        simulator: bool | None = None,
        operational: bool | None = None,
        **properties: Any,
    ) -> list[QonduitBackend]:
        """Return the server's backends, sorted by name.

        Args:
            name: with the provider ("IBM/aer_simulator") or without.
            filters: a predicate that selects backends.
            min_num_qubits: the minimum number of qubits.
            simulator: select only simulators (True) or only other devices (False).
            operational: select by current availability.
            properties: values of further properties of the server's device message (`is_local`, `max_shots` ...).

        Raises:
            QiskitError: the server is unreachable, or a property is unknown.
        """
        wanted = dict(properties)
        if simulator is not None:
            wanted["is_simulator"] = simulator
        if operational is not None:
            wanted["available"] = operational
        found = [
            QonduitBackend(each, self.client, provider=self)
            for each in sorted(devices_of(self.client), key=lambda each: each.path)
            if (name is None or each.is_called(name))
            and each.device.num_qubits >= (min_num_qubits or 0)
            and all(_property(each, key) == value for key, value in wanted.items())
        ]
        return [backend for backend in found if filters is None or filters(backend)]

    def get_backend(self, name: str = DEFAULT_DEVICE) -> QonduitBackend:
        """Return one backend.

        Args:
            name: with the provider ("IBM/aer_simulator"), or without if the device's name is unique.

        Raises:
            QiskitBackendNotFoundError: the name is unknown or ambiguous; the message lists the candidates.
            QiskitError: the server is unreachable.
        """
        return QonduitBackend(find_device(self.client, name), self.client, provider=self)

    def job(self, job_id: str | int) -> StoredJob:
        """Return a job that a backend, a sampler or an estimator submitted, in this process or another one.

        Args:
            job_id: as `job.job_id()` returned it.

        Raises:
            QiskitError: the job does not exist, Qiskit did not submit it, or the server is unreachable.
        """
        return stored_job(self.client, job_id, self.get_backend)

    def jobs(
        self,
        limit: int | None = 10,
        *,
        backend_name: str | None = None,
        status: str | None = None,
        job_name: str | None = None,
        job_tags: Sequence[str] = (),
        project: str | None = None,
    ) -> list[StoredJob]:
        """Return jobs that Qiskit submitted, the latest first.

        Args:
            limit: the maximum number; None: all.
            backend_name: "PROVIDER/device".
            status: the state on the server: "QUEUED", "RUNNING", "SUCCEEDED", "FAILED" or "CANCELLED".
            job_name: the name that they were submitted with.
            job_tags: tags that all of them have.
            project: the project that owns them, "" for none; by default also the jobs of all your projects.

        Raises:
            QiskitError: the state is unknown, or the server is unreachable.
        """
        parts = [f"state = {quoted(status)}" if status is not None else ""]
        parts += [
            f"{field} = {quoted(text)}"
            for field, text in (("device", backend_name), ("name", job_name))
            if text is not None
        ]
        filter = selection(both(*parts, *map(tagged, job_tags)), None, project)
        return list(islice(stored_jobs(self.client, filter, self.get_backend), limit))

    def least_busy(
        self,
        min_num_qubits: int | None = None,
        *,
        filters: Callable[[QonduitBackend], bool] | None = None,
        simulator: bool | None = None,
        **properties: Any,
    ) -> QonduitBackend:
        """Return the available backend with the fewest queued jobs; of equals, the first by name.

        Args:
            min_num_qubits: as in `backends`, like the other arguments.
            filters: a predicate that selects backends.
            simulator: select only simulators (True) or only other devices (False).
            properties: values of further properties.

        Raises:
            QiskitBackendNotFoundError: no available backend fits.
            QiskitError: the server is unreachable, or a property is unknown.
        """
        found = self.backends(
            min_num_qubits=min_num_qubits, filters=filters, simulator=simulator, operational=True, **properties
        )
        if not found:
            raise QiskitBackendNotFoundError(f"no available backend of {self.client.target} matches the criteria")
        return min(found, key=lambda backend: int(backend.device.device.queue_depth))


def _property(named: NamedDevice, name: str) -> Any:
    try:
        return getattr(named.device, name)
    except AttributeError:
        known = ", ".join(field.name for field in named.device.DESCRIPTOR.fields)
        raise QiskitError(f"unknown property {name!r}; properties: {known}") from None
