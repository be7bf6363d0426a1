# SPDX-License-Identifier: Apache-2.0
"""The client: all operations of a server as typed methods."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator, Mapping
from types import TracebackType
from typing import Any, Final, NoReturn, Self

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit.v1.program_service_pb2 import ListLanguagesResponse
from qonduit.v1.system_service_pb2 import GetServerInfoResponse, ServerLimits
from qonduit_client import notebook, requests
from qonduit_client.costs import Cost
from qonduit_client.device_calls import DeviceCalls
from qonduit_client.endpoint import Tls, Token
from qonduit_client.input_values import Inputs
from qonduit_client.job import JobHandle
from qonduit_client.job_credential import JobCredential
from qonduit_client.job_filters import MatchingJobs
from qonduit_client.listing import Listing
from qonduit_client.named_servers import NamedServer, read_configuration
from qonduit_client.operations import Operations
from qonduit_client.parameter_values import ParameterValues
from qonduit_client.primitives import DEFAULT_DEVICE as DEFAULT_DEVICE
from qonduit_client.primitives import Primitives
from qonduit_client.program_messages import Program
from qonduit_client.requests import Request
from qonduit_client.required_versions import Versions
from qonduit_client.retry import Retry
from qonduit_client.schedule import Schedule
from qonduit_client.server_programs import ServerPrograms
from qonduit_client.simulation_options import Noise, Simulation, Stop
from qonduit_client.stored_credentials import StoredCredentials
from qonduit_client.stored_programs import StoredPrograms
from qonduit_client.stored_projects import StoredProjects
from qonduit_client.translation import Translation
from qonduit_client.transport import connected
from qonduit_client.usage import UsageCalls
from qonduit_client.vendor_options import Vendor


class Client(Primitives, StoredPrograms, DeviceCalls, Operations, UsageCalls):
    """A connection to a Qonduit server and a context manager. Thread-safe; each process needs its own client.

    The client retries safe calls while the server is unreachable: reads, cancels, and submissions. Each submission
    has a request id, and the server answers a repetition with the same job.

    Args:
        target: the server as "HOST:PORT", or the name of a server of the configuration file (`qonduit config`); by
            default the environment variable QONDUIT_SERVER, then the default server of the file, else 127.0.0.1:50051.
        token: sent with every call as `authorization: Bearer TOKEN`: a string, or a function that returns the current
            token; by default the token file or the login of the named server, else QONDUIT_TOKEN.
        tls: True for TLS with the system's CAs, a CA bundle (PEM file), or `grpc.ChannelCredentials`; False for plain
            text. By default that of the named server, then QONDUIT_TLS (1, a PEM file, or 0), else plain text.
        timeout: seconds per call, including retries; also the maximum time for which a followed job's server may be
            unreachable.
        connect_timeout: the same, until the server's first response.
        retry: the backoff between attempts.
        project: owns new jobs and deployments that name no other; by default that of the named server, else none.

    Raises:
        ValueError: a token would cross a network in plain text without an explicit `tls=False`; or target, token or CA
            bundle is invalid.
        ConfigInvalid: the configuration file is required and not valid.
        OSError: the CA bundle cannot be read.
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
        self._transport = connected(
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

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {self.target}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a Client holds a connection and cannot be pickled: create one in each process")

    def close(self) -> None:
        """Close the connection; pending calls of other threads raise `ClientClosed`. Jobs continue."""
        self._transport.close()

    # Jobs

    def run(
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
        """Queue a job and return immediately. Once this method has returned, the job survives any crash.

        Args:
            program: text, bytes, a `Path`, a circuit object of an SDK (Qiskit, Cirq, Braket, pyQuil, PennyLane,
                Qrisp), or several of them: each is a program of the job.
            device: "PROVIDER/device", or one of `devices()`.
            shots: per circuit.
            seed: the seed of simulators.
            name: of the job.
            language: "QASM2", "QASM3" ...; by default detected from header and file suffix.
            request_id: a UUID; the same id and request return the same job. By default a new UUID, so that retries
                never create a second job.
            deployment_id: instead of `program`: run the programs of this deployment.
            credential: for providers that require one: the id of a stored credential, or one of `credentials`; or the
                secret itself as text, which the server keeps encrypted until the job ends.
            inputs: values for the inputs (free parameters) of the programs, by name: numbers, Booleans, strings of 0s
                and 1s (for registers, highest bit first), and lists of them.
            statevector: also return each program's exact state before its final measurements.
            simulation: how a simulator runs the job: `SimulationOptions`, or its fields by name ("method",
                "floating_point", "max_bond_dimension", "optimization_level", "allow_approximate", "min_fidelity").
            noise_model: errors to add to the programs: `NoiseModel`, a dictionary or JSON text of it, or a noise model
                of Qiskit Aer.
            parameter_values: values of inputs at many points, as in `estimate`: one result for each program and point.
            stop_when: the standard error of the probability of each outcome at which the job ends early.
            labels: for your own use, by name.
            client_data: bytes that the server stores with the job for `JobHandle.client_data`, at most 1 MiB.
            schedule: when the job may start: "priority" (-10 to 10, among your own jobs), "not_before" and "expires_at"
                (times with a zone).
            versions: the versions of packages with which the job runs: "qiskit-aer==0.17.2", several of these, or a
                mapping as `result.message.provenance.versions`. `providers()` have those of the workers.
            wait_for_versions: whether the job waits while no worker has these versions. By default it is refused.
            max_cost: the maximum cost at a vendor, as "5 EUR" in the vendor's unit. If the estimated cost is higher or
                not known, the job fails before it is submitted.
            vendor_options: at a vendor: "batch" or "session", which all parts share; or `VendorOptions` by name.
            project: the project that owns the job; by default that of the client, "" for a job of your own.

        Raises:
            ProgramUnreadable: the language cannot be detected.
            ValueError: an input has an unsupported value.
            QonduitError: the server rejected the job, or is unreachable.
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
        return self._submitted(request)

    def check(
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
            gates, memory, circuits, warnings), in the order of the programs. On a device at a vendor, also the
            estimated `cost`, if it is known.

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
        return self._transport.call(request)

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
    ) -> Listing[Job]:
        """Return jobs, by default newest first: to iterate over, to index, or to show as a table.

        Pages are read from the server on demand; see `qonduit_client.listing.Listing`.

        Args:
            filter: for example 'state = "RUNNING" AND (name = "bell*" OR shots > 1000)'.
            labels: only jobs with these labels.
            project: only jobs of this project; "" for those of no project; by default those of all your projects too.
            order_by: created_at, finished_at, name or id, with " desc" after it for the reverse order.
            limit: the maximum number of jobs.
        """

        def read(limit: int | None, timeout: float | None) -> Iterator[Job]:
            return self._transport.items(requests.jobs(filter, limit, labels, order_by, project), timeout=timeout)

        return Listing(read, "Job", limit)

    def rerun(
        self, job_id: int, *, request_id: str | None = None, exact: bool = False, credential: JobCredential = ""
    ) -> JobHandle:
        """Queue a new job with the programs, device and options of another one.

        Args:
            job_id: the other job.
            request_id: makes a retry safe.
            exact: whether the new job must return the same counts and values: it uses the same seed, and runs
                on a worker with the same versions. It is refused with the reason NOT_REPRODUCIBLE if no worker has
                them, or the device or its calibration differs.
            credential: as in `run`; by default the stored one of the other job.
        """
        request = requests.rerun(job_id, request_id, exact, credential)
        answer = self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, answer.deduplicated)

    def resolve(
        self,
        job_id: int,
        vendor_id: str | None,
        *,
        request_id: str | None = None,
        credential: JobCredential = "",
    ) -> JobHandle:
        """Settle a job of a vendor's device that failed with the reason SUBMISSION_UNKNOWN.

        Look for the job in the vendor's own list first: the vendor may have it, and charge for it.

        Args:
            job_id: the failed job.
            vendor_id: the vendor's id of the job. The new job adopts it: it polls, and submits nothing that the vendor
                has. `None` states that the vendor does not have the job; it may then be run again.
            request_id: makes a retry safe.
            credential: as in `rerun`.

        Returns:
            The new job; without a vendor's id, the failed job.
        """
        request = requests.resolve(job_id, vendor_id, request_id, credential)
        answer = self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, deduplicated=False)

    def delete_job(self, job_id: int) -> None:
        """Delete a job that has ended, with its events and results."""
        self._transport.call(requests.delete_job(job_id))

    def cancel_jobs(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        validate_only: bool = False,
    ) -> MatchingJobs:
        """Cancel all of your queued and running jobs that match a filter.

        Args:
            filter: as of `jobs`; required without labels and project. "*" matches all jobs.
            labels: only jobs with these labels.
            project: only jobs of this project; "" for those of no project.
            validate_only: count the jobs and cancel none.

        Raises:
            InvalidRequest: the filter is empty or invalid.
        """
        return self._transport.changed(requests.cancel_jobs(filter, labels, validate_only, project))

    def delete_jobs(
        self,
        filter: str = "",
        *,
        labels: Mapping[str, str] | None = None,
        project: str | None = None,
        validate_only: bool = False,
    ) -> MatchingJobs:
        """Delete all of your ended jobs that match a filter, with their events and results; as `cancel_jobs`."""
        return self._transport.changed(requests.delete_jobs(filter, labels, validate_only, project))

    # Programs

    def translate(
        self, program: Program, *, to: str, language: str | None = None, inputs: Inputs | None = None
    ) -> Translation:
        """Translate a program into another language.

        Args:
            program: text, bytes, a `Path`, or a circuit object of an SDK.
            to: the target language: "QASM2", "CIRQ" ...
            language: the source language; by default detected from header and file suffix.
            inputs: values for its inputs (free parameters), as in `run`.

        Raises:
            ProgramUnreadable: the language cannot be detected, or is unknown.
            InvalidRequest: the program is invalid; the message names the position.
            PreconditionFailed: the target language cannot express the program.
            QonduitError: the server rejected the call otherwise, or is unreachable.
        """
        return Translation(self._transport.call(requests.translate(program, to, language, inputs)))

    def languages(self) -> ListLanguagesResponse:
        """Return the program languages, and the cost of translating from and to each."""
        return self._transport.call(requests.languages())

    # The server

    def server_limits(self) -> ServerLimits:
        """Return the server's limits, cached after the first call."""
        if self._limits is None:
            self._limits = self.info().limits
        return self._limits

    @property
    def limits(self) -> ServerLimits:
        """Deprecated: call `server_limits()`."""
        warnings.warn("Client.limits is deprecated: call server_limits()", DeprecationWarning, stacklevel=2)
        return self.server_limits()

    def info(self) -> GetServerInfoResponse:
        """Return the server's version, limits and features."""
        return self._transport.call(requests.info())

    def submit_prepared(self, request: Request[CreateJobResponse]) -> JobHandle:
        """Queue the job of a request that `requests.submit` built. For adapters; raises as `run`."""
        return self._submitted(request)

    def _handle(self, job: Job, request_id: str, deduplicated: bool) -> JobHandle:
        return JobHandle(self._transport, job.id, known=job, request_id=request_id, deduplicated=deduplicated)


def connect(client: Client | str | None = None) -> Client:
    """Return the given client, or a new one for "HOST:PORT" (None: the default of `Client`)."""
    return client if isinstance(client, Client) else Client(client)
