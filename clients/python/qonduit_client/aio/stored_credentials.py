# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for asyncio for stored credentials of providers: `client.credentials`."""

from __future__ import annotations

from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.provider_pb2 import Provider
from qonduit_client import credential_requests, device_requests
from qonduit_client.aio.transport import Transport
from qonduit_client.listing import Table


class StoredCredentials:
    """Credentials of you and your projects on the server. No call returns a secret."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def create(self, name: str, provider: str | Provider, secret: str, *, project: str = "") -> Credential:
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
            known = [each async for each in self._transport.items(device_requests.providers())]
            provider_id = device_requests.provider_id_of(provider, known)
        request = credential_requests.create(name, provider_id, secret, project)
        return (await self._transport.call(request)).credential

    async def get(self, credential: str | int, *, project: str | None = None) -> Credential:
        """Return one credential, by its id or its name; of several of the name yours. Raises NotFound.

        Args:
            credential: its name or id.
            project: of a name, only that of this project; "" for yours.
        """
        if isinstance(credential, str):
            pages = credential_requests.named(credential)
            return credential_requests.the_one(
                credential, project, [each async for each in self._transport.items(pages)]
            )
        return (await self._transport.call(credential_requests.get(credential))).credential

    async def list(self, filter: str = "") -> Table[Credential]:
        """Return the credentials of you and your projects, newest first; a filter is, for example, 'project = lab'."""
        return Table([each async for each in self._transport.items(credential_requests.list_all(filter))], "Credential")

    async def update(self, credential: str | int | Credential, secret: str) -> Credential:
        """Replace the secret of a credential, by its name or id. Jobs that start later use the new one."""
        credential_id = await self._id_of(credential)
        return (await self._transport.call(credential_requests.update(credential_id, secret))).credential

    async def delete(self, credential: str | int | Credential) -> None:
        """Delete a credential, by its name or id. Queued jobs that need it fail when it is their turn."""
        credential_id = await self._id_of(credential)
        await self._transport.call(credential_requests.delete(credential_id))

    async def _id_of(self, credential: str | int | Credential) -> int:
        if isinstance(credential, Credential):
            return credential.id
        return (await self.get(credential)).id if isinstance(credential, str) else credential
