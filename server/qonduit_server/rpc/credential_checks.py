# SPDX-License-Identifier: Apache-2.0
"""Check the credential of a submission: whether the provider takes one, and whether the caller may use it."""

from __future__ import annotations

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit.v1.provider_pb2 import Provider
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import FailedPrecondition, InvalidArgument
from qonduit_server.store import catalogue, credentials
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.job_rows import RerunCredential
from qonduit_server.store.ownership import Scope, owner_of


def require_token_provider(provider: Provider, field: str) -> None:
    """Refuse a credential for a provider that takes none: the job would run without it. Raises InvalidArgument."""
    _require_token(provider.name, field, with_token=provider.with_token)


def _require_token(name: str, field: str, *, with_token: bool) -> None:
    if not with_token:
        raise InvalidArgument.of(field, "credential.unexpected", f"{field}: must be empty: {name} uses no credential")


def check_credential(
    db: Database, owners: Scope, device: Device, spec: JobSpec, secret: str, credential_id: int
) -> None:
    """Check the credential of a job, and set the fields of its spec that describe it.

    Args:
        db: the database.
        owners: the user who executes the job, and its project: the stored credential belongs to one of them.
        device: of the job.
        spec: of the job.
        secret: the credential itself; may be empty.
        credential_id: a stored credential; may be 0.

    Raises:
        InvalidArgument: the device takes no credential.
        NotFound: the owners have no such credential.
        FailedPrecondition: the device requires a credential; or the credential is for another provider, cannot be
            decrypted, or cannot be encrypted.
    """
    provider = catalogue.provider(db, device.provider_id)
    has_own = device.HasField("with_token")
    with_token = device.with_token if has_own else provider.with_token
    if secret or credential_id:
        name = f"{provider.name}/{device.name}" if has_own else provider.name
        _require_token(name, "credential" if secret else "credential_id", with_token=with_token)
    elif with_token:
        raise FailedPrecondition(
            f"{provider.name} requires a credential: set credential_id to a stored one (CreateCredential, or `qonduit "
            f"credential create NAME --provider {provider.name}`), or credential to the secret itself",
            subject=f"providers/{provider.name}",
            kind="CREDENTIAL",
            reason="CREDENTIAL_REQUIRED",
        )
    if secret:
        db.sealer.require_key()
    if credential_id:
        credentials.check_usable(db, owners, credential_id, provider.id, provider.name)
    spec.credential_id = credential_id
    spec.one_time_credential = bool(secret)


def hashed(sealer: Sealer, secret: str) -> list[str]:
    """Return the keyed hashes of a secret that a request may contain, by each key, for the hash of the request.

    Returns:
        At least one; without a secret, an empty text.
    """
    return list(sealer.hashes(secret)) or ["without a key"] if secret else [""]


def rerun_credential(db: Database, secret: str, credential_id: int) -> RerunCredential:
    """Return the credential of a rerun: the one that the request names, else the stored one of the other job."""

    def check(executor: str, source: Job, spec: JobSpec) -> None:
        device = catalogue.device(db, source.executed_on_id)
        if source.one_time_credential and not (secret or credential_id):
            raise FailedPrecondition(
                f"job {source.id} had a credential of its own, which the server has erased: set credential or "
                "credential_id",
                subject=f"jobs/{source.id}",
                kind="CREDENTIAL",
                reason="CREDENTIAL_REQUIRED",
            )
        stored = credential_id or (0 if secret else source.credential_id)
        owners = frozenset({executor, owner_of(source)})
        check_credential(db, owners, device, spec, secret, stored)

    named = f" credential {credential_id}" if credential_id else ""
    hashes = [each and f" {each}" for each in hashed(db.sealer, secret)] if secret else [named]
    return RerunCredential(secret, hashes, check)
