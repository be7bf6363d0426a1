# SPDX-License-Identifier: Apache-2.0
"""A Qonduit server as Qiskit's users know providers: something that has backends."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any

from qiskit.exceptions import QiskitError

from qonduit_client.client import DEFAULT_DEVICE, Client, connect
from qonduit_client.qiskit.backend import QonduitBackend
from qonduit_client.qiskit.devices import NamedDevice, devices_of, find_device


class QonduitProvider:
    """The devices of a Qonduit server as backends; may be used with `with`.

    Args:
        client_or_target: a client, or the server as "HOST:PORT"; by default as `Client` has it.
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
        """End the connection, unless it was handed in. Jobs go on."""
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
        """Asks the server for its backends, in order of their names.

        Args:
            name: in full ("IBM/aer_simulator") or without the provider.
            filters: whether to return a backend.
            min_num_qubits: how many qubits it must have at least.
            simulator: whether it must be a simulator, or must not be one.
            operational: whether it must take jobs now.
            properties: further properties of the device as the server tells them (`is_local`, `max_shots` ...), by
                their values.

        Raises:
            QiskitError: the server is not there, or devices have no such property.
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
            name: in full ("IBM/aer_simulator"), or without the provider where only one has a device of that name.

        Raises:
            QiskitBackendNotFoundError: there is none, or several; the message names those there are.
            QiskitError: the server is not there.
        """
        return QonduitBackend(find_device(self.client, name), self.client, provider=self)


def _property(named: NamedDevice, name: str) -> Any:
    try:
        return getattr(named.device, name)
    except AttributeError:
        known = ", ".join(field.name for field in named.device.DESCRIPTOR.fields)
        raise QiskitError(f"backends have no property {name!r} to select by; they have {known}") from None
