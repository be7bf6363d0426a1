# SPDX-License-Identifier: Apache-2.0
"""Credentials of providers over the wire: stored ones, those of single jobs, and refusals."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from sqlalchemy import text

from qonduit.v1 import credential_service_pb2 as calls
from qonduit.v1 import job_service_pb2 as job_calls
from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.job_pb2 import Job, JobState, JobType, QueueReason
from qonduit.v1.project_pb2 import Project, ProjectMember, ProjectRole
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit_server.encryption import key_ring
from qonduit_server.encryption.key_ring import KeyRing
from qonduit_server.encryption.sealing import Sealer
from qonduit_server.errors import FailedPrecondition
from qonduit_server.rpc.credential_checks import hashed
from qonduit_server.rpc.server import SERVICES
from qonduit_server.store import projects
from qonduit_server.store.jobs import queue_times
from tests.contract.rpc_fixture import BELL, CALLER_KEY, WAIT, RpcFixture, by_name, programs, refused, rpc_fixture

VENDOR: Final = "OTHER/sampler"
SECRET: Final = "vendor-secret-of-a-test"


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    key_ring.create(tmp_path / "keys", "one")
    return tmp_path / "keys"


@pytest.fixture
def rpc(tmp_path: Path, key_file: Path) -> Iterator[RpcFixture]:
    with rpc_fixture(tmp_path, authenticate=by_name("anna"), keys=KeyRing(key_file)) as found:
        yield found


@pytest.fixture
def provider_id(rpc: RpcFixture) -> int:
    """Return the id of the provider that takes a credential."""
    (found,) = rpc.providers.ListProviders(ListProvidersRequest(filter="with_token = true"), timeout=WAIT).providers
    return int(found.id)


def store(
    rpc: RpcFixture, provider_id: int, name: str = "lab", secret: str = SECRET, caller: str = "anna", project: str = ""
) -> int:
    made = Credential(name=name, provider_id=provider_id, project=project)
    request = calls.CreateCredentialRequest(credential=made, secret=secret)
    made = rpc.credentials.CreateCredential(request, timeout=WAIT, metadata=[(CALLER_KEY, caller)])
    return int(made.credential.id)


def sampler(**fields: Any) -> job_calls.CreateJobRequest:
    """Return a job for the provider that takes a credential."""
    job = Job(shots=10, type=JobType.JOB_TYPE_SAMPLER)
    return job_calls.CreateJobRequest(**{"job": job, "device": VENDOR, "deployment": programs(BELL)} | fields)


def test_a_credential_is_created_read_listed_changed_and_deleted_without_its_secret(
    rpc: RpcFixture, provider_id: int
) -> None:
    made = Credential(name="lab", provider_id=provider_id, id=99, owner="ben")
    request = calls.CreateCredentialRequest(credential=made, secret=SECRET)
    created = rpc.credentials.CreateCredential(request, timeout=WAIT).credential
    assert (created.name, created.owner, created.provider_id) == ("lab", "anna", provider_id)
    assert created.id != 99
    assert rpc.credentials.GetCredential(calls.GetCredentialRequest(id=created.id), timeout=WAIT).credential == created
    listed = rpc.credentials.ListCredentials(calls.ListCredentialsRequest(filter="name = lab"), timeout=WAIT)
    assert list(listed.credentials) == [created]
    change = calls.UpdateCredentialRequest(id=created.id, secret="vendor-renewed")
    changed = rpc.credentials.UpdateCredential(change, timeout=WAIT).credential
    assert changed.created_at == created.created_at
    assert changed.updated_at.ToNanoseconds() > created.updated_at.ToNanoseconds()
    rpc.credentials.DeleteCredential(calls.DeleteCredentialRequest(id=created.id), timeout=WAIT)
    code, details = refused(lambda: rpc.credentials.GetCredential(calls.GetCredentialRequest(id=created.id)))
    assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "credential")


def test_no_response_of_the_contract_has_a_field_for_a_secret() -> None:
    for service in SERVICES.values():
        for method in service.methods:
            waiting, seen = [method.output_type], set()
            while waiting:
                kind = waiting.pop()
                seen.add(kind.full_name)
                for field in kind.fields:
                    redacted = field.GetOptions().debug_redact
                    assert not redacted, f"{method.full_name}: {field.full_name}"
                    # Of an entry of the audit log, the credential is the id of a token or certificate.
                    named = field.name in ("secret", "credential") and kind.name != "AuditEntry"
                    assert not named or field.message_type is not None
                    if field.message_type is not None and field.message_type.full_name not in seen:
                        waiting.append(field.message_type)


@pytest.mark.parametrize(
    ("credential", "secret", "field"),
    [
        ({"name": ""}, SECRET, "credential.name"),
        ({"name": "a b"}, SECRET, "credential.name"),
        ({"name": "n" * 64}, SECRET, "credential.name"),
        ({"provider_id": 0}, SECRET, "credential.provider_id"),
        ({}, "short", "secret"),
        ({}, "", "secret"),
        ({}, "x" * 4097, "secret"),
    ],
)
def test_an_invalid_credential_is_refused_with_its_field(
    rpc: RpcFixture, provider_id: int, credential: dict[str, Any], secret: str, field: str
) -> None:
    fields = {"name": "lab", "provider_id": provider_id} | credential
    request = calls.CreateCredentialRequest(credential=Credential(**fields), secret=secret)
    code, details = refused(lambda: rpc.credentials.CreateCredential(request, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert [each.field for each in details["BadRequest"].field_violations] == [field]
    assert secret not in str(details) or not secret


def test_a_provider_without_tokens_and_a_missing_one_take_no_credential(rpc: RpcFixture, provider_id: int) -> None:
    other = calls.CreateCredentialRequest(credential=Credential(name="x", provider_id=3 - provider_id), secret=SECRET)
    code, details = refused(lambda: rpc.credentials.CreateCredential(other, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert "IBM uses no credential" in details["BadRequest"].field_violations[0].description
    other.credential.provider_id = 77
    assert refused(lambda: rpc.credentials.CreateCredential(other, timeout=WAIT))[0] == "NOT_FOUND"


def test_a_name_in_use_is_already_exists(rpc: RpcFixture, provider_id: int) -> None:
    store(rpc, provider_id)
    code, details = refused(lambda: store(rpc, provider_id))
    assert (code, details["ErrorInfo"].reason) == ("ALREADY_EXISTS", "NAME_IN_USE")
    assert store(rpc, provider_id, caller="ben")


def test_a_server_without_a_key_says_what_the_operator_must_set(tmp_path: Path) -> None:
    with rpc_fixture(tmp_path) as rpc:
        for call in (
            lambda: store(rpc, 2),
            lambda: rpc.jobs.CreateJob(sampler(credential=SECRET), timeout=WAIT),
        ):
            code, details = refused(call)
            assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "CREDENTIALS_DISABLED")
            assert "credential_key_file" in details["PreconditionFailure"].violations[0].description


def test_a_job_uses_a_stored_credential_or_one_of_its_own(rpc: RpcFixture, provider_id: int) -> None:
    stored = store(rpc, provider_id)
    first = rpc.jobs.CreateJob(sampler(credential_id=stored), timeout=WAIT).job
    second = rpc.jobs.CreateJob(sampler(credential="vendor-own-one"), timeout=WAIT).job
    assert (first.credential_id, first.one_time_credential) == (stored, False)
    assert (second.credential_id, second.one_time_credential) == (0, True)
    assert [task.credential for task in rpc.claim()] == [SECRET, "vendor-own-one"]
    for made in (first, second):
        text = str(rpc.jobs.GetJob(job_calls.GetJobRequest(id=made.id), timeout=WAIT))
        text += str(rpc.jobs.ListJobEvents(job_calls.ListJobEventsRequest(job_id=made.id), timeout=WAIT))
        assert SECRET not in text
        assert "vendor-own-one" not in text


def test_output_only_fields_of_the_job_choose_no_credential(rpc: RpcFixture, provider_id: int) -> None:
    stored = store(rpc, provider_id)
    job = Job(shots=10, type=JobType.JOB_TYPE_SAMPLER, credential_id=stored, one_time_credential=True)
    code, details = refused(lambda: rpc.jobs.CreateJob(sampler(job=job), timeout=WAIT))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "CREDENTIAL_REQUIRED")


def test_a_missing_credential_is_refused_with_the_way_to_create_one(rpc: RpcFixture) -> None:
    for call in (rpc.jobs.CreateJob, lambda request, timeout: next(rpc.jobs.RunJob(run_of(request), timeout=timeout))):
        code, details = refused(lambda call=call: call(sampler(), timeout=WAIT))
        assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "CREDENTIAL_REQUIRED")
        description = details["PreconditionFailure"].violations[0].description
        assert "qonduit credential create NAME --provider OTHER" in description


def run_of(request: job_calls.CreateJobRequest) -> job_calls.RunJobRequest:
    return job_calls.RunJobRequest.FromString(request.SerializeToString())


def test_a_credential_for_a_device_without_tokens_and_two_at_once_are_refused(
    rpc: RpcFixture, provider_id: int
) -> None:
    stored = store(rpc, provider_id)
    job = Job(shots=10)
    cases = {
        "credential": sampler(job=job, device="IBM/aer_simulator", credential=SECRET),
        "credential_id": sampler(job=job, device="IBM/aer_simulator", credential_id=stored),
    }
    for field, request in cases.items():
        code, details = refused(lambda request=request: rpc.jobs.CreateJob(request, timeout=WAIT))
        assert (code, details["BadRequest"].field_violations[0].field) == ("INVALID_ARGUMENT", field)
    both = sampler(credential=SECRET, credential_id=stored)
    code, details = refused(lambda: rpc.jobs.CreateJob(both, timeout=WAIT))
    assert code == "INVALID_ARGUMENT"
    assert details["BadRequest"].field_violations[0].description.startswith("credential: at most one of")
    assert SECRET not in str(details)


def test_the_credential_of_another_owner_looks_like_a_missing_one(rpc: RpcFixture, provider_id: int) -> None:
    of_ben = store(rpc, provider_id, caller="ben")
    found = [
        refused(lambda number=number: rpc.jobs.CreateJob(sampler(credential_id=number), timeout=WAIT))
        for number in (of_ben, of_ben + 10**9)
    ]
    assert [code for code, _ in found] == ["NOT_FOUND", "NOT_FOUND"]
    theirs, missing = (details["ResourceInfo"].description for _, details in found)
    assert theirs.replace(str(of_ben), "N") == missing.replace(str(of_ben + 10**9), "N")


def test_equal_requests_with_a_secret_are_one_job_also_after_the_keys_changed(rpc: RpcFixture, key_file: Path) -> None:
    request = sampler(credential=SECRET, request_id=str(uuid.uuid4()))
    first = rpc.jobs.CreateJob(request, timeout=WAIT)
    key_ring.create(key_file, "two")
    again = rpc.jobs.CreateJob(request, timeout=WAIT)
    assert (again.deduplicated, again.job.id) == (True, first.job.id)
    request.credential = "vendor-another"
    assert refused(lambda: rpc.jobs.CreateJob(request, timeout=WAIT))[0] == "ALREADY_EXISTS"


def test_the_stored_hash_of_a_request_cannot_be_computed_without_the_key(rpc: RpcFixture) -> None:
    """Of two servers with different keys, the same request has different hashes."""
    with rpc.db.read() as connection:
        rpc.jobs.CreateJob(sampler(credential=SECRET, request_id=str(uuid.uuid4())), timeout=WAIT)
        (stored,) = connection.exec_driver_sql("SELECT fingerprint FROM jobs").scalars().all()
    assert stored
    (own,) = hashed(rpc.db.sealer, SECRET)
    other = hashed(Sealer(KeyRing(keys=[key_ring.Key("one", b"x" * 32)])), SECRET)
    assert [own] != other
    assert SECRET not in own


def test_a_rerun_keeps_a_stored_credential_and_needs_a_new_one_of_its_own(rpc: RpcFixture, provider_id: int) -> None:
    stored, other = store(rpc, provider_id), store(rpc, provider_id, "other", "vendor-other-one")
    with_stored = rpc.jobs.CreateJob(sampler(credential_id=stored), timeout=WAIT).job
    with_own = rpc.jobs.CreateJob(sampler(credential=SECRET), timeout=WAIT).job
    rpc.claim()
    rpc.finish(with_own.id)

    def rerun(job: Job, **fields: Any) -> Job:
        return rpc.jobs.RerunJob(job_calls.RerunJobRequest(id=job.id, **fields), timeout=WAIT).job  # type: ignore[no-any-return]

    assert rerun(with_stored).credential_id == stored
    assert rerun(with_stored, credential_id=other).credential_id == other
    code, details = refused(lambda: rerun(with_own))
    assert (code, details["ErrorInfo"].reason) == ("FAILED_PRECONDITION", "CREDENTIAL_REQUIRED")
    again = rerun(with_own, credential="vendor-own-two")
    assert (again.credential_id, again.one_time_credential) == (0, True)
    changed = rerun(with_own, credential_id=stored)
    assert (changed.credential_id, changed.one_time_credential) == (stored, False)
    credentials = [task.credential for task in rpc.claim()]
    assert credentials == [SECRET, "vendor-other-one", "vendor-own-two", SECRET]
    request_id = str(uuid.uuid4())
    first = rerun(with_own, credential="vendor-own-two", request_id=request_id)
    assert rerun(with_own, credential="vendor-own-two", request_id=request_id).id == first.id
    for different in ({"credential": "vendor-own-three"}, {"credential_id": stored}):
        code, _ = refused(lambda d=different: rerun(with_own, request_id=request_id, **d))
        assert code == "ALREADY_EXISTS"


@pytest.fixture
def lab(rpc: RpcFixture) -> str:
    """Return a project: Anna owns it, Ben is a member, Vera a viewer, Carl is not in it."""
    projects.create(rpc.db, "anna", Project(name="lab"))
    for user, role in (("ben", ProjectRole.PROJECT_ROLE_MEMBER), ("vera", ProjectRole.PROJECT_ROLE_VIEWER)):
        projects.set_member(rpc.db, "anna", "lab", ProjectMember(user=user, role=role))
    return "lab"


def test_a_rerun_of_a_job_of_a_project_uses_no_credential_of_another_member(
    rpc: RpcFixture, provider_id: int, lab: str
) -> None:
    of_anna, of_ben = store(rpc, provider_id), store(rpc, provider_id, secret="vendor-of-ben", caller="ben")
    request = sampler(credential_id=of_anna)
    request.job.project = lab
    job = rpc.jobs.CreateJob(request, timeout=WAIT).job

    def rerun(**fields: Any) -> Job:
        again = job_calls.RerunJobRequest(id=job.id, **fields)
        made = rpc.jobs.RerunJob(again, timeout=WAIT, metadata=[(CALLER_KEY, "ben")])
        return made.job  # type: ignore[no-any-return]

    code, details = refused(rerun)
    assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "credential")
    again = rerun(credential_id=of_ben)
    assert (again.executed_by, again.project, again.credential_id) == ("ben", lab, of_ben)
    assert sorted(task.credential for task in rpc.claim()) == ["vendor-of-ben", SECRET]


def test_members_manage_the_credentials_of_a_project(rpc: RpcFixture, provider_id: int, lab: str) -> None:
    stored = store(rpc, provider_id, caller="ben", project=lab)
    own = store(rpc, provider_id, caller="ben")
    service = rpc.credentials
    for caller, code in (("vera", "PERMISSION_DENIED"), ("carl", "NOT_FOUND")):
        assert refused(lambda c=caller: store(rpc, provider_id, "other", caller=c, project=lab))[0] == code
    assert refused(lambda: store(rpc, provider_id, project=lab))[0] == "ALREADY_EXISTS"
    assert refused(lambda: store(rpc, provider_id, project="none"))[0] == "NOT_FOUND"

    def asked(method: Any, request: Any, caller: str) -> Any:
        return method(request, timeout=WAIT, metadata=[(CALLER_KEY, caller)])

    def listed(caller: str, filter: str = "") -> list[int]:
        answer = asked(service.ListCredentials, calls.ListCredentialsRequest(filter=filter), caller)
        return [each.id for each in answer.credentials]

    assert listed("ben") == [own, stored]
    assert listed("ben", "project = lab") == listed("anna") == listed("vera") == [stored]
    assert listed("ben", "NOT project:*") == [own]
    assert listed("carl") == []
    shown = asked(service.GetCredential, calls.GetCredentialRequest(id=stored), "vera").credential
    assert (shown.project, shown.owner) == ("lab", "projects/lab")
    update, delete = calls.UpdateCredentialRequest(id=stored, secret=SECRET), calls.DeleteCredentialRequest(id=stored)
    for method, request in ((service.UpdateCredential, update), (service.DeleteCredential, delete)):
        for caller, code in (("vera", "PERMISSION_DENIED"), ("carl", "NOT_FOUND")):
            assert refused(lambda m=method, r=request, c=caller: asked(m, r, c))[0] == code
    asked(service.UpdateCredential, update, "anna")
    with pytest.raises(FailedPrecondition, match="still owns 1 credential"):
        projects.delete(rpc.db, "anna", lab)
    asked(service.DeleteCredential, delete, "anna")
    projects.delete(rpc.db, "anna", lab)


def test_only_jobs_of_a_project_use_its_credential(rpc: RpcFixture, provider_id: int, lab: str) -> None:
    stored = store(rpc, provider_id, secret="vendor-of-lab", project=lab)

    def created(caller: str, project: str, credential_id: int) -> Job:
        request = sampler(credential_id=credential_id)
        request.job.project = project
        return rpc.jobs.CreateJob(request, timeout=WAIT, metadata=[(CALLER_KEY, caller)]).job  # type: ignore[no-any-return]

    of_ben = store(rpc, provider_id, secret="vendor-of-ben", caller="ben")
    job = created("ben", lab, stored)
    created("ben", lab, of_ben)
    for caller, project, credential in (("ben", "", stored), ("anna", lab, of_ben), ("carl", "", stored)):
        code, details = refused(lambda c=caller, p=project, i=credential: created(c, p, i))
        assert (code, details["ResourceInfo"].resource_type) == ("NOT_FOUND", "credential")
    again = job_calls.RerunJobRequest(id=job.id)
    assert rpc.jobs.RerunJob(again, timeout=WAIT).job.executed_by == "anna"
    assert sorted(task.credential for task in rpc.claim()) == ["vendor-of-ben", "vendor-of-lab", "vendor-of-lab"]


def test_validate_only_checks_a_credential_and_stores_nothing(rpc: RpcFixture, provider_id: int) -> None:
    stored = store(rpc, provider_id)
    shown = rpc.jobs.CreateJob(sampler(credential_id=stored, validate_only=True), timeout=WAIT).job
    assert shown.credential_id == stored
    assert rpc.jobs.CreateJob(sampler(credential=SECRET, validate_only=True), timeout=WAIT).job.one_time_credential
    code, _ = refused(lambda: rpc.jobs.CreateJob(sampler(credential_id=stored + 5, validate_only=True), timeout=WAIT))
    assert code == "NOT_FOUND"
    assert not rpc.jobs.ListJobs(job_calls.ListJobsRequest(), timeout=WAIT).jobs


def test_a_waiting_job_names_its_credential_as_the_reason_and_goes_on_once_it_is_renewed(
    rpc: RpcFixture, provider_id: int, key_file: Path
) -> None:
    stored = store(rpc, provider_id)
    job = rpc.jobs.CreateJob(sampler(credential_id=stored), timeout=WAIT).job
    key_ring.create(key_file, "two")
    key_ring.remove(key_file, "one")
    assert rpc.claim() == []
    shown = rpc.jobs.GetJob(job_calls.GetJobRequest(id=job.id), timeout=WAIT).job
    assert (shown.state, shown.queue.reason) == (JobState.JOB_STATE_QUEUED, QueueReason.QUEUE_REASON_CREDENTIAL)
    code, details = refused(lambda: rpc.jobs.CreateJob(sampler(credential_id=stored), timeout=WAIT))
    assert code == "FAILED_PRECONDITION"
    assert "does not have the key one" in details["PreconditionFailure"].violations[0].description
    rpc.credentials.UpdateCredential(calls.UpdateCredentialRequest(id=stored, secret="vendor-renewed"), timeout=WAIT)
    with rpc.db._engine.connect() as connection:
        connection.execute(text("UPDATE jobs SET not_before = 1"))
    queue_times.apply_due(rpc.db)
    assert [task.credential for task in rpc.claim()] == ["vendor-renewed"]


def test_requests_show_no_secret_in_the_text_of_messages_that_honour_redaction() -> None:
    for name in ("CreateCredentialRequest", "UpdateCredentialRequest"):
        field = calls.DESCRIPTOR.message_types_by_name[name].fields_by_name["secret"]
        assert field.GetOptions().debug_redact
    for name in ("CreateJobRequest", "RunJobRequest", "RerunJobRequest"):
        field = job_calls.DESCRIPTOR.message_types_by_name[name].fields_by_name["credential"]
        assert field.GetOptions().debug_redact
