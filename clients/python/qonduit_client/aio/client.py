# SPDX-License-Identifier: Apache-2.0
"""The client for asyncio: all operations of a server as coroutines."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from qonduit.v1.audit_service_pb2 import AuditEntry
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit.v1.program_service_pb2 import ListLanguagesResponse
from qonduit.v1.system_service_pb2 import GetServerInfoResponse, ServerLimits
from qonduit_client import notebook, requests
from qonduit_client.aio.device_calls import DeviceCalls
from qonduit_client.aio.job import JobHandle
from qonduit_client.aio.operations import Operations
from qonduit_client.aio.primitives import Primitives
from qonduit_client.aio.server_programs import ServerPrograms
from qonduit_client.aio.stored_credentials import StoredCredentials
from qonduit_client.aio.stored_programs import StoredPrograms
from qonduit_client.aio.stored_projects import StoredProjects
from qonduit_client.aio.transport import Transport
from qonduit_client.aio.usage import UsageCalls
from qonduit_client.costs import Cost
from qonduit_client.endpoint import Tls, Token
from qonduit_client.input_values import Inputs
from qonduit_client.job_credential import JobCredential
from qonduit_client.job_filters import MatchingJobs
from qonduit_client.listing import AsyncListing
from qonduit_client.named_servers import NamedServer, read_configuration
from qonduit_client.parameter_values import ParameterValues
from qonduit_client.primitives import DEFAULT_DEVICE
from qonduit_client.program_messages import Program
from qonduit_client.requests import Request
from qonduit_client.required_versions import Versions
from qonduit_client.retry import Retry
from qonduit_client.schedule import Schedule
from qonduit_client.simulation_options import Noise, Simulation, Stop
from qonduit_client.translation import Translation
from qonduit_client.vendor_options import Vendor


class Client(Primitives, StoredPrograms, DeviceCalls, Operations, UsageCalls):
    """A connection to a Qonduit server for one event loop, and an async context manager. Many tasks may use it.

    Arguments and retries are those of `qonduit_client.Client`. The client may be created before the loop runs, and
    is bound to the loop that first uses it.
    """

    def __init__(
        self,
        target: str | NamedServer | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
        project: str | None = None,
    ) -> None:
        self._transport = Transport(
            target, token=token, tls=tls, timeout=timeout, connect_timeout=connect_timeout, retry=retry, project=project
        )
        self._limits: ServerLimits | None = None
        #: Your credentials of providers on the server.
        self.credentials: Final = StoredCredentials(self._transport)
        #: Python programs that run on the server.
        self.programs: Final = ServerPrograms(self._transport)
        #: Your projects.
        self.projects: Final = StoredProjects(self._transport)
        notebook.show_messages_as_tables()

    @classmethod
    def from_config(cls, name: str | None = None, **options: Any) -> Self:
        """Connect to a server of the configuration file (`qonduit config`), with its TLS and its token or login.

        Args:
            name: the server; by default the default server of the file.
            options: the arguments of the client, which override those of the file.

        Raises:
            ConfigInvalid: the file is not valid, or has no such server.
        """
        return cls(read_configuration().server(name), **options)

    @property
    def target(self) -> str:
        """The server, as "HOST:PORT"."""
        return self._transport.target

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None
    ) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.target}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds a connection and cannot be pickled: create one in each process")

    async def close(self) -> None:
        """Close the connection; pending calls of other tasks raise `ClientClosed`. Jobs continue."""
        await self._transport.close()

    # Jobs

    async def run(
        self,
        program: Program | Iterable[Program] | None = None,
        device: str | Device = DEFAULT_DEVICE,
        shots: int = 1000,
        seed: int | None = None,
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
        *,
        deployment_id: int | None = None,
        credential: JobCredential = "",
        inputs: Inputs | None = None,
        statevector: bool = False,
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
        project: str | None = None,
    ) -> JobHandle:
        """Queue a job, which then survives any crash; see `qonduit_client.Client.run`."""
        request = requests.submit(
            program,
            device,
            shots,
            seed,
            name,
            language,
            deployment_id=deployment_id,
            inputs=inputs,
            statevector=statevector,
            simulation=simulation,
            noise_model=noise_model,
            parameter_values=parameter_values,
            stop_when=stop_when,
            labels=labels,
            client_data=client_data,
            schedule=schedule,
            versions=versions,
            wait_for_versions=wait_for_versions,
            max_cost=max_cost,
            vendor_options=vendor_options,
            credential=credential,
            project=project,
            request_id=request_id,
        )
        return await self._submitted(request)

    async def check(
        self,
        program: Program | Iterable[Program] | None = None,
        device: str | Device = DEFAULT_DEVICE,
        shots: int = 1000,
        seed: int | None = None,
        name: str | None = None,
        language: str | None = None,
        *,
        deployment_id: int | None = None,
        inputs: Inputs | None = None,
        statevector: bool = False,
        simulation: Simulation | None = None,
        noise_model: Noise | None = None,
        parameter_values: ParameterValues | None = None,
        stop_when: Stop | None = None,
        labels: Mapping[str, str] | None = None,
        schedule: Schedule | None = None,
        versions: Versions | None = None,
        wait_for_versions: bool = False,
        max_cost: Cost | None = None,
        vendor_options: Vendor | None = None,
        credential: JobCredential = "",
        project: str | None = None,
    ) -> CreateJobResponse:
        """Parse and compile a job for its device, without running or storing anything.

        Returns:
            `job` as it would be created, and `compiled`: properties of each compiled program (qubits, depth, two-qubit
            gates, memory, circuits, warnings), in the order of the programs.

        Raises:
            InvalidRequest: a program is invalid; the error names the program and the position.
            PreconditionFailed: the device cannot run a program.
        """
        request = requests.submit(
            program,
            device,
            shots,
            seed,
            name,
            language,
            deployment_id=deployment_id,
            inputs=inputs,
            statevector=statevector,
            simulation=simulation,
            noise_model=noise_model,
            parameter_values=parameter_values,
            stop_when=stop_when,
            labels=labels,
            schedule=schedule,
            versions=versions,
            wait_for_versions=wait_for_versions,
            max_cost=max_cost,
            vendor_options=vendor_options,
            credential=credential,
            project=project,
            validate_only=True,
        )
        return await self._transport.call(request)

    def job(self, job_id: int) -> JobHandle:
        """Return a handle on a job, without a call."""
        return JobHandle(self._transport, job_id)

    def jobs(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        order_by: str = "",
        limit: int | None = None,
    ) -> AsyncListing[Job]:
        """Return jobs, by default newest first: for `async for`, a page at a time, or to await as a table.

        Arguments are those of `qonduit_client.Client.jobs`.
        """
        return AsyncListing(
            lambda: self._transport.items(requests.jobs(filter, limit, labels, order_by, project)), "Job"
        )

    async def rerun(
        self,
        job_id: int,
        *,
        request_id: str | None = None,
        exact: bool = False,
        credential: JobCredential = "",
    ) -> JobHandle:
        """Queue a new job with the programs, device and options of another one.

        Args:
            job_id: the other job.
            request_id: makes a retry safe.
            exact: whether the new job must return the same counts and values: it uses the same seed, and fails with the
                reason NOT_REPRODUCIBLE if the device, its calibration or the versions differ.
            credential: as in `run`; by default the stored one of the other job.
        """
        request = requests.rerun(job_id, request_id, exact, credential)
        answer = await self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, answer.deduplicated)

    async def resolve(
        self,
        job_id: int,
        vendor_id: str | None,
        *,
        request_id: str | None = None,
        credential: JobCredential = "",
    ) -> JobHandle:
        """Settle a job that failed with the reason SUBMISSION_UNKNOWN; see `qonduit_client.Client.resolve`."""
        request = requests.resolve(job_id, vendor_id, request_id, credential)
        answer = await self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, deduplicated=False)

    async def delete_job(self, job_id: int) -> None:
        """Delete a job that has ended, with its events and results."""
        await self._transport.call(requests.delete_job(job_id))

    async def cancel_jobs(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        validate_only: bool = False,
    ) -> MatchingJobs:
        """Cancel all of your queued and running jobs that match; see `qonduit_client.Client.cancel_jobs`."""
        return await self._transport.changed(requests.cancel_jobs(filter, labels, validate_only, project))

    async def delete_jobs(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        validate_only: bool = False,
    ) -> MatchingJobs:
        """Delete all of your ended jobs that match; see `qonduit_client.Client.delete_jobs`."""
        return await self._transport.changed(requests.delete_jobs(filter, labels, validate_only, project))

    # Programs

    async def translate(
        self, program: Program, *, to: str, language: str | None = None, inputs: Inputs | None = None
    ) -> Translation:
        """Translate a program into another language; see `qonduit_client.Client.translate`."""
        return Translation(await self._transport.call(requests.translate(program, to, language, inputs)))

    async def languages(self) -> ListLanguagesResponse:
        """Return the program languages, and the cost of translating from and to each."""
        return await self._transport.call(requests.languages())

    # The server

    async def server_limits(self) -> ServerLimits:
        """Return the server's limits, cached after the first call."""
        if self._limits is None:
            self._limits = (await self.info()).limits
        return self._limits

    async def limits(self) -> ServerLimits:
        """Return `server_limits()` (deprecated)."""
        warnings.warn("Client.limits is deprecated: call server_limits()", DeprecationWarning, stacklevel=2)
        return await self.server_limits()

    async def info(self) -> GetServerInfoResponse:
        """Return the server's version, limits and features."""
        return await self._transport.call(requests.info())

    def audit_entries(
        self, filter: str = "", *, order_by: str = "", limit: int | None = None
    ) -> AsyncListing[AuditEntry]:
        """Return the entries of the audit log; see `qonduit_client.Client.audit_entries`."""
        return AsyncListing(
            lambda: self._transport.items(requests.audit_entries(filter, limit, order_by)), "AuditEntry"
        )

    async def submit_prepared(self, request: Request[CreateJobResponse]) -> JobHandle:
        """Queue the job of a request that `requests.submit` built; see `qonduit_client.Client.submit_prepared`."""
        return await self._submitted(request)

    def _handle(self, job: Job, request_id: str, deduplicated: bool) -> JobHandle:
        return JobHandle(self._transport, job.id, known=job, request_id=request_id, deduplicated=deduplicated)
