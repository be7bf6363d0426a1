# SPDX-License-Identifier: Apache-2.0
"""The client: everything a server does, as typed functions over one connection."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterable, Iterator
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Final

from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.deployment_service_pb2 import (
    CreateDeploymentRequest,
    CreateDeploymentResponse,
    DeleteDeploymentRequest,
    DeleteDeploymentResponse,
    GetDeploymentRequest,
    GetDeploymentResponse,
    ListDeploymentsRequest,
    ListDeploymentsResponse,
)
from qonduit.v1.device_pb2 import Device
from qonduit.v1.device_service_pb2 import ListDevicesRequest, ListDevicesResponse
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.job_service_pb2 import (
    CreateJobRequest,
    CreateJobResponse,
    DeleteJobRequest,
    DeleteJobResponse,
    ListJobsRequest,
    ListJobsResponse,
    RerunJobRequest,
    RerunJobResponse,
)
from qonduit.v1.program_service_pb2 import (
    ListLanguagesRequest,
    ListLanguagesResponse,
    TranslateProgramRequest,
    TranslateProgramResponse,
)
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.provider_service_pb2 import ListProvidersRequest, ListProvidersResponse
from qonduit.v1.system_service_pb2 import GetServerInfoRequest, GetServerInfoResponse, ServerLimits
from qonduit_client.inputs import Inputs, struct_of
from qonduit_client.job import JobHandle
from qonduit_client.programs import Program, enum_name, programs_of
from qonduit_client.retry import Retry
from qonduit_client.translation import Translation
from qonduit_client.transport import DEFAULT_TARGET, Transport

if TYPE_CHECKING:
    import grpc

DEFAULT_DEVICE: Final = "IBM/aer_simulator"


class Client:
    """A connection to a Qonduit server; may be used by several threads, and with `with`.

    Only what is safe is tried again when the server is away: reads, cancels, and submits, each of which carries a
    request id that makes the server answer a repetition with the same job.

    Args:
        target: the server as "HOST:PORT"; by default the environment variable QONDUIT_SERVER, else 127.0.0.1:50051.
        timeout: seconds a call may take, its repetitions included; also how long a server that went away while a job
            was followed may take to come back.
        connect_timeout: the same, as long as the server has never answered.
        retry: how long to wait between attempts.
        credentials: for TLS; without them the connection is plain text.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
        credentials: grpc.ChannelCredentials | None = None,
    ) -> None:
        self._transport = Transport(
            target or os.environ.get("QONDUIT_SERVER") or DEFAULT_TARGET,
            timeout=timeout,
            connect_timeout=connect_timeout,
            retry=retry or Retry(),
            credentials=credentials,
        )

    @property
    def target(self) -> str:
        """The server, as "HOST:PORT"."""
        return self._transport.target

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.target}>"

    def close(self) -> None:
        """Ends the connection. Jobs go on."""
        self._transport.close()

    # Jobs

    def run(
        self,
        program: Program | Iterable[Program] | None = None,
        device: str = DEFAULT_DEVICE,
        shots: int = 1000,
        seed: int | None = None,
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
        *,
        deployment_id: int | None = None,
        credential: str = "",
        inputs: Inputs | None = None,
        statevector: bool = False,
    ) -> JobHandle:
        """Queues a job and returns at once; once this returned, the job survives any crash.

        Args:
            program: text, bytes, a `Path`, a circuit object of an SDK (Qiskit, Cirq, Braket, pyQuil, PennyLane,
                Qrisp), or several of them: each is a program of the job.
            device: "PROVIDER/device".
            shots: how often each circuit is run.
            seed: fixes the randomness of simulators.
            name: a name for people.
            language: "QASM2", "QASM3" ...; found out from header and file suffix when not given.
            request_id: a UUID; a job that was made with it before, by the same request, is returned. By default a new
                one is made, so that trying again never makes a second job.
            deployment_id: instead of `program`: runs the programs of this deployment.
            credential: the vendor credential, for providers `with_token`.
            inputs: values for the inputs (free parameters) of the programs, by name: numbers, Booleans, texts of 0s
                and 1s (for registers, highest bit first), and lists of them.
            statevector: has each program give its exact state before it measures at its end, too.

        Raises:
            ProgramUnreadable: the language cannot be told.
            ValueError: a value is none that an input can have.
            QonduitError: the server refused, or is not there.
        """
        request = self._request(program, device, shots, seed, name, language, deployment_id, credential, inputs)
        request.job.include_statevector = statevector
        request.request_id = request_id or str(uuid.uuid4())
        answer = self._transport.call("JobService/CreateJob", request, CreateJobResponse, safe=True)
        return self._handle(answer.job, request.request_id, answer.deduplicated)

    def check(
        self,
        program: Program | Iterable[Program] | None = None,
        device: str = DEFAULT_DEVICE,
        shots: int = 1000,
        seed: int | None = None,
        name: str | None = None,
        language: str | None = None,
        *,
        deployment_id: int | None = None,
        inputs: Inputs | None = None,
        statevector: bool = False,
    ) -> Job:
        """Has a job checked as `run` would, without making it; returns the job as it would be made."""
        request = self._request(program, device, shots, seed, name, language, deployment_id, "", inputs)
        request.job.include_statevector = statevector
        request.validate_only = True
        return self._transport.call("JobService/CreateJob", request, CreateJobResponse, safe=True).job

    def job(self, job_id: int) -> JobHandle:
        """Returns a handle on a job, without asking the server."""
        return JobHandle(self._transport, job_id)

    def jobs(self, filter: str = "", *, limit: int | None = None) -> Iterator[Job]:
        """Yields jobs, newest first, a page at a time as they are taken.

        Args:
            filter: for example 'state = "RUNNING" AND deployment_id = 7'.
            limit: how many at most.
        """
        token = ""
        left = limit
        while left is None or left > 0:
            page = self._transport.call(
                "JobService/ListJobs",
                ListJobsRequest(page_size=_page_size(left), page_token=token, filter=filter),
                ListJobsResponse,
                safe=True,
            )
            yield from page.jobs
            left = None if left is None else left - len(page.jobs)
            token = page.next_page_token
            if not token:
                return

    def rerun(self, job_id: int, *, request_id: str | None = None) -> JobHandle:
        """Queues a new job with the programs, device and options of another one."""
        request = RerunJobRequest(id=job_id, request_id=request_id or str(uuid.uuid4()))
        answer = self._transport.call("JobService/RerunJob", request, RerunJobResponse, safe=True)
        return self._handle(answer.job, request.request_id, answer.deduplicated)

    def delete_job(self, job_id: int) -> None:
        """Deletes a job that has ended, with its events and results."""
        self._transport.call("JobService/DeleteJob", DeleteJobRequest(id=job_id), DeleteJobResponse, safe=False)

    # What to run on

    def providers(self) -> list[Provider]:
        """Returns who offers devices."""
        found: list[Provider] = []
        token = ""
        while True:
            request = ListProvidersRequest(page_size=1000, page_token=token)
            page = self._transport.call("ProviderService/ListProviders", request, ListProvidersResponse, safe=True)
            found += page.providers
            token = page.next_page_token
            if not token:
                return found

    def devices(self, filter: str = "") -> list[Device]:
        """Returns what programs can run on; for example with the filter 'is_simulator = true'."""
        found: list[Device] = []
        token = ""
        while True:
            request = ListDevicesRequest(page_size=1000, page_token=token, filter=filter)
            page = self._transport.call("DeviceService/ListDevices", request, ListDevicesResponse, safe=True)
            found += page.devices
            token = page.next_page_token
            if not token:
                return found

    # Programs by themselves

    def translate(
        self, program: Program, *, to: str, language: str | None = None, inputs: Inputs | None = None
    ) -> Translation:
        """Returns a program in another language.

        Args:
            program: text, bytes, a `Path`, or a circuit object of an SDK.
            to: the language to write it in: "QASM2", "CIRQ" ...
            language: the language it is in; found out from header and file suffix when not given.
            inputs: values for its inputs (free parameters), as for `run`.

        Raises:
            ProgramUnreadable: the language cannot be told, or there is none of that name.
            InvalidRequest: the program is at fault; the message says where.
            PreconditionFailed: the language has no way to say what the program does.
            QonduitError: the server refused otherwise, or is not there.
        """
        request = TranslateProgramRequest(
            program=programs_of(program, language)[0],
            target_language=enum_name(to),
            inputs=struct_of(inputs) if inputs else None,
        )
        return Translation(
            self._transport.call("ProgramService/TranslateProgram", request, TranslateProgramResponse, safe=True)
        )

    def languages(self) -> ListLanguagesResponse:
        """Returns the languages that programs can be written in, and what translating from and to each costs."""
        return self._transport.call(
            "ProgramService/ListLanguages", ListLanguagesRequest(), ListLanguagesResponse, safe=True
        )

    # Deployments

    def deploy(
        self,
        program: Program | Iterable[Program],
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
    ) -> Deployment:
        """Stores programs to be run later, with `run(deployment_id=...)`."""
        request = CreateDeploymentRequest(
            deployment=Deployment(name=name, programs=programs_of(program, language)),
            request_id=request_id or str(uuid.uuid4()),
        )
        answer = self._transport.call(
            "DeploymentService/CreateDeployment", request, CreateDeploymentResponse, safe=True
        )
        return answer.deployment

    def deployment(self, deployment_id: int) -> Deployment:
        """Returns one deployment, with its programs."""
        request = GetDeploymentRequest(id=deployment_id)
        return self._transport.call(
            "DeploymentService/GetDeployment", request, GetDeploymentResponse, safe=True
        ).deployment

    def deployments(self, filter: str = "", *, limit: int | None = None) -> Iterator[Deployment]:
        """Yields deployments, newest first, a page at a time as they are taken."""
        token = ""
        left = limit
        while left is None or left > 0:
            page = self._transport.call(
                "DeploymentService/ListDeployments",
                ListDeploymentsRequest(page_size=_page_size(left), page_token=token, filter=filter),
                ListDeploymentsResponse,
                safe=True,
            )
            yield from page.deployments
            left = None if left is None else left - len(page.deployments)
            token = page.next_page_token
            if not token:
                return

    def delete_deployment(self, deployment_id: int) -> None:
        """Deletes a deployment that no job refers to."""
        request = DeleteDeploymentRequest(id=deployment_id)
        self._transport.call("DeploymentService/DeleteDeployment", request, DeleteDeploymentResponse, safe=False)

    # The server

    @cached_property
    def limits(self) -> ServerLimits:
        """What the server allows, asked once."""
        return self.info().limits

    def info(self) -> GetServerInfoResponse:
        """Returns the server's version, limits and features."""
        return self._transport.call(
            "SystemService/GetServerInfo", GetServerInfoRequest(), GetServerInfoResponse, safe=True
        )

    def _handle(self, job: Job, request_id: str, deduplicated: bool) -> JobHandle:
        return JobHandle(self._transport, job.id, known=job, request_id=request_id, deduplicated=deduplicated)

    def _request(
        self,
        program: Program | Iterable[Program] | None,
        device: str,
        shots: int,
        seed: int | None,
        name: str | None,
        language: str | None,
        deployment_id: int | None,
        credential: str,
        inputs: Inputs | None,
    ) -> CreateJobRequest:
        if (program is None) == (deployment_id is None):
            raise ValueError("give either a program or a deployment_id")
        job = Job(type=JobType.JOB_TYPE_RUNNER, shots=shots, seed=seed, name=name)
        if inputs:
            job.inputs.CopyFrom(struct_of(inputs))
        request = CreateJobRequest(job=job, device=device, credential=credential)
        if deployment_id is not None:
            request.job.deployment_id = deployment_id
        elif program is not None:
            request.deployment.programs.extend(programs_of(program, language))
        return request


def connect(client: Client | str | None = None) -> Client:
    """Returns a client as it is, or a new one of a server that is named as "HOST:PORT" (None: as `Client` has it)."""
    return client if isinstance(client, Client) else Client(client)


def _page_size(left: int | None) -> int:
    return 100 if left is None else min(left, 100)
