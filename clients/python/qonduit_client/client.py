# SPDX-License-Identifier: Apache-2.0
"""The client: everything a server does, as typed functions over one connection."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Final, NoReturn

from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit.v1.program_service_pb2 import ListLanguagesResponse
from qonduit.v1.provider_pb2 import Provider
from qonduit.v1.system_service_pb2 import GetServerInfoResponse, ServerLimits, Worker
from qonduit_client import notebook, requests
from qonduit_client.endpoint import Tls, Token
from qonduit_client.input_values import Inputs
from qonduit_client.job import JobHandle
from qonduit_client.listing import Listing, Table
from qonduit_client.program_messages import Program
from qonduit_client.retry import Retry
from qonduit_client.translation import Translation
from qonduit_client.transport import Transport

DEFAULT_DEVICE: Final = "IBM/aer_simulator"


class Client:
    """A connection to a Qonduit server; may be used by several threads, and with `with`. Each process needs its own.

    Only what is safe is tried again when the server is away: reads, cancels, and submits, each of which carries a
    request id that makes the server answer a repetition with the same job.

    Args:
        target: the server as "HOST:PORT"; by default the environment variable QONDUIT_SERVER, else 127.0.0.1:50051.
        token: sent with every call, as `authorization: Bearer TOKEN`: a text, or a function that returns the present
            one; by default QONDUIT_TOKEN.
        tls: True for TLS with the system's roots, a PEM file of roots, or `grpc.ChannelCredentials`; False for plain
            text. By default as QONDUIT_TLS says (1, a PEM file, or 0), else plain text.
        timeout: seconds a call may take, its repetitions included; also how long a server that went away while a job
            was followed may take to come back.
        connect_timeout: the same, as long as the server has never answered.
        retry: how long to wait between attempts.

    Raises:
        ValueError: a token would go through a network in plain text, and `tls=False` was not said; or the target, the
            token or the roots are none.
        OSError: the file of roots cannot be read.
    """

    def __init__(
        self,
        target: str | None = None,
        *,
        token: Token | None = None,
        tls: Tls | None = None,
        timeout: float = 60.0,
        connect_timeout: float = 5.0,
        retry: Retry | None = None,
    ) -> None:
        self._transport = Transport(
            target, token=token, tls=tls, timeout=timeout, connect_timeout=connect_timeout, retry=retry
        )
        self._limits: ServerLimits | None = None
        notebook.show_messages_as_tables()

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
        raise TypeError("a Client holds a connection and cannot be pickled: make one in each process")

    def close(self) -> None:
        """End the connection; what another thread waits for ends with `ClientClosed`. Jobs go on."""
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
        credential: str = "",
        inputs: Inputs | None = None,
        statevector: bool = False,
    ) -> JobHandle:
        """Queues a job and returns at once; once this returned, the job survives any crash.

        Args:
            program: text, bytes, a `Path`, a circuit object of an SDK (Qiskit, Cirq, Braket, pyQuil, PennyLane,
                Qrisp), or several of them: each is a program of the job.
            device: "PROVIDER/device", or one of `devices()`.
            shots: how often each circuit is run.
            seed: fixes the randomness of simulators.
            name: a name for people.
            language: "QASM2", "QASM3" ...; found out from header and file suffix when not given.
            request_id: a UUID; a job that was made with it before, by the same request, is returned. By default a new
                one is made, so that trying again never makes a second job.
            deployment_id: instead of `program`: runs the programs of this deployment.
            credential: the vendor credential; refused for now, since no provider uses one.
            inputs: values for the inputs (free parameters) of the programs, by name: numbers, Booleans, texts of 0s
                and 1s (for registers, highest bit first), and lists of them.
            statevector: has each program give its exact state before it measures at its end, too.

        Raises:
            ProgramUnreadable: the language cannot be told.
            ValueError: a value is none that an input can have.
            QonduitError: the server refused, or is not there.
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
            credential=credential,
            request_id=request_id,
        )
        answer = self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, answer.deduplicated)

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
    ) -> CreateJobResponse:
        """Has a job read and compiled for its device, without running or storing anything.

        Returns:
            `job` as it would be made, and `compiled`: what compiling each program found (qubits, depth, two-qubit
            gates, memory, circuits, warnings), in the order of the programs.

        Raises:
            InvalidRequest: a program is at fault; the error says which, and where.
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
            validate_only=True,
        )
        return self._transport.call(request)

    def job(self, job_id: int) -> JobHandle:
        """Return a handle on a job, without asking the server."""
        return JobHandle(self._transport, job_id)

    def jobs(self, filter: str = "", *, limit: int | None = None) -> Listing[Job]:
        """Return jobs, newest first: to iterate over, to index, or to show as a table.

        Pages are read from the server as they are needed; see `qonduit_client.listing.Listing`.

        Args:
            filter: for example 'state = "RUNNING" AND deployment_id = 7'.
            limit: how many at most.
        """

        def read(limit: int | None, timeout: float | None) -> Iterator[Job]:
            return self._transport.items(requests.jobs(filter, limit), timeout=timeout)

        return Listing(read, "Job", limit)

    def rerun(self, job_id: int, *, request_id: str | None = None) -> JobHandle:
        """Queues a new job with the programs, device and options of another one."""
        request = requests.rerun(job_id, request_id)
        answer = self._transport.call(request)
        return self._handle(answer.job, request.message.request_id, answer.deduplicated)

    def delete_job(self, job_id: int) -> None:
        """Delete a job that has ended, with its events and results."""
        self._transport.call(requests.delete_job(job_id))

    # What to run on

    def providers(self) -> Table[Provider]:
        """Return the providers, as a list that shows itself as a table."""
        return Table(self._transport.items(requests.providers()), "Provider")

    def devices(self, filter: str = "") -> Table[Device]:
        """Return the devices, as a list that shows itself as a table; a filter is, say, 'is_simulator = true'."""
        devices = list(self._transport.items(requests.devices(filter)))
        return Table(devices, "Device", {each.id: each.name for each in self.providers()})

    def named_devices(self, filter: str = "") -> dict[str, Device]:
        """Return the devices by the names that `run` takes, "PROVIDER/device"."""
        return requests.named(self._transport.items(requests.devices(filter)), self.providers())

    # Programs by themselves

    def translate(
        self, program: Program, *, to: str, language: str | None = None, inputs: Inputs | None = None
    ) -> Translation:
        """Translate a program into another language.

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
        return Translation(self._transport.call(requests.translate(program, to, language, inputs)))

    def languages(self) -> ListLanguagesResponse:
        """Return the languages that programs can be written in, and what translating from and to each costs."""
        return self._transport.call(requests.languages())

    # Deployments

    def deploy(
        self,
        program: Program | Iterable[Program],
        name: str | None = None,
        language: str | None = None,
        request_id: str | None = None,
    ) -> Deployment:
        """Store programs to be run later, with `run(deployment_id=...)`."""
        return self._transport.call(requests.deploy(program, name, language, request_id)).deployment

    def deployment(self, deployment_id: int) -> Deployment:
        """Return one deployment, with its programs."""
        return self._transport.call(requests.deployment(deployment_id)).deployment

    def deployments(self, filter: str = "", *, limit: int | None = None) -> Listing[Deployment]:
        """Return deployments, newest first: to iterate over, to index, or to show as a table; as `jobs`."""

        def read(limit: int | None, timeout: float | None) -> Iterator[Deployment]:
            return self._transport.items(requests.deployments(filter, limit), timeout=timeout)

        return Listing(read, "Deployment", limit)

    def delete_deployment(self, deployment_id: int) -> None:
        """Delete a deployment that no job refers to."""
        self._transport.call(requests.delete_deployment(deployment_id))

    # The server

    def server_limits(self) -> ServerLimits:
        """Return what the server allows; the server is asked once."""
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

    def workers(self) -> Table[Worker]:
        """Return the worker processes of the server that answers; a list that shows itself as a table."""
        return Table(self._transport.call(requests.workers()).workers, "Worker")

    def _handle(self, job: Job, request_id: str, deduplicated: bool) -> JobHandle:
        return JobHandle(self._transport, job.id, known=job, request_id=request_id, deduplicated=deduplicated)


def connect(client: Client | str | None = None) -> Client:
    """Return a client as it is, or a new one of a server that is named as "HOST:PORT" (None: as `Client` has it)."""
    return client if isinstance(client, Client) else Client(client)
