# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for stored credentials of providers: `client.credentials`."""

from __future__ import annotations

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.provider_pb2 import Provider
from qonduit_client import credential_requests, device_requests
from qonduit_client.listing import Table
from qonduit_client.transport import Transport


class StoredCredentials:
    """Credentials of you and your projects on the server. No call returns a secret."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def create(self, name: str, provider: str | Provider, secret: str, *, project: str = "") -> Credential:
        """Store a credential, encrypted.

        Args:
            name: letters, digits, "-", "_" and "."; unique among those of the owner.
            provider: the provider whose devices use it, by name or as one of `providers()`.
            secret: at least 8 bytes.
            project: the project that owns it, whose members use it for its jobs; by default it is yours.

        Raises:
            AlreadyExists: you have a credential of this name, or the project has.
            PreconditionFailed: the server has no key to encrypt it.
        """
        if isinstance(provider, Provider):
            provider_id = provider.id
        else:
            provider_id = device_requests.provider_id_of(provider, self._transport.items(device_requests.providers()))
        request = credential_requests.create(name, provider_id, secret, project)
        return self._transport.call(request).credential

    def get(self, credential: str | int, *, project: str | None = None) -> Credential:
        """Return one credential, by its id or its name; of several of the name yours. Raises NotFound.

        Args:
            credential: its name or id.
            project: of a name, only that of this project; "" for yours.
        """
        if isinstance(credential, str):
            pages = credential_requests.named(credential)
            return credential_requests.the_one(credential, project, self._transport.items(pages))
        return self._transport.call(credential_requests.get(credential)).credential

    def list(self, filter: str = "") -> Table[Credential]:
        """Return the credentials of you and your projects, newest first; a filter is, for example, 'project = lab'."""
        return Table(self._transport.items(credential_requests.list_all(filter)), "Credential")

    def update(self, credential: str | int | Credential, secret: str) -> Credential:
        """Replace the secret of a credential, by its name or id. Jobs that start later use the new one."""
        credential_id = self._id_of(credential)
        return self._transport.call(credential_requests.update(credential_id, secret)).credential

    def delete(self, credential: str | int | Credential) -> None:
        """Delete a credential, by its name or id. Queued jobs that need it fail when it is their turn."""
        credential_id = self._id_of(credential)
        self._transport.call(credential_requests.delete(credential_id))

    def _id_of(self, credential: str | int | Credential) -> int:
        if isinstance(credential, Credential):
            return credential.id
        return (self.get(credential)).id if isinstance(credential, str) else credential
