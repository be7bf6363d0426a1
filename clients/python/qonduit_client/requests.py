# SPDX-License-Identifier: Apache-2.0
"""Build the requests of both clients, without a connection."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from operator import index
from typing import Any, Generic, TypeVar

from google.protobuf.message import Message

from qonduit.v1 import audit_service_pb2 as audit_rpc
from qonduit.v1 import deployment_service_pb2 as deployments_rpc
from qonduit.v1 import job_service_pb2 as jobs_rpc
from qonduit.v1 import program_service_pb2 as programs_rpc
from qonduit.v1 import result_service_pb2 as results_rpc
from qonduit.v1 import system_service_pb2 as system_rpc
from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.result_pb2 import Result
from qonduit_client.costs import Cost, cost_of
from qonduit_client.errors import NotFound
from qonduit_client.input_values import Inputs, struct_of
from qonduit_client.job_credential import JobCredential, set_credential
from qonduit_client.job_filters import MatchingJobs, selection
from qonduit_client.parameter_values import ParameterValues, sets_of
from qonduit_client.program_messages import Program, enum_name, programs_of
from qonduit_client.required_versions import Versions, required_versions_of
from qonduit_client.schedule import Schedule, set_schedule
from qonduit_client.simulation_options import Noise, Simulation, Stop, noise_of, simulation_of, stop_of
from qonduit_client.vendor_options import Vendor, vendor_options_of

Response = TypeVar("Response", bound=Message)
Item = TypeVar("Item")


@dataclass(frozen=True)
class Request(Generic[Response]):
    """One request.

    Attributes:
        method: "JobService/GetJob".
        message: the request message.
        response: the type of the response.
        safe: whether it may be retried: reads, and writes with a request id. Other requests are sent once.
        created: the job or deployment of the message that belongs to the project of the client, as no other is named.
    """

    method: str
    message: Any
    response: type[Response]
    safe: bool = True
    created: Any = None


class Pages(Generic[Item]):
    """The pages of a list: builds requests and reads responses.

    Args:
        request: the request for the first page.
        entries: the response's field with the items.
        limit: the maximum number of items.
        size: the maximum number of items per page.
    """

    def __init__(self, request: Request[Any], entries: str, *, limit: int | None = None, size: int = 1000) -> None:
        self._request = request
        self._entries = entries
        self._left = limit
        self._size = size
        self._more = True

    def next_request(self) -> Request[Any] | None:
        """Return the request for the next page; None after the last one."""
        if not self._more or (self._left is not None and self._left <= 0):
            return None
        self._request.message.page_size = self._size if self._left is None else min(self._size, self._left)
        return self._request

    def receive(self, page: Any) -> list[Item]:
        """Return the items of a received page."""
        items: list[Item] = list(getattr(page, self._entries))
        if self._left is not None:
            self._left -= len(items)
        self._request.message.page_token = page.next_page_token
        self._more = bool(page.next_page_token)
        return items


class BulkCalls:
    """The calls that change all matching jobs: builds requests and reads responses.

    Args:
        request: the first request.
    """

    def __init__(self, request: Request[Any]) -> None:
        self.matching = MatchingJobs()
        self._request: Request[Any] | None = request

    def next_request(self) -> Request[Any] | None:
        """Return the next request; None after the last one."""
        return self._request

    def receive(self, response: Any) -> None:
        """Add the response of the last request."""
        self.matching.count += response.count
        self.matching.job_ids += response.job_ids
        if not response.next_page_token:
            self._request = None
        elif self._request is not None:
            self._request.message.page_token = response.next_page_token


# Jobs


def submit(
    program: Program | Iterable[Program] | None,
    device: str | Device,
    shots: int,
    seed: int | None,
    name: str | None,
    language: str | None,
    *,
    deployment_id: int | None,
    inputs: Inputs | None,
    statevector: bool,
    simulation: Simulation | None = None,
    noise_model: Noise | None = None,
    parameter_values: ParameterValues | None = None,
    stop_when: Stop | None = None,
    labels: Mapping[str, str] | None = None,
    client_data: bytes = b"",
    schedule: Schedule | None = None,
    versions: Versions | None = None,
    wait_for_versions: bool = False,
    max_cost: Cost | None = None,
    vendor_options: Vendor | None = None,
    credential: JobCredential = "",
    project: str | None = None,
    request_id: str | None = None,
    validate_only: bool = False,
) -> Request[jobs_rpc.CreateJobResponse]:
    """Create a job from programs or a deployment, by default with a new request id.

    Raises:
        ProgramUnreadable: a program is invalid, or its language cannot be detected.
        ValueError, TypeError: an argument is invalid.
    """
    if (program is None) == (deployment_id is None):
        raise ValueError("pass either a program or a deployment_id")
    job = Job(
        type=JobType.JOB_TYPE_RUNNER,
        shots=_whole("shots", shots),
        seed=None if seed is None else _whole("seed", seed),
        name=name,
        include_statevector=statevector,
        inputs=struct_of(inputs) if inputs else None,
        simulation=None if simulation is None else simulation_of(simulation),
        noise_model=None if noise_model is None else noise_of(noise_model),
        parameter_sets=None if parameter_values is None else sets_of(parameter_values),
        stop_when=None if stop_when is None else stop_of(stop_when),
        labels=labels,
        client_data=client_data,
        project=project or "",
        required_versions=required_versions_of(versions, wait=wait_for_versions),
    )
    if schedule is not None:
        set_schedule(job, schedule)
    if max_cost is not None:
        job.max_cost.CopyFrom(cost_of(max_cost))
    if vendor_options is not None:
        job.vendor_options.CopyFrom(vendor_options_of(vendor_options))
    request = jobs_rpc.CreateJobRequest(job=job, validate_only=validate_only)
    set_credential(request, credential)
    if isinstance(device, Device):
        request.job.executed_on_id = device.id
    elif isinstance(device, str):
        request.device = device
    else:
        raise TypeError(f'device must be "PROVIDER/device" or one of client.devices(), got {device!r}')
    if deployment_id is not None:
        request.job.deployment_id = deployment_id
    elif program is not None:
        request.deployment.programs.extend(programs_of(program, language))
    if not validate_only:
        request.request_id = request_id or new_request_id()
    created = request.job if project is None else None
    return Request("JobService/CreateJob", request, jobs_rpc.CreateJobResponse, created=created)


def rerun(
    job_id: int, request_id: str | None, exact: bool = False, credential: JobCredential = ""
) -> Request[jobs_rpc.RerunJobResponse]:
    """Create a job with the same request as another one."""
    request = jobs_rpc.RerunJobRequest(id=job_id, request_id=request_id or new_request_id(), exact=exact)
    set_credential(request, credential)
    return Request("JobService/RerunJob", request, jobs_rpc.RerunJobResponse)


def resolve(
    job_id: int, vendor_id: str | None, request_id: str | None, credential: JobCredential = ""
) -> Request[jobs_rpc.ResolveSubmissionResponse]:
    """Settle an unknown submission: with the vendor's id, or as not submitted."""
    request = jobs_rpc.ResolveSubmissionRequest(
        id=job_id, vendor_id=vendor_id or "", not_submitted=vendor_id is None, request_id=request_id or new_request_id()
    )
    set_credential(request, credential)
    return Request("JobService/ResolveSubmission", request, jobs_rpc.ResolveSubmissionResponse)


