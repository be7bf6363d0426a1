# SPDX-License-Identifier: Apache-2.0
"""Stored credentials of providers: rows with encrypted secrets. Each belongs to a user or to a project."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple

import sqlalchemy as sa
from sqlalchemy import Connection, bindparam, func, select

from qonduit.v1.credential_pb2 import Credential
from qonduit_server.encryption.sealing import Binding, Sealed, Sealer, Unreadable
from qonduit_server.errors import AlreadyExists, CallError, FailedPrecondition, NotFound, ResourceExhausted
from qonduit_server.store import projects
from qonduit_server.store.bulk_statements import among
from qonduit_server.store.column_limits import checked_text, is_id
from qonduit_server.store.database import Database
from qonduit_server.store.filter_conditions import Field, filter_conditions, number_field, project_field, text_field
from qonduit_server.store.id_allocation import new_ids
from qonduit_server.store.owned_queries import Owned
from qonduit_server.store.ownership import CheckChange, Scope, permit_all, project_of
from qonduit_server.store.paging import Cursor, Page, sent_bytes
from qonduit_server.store.schema import credentials, providers
from qonduit_server.store.timestamps import set_time
from qonduit_server.store.writer import Operation, Transaction

#: The maximum number of credentials of one owner.
MAX_CREDENTIALS: Final = 1000


class Stored(NamedTuple):
    """The encrypted secret of a stored credential, and what it is bound to."""

    provider_id: int
    sealed: Sealed
    binding: Binding


class _New(NamedTuple):
    sealer: Sealer
    owner: str
    name: str
    provider_id: int
    secret: str


class _Change(NamedTuple):
    sealer: Sealer
    owner: str
    id: int
    secret: str


class _Key(NamedTuple):
    owner: str
    id: int


_SHOWN: Final = (
    *(credentials.c.id, credentials.c.owner, credentials.c.name, credentials.c.provider_id),
    *(credentials.c.created_at, credentials.c.updated_at),
)
_SELECT: Final = select(*_SHOWN).where(credentials.c.id == bindparam("id"))
_VISIBLE: Final = Owned(_SELECT, credentials.c.owner)
_LOCKED: Final = _SELECT.where(credentials.c.owner == bindparam("caller")).with_for_update()
_SELECT_SEALED: Final = (
    select(credentials, providers.c.name.label("provider"))
    .join(providers, providers.c.id == credentials.c.provider_id)
    .where(among(credentials.c.id, "ids"))
)
_COUNT: Final = select(func.count()).where(credentials.c.owner == bindparam("caller"))
_SAME_NAME: Final = select(credentials.c.id).where(
    credentials.c.owner == bindparam("caller"), credentials.c.name == bindparam("name")
)
_PROVIDER: Final = select(providers.c.name).where(providers.c.id == bindparam("id"))
_FIELDS: Final[Mapping[str, Field]] = {
    "name": text_field(credentials.c.name),
    "provider_id": number_field(credentials.c.provider_id),
    "id": number_field(credentials.c.id),
    "project": project_field(credentials.c.owner),
}


def create(db: Database, owner: str, name: str, provider_id: int, secret: str) -> Credential:
    """Store a credential of a user, or of a project as `projects/NAME`.

    Raises:
        AlreadyExists: the owner has a credential of this name.
        FailedPrecondition: the server has no key.
        NotFound: the provider or the project does not exist.
        ResourceExhausted: the owner has too many credentials.
    """
    db.sealer.require_key()
    name = checked_text("credential.name", name)
    return db.write(_CREATE, _New(db.sealer, checked_text("caller", owner), name, provider_id, secret))


def get(db: Database, scope: Scope, credential_id: int) -> Credential:
    """Return one credential. Raises NotFound."""
    if is_id(credential_id):
        with db.read() as connection:
            if (row := _VISIBLE.execute(connection, scope, {"id": credential_id}).first()) is not None:
                return _message(row)
    raise NotFound("credential", credential_id)


def list_page(
    db: Database,
    caller: str,
    page_size: int = 0,
    page_token: str = "",
    filter: str = "",
    *,
    owners: Collection[str] = frozenset(),
) -> Page[Credential]:
    """Return a page of the credentials of a caller and of further owners, newest first. Raises InvalidArgument."""
    conditions = filter_conditions(filter, _FIELDS)
    cursor = Cursor(("credentials", caller, filter), page_size, page_token)
    of_owners = credentials.c.owner.in_(sorted({checked_text("caller", caller), *owners}))
    query = select(*_SHOWN).where(of_owners, *conditions)
    query = query.order_by(credentials.c.id.desc()).limit(cursor.size + 1)
    if after := cursor.after(int):
        query = query.where(credentials.c.id < after[0])
    with db.read() as connection:
        found = [_message(row) for row in connection.execute(query)]
    return Page(*cursor.cut(found, lambda each: (each.id,), sent_bytes))


def update(db: Database, scope: Scope, credential_id: int, secret: str, check: CheckChange = permit_all) -> Credential:
    """Replace the secret of a credential.

    Raises:
        NotFound: the credential does not exist in the scope.
        FailedPrecondition: the server has no key.
        CallError: that of `check`.
    """
    owner = get(db, scope, credential_id).owner
    check(owner)
    db.sealer.require_key()
    return db.write(_UPDATE, _Change(db.sealer, owner, credential_id, secret))


def delete(db: Database, scope: Scope, credential_id: int, check: CheckChange = permit_all) -> None:
    """Delete a credential. Raises NotFound and as `check`."""
    owner = get(db, scope, credential_id).owner
    check(owner)
    db.write(_DELETE, _Key(owner, credential_id))


def check_usable(db: Database, owners: Scope, credential_id: int, provider_id: int, provider: str) -> str:
    """Check that a job can use a credential for a provider; return its secret.

    Args:
        db: the database.
        owners: whose credentials the job can use: the user who executes it, and its project.
        credential_id: the credential.
        provider_id: the provider.
        provider: its name.

    Raises:
        NotFound: the owners have no such credential.
        FailedPrecondition: it is for another provider, or the server cannot decrypt it.
    """
    subject = f"credentials/{credential_id}"
    get(db, owners, credential_id)
    with db.read() as connection:
        found = read_sealed(connection, [credential_id]).get(credential_id)
    if found is None:
        raise NotFound("credential", credential_id)
    if found.provider_id != provider_id:
        raise FailedPrecondition(
            f"credential_id: credential {credential_id} is for {found.binding.provider}, and the device is one of "
            f"{provider}",
            subject=subject,
            kind="CREDENTIAL_PROVIDER",
        )
    try:
        return db.sealer.open(found.sealed, found.binding)
    except Unreadable as error:
        raise FailedPrecondition(
            f"credential_id: credential {credential_id} cannot be decrypted: {error}. Ask the operator, or replace its "
            "secret (UpdateCredential)",
            subject=subject,
            kind="CREDENTIAL_UNREADABLE",
        ) from error


def read_sealed(connection: Connection, ids: Collection[int]) -> dict[int, Stored]:
    """Return the encrypted secrets of credentials by id; missing ones are left out."""
    return {
        row.id: Stored(row.provider_id, Sealed(row.key_id, row.sealed), binding_of(row.id, row.owner, row.provider))
        for row in connection.execute(_SELECT_SEALED, {"ids": list(ids)})
    }


def binding_of(credential_id: int, owner: str, provider: str) -> Binding:
    """Return what the secret of a stored credential is bound to."""
    return Binding("credentials", credential_id, owner, provider)


def _message(row: Any) -> Credential:
    credential = Credential(id=row.id, owner=row.owner, name=row.name, provider_id=row.provider_id)
    credential.project = project_of(row.owner)
    set_time(credential.created_at, row.created_at)
    set_time(credential.updated_at, row.updated_at)
    return credential


def _create(transaction: Transaction, calls: Sequence[_New]) -> list[Credential | CallError]:
    connection = transaction.connection
    ids = iter(new_ids(transaction, (credentials, len(calls)))[0])
    unknown = projects.missing(connection, (new.owner for new in calls))
    answers: list[Credential | CallError] = []
    for new in calls:
        provider = connection.execute(_PROVIDER, {"id": new.provider_id}).scalar()
        has = f"project {project} has" if (project := project_of(new.owner)) else "you have"
        if new.owner in unknown:
            answers.append(NotFound("project", project))
        elif provider is None:
            answers.append(NotFound("provider", new.provider_id))
        elif connection.execute(_SAME_NAME, {"caller": new.owner, "name": new.name}).first() is not None:
            message = f"credential.name: {has} a credential {new.name} already; update it, or choose another name"
            answers.append(AlreadyExists(message, reason="NAME_IN_USE"))
        elif connection.execute(_COUNT, {"caller": new.owner}).scalar_one() >= MAX_CREDENTIALS:
            message = f"{has} {MAX_CREDENTIALS} credentials, and no more are allowed; delete some"
            answers.append(ResourceExhausted(message, subject="credentials", retry_after=None))
        else:
            credential_id = next(ids)
            sealed = new.sealer.seal(new.secret, binding_of(credential_id, new.owner, provider))
            values = {"id": credential_id, "owner": new.owner, "name": new.name, "provider_id": new.provider_id}
            times = {"created_at": transaction.now, "updated_at": transaction.now}
            connection.execute(
                sa.insert(credentials).values(**values, **times, key_id=sealed.key_id, sealed=sealed.data)
            )
            answers.append(_message(connection.execute(_SELECT, {"id": credential_id}).one()))
    return answers


def _update(transaction: Transaction, calls: Sequence[_Change]) -> list[Credential | CallError]:
    connection = transaction.connection
    answers: list[Credential | CallError] = []
    for change in calls:
        row = connection.execute(_LOCKED, {"id": change.id, "caller": change.owner}).first()
        if row is None:
            answers.append(NotFound("credential", change.id))
            continue
        provider = connection.execute(_PROVIDER, {"id": row.provider_id}).scalar_one()
        sealed = change.sealer.seal(change.secret, binding_of(change.id, change.owner, provider))
        values = {"key_id": sealed.key_id, "sealed": sealed.data, "updated_at": transaction.now}
        connection.execute(sa.update(credentials).where(credentials.c.id == change.id).values(values))
        answers.append(_message(connection.execute(_SELECT, {"id": change.id}).one()))
    return answers


def _delete(transaction: Transaction, calls: Sequence[_Key]) -> list[CallError | None]:
    answers: list[CallError | None] = []
    for owner, credential_id in calls:
        gone = transaction.connection.execute(
            sa.delete(credentials).where(credentials.c.id == credential_id, credentials.c.owner == owner)
        )
        answers.append(None if gone.rowcount else NotFound("credential", credential_id))
    return answers


_CREATE: Final[Operation[_New, Credential]] = Operation(_create)
_UPDATE: Final[Operation[_Change, Credential]] = Operation(_update)
_DELETE: Final[Operation[_Key, None]] = Operation(_delete)
