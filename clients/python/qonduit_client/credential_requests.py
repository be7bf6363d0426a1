# SPDX-License-Identifier: Apache-2.0
"""Build the requests of both clients for stored credentials, without a connection."""

from __future__ import annotations

from collections.abc import Iterable

from qonduit.v1 import credential_service_pb2 as rpc
from qonduit.v1.credential_pb2 import Credential
from qonduit_client.requests import Pages, Request, missing


def create(name: str, provider_id: int, secret: str, project: str) -> Request[rpc.CreateCredentialResponse]:
    """Store a credential; not retried, since a second call would report ALREADY_EXISTS."""
    credential = Credential(name=name, provider_id=provider_id, project=project)
    request = rpc.CreateCredentialRequest(credential=credential, secret=secret)
    return Request("CredentialService/CreateCredential", request, rpc.CreateCredentialResponse, safe=False)


def get(credential_id: int) -> Request[rpc.GetCredentialResponse]:
    """Read one credential."""
    request = rpc.GetCredentialRequest(id=credential_id)
    return Request("CredentialService/GetCredential", request, rpc.GetCredentialResponse)


def list_all(filter: str) -> Pages[Credential]:
    """List credentials, newest first."""
    request = rpc.ListCredentialsRequest(filter=filter)
    return Pages(Request("CredentialService/ListCredentials", request, rpc.ListCredentialsResponse), "credentials")


def named(name: str) -> Pages[Credential]:
    """List the credential of a name."""
    quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
    return list_all(f'name = "{quoted}"')


def update(credential_id: int, secret: str) -> Request[rpc.UpdateCredentialResponse]:
    """Replace the secret of a credential; a second call changes nothing."""
    request = rpc.UpdateCredentialRequest(id=credential_id, secret=secret)
    return Request("CredentialService/UpdateCredential", request, rpc.UpdateCredentialResponse)


def delete(credential_id: int) -> Request[rpc.DeleteCredentialResponse]:
    """Delete a credential; not retried, since a second call would report NOT_FOUND."""
    request = rpc.DeleteCredentialRequest(id=credential_id)
    return Request("CredentialService/DeleteCredential", request, rpc.DeleteCredentialResponse, safe=False)


def the_one(name: str, project: str | None, found: Iterable[Credential]) -> Credential:
    """Return the credential of a name.

    Args:
        name: the name.
        project: the project that owns it; "" for the user, and unset for any owner, of which the user comes first.
        found: the credentials that a filter by the name selects.

    Raises:
        NotFound: no credential matches.
    """
    for each in sorted(found, key=lambda each: each.project):
        if each.name == name and project in (None, each.project):
            return each
    raise missing("credential", name, "client.credentials.list() returns all")