def job(job_id: int) -> Request[jobs_rpc.GetJobResponse]:
    """Read one job."""
    return Request("JobService/GetJob", jobs_rpc.GetJobRequest(id=job_id), jobs_rpc.GetJobResponse)


def jobs(
    filter: str,
    limit: int | None,
    labels: Mapping[str, str] | None = None,
    order_by: str = "",
    project: str | None = None,
) -> Pages[Job]:
    """List jobs, by default newest first."""
    request = jobs_rpc.ListJobsRequest(filter=selection(filter, labels, project), order_by=order_by)
    return Pages(Request("JobService/ListJobs", request, jobs_rpc.ListJobsResponse), "jobs", limit=limit, size=100)


def update_job(
    job_id: int, name: str | None, labels: Mapping[str, str] | None, schedule: Schedule | None
) -> Request[jobs_rpc.UpdateJobResponse]:
    """Change a queued job; an argument that is not passed keeps its value. Raises the errors of `set_schedule`."""
    job = Job(id=job_id, name=name, labels=labels)
    changed = [field for field, value in (("name", name), ("labels", labels)) if value is not None]
    if schedule is not None:
        set_schedule(job, schedule)
        changed += schedule
    request = jobs_rpc.UpdateJobRequest(job=job)
    request.update_mask.paths.extend(changed)
    return Request("JobService/UpdateJob", request, jobs_rpc.UpdateJobResponse)


