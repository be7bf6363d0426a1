# SPDX-License-Identifier: Apache-2.0
"""The contract of the store, on every database: credentials of callers and of single jobs, and their keys."""

from __future__ import annotations

from typing import Any

import pytest
from sqlalchemy import text

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.job_pb2 import JOB_TYPE_RUNNER, Job, QueueReason
from qonduit.v1.project_pb2 import Project
from qonduit_server.encryption.key_ring import Key, KeyRing
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import AlreadyExists, FailedPrecondition, InvalidArgument, NotFound, ResourceExhausted
from qonduit_server.lifecycle import CANCELLED, FAILED, QUEUED, RUNNING, SUCCEEDED
from qonduit_server.store import audit_list, catalogue, credentials, projects
from qonduit_server.store.admin import adoption, key_rotation
from qonduit_server.store.audit_trail import Act, acting
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import claim_selection, job_rows, queue, queue_positions, queue_times
from qonduit_server.store.notification_bus import Notification
from qonduit_server.store.object_owners import owner_of
from tests.store_fixture import CALLER, claim, deployment, description, history, succeed

OLD, NEW = Key("old", b"o" * 32), Key("new", b"n" * 32)
SECRET = "vendor-secret-of-a-test"


def use_keys(db: Database, *keys: Key) -> None:
    """Replace the keys of the server."""
    db.sealer = Sealer(KeyRing(keys=keys))  # type: ignore[misc]


@pytest.fixture
def vendor(db: Database) -> int:
    """Return the id of a provider that takes a credential, on a server with a key."""
    described = description("VENDOR", ["device"])
    described.provider.with_token = True
    catalogue.sync(db, [described, description("IBM")])
    use_keys(db, OLD)
    return catalogue.device_by_name(db, "VENDOR/device").provider_id


def submit(db: Database, caller: str = CALLER, *, secret: str = "", credential_id: int = 0, **fields: Any) -> Job:
    """Queue a job with a credential."""
    spec = JobSpec(shots=10, type=JOB_TYPE_RUNNER, credential_id=credential_id, one_time_credential=bool(secret))
    device = catalogue.device_by_name(db, "VENDOR/device")
    new = job_rows.NewJob(
        caller=caller, spec=spec, device_id=device.id, deployment=deployment(), secret=secret, **fields
    )
    return job_rows.create(db, new).job


def execute(db: Database, statement: str, **values: Any) -> Any:
    with db._engine.connect() as connection:
        found = connection.execute(text(statement), values)
        rows = found.all() if found.returns_rows else []
        connection.commit()
        return rows


def one_time_rows(db: Database) -> list[int]:
    return [row[0] for row in execute(db, "SELECT job_id FROM job_credentials ORDER BY job_id")]


def retry_now(db: Database) -> None:
    """Let the time pass after which a postponed job is claimed again."""
    execute(db, "UPDATE jobs SET not_before = 1 WHERE not_before > 0")
    queue_times.apply_due(db)


def test_credentials_are_created_listed_and_deleted_by_their_owner_alone(db: Database, vendor: int) -> None:
    made = [credentials.create(db, "anna", name, vendor, SECRET) for name in ("one", "two")]
    other = credentials.create(db, "ben", "one", vendor, SECRET)
    assert made[0].owner == owner_of(db, f"credentials/{made[0].id}") == "anna"
    assert made[0].created_at == made[0].updated_at
    first = credentials.list_page(db, "anna", page_size=1)
    rest = credentials.list_page(db, "anna", 1, first.next_page_token)
    assert [*first.items, *rest.items] == [made[1], made[0]]
    assert not rest.next_page_token
    assert credentials.list_page(db, "anna", filter="name = one").items == [made[0]]
    assert credentials.list_page(db, "anna", filter=f"provider_id = {vendor + 1}").items == []
    with pytest.raises(InvalidArgument):
        credentials.list_page(db, "anna", filter="secret = x")
    with pytest.raises(NotFound):
        credentials.get(db, "anna", other.id)
    with pytest.raises(NotFound):
        credentials.delete(db, "anna", other.id)
    assert credentials.get(db, None, other.id) == other
    credentials.delete(db, "ben", other.id)
    with pytest.raises(NotFound):
        credentials.get(db, "ben", other.id)


