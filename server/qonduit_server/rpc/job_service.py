# SPDX-License-Identifier: Apache-2.0
"""JobService: submit, watch, cancel, rerun and delete jobs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import replace
from typing import Any, TypeAlias

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.device_pb2 import Device
from qonduit.v1.event_pb2 import JobEvent
from qonduit.v1.job_pb2 import JobState, VendorCost
from qonduit.v1.job_service_pb2 import (
    CancelJobRequest,
    CancelJobResponse,
    CancelJobsRequest,
    CancelJobsResponse,
    CompiledProgram,
    CreateJobRequest,
    CreateJobResponse,
    DeleteJobRequest,
    DeleteJobResponse,
    DeleteJobsRequest,
    DeleteJobsResponse,
    GetJobRequest,
    GetJobResponse,
    ListJobEventsRequest,
    ListJobEventsResponse,
    ListJobsRequest,
    ListJobsResponse,
    RerunJobRequest,
    RerunJobResponse,
    ResolveSubmissionRequest,
    ResolveSubmissionResponse,
    RunJobRequest,
    RunJobResponse,
    UpdateJobRequest,
    UpdateJobResponse,
    WatchJobRequest,
)
from qonduit_server.errors import CallError
from qonduit_server.rpc import automatic_device, submission_checks
from qonduit_server.rpc.automatic_device import is_automatic
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.credential_checks import rerun_credential
from qonduit_server.rpc.device_comparison import Caller, DeviceComparison
from qonduit_server.rpc.error_status import outcome
from qonduit_server.rpc.job_validation import JobValidator
from qonduit_server.rpc.job_watches import DEFAULT_HEARTBEAT, JobWatches, draining
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.rpc.server_program_checks import UPLOAD, ServerProgramChecker, is_server_program
from qonduit_server.rpc.stream_sender import Stream
from qonduit_server.rpc.submission_checks import UnplacedJob
from qonduit_server.rpc.watch import Wanted
from qonduit_server.store import event_log, log_epoch
from qonduit_server.store.database import Database
from qonduit_server.store.jobs import bulk_changes, job_list, job_rows, job_updates, queue_positions

_Request: TypeAlias = CreateJobRequest | RunJobRequest


class JobService:
    """Applies requests to the store and opens watches for streams; it runs no job itself."""

    def __init__(
        self,
        db: Database,
        limits: Limits,
        watching: JobWatches,
        stopping: threading.Event,
        compiler: JobValidator,
        comparison: DeviceComparison,
        checker: ServerProgramChecker,
        threads: ThreadPoolExecutor,
    ) -> None:
        self._db = db
        self._checker = checker
        self._compiler = compiler
        self._comparison = comparison
        #: RunJob calls that wait for a worker (to validate the job, check its server program or choose its device) wait
        #: in these threads.
        self._threads = threads
        self._limits = limits
        self._watching = watching
        #: While it is set, the server accepts no jobs, because it would not run them.
        self._stopping = stopping

    def create_job(self, request: CreateJobRequest, call: CallContext) -> CreateJobResponse:
        """Queue a job."""
        self._open_for_jobs()
        checked, holds_slot = self._admitted(request, call, "CreateJob")
        if holds_slot:
            try:
                caller = Caller(call.principal.name, call.seconds_left(), call.add_callback)
                checked, compiled, cost = self._prepared(request, checked, call, caller, "CreateJob")
            finally:
                self._compiler.release_slot(call.principal.name)
            if request.validate_only:
                return CreateJobResponse(job=submission_checks.preview(checked), compiled=compiled, cost=cost)
        assert not isinstance(checked, UnplacedJob)
        created = self._created(checked, call)
        call.job_id = created.job.id
        return CreateJobResponse(job=created.job, deduplicated=created.deduplicated)

    def run_job(self, request: RunJobRequest, call: CallContext, stream: Stream) -> None:
        """Queue a job and watch it."""
        self._open_for_jobs()
        checked, holds_slot = self._admitted(request, call, "RunJob")
        if holds_slot:
            # The context contains the act that the audit log records.
            self._threads.submit(copy_context().run, self._prepare_and_watch, request, checked, call, stream)
        else:
            assert not isinstance(checked, UnplacedJob)
            self._watch_created(request, checked, call, stream)

    def get_job(self, request: GetJobRequest, call: CallContext) -> GetJobResponse:
        """Return one job."""
        call.job_id = request.id
        job = job_rows.get(self._db, call.scope, request.id)
        place = queue_positions.of_job(self._db, job.id) if job.state == JobState.JOB_STATE_QUEUED else None
        if place is not None:
            job.queue.CopyFrom(place)
        return GetJobResponse(job=job)

    def list_jobs(self, request: ListJobsRequest, call: CallContext) -> ListJobsResponse:
        """Return a page of the caller's jobs."""
        page = job_list.list_page(
            self._db, call.readable, request.page_size, request.page_token, request.filter, request.order_by
        )
        return ListJobsResponse(jobs=page.items, next_page_token=page.next_page_token)

    def cancel_job(self, request: CancelJobRequest, call: CallContext) -> CancelJobResponse:
        """Request the cancellation of a job."""
        call.job_id = request.id
        return CancelJobResponse(job=job_rows.cancel(self._db, call.scope, request.id, call.check_change))

    def update_job(self, request: UpdateJobRequest, call: CallContext) -> UpdateJobResponse:
        """Change the options of a queued job."""
        call.job_id = request.job.id
        paths = list(request.update_mask.paths)
        changed = job_updates.change(self._db, call.scope, request.job, paths, call.check_change)
        return UpdateJobResponse(job=changed)

    def cancel_jobs(self, request: CancelJobsRequest, call: CallContext) -> CancelJobsResponse:
        """Request the cancellation of the caller's jobs that match a filter."""
        done = bulk_changes.cancel_matching(
            self._db, call.changeable, request.filter, request.page_token, validate_only=request.validate_only
        )
        return CancelJobsResponse(count=done.count, job_ids=done.job_ids, next_page_token=done.next_page_token)

    def delete_jobs(self, request: DeleteJobsRequest, call: CallContext) -> DeleteJobsResponse:
        """Delete the caller's ended jobs that match a filter."""
        done = bulk_changes.delete_matching(
            self._db, call.changeable, request.filter, request.page_token, validate_only=request.validate_only
        )
        return DeleteJobsResponse(count=done.count, job_ids=done.job_ids, next_page_token=done.next_page_token)

    def rerun_job(self, request: RerunJobRequest, call: CallContext) -> RerunJobResponse:
        """Queue a new job with the programs, device and options of another one."""
        created = self._rerun(request, call, exact=request.exact)
        return RerunJobResponse(job=created.job, deduplicated=created.deduplicated)

    def resolve_submission(self, request: ResolveSubmissionRequest, call: CallContext) -> ResolveSubmissionResponse:
        """Settle a submission of which it is not known whether the vendor has it."""
        call.job_id = request.id
        if request.not_submitted:
            job = job_rows.resolve_as_not_submitted(self._db, call.scope, request.id, call.check_change)
            return ResolveSubmissionResponse(job=job)
        return ResolveSubmissionResponse(job=self._rerun(request, call, vendor_id=request.vendor_id).job)

    def _rerun(
        self, request: RerunJobRequest | ResolveSubmissionRequest, call: CallContext, **options: Any
    ) -> job_rows.Created:
        """Queue a new job from another one; the options are those of `job_rows.rerun`."""
        self._open_for_jobs()
        created = job_rows.rerun(
            self._db,
            call.principal.name,
            request.id,
            request.request_id,
            max_queued=self._limits.max_queued_jobs,
            credential=rerun_credential(self._db, request.credential, request.credential_id),
            scope=call.scope,
            check=call.check_change,
            traceparent=call.traceparent,
            **options,
        )
        call.job_id = created.job.id
        return created

    def delete_job(self, request: DeleteJobRequest, call: CallContext) -> DeleteJobResponse:
        """Delete a job that has ended."""
        call.job_id = request.id
        job_rows.delete(self._db, call.scope, request.id, call.check_change)
        return DeleteJobResponse()

    def watch_job(self, request: WatchJobRequest, call: CallContext, stream: Stream) -> None:
        """Send the stored events of a job, then new ones as they occur."""
        call.job_id = request.job_id
        event_log.require_job(self._db, call.scope, request.job_id)
        interval = _seconds(request.heartbeat_interval)
        wants = _wanted(request)
        self._watching.open(
            stream, request.job_id, request.after_sequence, interval, epoch=request.after_epoch, wants=wants
        )

    def list_job_events(self, request: ListJobEventsRequest, call: CallContext) -> ListJobEventsResponse:
        """Return a page of a job's stored events."""
        call.job_id = request.job_id
        page = event_log.list_page(
            *(self._db, call.scope, request.job_id, request.page_size, request.page_token),
            *(request.after_sequence, request.after_epoch),
        )
        return ListJobEventsResponse(events=page.items, next_page_token=page.next_page_token)

    def _prepare_and_watch(
        self,
        request: RunJobRequest,
        checked: job_rows.NewJob | job_rows.Created | UnplacedJob,
        call: CallContext,
        stream: Stream,
    ) -> None:
        """Prepare a job. Then create and watch it, or end its stream with the event that would create it."""
        caller = Caller(call.principal.name, float("inf"), stream.on_close)
        prepared, error = outcome(call.request_id, self._prepared, request, checked, call, caller, "RunJob")
        self._compiler.release_slot(call.principal.name)
        if prepared is not None and request.validate_only:
            _send_preview(*prepared, stream)
        elif prepared is not None:
            _, error = outcome(call.request_id, self._watch_created, request, prepared[0], call, stream)
        if error is not None:
            stream.fail(error)

    def _prepared(
        self,
        request: _Request,
        checked: job_rows.NewJob | job_rows.Created | UnplacedJob,
        call: CallContext,
        caller: Caller,
        method: str,
    ) -> tuple[job_rows.NewJob, list[CompiledProgram], VendorCost | None]:
        """Choose the device of a job that has none, check its server program, and compile it for `validate_only`."""
        assert not isinstance(checked, job_rows.Created)
        if isinstance(checked, UnplacedJob):
            checked = self._chosen(request, checked, call, caller, method)
        if self._checker.needs_worker(checked):
            checked = self._checker.checked(
                checked, caller.seconds, caller.add_callback, validate_only=request.validate_only
            )
        if not request.validate_only:
            self._open_for_jobs()  # again: the server may have begun to stop since
            return checked, [], None
        if is_server_program(checked.spec):
            return checked, [], None
        return checked, *self._compiler.compile(checked, caller.seconds, caller.add_callback)

    def _chosen(
        self, request: _Request, job: UnplacedJob, call: CallContext, caller: Caller | None, method: str
    ) -> job_rows.NewJob:
        def check(device: Device) -> job_rows.NewJob:
            return submission_checks.new_job(self._db, call.memberships, request, method, self._limits, chosen=device)

        fits = self._comparison.compare(job, caller, unread=True)
        return automatic_device.choose(request.device, fits, check)

    def _watch_created(
        self, request: RunJobRequest, checked: job_rows.NewJob | job_rows.Created, call: CallContext, stream: Stream
    ) -> None:
        if request.after_sequence > 0:
            self._require_log(request, call)
        created = self._created(checked, call)
        call.job_id = created.job.id
        # If this call created the job, no client has an event of it: ignore `after_sequence` and send all events.
        after = request.after_sequence if created.deduplicated else 0
        interval = _seconds(request.heartbeat_interval)
        wants = _wanted(request)
        self._watching.open(
            *(stream, created.job.id, after, interval),
            epoch=request.after_epoch,
            fresh=not created.deduplicated,
            wants=wants,
        )

    def _require_log(self, request: RunJobRequest, call: CallContext) -> None:
        """Refuse to create a job again that a client has events of, and that a restore of the database has lost."""
        with self._db.read() as connection:
            current = log_epoch.read(connection).epoch
        known = current == request.after_epoch
        if not known and submission_checks.repeated(self._db, call.memberships, request, "RunJob") is None:
            raise log_epoch.log_restored(
                "the job of this request is not in the database: the server was restored from a backup; repeat the "
                "request with after_sequence = 0 to create the job again",
                "request_id",
            )

    def _admitted(
        self, request: _Request, call: CallContext, method: str
    ) -> tuple[job_rows.NewJob | job_rows.Created | UnplacedJob, bool]:
        """Check a request, and return also whether it holds a slot, because it waits for a worker.

        While all slots are in use, the device of a new job is chosen without reading the programs, and the inputs of a
        server program are checked when it starts: a burst of jobs is queued, not refused.
        """
        checked, caller = self._checked(request, call, method), call.principal.name
        if isinstance(checked, job_rows.Created):
            return checked, False
        if request.validate_only or checked.spec.type == UPLOAD:
            self._compiler.acquire_slot(caller)
            return checked, True
        if isinstance(checked, UnplacedJob):
            if self._compiler.try_slot(caller):
                return checked, True
            return self._chosen(request, checked, call, None, method), False
        return checked, self._checker.needs_worker(checked) and self._compiler.try_slot(caller)

    def _checked(
        self, request: _Request, call: CallContext, method: str
    ) -> job_rows.NewJob | job_rows.Created | UnplacedJob:
        """Return the job to create; if the request is rejected, the job that an equal request created before."""
        try:
            if is_automatic(request.device):
                # A new choice may differ from that of the equal request, so it is not made.
                created = submission_checks.repeated(self._db, call.memberships, request, method)
                return created or self._unplaced(request, call)
            if request.job.type == UPLOAD:
                # Its program is not checked again.
                created = submission_checks.repeated(self._db, call.memberships, request, method)
                if created is not None:
                    return created
            return submission_checks.new_job(self._db, call.memberships, request, method, self._limits)
        except CallError:
            created = submission_checks.repeated(self._db, call.memberships, request, method)
            if created is None:
                raise
            return created

    def _unplaced(self, request: _Request, call: CallContext) -> UnplacedJob:
        automatic_device.check_provider(self._db, request.device)
        return submission_checks.unplaced_job(self._db, call.memberships, request, self._limits)

    def _created(self, new: job_rows.NewJob | job_rows.Created, call: CallContext) -> job_rows.Created:
        if isinstance(new, job_rows.Created):
            return new
        new.spec.traceparent = call.traceparent
        if call.child is not None:
            new.spec.parent_job_id = call.child.parent_job_id
            new = replace(new, max_children=call.child.max_children)
        return job_rows.create(self._db, new)

    def _open_for_jobs(self) -> None:
        if self._stopping.is_set():
            raise draining()


def _send_preview(
    new: job_rows.NewJob, compiled: Sequence[CompiledProgram], cost: VendorCost | None, stream: Stream
) -> None:
    now = Timestamp()
    now.GetCurrentTime()
    event = JobEvent(sequence=1, event_time=now, created=submission_checks.preview(new))
    stream.finish(RunJobResponse(event=event, compiled=compiled, cost=cost).SerializeToString())


def _wanted(request: RunJobRequest | WatchJobRequest) -> Wanted:
    return Wanted(request.partial_results, request.queue_updates, request.final_results, request.omit_intermediate)


def _seconds(interval: Duration) -> float:
    return interval.seconds + interval.nanos / 1e9 or DEFAULT_HEARTBEAT