def cancel_jobs(
    filter: str, labels: Mapping[str, str] | None, validate_only: bool, project: str | None = None
) -> BulkCalls:
    """Cancel the jobs that match a filter."""
    request = jobs_rpc.CancelJobsRequest(filter=selection(filter, labels, project), validate_only=validate_only)
    return BulkCalls(Request("JobService/CancelJobs", request, jobs_rpc.CancelJobsResponse))


def delete_jobs(
    filter: str, labels: Mapping[str, str] | None, validate_only: bool, project: str | None = None
) -> BulkCalls:
    """Delete the jobs that match a filter."""
    request = jobs_rpc.DeleteJobsRequest(filter=selection(filter, labels, project), validate_only=validate_only)
    return BulkCalls(Request("JobService/DeleteJobs", request, jobs_rpc.DeleteJobsResponse))


def cancel(job_id: int) -> Request[jobs_rpc.CancelJobResponse]:
    """Cancel a job; a second cancel changes nothing."""
    return Request("JobService/CancelJob", jobs_rpc.CancelJobRequest(id=job_id), jobs_rpc.CancelJobResponse)


def delete_job(job_id: int) -> Request[jobs_rpc.DeleteJobResponse]:
    """Delete a job; not retried, since a second call would report NOT_FOUND."""
    return Request("JobService/DeleteJob", jobs_rpc.DeleteJobRequest(id=job_id), jobs_rpc.DeleteJobResponse, safe=False)


def results(job_id: int, points: range | None = None, program: int | None = None) -> Pages[Result]:
    """List the results of a job: of a range of points, or of one program by its index.

    Raises:
        ValueError: points is not a range of consecutive points.
    """
    request = results_rpc.ListResultsRequest(job_id=job_id, program_index=program)
    if points is not None:
        if points.step != 1 or points.start < 0 or not points:
            raise ValueError(f"points must be a range of consecutive points, as range(0, 100), got {points}")
        request.first_point, request.end_point = points.start, points.stop
    return Pages(Request("ResultService/ListResults", request, results_rpc.ListResultsResponse), "results")


def known_names(kinds: str, names: Iterable[str]) -> str:
    """Return the hint of `missing` with all names."""
    return f"known {kinds}: {', '.join(sorted(names)) or 'none'}"


def missing(kind: str, name: str, hint: str) -> NotFound:
    """Return the error of a name that no object has, like that of a server."""
    return NotFound(
        f"{kind} {name!r} does not exist; {hint}",
        status="NOT_FOUND",
        reason="NOT_FOUND",
        metadata={"resource_type": kind, "resource_name": name},
    )


# Programs