def test_a_name_is_unique_for_an_owner_and_their_number_is_limited(
    db: Database, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    credentials.create(db, "anna", "one", vendor, SECRET)
    with pytest.raises(AlreadyExists, match="credential one already") as raised:
        credentials.create(db, "anna", "one", vendor, SECRET)
    assert raised.value.reason == "NAME_IN_USE"
    monkeypatch.setattr(credentials, "MAX_CREDENTIALS", 1)
    with pytest.raises(ResourceExhausted, match="you have 1 credentials"):
        credentials.create(db, "anna", "two", vendor, SECRET)
    with pytest.raises(NotFound, match="provider 999 "):
        credentials.create(db, "anna", "two", 999, SECRET)


def test_without_a_key_no_credential_is_stored(db: Database, vendor: int) -> None:
    use_keys(db)
    for store in (lambda: credentials.create(db, "anna", "one", vendor, SECRET), lambda: submit(db, secret=SECRET)):
        with pytest.raises(FailedPrecondition, match="credential_key_file") as raised:
            store()
        assert raised.value.reason == "CREDENTIALS_DISABLED"
    assert execute(db, "SELECT * FROM jobs") == []


def test_a_claim_decrypts_the_credential_of_each_job(db: Database, vendor: int) -> None:
    stored = credentials.create(db, CALLER, "one", vendor, SECRET)
    jobs = [submit(db, credential_id=stored.id), submit(db, secret="vendor-own"), submit(db, secret="vendor-other")]
    assert [(job.credential_id, job.one_time_credential) for job in jobs] == [(stored.id, False), (0, True), (0, True)]
    tasks = claim(db, provider="VENDOR")
    assert [task.credential for task in tasks] == [SECRET, "vendor-own", "vendor-other"]
    # After a claim whose answer was lost, they are decrypted again.
    assert [task.credential for task in queue.claimed(db, ["me"])["me"]] == [SECRET, "vendor-own", "vendor-other"]
    for job in jobs:
        for event in history(db, job.id):
            assert SECRET not in str(event)
            assert "vendor-own" not in str(event)


def test_a_renewed_secret_is_used_by_jobs_that_wait(db: Database, vendor: int) -> None:
    stored = credentials.create(db, CALLER, "one", vendor, SECRET)
    submit(db, credential_id=stored.id)
    changed = credentials.update(db, CALLER, stored.id, "vendor-renewed")
    assert (changed.id, changed.name, changed.created_at) == (stored.id, "one", stored.created_at)
    with pytest.raises(NotFound):
        credentials.update(db, "ben", stored.id, "vendor-of-ben")
    (task,) = claim(db, provider="VENDOR")
    assert task.credential == "vendor-renewed"


@pytest.mark.parametrize("end", ["succeeded", "cancelled before it began", "cancelled", "expired", "lost"])
def test_the_credential_of_a_single_job_is_erased_when_the_job_ends(db: Database, vendor: int, end: str) -> None:
    job, other = submit(db, secret=SECRET), submit(db, secret=SECRET)
    assert one_time_rows(db) == [job.id, other.id]
    if end == "cancelled before it began":
        state = job_rows.cancel(db, CALLER, job.id).state
    elif end == "expired":
        execute(db, "UPDATE jobs SET expires_at = 1 WHERE id = :id", id=job.id)
        queue_times.apply_due(db)
        state = job_rows.get(db, CALLER, job.id).state
    else:
        (task,) = claim(db, capacity=1, provider="VENDOR")
        assert one_time_rows(db) == [job.id, other.id]
        if end == "succeeded":
            succeed(db, [task])
        elif end == "cancelled":
            job_rows.cancel(db, CALLER, job.id)
            queue.release(db, "me", {(task.job_id, task.attempt): None}, "stopped")
        else:
            queue.expire(db, max_attempts=1, all_owners=True)
        state = job_rows.get(db, CALLER, job.id).state
    expected = {"succeeded": SUCCEEDED, "expired": FAILED, "lost": FAILED}
    assert state == expected.get(end, CANCELLED)
    assert one_time_rows(db) == [other.id]


def test_a_requeued_job_keeps_its_credential(db: Database, vendor: int) -> None:
    submit(db, secret=SECRET)
    (task,) = claim(db, provider="VENDOR")
    queue.release(db, "me", {(task.job_id, task.attempt): None}, "the worker died")
    (again,) = claim(db, provider="VENDOR")
    assert (again.attempt, again.credential) == (2, SECRET)


def test_a_job_whose_credential_was_deleted_fails_and_those_behind_it_start(db: Database, vendor: int) -> None:
    stored = credentials.create(db, CALLER, "one", vendor, SECRET)
    job, behind = submit(db, credential_id=stored.id), submit(db, secret="vendor-own")
    credentials.delete(db, CALLER, stored.id)
    assert [task.job_id for task in claim(db, capacity=1, provider="VENDOR")] == [behind.id]
    failed = job_rows.get(db, CALLER, job.id)
    assert (failed.state, failed.failure.reason) == (FAILED, "CREDENTIAL_DELETED")
    assert f"credential {stored.id} was deleted" in failed.failure.message
    assert failed.program_runs[0].state == FAILED
    assert history(db, job.id)[-1].state_change.job.failure.reason == "CREDENTIAL_DELETED"


def test_a_claim_passes_over_a_bounded_number_of_jobs_with_unusable_credentials(
    db: Database, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claim_selection, "_MOST_UNREADY", 3)
    jobs = [submit(db, secret=SECRET).id for _ in range(7)]
    use_keys(db, NEW)
    behind = submit(db, secret="vendor-own")
    received: list[Notification] = []
    db.notifications.subscribe(received.append)
    assert claim(db, capacity=2, provider="VENDOR") == []
    assert any(each.queue for each in received)  # so that another claim follows
    places = queue_positions.of_jobs(db, jobs)
    assert [places[job].reason == QueueReason.QUEUE_REASON_CREDENTIAL for job in jobs] == [True] * 5 + [False] * 2
    assert [task.job_id for task in claim(db, capacity=2, provider="VENDOR")] == [behind.id]


@pytest.mark.parametrize("damage", ["lost key", "changed row", "copied from another owner"])
def test_a_job_whose_credential_cannot_be_decrypted_waits_and_those_behind_it_start(
    db: Database, vendor: int, damage: str
) -> None:
    stored = credentials.create(db, CALLER, "one", vendor, SECRET)
    of_ben = credentials.create(db, "ben", "one", vendor, "vendor-of-ben")
    job = submit(db, credential_id=stored.id)
    (before,) = execute(db, "SELECT key_id, sealed FROM credentials WHERE id = :id", id=stored.id)
    if damage == "lost key":
        use_keys(db, NEW)
    elif damage == "changed row":
        changed = before.sealed[:-1] + bytes([before.sealed[-1] ^ 1])
        execute(db, "UPDATE credentials SET sealed = :sealed WHERE id = :id", sealed=changed, id=stored.id)
    else:
        execute(
            db,
            "UPDATE credentials SET sealed = (SELECT sealed FROM credentials WHERE id = :other) WHERE id = :id",
            other=of_ben.id,
            id=stored.id,
        )
    behind = submit(db, secret="vendor-own")
    assert [task.job_id for task in claim(db, capacity=1, provider="VENDOR")] == [behind.id]
    waiting = job_rows.get(db, CALLER, job.id)
    assert (waiting.state, waiting.attempt) == (QUEUED, 0)
    place = queue_positions.of_job(db, job.id)
    assert place is not None
    assert place.reason == QueueReason.QUEUE_REASON_CREDENTIAL
    assert 0 < queue_times.apply_due(db) <= 30
    logged = history(db, job.id)
    assert "the job waits, because its credential cannot be decrypted: " in logged[-1].log.message
    assert ("key old" in logged[-1].log.message) == (damage == "lost key")
    retry_now(db)
    assert claim(db, provider="VENDOR") == []
    assert history(db, job.id) == logged, "each try is not an event"
    # What the operator can repair.
    use_keys(db, NEW, OLD)
    execute(db, "UPDATE credentials SET sealed = :sealed WHERE id = :id", sealed=before.sealed, id=stored.id)
    retry_now(db)
    (task,) = claim(db, provider="VENDOR")
    assert (task.job_id, task.credential) == (job.id, SECRET)
    assert job_rows.get(db, CALLER, job.id).state == RUNNING


def test_a_job_cannot_take_the_credential_of_another_owner_from_the_database(db: Database, vendor: int) -> None:
    of_ben = credentials.create(db, "ben", "one", vendor, "vendor-of-ben")
    job = submit(db, credential_id=of_ben.id)
    assert claim(db, provider="VENDOR") == []
    assert job_rows.get(db, CALLER, job.id).state == QUEUED
    own = submit(db, "ben", secret="vendor-own-of-ben")
    mine = submit(db, secret="vendor-mine")
    execute(
        db,
        "UPDATE job_credentials SET sealed = (SELECT sealed FROM job_credentials WHERE job_id = :other) "
        "WHERE job_id = :id",
        other=own.id,
        id=mine.id,
    )
    assert [task.credential for task in claim(db, provider="VENDOR")] == ["vendor-own-of-ben"]


def test_a_usable_credential_belongs_to_the_owner_and_the_provider(db: Database, vendor: int) -> None:
    stored = credentials.create(db, "anna", "one", vendor, SECRET)
    credentials.check_usable(db, "anna", stored.id, vendor, "VENDOR")
    with pytest.raises(NotFound):
        credentials.check_usable(db, "ben", stored.id, vendor, "VENDOR")
    with pytest.raises(FailedPrecondition, match="is for VENDOR, and the device is one of IBM"):
        credentials.check_usable(db, "anna", stored.id, vendor + 1, "IBM")
    use_keys(db, NEW)
    with pytest.raises(FailedPrecondition, match="cannot be decrypted: the server does not have the key old"):
        credentials.check_usable(db, "anna", stored.id, vendor, "VENDOR")


def test_a_rotation_encrypts_all_rows_with_the_first_key_in_batches(
    db: Database, database_url: str, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = [credentials.create(db, CALLER, f"c{n}", vendor, f"{SECRET}{n}") for n in range(5)]
    # A job of a project is bound to the user who executes it.
    projects.create(db, CALLER, Project(name="lab"))
    jobs = [submit(db, secret=f"vendor-own-{n}", project="lab" if n else "") for n in range(3)]
    both, transactions = Sealer(KeyRing(keys=(NEW, OLD))), []
    write = key_rotation._write

    def interrupted(connection: Any, of: Any, changes: Any) -> int:
        transactions.append(len(changes))
        if len(transactions) == 2:
            raise KeyboardInterrupt
        return write(connection, of, changes)

    monkeypatch.setattr(key_rotation, "BATCH", 2)
    monkeypatch.setattr(key_rotation, "_write", interrupted)
    with pytest.raises(KeyboardInterrupt):
        key_rotation.rotate(database_url, both)
    assert key_rotation.usage(database_url) == {"new": 2, "old": 6}
    # A server that knows both keys works meanwhile, and a repeated rotation continues.
    use_keys(db, NEW, OLD)
    assert key_rotation.rotate(database_url, both) == key_rotation.Rotation(6, [])
    assert max(transactions) == 2
    assert key_rotation.rotate(database_url, both) == key_rotation.Rotation(0, [])
    assert key_rotation.usage(database_url) == {"new": 8}
    use_keys(db, NEW)
    assert sorted(task.credential for task in claim(db, provider="VENDOR")) == [f"vendor-own-{n}" for n in range(3)]
    submit(db, credential_id=stored[4].id)
    assert claim(db, provider="VENDOR")[0].credential == f"{SECRET}4"
    assert jobs


def test_a_rotation_reports_rows_that_it_cannot_decrypt_and_rotates_the_others(
    db: Database, database_url: str, vendor: int
) -> None:
    first, second = (credentials.create(db, "anna", name, vendor, SECRET) for name in ("one", "two"))
    execute(db, "UPDATE credentials SET owner = 'ben' WHERE id = :id", id=first.id)
    done = key_rotation.rotate(database_url, Sealer(KeyRing(keys=(NEW, OLD))))
    assert done.rewrapped == 1
    (message,) = done.unreadable
    assert message.startswith(f"credentials {first.id} of ben: the stored data were changed")
    use_keys(db, NEW)
    credentials.check_usable(db, "anna", second.id, vendor, "VENDOR")


def test_a_secret_that_is_replaced_during_a_rotation_is_kept(
    db: Database, database_url: str, vendor: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = credentials.create(db, CALLER, "one", vendor, SECRET)
    write = key_rotation._write

    def late(connection: Any, of: Any, changes: Any) -> int:
        if changes:
            credentials.update(db, CALLER, stored.id, "vendor-renewed")
        return write(connection, of, changes)

    monkeypatch.setattr(key_rotation, "_write", late)
    assert key_rotation.rotate(database_url, Sealer(KeyRing(keys=(NEW, OLD)))).rewrapped == 0
    submit(db, credential_id=stored.id)
    assert claim(db, provider="VENDOR")[0].credential == "vendor-renewed"


def test_a_repeated_request_is_recognized_after_the_keys_were_rotated(db: Database, vendor: int) -> None:
    request = {"request_id": "11111111-1111-4111-8111-111111111111", "secret": SECRET}
    job = submit(db, **request, fingerprint=b"by old")
    again = submit(db, **request, fingerprint=b"by new", older_fingerprints=[b"by old"])
    assert again.id == job.id
    assert job_rows.repeated(db, CALLER, "CreateJob", request["request_id"], [b"by new", b"by old"]) is not None
    with pytest.raises(AlreadyExists):
        submit(db, **request, fingerprint=b"by new", older_fingerprints=[b"of another secret"])
    assert one_time_rows(db) == [job.id]


def test_an_adoption_encrypts_credentials_again_for_the_new_owner(db: Database, vendor: int) -> None:
    stored = credentials.create(db, "anna", "lab", vendor, SECRET)
    credentials.create(db, "ben", "lab", vendor, "another secret")
    waiting = [submit(db, "anna", credential_id=stored.id), submit(db, "anna", secret=SECRET)]
    with acting(Act("root", "qonduit adopt", "command")):
        done = adoption.adopt(db, "anna", "ben")
    assert done == adoption.Adoption({"deployments": 1, "jobs": 2, "credentials": 1, "memberships": 0})
    assert credentials.list_page(db, "anna").items == []
    # Names are unique among the credentials of an owner.
    assert sorted(each.name for each in credentials.list_page(db, "ben").items) == ["lab", "lab-2"]
    assert credentials.get(db, "ben", stored.id).name == "lab-2"
    tasks = claim(db, provider="VENDOR")
    assert {task.job_id: task.credential for task in tasks} == dict.fromkeys((job.id for job in waiting), SECRET)
    objects = {entry.object for entry in audit_list.list_page(db, filter='method = "qonduit adopt"').items}
    assert f"credentials/{stored.id}" in objects


def test_what_cannot_be_decrypted_stays_until_an_adoption_has_the_key(db: Database, vendor: int) -> None:
    stored = credentials.create(db, "anna", "lab", vendor, SECRET)
    using, own = submit(db, "anna", credential_id=stored.id), submit(db, "anna", secret=SECRET)
    use_keys(db, NEW)
    done = adoption.adopt(db, "anna", "ben")
    assert done.handed == {"deployments": 1, "jobs": 1, "credentials": 0, "memberships": 0}
    cause = "the server does not have the key old (credential_key_file)"
    assert done.left == [f"jobs/{own.id}: {cause}", f"credentials/{stored.id}: {cause}"]
    use_keys(db, NEW, OLD)
    assert [task.job_id for task in claim(db, provider="VENDOR")] == [own.id]
    assert queue_positions.of_job(db, using.id).reason == QueueReason.QUEUE_REASON_CREDENTIAL  # type: ignore[union-attr]
    done = adoption.adopt(db, "anna", "ben")
    assert done == adoption.Adoption({"deployments": 0, "jobs": 1, "credentials": 1, "memberships": 0})
    assert {row[0] for row in execute(db, "SELECT key_id FROM credentials")} == {"new"}
    retry_now(db)
    assert [(task.job_id, task.credential) for task in claim(db, provider="VENDOR")] == [(using.id, SECRET)]
