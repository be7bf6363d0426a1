# SPDX-License-Identifier: Apache-2.0
"""CredentialService: store the credentials of providers, encrypted. No response contains a secret."""

from __future__ import annotations

from qonduit.v1.credential_service_pb2 import (
    CreateCredentialRequest,
    CreateCredentialResponse,
    DeleteCredentialRequest,
    DeleteCredentialResponse,
    GetCredentialRequest,
    GetCredentialResponse,
    ListCredentialsRequest,
    ListCredentialsResponse,
    UpdateCredentialRequest,
    UpdateCredentialResponse,
)
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.credential_checks import require_token_provider
from qonduit_server.store import catalogue, credentials
from qonduit_server.store.database import Database
from qonduit_server.store.ownership import owner_for


class CredentialService:
    """Stores, lists and deletes credentials."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create_credential(self, request: CreateCredentialRequest, call: CallContext) -> CreateCredentialResponse:
        """Store a credential."""
        new = request.credential
        owner = owner_for(call.principal.name, new.project)
        call.check_change(owner)
        require_token_provider(catalogue.provider(self._db, new.provider_id), "credential.provider_id")
        stored = credentials.create(self._db, owner, new.name, new.provider_id, request.secret)
        return CreateCredentialResponse(credential=stored)

    def get_credential(self, request: GetCredentialRequest, call: CallContext) -> GetCredentialResponse:
        """Return one credential."""
        return GetCredentialResponse(credential=credentials.get(self._db, call.scope, request.id))

    def list_credentials(self, request: ListCredentialsRequest, call: CallContext) -> ListCredentialsResponse:
        """Return a page of the credentials of the caller and its projects."""
        page = credentials.list_page(
            *(self._db, call.principal.name, request.page_size, request.page_token, request.filter),
            owners=call.memberships.readable,
        )
        return ListCredentialsResponse(credentials=page.items, next_page_token=page.next_page_token)

    def update_credential(self, request: UpdateCredentialRequest, call: CallContext) -> UpdateCredentialResponse:
        """Replace the secret of a credential."""
        changed = credentials.update(self._db, call.scope, request.id, request.secret, call.check_change)
        return UpdateCredentialResponse(credential=changed)

    def delete_credential(self, request: DeleteCredentialRequest, call: CallContext) -> DeleteCredentialResponse:
        """Delete a credential."""
        credentials.delete(self._db, call.scope, request.id, call.check_change)
        return DeleteCredentialResponse()