def translate(
    program: Program, to: str, language: str | None, inputs: Inputs | None
) -> Request[programs_rpc.TranslateProgramResponse]:
    """Translate one program into another language.

    Raises:
        ProgramUnreadable: the program is invalid, or a language is unknown or cannot be detected.
        ValueError: several programs were passed, or an input has an unsupported value.
    """
    found = programs_of(program, language)
    if len(found) != 1:
        raise ValueError(f"expected one program to translate, got {len(found)}")
    request = programs_rpc.TranslateProgramRequest(
        program=found[0], target_language=enum_name(to), inputs=struct_of(inputs) if inputs else None
    )
    return Request("ProgramService/TranslateProgram", request, programs_rpc.TranslateProgramResponse)


def languages() -> Request[programs_rpc.ListLanguagesResponse]:
    """List the languages."""
    request = programs_rpc.ListLanguagesRequest()
    return Request("ProgramService/ListLanguages", request, programs_rpc.ListLanguagesResponse)


# Deployments


def deploy(
    program: Program | Iterable[Program],
    name: str | None,
    language: str | None,
    request_id: str | None,
    labels: Mapping[str, str] | None = None,
    project: str | None = None,
) -> Request[deployments_rpc.CreateDeploymentResponse]:
    """Store programs, by default with a new request id."""
    programs = programs_of(program, language)
    request = deployments_rpc.CreateDeploymentRequest(
        deployment=Deployment(name=name, programs=programs, labels=labels, project=project or ""),
        request_id=request_id or new_request_id(),
    )
    response = deployments_rpc.CreateDeploymentResponse
    created = request.deployment if project is None else None
    return Request("DeploymentService/CreateDeployment", request, response, created=created)


def deployment(deployment_id: int) -> Request[deployments_rpc.GetDeploymentResponse]:
    """Read one deployment."""
    request = deployments_rpc.GetDeploymentRequest(id=deployment_id)
    return Request("DeploymentService/GetDeployment", request, deployments_rpc.GetDeploymentResponse)


def deployments(
    filter: str, limit: int | None, labels: Mapping[str, str] | None = None, order_by: str = ""
) -> Pages[Deployment]:
    """List deployments, by default newest first."""
    request = deployments_rpc.ListDeploymentsRequest(filter=selection(filter, labels), order_by=order_by)
    first = Request("DeploymentService/ListDeployments", request, deployments_rpc.ListDeploymentsResponse)
    return Pages(first, "deployments", limit=limit, size=100)


def delete_deployment(deployment_id: int) -> Request[deployments_rpc.DeleteDeploymentResponse]:
    """Delete a deployment; not retried, as for jobs."""
    request = deployments_rpc.DeleteDeploymentRequest(id=deployment_id)
    response = deployments_rpc.DeleteDeploymentResponse
    return Request("DeploymentService/DeleteDeployment", request, response, safe=False)


# The server


def info() -> Request[system_rpc.GetServerInfoResponse]:
    """Return the server's version, limits and features."""
    request = system_rpc.GetServerInfoRequest()
    return Request("SystemService/GetServerInfo", request, system_rpc.GetServerInfoResponse)


def workers() -> Request[system_rpc.ListWorkersResponse]:
    """Return the server's worker processes."""
    return Request("SystemService/ListWorkers", system_rpc.ListWorkersRequest(), system_rpc.ListWorkersResponse)


def audit_entries(filter: str, limit: int | None, order_by: str = "") -> Pages[AuditEntry]:
    """List the entries of the audit log, by default newest first."""
    request = audit_rpc.ListAuditEntriesRequest(filter=filter, order_by=order_by)
    method = "AuditService/ListAuditEntries"
    return Pages(Request(method, request, audit_rpc.ListAuditEntriesResponse), "entries", limit=limit)


def new_request_id() -> str:
    """Return a new, unique request id."""
    return str(uuid.uuid4())


def _whole(name: str, value: Any) -> int:
    """Return an integer of any type (including NumPy's), or of an integral float (1e6)."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    try:
        return index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
