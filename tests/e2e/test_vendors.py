# SPDX-License-Identifier: Apache-2.0
"""The contract of remote providers, on each vendor's service over HTTP, and on each way to prevent double submissions.

The services are processes of the tests. What calls them is the vendor's own SDK, where the vendor has one.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cache
from itertools import pairwise
from typing import Any

import grpc
import pytest

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.credential_pb2 import Credential
from qonduit.v1.credential_service_pb2 import CreateCredentialRequest, UpdateCredentialRequest
from qonduit.v1.credential_service_pb2_grpc import CredentialServiceStub
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit.v1.job_pb2 import JobState, JobType, VendorCancellation, VendorCost, VendorMode, VendorOptions
from qonduit.v1.provider_service_pb2 import ListProvidersRequest
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from tests.vendor_cloud.served_vendor import (
    ASYMMETRIC,
    KINDS,
    PATIENCE,
    TOKEN,
    ServedVendor,
    VendorKind,
    behaving_well,
    served_vendor,
)

SUCCEEDED, FAILED = JobState.JOB_STATE_SUCCEEDED, JobState.JOB_STATE_FAILED
CANCELLED, RUNNING = JobState.JOB_STATE_CANCELLED, JobState.JOB_STATE_RUNNING
RIGHT = [{"0x1 0x0": 10}]
#: What the contract expects of a submission that the vendor accepted without an answer.
FOUND_AGAIN = {name: name not in ("CLOUD_NOTHING", "RIGETTI_CLOUD", "IQM_CLOUD") for name in KINDS}
#: A repeated submission has no further effect.
REPEATABLE = ("CLOUD_ID", "CLOUD_TOKEN", "GOOGLE_CLOUD", "AWS_CLOUD")
#: One provider of each vendor.
VENDORS = ("CLOUD_TOKEN", "IBM_CLOUD", "IONQ_CLOUD", "GOOGLE_CLOUD", "AWS_CLOUD", "RIGETTI_CLOUD", "IQM_CLOUD")
#: The same, with one that has neither ids of the client nor tokens or tags in place of the one that has tokens.
OTHERS = ("CLOUD_NOTHING", *VENDORS[1:])
#: Those whose submissions may stay unknown, and whose jobs are adopted by their ids.
ADOPTING = ("CLOUD_NOTHING", "IBM_CLOUD", "IONQ_CLOUD", "RIGETTI_CLOUD", "IQM_CLOUD")


def on(
    *providers: str,
    modes: Sequence[str] = (),
    without: Mapping[str, str] | None = None,
    long: Collection[str | tuple[str, str]] = (),
) -> pytest.MarkDecorator:
    """Run a test on providers.

    Args:
        providers: their names.
        modes: for each provider, the values of the argument `mode`.
        without: the providers whose service cannot produce the case, and why.
        long: the providers, or providers and modes, of which `make vendors` alone runs the test, beside those of the
            vendors that it alone runs.
    """
    cases = [(name, mode) for name in providers if name not in (without or {}) for mode in modes or ("",)]
    return pytest.mark.parametrize(
        ("served", "provider", "mode") if modes else ("served", "provider"),
        [
            pytest.param(
                *((name, name, mode) if modes else (name, name)),
                id=f"{name}-{mode}" if modes else name,
                marks=[pytest.mark.long] if KINDS[name].long or name in long or (name, mode) in long else [],
            )
            for name, mode in cases
        ],
        indirect=["served"],
    )


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[VendorKind], ServedVendor]]:
    """Return a function that starts the server of a vendor, once."""
    with ExitStack() as stack:

        @cache
        def started(kind: VendorKind) -> ServedVendor:
            return stack.enter_context(served_vendor(tmp_path_factory.mktemp("vendor"), kind=kind))

        yield started


@pytest.fixture
def served(servers: Callable[[VendorKind], ServedVendor], request: pytest.FixtureRequest) -> Iterator[ServedVendor]:
    """Return the server of a provider; the vendor behaves well at the start of each test."""
    with behaving_well(servers(KINDS[request.param])) as served:
        yield served


def accepted_by(served: ServedVendor) -> Any:
    """Return a function that returns how many jobs the vendor has accepted since."""
    before = served.vendor.accepted
    return lambda: served.vendor.accepted - before


@on(*KINDS)
def test_a_job_runs_at_the_vendor(served: ServedVendor, provider: str) -> None:
    accepted = accepted_by(served)
    job = served.run(provider)
    assert job.state == SUCCEEDED, job.failure
    assert served.counts(job) == RIGHT
    assert accepted() == 1
    status = job.provider_status
    assert [part.vendor_id for part in status.parts] == [job.provider_specific_id]
    assert status.state == served.kind.done
    cost = served.cost(job)
    assert (cost.amount, cost.unit) == (pytest.approx(served.kind.price), served.kind.unit)
    (result,) = served.list_results(job)
    assert [(register.name, register.size) for register in result.registers] == [("b", 3), ("a", 1)]
    name, value = served.kind.fact
    assert result.meta_data[name] == value


@on(*VENDORS, long=["IBM_CLOUD"])
def test_programs_and_shots_are_divided_by_the_vendors_limits_and_joined(served: ServedVendor, provider: str) -> None:
    accepted = accepted_by(served)
    job = served.run(provider, *[ASYMMETRIC] * 4, shots=1500)
    assert job.state == SUCCEEDED, job.failure
    assert served.counts(job) == [{"0x1 0x0": 1500}] * 4
    # 3 and 1 circuits, for example, and 1000 and 500 shots.
    parts = -(-4 // served.kind.circuits) * 2
    assert accepted() == parts
    assert job.provider_status.part_count == parts
    assert served.cost(job).amount == pytest.approx(served.kind.divided_price)


@on(*VENDORS, long=["IBM_CLOUD"])
def test_a_job_that_may_cost_more_than_its_maximum_is_not_submitted(served: ServedVendor, provider: str) -> None:
    accepted = accepted_by(served)
    request = served.request(provider)
    request.validate_only = True
    estimate = served.jobs.CreateJob(request, timeout=PATIENCE).cost
    assert estimate.unit == served.kind.unit
    assert estimate.amount >= served.kind.price - 1e-6
    least = VendorCost(amount=estimate.amount * 0.99, unit=estimate.unit)
    refused = served.run(provider, max_cost=least)
    assert (refused.failure.reason, accepted()) == ("COST_LIMIT", 0)
    assert served.run(provider, max_cost=estimate).state == SUCCEEDED


@on("IBM_CLOUD")
def test_the_parts_of_a_job_share_a_session_that_is_opened_once_and_closed(served: ServedVendor, provider: str) -> None:
    before = served.vendor.control()
    options = VendorOptions(mode=VendorMode.VENDOR_MODE_SESSION, max_seconds=600)
    job = served.run(provider, *[ASYMMETRIC] * 4, vendor_options=options)
    assert job.state == SUCCEEDED, job.failure
    after = served.vendor.control()
    (name,) = after["groups"].keys() - before["groups"].keys()
    assert {after["jobs"][part.vendor_id]["group"] for part in job.provider_status.parts} == {name}
    assert (after["groups"][name]["state"], job.provider_status.group.id) == ("closed", name)


@on("IBM_CLOUD")
def test_the_vendors_own_estimator_returns_values_errors_and_shots(served: ServedVendor, provider: str) -> None:
    request = served.request(provider, 'OPENQASM 2.0; include "qelib1.inc"; qreg q[4]; x q[1];', shots=0)
    request.job.type, request.job.vendor_options.resilience_level = JobType.JOB_TYPE_ESTIMATOR, 1
    request.job.estimator.precision = 0.1
    for expression in ("Z0", "Z1 + 0.5", "Z2"):
        request.job.estimator.observables.add().expression = expression
    job = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert job.state == SUCCEEDED, job.failure
    (result,) = served.list_results(job)
    found = result.expectation_values
    assert (list(found.values), list(found.shots)) == ([1.0, -0.5, 1.0], [100] * 3)
    assert list(found.standard_errors) == pytest.approx([0.0] * 3, abs=1e-12)


@on(*VENDORS, long=["IBM_CLOUD"])
def test_estimates_come_from_submissions_of_several_calls(served: ServedVendor, provider: str) -> None:
    request = served.request(provider, 'OPENQASM 2.0; include "qelib1.inc"; qreg q[1]; x q[0];', shots=0)
    request.job.type = JobType.JOB_TYPE_ESTIMATOR
    request.job.estimator.precision = 0.05
    request.job.estimator.observables.add().expression = "Z0"
    found = served.end(served.jobs.CreateJob(request, timeout=PATIENCE).job.id)
    assert found.state == SUCCEEDED, found.failure
    (result,) = served.list_results(found)
    assert list(result.expectation_values.values) == [-1.0]


@on(
    *VENDORS,
    without={
        "IBM_CLOUD": "a job of IBM's sampler fails as a whole",
        "IQM_CLOUD": "a job of IQM fails as a whole",
    },
)
def test_a_part_that_fails_keeps_the_others(served: ServedVendor, provider: str) -> None:
    served.vendor.control(outcome="partial")
    job = served.run(provider, ASYMMETRIC, ASYMMETRIC)
    # Programs that are jobs of their own arrive in any order.
    assert sorted(run.state for run in job.program_runs) == sorted([FAILED, SUCCEEDED])
    (failure,) = (run.failure for run in job.program_runs if run.state == FAILED)
    assert failure.category == FailureCategory.FAILURE_CATEGORY_PROVIDER
    assert failure.provider_code == served.kind.code("E-9")
    assert served.counts(job) == RIGHT


@on(*VENDORS)
def test_a_job_that_fails_at_the_vendor_reports_its_error_and_its_charge(served: ServedVendor, provider: str) -> None:
    served.vendor.control(outcome="failed")
    job = served.run(provider)
    assert (job.state, job.failure.reason) == (FAILED, "VENDOR_FAILED")
    assert job.failure.provider_code == served.kind.code("E-7")
    assert "the cryostat is warm" in job.failure.message
    assert ("may be charged" in job.failure.message) == served.kind.charges
    assert job.provider_status.may_be_charged == served.kind.charges


@on(
    *VENDORS,
    modes=["busy", "fail", "half", "hang", "slow"],
    long=[
        ("IBM_CLOUD", "slow"),
        ("GOOGLE_CLOUD", "slow"),
        ("AWS_CLOUD", "slow"),
        ("IBM_CLOUD", "busy"),
        ("IBM_CLOUD", "half"),
        ("IBM_CLOUD", "hang"),
        ("GOOGLE_CLOUD", "hang"),
        ("AWS_CLOUD", "hang"),
    ],
)
def test_polls_and_reads_that_fail_are_repeated(served: ServedVendor, provider: str, mode: str) -> None:
    served.vendor.control(polls=[mode], fetches=[mode])
    job = served.run(provider)
    assert job.state == SUCCEEDED, job.failure
    assert served.counts(job) == RIGHT


@on(*OTHERS)
def test_a_busy_vendor_is_asked_again_after_the_time_that_it_names(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["busy", "busy"], retry_after=0.7)
    accepted = accepted_by(served)
    job = served.run(provider)
    assert (job.state, accepted()) == (SUCCEEDED, 1)
    submits = [at for kind, at in served.vendor.control()["times"] if kind == "submit"][-3:]
    assert min(after - before for before, after in pairwise(submits)) >= 0.7


@on(*OTHERS)
def test_a_refused_submission_fails_with_the_vendors_reason(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["refuse"])
    accepted = accepted_by(served)
    job = served.run(provider)
    assert (job.state, job.failure.reason) == (FAILED, "VENDOR_REFUSED")
    assert job.failure.provider_code == served.kind.code("E-1")
    assert "the machine has no such gate" in job.failure.message
    assert accepted() == 0


@on(
    *VENDORS,
    without={
        "AWS_CLOUD": "a quota of Amazon limits rates, and the job waits",
        "GOOGLE_CLOUD": "gRPC has one status for quotas and for busy services, and the job waits",
        "RIGETTI_CLOUD": "gRPC has one status for quotas and for busy services, and the job waits",
    },
)
def test_a_job_above_the_quota_of_its_account_fails_with_the_vendors_reason(
    served: ServedVendor, provider: str
) -> None:
    served.vendor.control(submits=["quota"])
    accepted = accepted_by(served)
    job = served.run(provider)
    assert (job.state, job.failure.reason, accepted()) == (FAILED, "VENDOR_REFUSED", 0)
    assert "the quota of the account is used up" in job.failure.message


@on(
    *VENDORS,
    modes=["-600", "600"],
    without={"AWS_CLOUD": "Amazon refuses signatures of another time than its own"},
    long=[("IBM_CLOUD", "-600"), ("GOOGLE_CLOUD", "-600"), ("GOOGLE_CLOUD", "600")],
)
def test_a_vendor_whose_clock_is_fast_or_late_runs_a_job(served: ServedVendor, provider: str, mode: str) -> None:
    served.vendor.control(skew=float(mode), submits=["busy"], polls=["busy"], retry_after=1.0)
    job = served.run(provider)
    assert job.state == SUCCEEDED, job.failure
    assert served.counts(job) == RIGHT
    # The date in Retry-After is one of the vendor's clock.
    submits = [at for kind, at in served.vendor.control()["times"] if kind == "submit"][-2:]
    assert submits[1] - submits[0] < 300


@on(
    *KINDS,
    modes=["accept-cut", "accept-fail", "accept-half", "accept-hang"],
    long=[
        ("IBM_CLOUD", "accept-fail"),
        ("IBM_CLOUD", "accept-half"),
        ("IONQ_CLOUD", "accept-half"),
        ("GOOGLE_CLOUD", "accept-fail"),
        ("GOOGLE_CLOUD", "accept-half"),
        ("GOOGLE_CLOUD", "accept-hang"),
        ("AWS_CLOUD", "accept-fail"),
        ("AWS_CLOUD", "accept-half"),
    ],
)
def test_a_submission_without_an_answer_is_never_made_twice(served: ServedVendor, provider: str, mode: str) -> None:
    # After a call that hangs, a process starts: by the first look-up, the time for look-ups may have passed.
    served.vendor.control(submits=[mode], lag=0 if mode == "accept-hang" else 2)
    accepted = accepted_by(served)
    job = served.run(provider)
    assert accepted() == 1
    if FOUND_AGAIN[provider]:
        assert job.state == SUCCEEDED, job.failure
        assert served.counts(job) == RIGHT
    else:
        assert (job.state, job.failure.reason) == (FAILED, "SUBMISSION_UNKNOWN")
        assert f"qonduit resolve {job.id}" in job.failure.message


@on(*KINDS)
def test_a_submission_that_was_not_accepted_is_repeated_only_where_that_is_safe(
    served: ServedVendor, provider: str
) -> None:
    served.vendor.control(submits=["cut"])
    accepted = accepted_by(served)
    job = served.run(provider)
    if provider in REPEATABLE:
        assert (job.state, accepted()) == (SUCCEEDED, 1)
    else:
        # Its absence from a list shows nothing.
        assert (job.state, job.failure.reason, accepted()) == (FAILED, "SUBMISSION_UNKNOWN", 0)


@on(*VENDORS)
def test_a_job_that_the_vendor_has_forgotten_fails(served: ServedVendor, provider: str) -> None:
    served.vendor.control(hold=True)
    job_id = served.create(provider)
    served.at_vendor(job_id)
    served.vendor.control(forget=True)
    job = served.end(job_id)
    assert (job.state, job.failure.reason) == (FAILED, "VENDOR_JOB_LOST")
    assert job.provider_specific_id in job.failure.message


@on(*VENDORS)
def test_a_job_in_the_vendors_queue_is_running_and_shows_its_position(served: ServedVendor, provider: str) -> None:
    served.vendor.control(hold=True)
    job_id = served.create(provider)
    job = served.until(job_id, lambda event: event.provider_status.state == served.kind.queued)
    assert job.state == RUNNING
    assert job.provider_specific_id
    assert job.provider_status.HasField("queue_position") == served.kind.has_positions
    served.vendor.control(hold=False)
    assert served.end(job_id).state == SUCCEEDED


@on(*VENDORS)
@pytest.mark.parametrize(
    ("answer", "state", "cancellation"),
    [
        ("ok", CANCELLED, VendorCancellation.VENDOR_CANCELLATION_CONFIRMED),
        ("refuse", SUCCEEDED, VendorCancellation.VENDOR_CANCELLATION_REFUSED),
    ],
)
def test_a_cancelled_job_ends_as_the_vendor_reports(
    served: ServedVendor, provider: str, answer: str, state: JobState, cancellation: VendorCancellation
) -> None:
    served.vendor.control(hold=True, cancel=answer)
    job_id = served.create(provider)
    served.at_vendor(job_id)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    served.until(job_id, lambda event: bool(event.provider_status.cancellation))
    served.vendor.control(hold=False)
    job = served.end(job_id)
    assert (job.state, job.provider_status.cancellation) == (state, cancellation)


@on("CLOUD_TOKEN")
def test_a_cancelled_job_keeps_the_results_of_its_finished_parts(served: ServedVendor, provider: str) -> None:
    served.vendor.control(hold_large=True)
    job_id = served.create(provider, *[ASYMMETRIC] * 4)  # 3 circuits, and 1
    served.until(job_id, lambda event: "complete" in [part.state for part in event.provider_status.parts])
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    job = served.end(job_id)
    assert job.state == CANCELLED, job.failure
    assert [run.state for run in job.program_runs] == [CANCELLED] * 3 + [SUCCEEDED]
    assert served.counts(job) == RIGHT


@on(*VENDORS, long=["IBM_CLOUD"])
def test_a_job_that_was_cancelled_before_its_submission_is_not_submitted(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["busy"] * 1000, retry_after=0.1)
    accepted = accepted_by(served)
    job_id = served.create(provider)
    served.until(job_id, lambda event: "slow down" in event.provider_status.message)
    served.jobs.CancelJob(calls.CancelJobRequest(id=job_id), timeout=PATIENCE)
    assert served.end(job_id).state == CANCELLED
    assert accepted() == 0


@on(*VENDORS)
def test_a_job_without_a_token_is_refused(served: ServedVendor, provider: str) -> None:
    with pytest.raises(grpc.RpcError, match="requires a credential") as refused:
        served.create(provider, credential="")
    assert refused.value.code() == grpc.StatusCode.FAILED_PRECONDITION


@on(*VENDORS)
def test_a_wrong_token_fails_clearly_and_is_in_no_message(served: ServedVendor, provider: str) -> None:
    served.vendor.control(tokens=["another-token"])
    job = served.run(provider)
    assert (job.state, job.failure.reason) == (FAILED, "CREDENTIAL_REJECTED")
    assert "store a valid credential" in job.failure.message
    assert TOKEN not in str(job)


@on(*VENDORS, long=["GOOGLE_CLOUD"])
def test_a_waiting_job_continues_once_its_expired_token_is_renewed(served: ServedVendor, provider: str) -> None:
    providers = ProviderServiceStub(served.channel).ListProviders(ListProvidersRequest(filter=f"name = {provider}"))
    store = CredentialServiceStub(served.channel)
    made = Credential(name="lab", provider_id=providers.providers[0].id)
    created = CreateCredentialRequest(credential=made, secret=served.kind.credential("the-first-token"))
    stored = store.CreateCredential(created, timeout=PATIENCE).credential
    served.vendor.control(hold=True)
    request = served.request(provider, credential="")
    request.credential_id = stored.id
    job_id = served.jobs.CreateJob(request, timeout=PATIENCE).job.id
    served.at_vendor(job_id)
    served.vendor.control(tokens=["the-second-token"], hold=False)
    job = served.until(job_id, lambda event: "may have expired" in event.provider_status.message)
    assert f"credential {stored.id}" in job.provider_status.message
    assert "the-first-token" not in str(job)
    renewed = UpdateCredentialRequest(id=stored.id, secret=served.kind.credential("the-second-token"))
    store.UpdateCredential(renewed, timeout=PATIENCE)
    assert served.end(job_id).state == SUCCEEDED


@on(*VENDORS, long=["GOOGLE_CLOUD"])
def test_a_credential_is_written_nowhere(served: ServedVendor, provider: str) -> None:
    secret = "a-token-that-is-written-nowhere"
    served.vendor.control(tokens=["another"])
    served.run(provider, credential=secret)
    served.vendor.control(tokens=[])
    served.run(provider, credential=secret)
    assert served.server.log is not None
    for path in served.server.log.parent.rglob("*"):
        if path.is_file():
            assert secret.encode() not in path.read_bytes(), path


@on(*ADOPTING, long=["IBM_CLOUD", "IONQ_CLOUD"])
def test_an_unknown_submission_is_adopted_by_its_vendor_id(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["accept-cut"], lag=1000)
    accepted = accepted_by(served)
    failed = served.run(provider)
    assert failed.failure.reason == "SUBMISSION_UNKNOWN"
    with pytest.raises(grpc.RpcError) as refused:
        served.jobs.RerunJob(calls.RerunJobRequest(id=failed.id, credential=TOKEN), timeout=PATIENCE)
    assert "could be charged twice" in str(refused.value)
    vendor_id = list(served.vendor.control()["jobs"])[-1]
    request = calls.ResolveSubmissionRequest(id=failed.id, vendor_id=vendor_id, credential=TOKEN)
    adopted = served.jobs.ResolveSubmission(request, timeout=PATIENCE).job
    assert adopted.resolved_from == failed.id
    job = served.end(adopted.id)
    assert job.state == SUCCEEDED, job.failure
    assert (job.provider_specific_id, served.counts(job), accepted()) == (vendor_id, RIGHT, 1)
    with pytest.raises(grpc.RpcError) as settled:
        served.jobs.ResolveSubmission(request, timeout=PATIENCE)
    assert "no unknown submission" in str(settled.value)


@on(*ADOPTING, long=["IBM_CLOUD", "IONQ_CLOUD"])
def test_a_job_that_was_adopted_by_a_wrong_id_is_settled_again(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["accept-cut"], lag=1000)
    accepted = accepted_by(served)
    failed = served.run(provider)
    wrong = calls.ResolveSubmissionRequest(id=failed.id, vendor_id="job-unknown", credential=TOKEN)
    adopted = served.end(served.jobs.ResolveSubmission(wrong, timeout=PATIENCE).job.id)
    assert (adopted.state, adopted.failure.reason) == (FAILED, "SUBMISSION_UNKNOWN")
    assert "does not know its job job-unknown" in adopted.failure.message
    vendor_id = list(served.vendor.control()["jobs"])[-1]
    right = calls.ResolveSubmissionRequest(id=adopted.id, vendor_id=vendor_id, credential=TOKEN)
    job = served.end(served.jobs.ResolveSubmission(right, timeout=PATIENCE).job.id)
    assert (job.state, served.counts(job), accepted()) == (SUCCEEDED, RIGHT, 1)


@on(*ADOPTING, long=["IBM_CLOUD", "IONQ_CLOUD"])
def test_a_submission_that_did_not_happen_permits_a_rerun(served: ServedVendor, provider: str) -> None:
    served.vendor.control(submits=["cut"])
    failed = served.run(provider)
    command = [sys.executable, "-m", "qonduit_client.cli", "--server", served.server.target]
    done = subprocess.run(
        [*command, "resolve", str(failed.id), "--not-submitted"], capture_output=True, text=True, timeout=PATIENCE
    )
    assert done.returncode == 0, done.stderr
    again = served.jobs.RerunJob(calls.RerunJobRequest(id=failed.id, credential=TOKEN), timeout=PATIENCE).job
    assert served.end(again.id).state == SUCCEEDED
