# SPDX-License-Identifier: Apache-2.0
"""The calls of an IQM server by IQM's client, with one token. Imported only in the process that makes them.

Only the client itself is imported: with its part for Qiskit, a process takes four times as long to start, and 430 MB.
The client makes each request once.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from functools import wraps
from typing import Any, Final, NamedTuple
from uuid import UUID

import requests
from exa.common.errors.iqm_error import IQMError
from iqm.iqm_client import IQMClient
from iqm.iqm_server_client.iqm_server_client import IQMServerClient
from iqm.iqm_server_client.iqm_server_executor import IQMServerExecutor
from iqm.iqm_server_client.iqm_server_storage import IQMServerStorage
from iqm.iqm_server_client.models import QuantumComputer
from iqm.station_control.client.authentication import ClientConfigurationError
from iqm.station_control.interface.models import CircuitMeasurementCounts
from iqm.station_control.interface.models.jobs_new import JobData, JobStatus
from urllib3.exceptions import NewConnectionError

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob, VendorJobState, VendorOutcome
from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit_server.providers.remote_provider import (
    CallRefused,
    CredentialRefused,
    Fetched,
    NotSent,
    VendorBusy,
    VendorError,
    vendor_outcome,
)
from qonduit_server.providers.vendors.http_answers import REFUSALS, retry_after
from qonduit_server.providers.vendors.iqm_compiler import BIT, compiled, machine
from qonduit_server.providers.vendors.iqm_devices import calibration, device, device_name

#: The client refuses a token if one of these is set as well.
_VARIABLES: Final = ("IQM_TOKEN", "IQM_TOKENS_FILE", "IQM_QUANTUM_COMPUTER")
_STATES: Final = {
    JobStatus.COMPLETED: VendorJobState.VENDOR_JOB_STATE_DONE,
    JobStatus.FAILED: VendorJobState.VENDOR_JOB_STATE_FAILED,
    JobStatus.CANCELLED: VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}
_NOT_FOUND: Final = 404
_STARTED: Final = "execution_started"
_ENDED: Final = "execution_ended"


class _Transport(IQMServerClient):  # type: ignore[misc]  # without types
    """IQM's HTTP client, which finds the quantum computer of a device and keeps the last response.

    Args:
        url: of the IQM server.
        token: of the account.
        device: the device; None for any.
        responses: receives the last response.
    """

    def __init__(self, url: str, token: str, device: str | None, responses: list[requests.Response]) -> None:
        self._responses = responses
        self.computers: Sequence[QuantumComputer] = ()
        super().__init__(url, token=token, quantum_computer=device, client_signature="qonduit")

    def send_request(self, http_method: Callable[..., requests.Response], url_path: str, **content: Any) -> Any:
        """Make one request. The error of the client lacks the headers of the response."""
        self._responses.clear()

        @wraps(http_method)
        def kept(*arguments: Any, **options: Any) -> requests.Response:
            response = http_method(*arguments, **options)
            self._responses.append(response)
            return response

        return super().send_request(kept, url_path, **content)

    def _resolve_quantum_computer(self, user_defined_quantum_computer: str | None) -> tuple[QuantumComputer, int]:
        self.computers = self._get_quantum_computers()
        for computer in self.computers:
            if user_defined_quantum_computer in (None, device_name(computer.alias)):
                return computer, len(self.computers)
        raise ClientConfigurationError(f"the account has no quantum computer {user_defined_quantum_computer or ''}")


class _Connection(NamedTuple):
    """The client, and the parts of it that read jobs without a warning for each of their messages."""

    client: IQMClient
    executor: IQMServerExecutor
    transport: _Transport


class IQMSession:
    """The calls; see `VendorSession`.

    Args:
        token: of the account.
        url: of the IQM server.
    """

    def __init__(self, token: str, url: str) -> None:
        self._token = token
        self._url = url
        self._responses: list[requests.Response] = []
        self._connections: dict[str | None, _Connection] = {}
        for name in _VARIABLES:
            os.environ.pop(name, None)
        # It would replace the token of the account.
        os.environ["NETRC"] = os.devnull
        # It logs each value that a calibration lacks.
        logging.getLogger("iqm").setLevel(logging.ERROR)

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Compile the circuits for the machine as it is now, and submit them with that calibration."""
        with self._errors(submits=False):
            client = self._connection(submission.device).client
            architecture = client.get_dynamic_quantum_architecture()
        circuits = list(compiled(submission.circuits, machine(architecture), token))
        try:
            wanted = client.create_circuit_job_definition(
                circuits, shots=submission.shots, calibration_set_id=architecture.calibration_set_id
            )
        except (IQMError, ValueError) as error:
            raise CallRefused(f"IQM's client refuses the circuits: {error}", code=type(error).__name__) from error
        with self._errors():
            return _job(client.submit_circuit_job(wanted).job_data)

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return no job: IQM has no tags."""
        return None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Return the states of jobs."""
        return [self._poll(vendor_id) for vendor_id in vendor_ids]

    def _poll(self, vendor_id: str) -> VendorJob:
        missing = VendorJob(vendor_id=vendor_id, state=VendorJobState.VENDOR_JOB_STATE_MISSING, word="missing")
        try:
            number = UUID(vendor_id)
        except ValueError:
            return missing
        try:
            with self._errors():
                return _job(self._connection().executor.get_job(number))
        except CallRefused:
            if self._responses and self._responses[0].status_code == _NOT_FOUND:
                return missing
            raise

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Return the results of a job."""
        with self._errors():
            executor = self._connection().executor
            job = executor.get_job(UUID(vendor_id))
            raw = {"job": self._responses[0].json()}
            counts = executor.get_artifact_measurement_counts(UUID(vendor_id))
            raw["measurement_counts"] = self._responses[0].json()
        return Fetched(_outcomes(counts, submission, _facts(job)), json.dumps(raw).encode())

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a job; return its state."""
        try:
            with self._errors():
                self._connection().executor.cancel_job(UUID(vendor_id))
        except CallRefused:
            found = self._poll(vendor_id)
            if found.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
                raise
            return found
        return self._poll(vendor_id)

    def devices(self) -> ProviderDescription:
        """Return the quantum computers of the account with their calibrations.

        One that IQM cannot describe now is left out, and the others are listed.
        """
        self._connections.clear()
        with self._errors():
            computers = self._connection().transport.computers
        found = ProviderDescription()
        for computer in computers:
            try:
                self._add_device(found, computer.alias)
            except (CredentialRefused, VendorBusy, NotSent):
                raise
            except VendorError as error:
                logging.getLogger(__name__).warning("IQM does not describe %s: %s", computer.alias, error.message)
        return found

    def _add_device(self, found: ProviderDescription, alias: str) -> None:
        with self._errors():
            client = self._connection(device_name(alias)).client
            described = machine(client.get_dynamic_quantum_architecture())
            health = client.get_health()
            metrics = None
            with suppress(IQMError):
                metrics = client.get_quality_metric_set(described.architecture.calibration_set_id)
            found.devices.append(device(alias, described, health))
            measured = calibration(described, metrics)
            found.calibrations.append(CalibratedDevice(device=device_name(alias), calibration=measured))

    def _connection(self, device: str | None = None) -> _Connection:
        """Return the client for a device, or for calls that concern no device: making one is a request."""
        if device not in self._connections:
            transport = _Transport(self._url, self._token, device, self._responses)
            executor = IQMServerExecutor(client=transport)
            client = IQMClient(executor=executor, storage=IQMServerStorage(client=transport))
            self._connections[device] = _Connection(client, executor, transport)
        return self._connections[device]

    @contextmanager
    def _errors(self, *, submits: bool = True) -> Iterator[None]:
        """Convert the errors of the client.

        Args:
            submits: False for the requests before a submission, whose failure leaves nothing at IQM.
        """
        self._responses.clear()
        try:
            yield
        except (IQMError, requests.RequestException, RuntimeError, ValueError) as error:
            found = self._error(error)
            if not submits and type(found) is VendorError:
                found = NotSent(f"nothing was submitted: {found.message}", code=found.code)
            raise found from error

    def _error(self, error: Exception) -> VendorError:
        if isinstance(error, ClientConfigurationError):
            return CallRefused(str(error), code=type(error).__name__)
        if not self._responses:
            kind = NotSent if _never_connected(error) else VendorError
            return kind(f"no answer of IQM: {type(error).__name__}")
        (response,) = self._responses
        status, text = response.status_code, getattr(error, "message", None) or type(error).__name__
        code = str(getattr(error, "error_code", None) or status)
        if status in (401, 403):
            return CredentialRefused(f"IQM does not accept the token: {text}", code=code)
        if status == requests.codes.too_many_requests:
            return VendorBusy(text, code=code, retry_after=retry_after(response.headers))
        if status in REFUSALS:
            return CallRefused(text, code=code)
        if response.ok:
            return VendorError(f"the answer of IQM is not one of its API: {type(error).__name__}")
        return VendorError(f"{status}: {text}", code=code)


def _never_connected(error: Exception) -> bool:
    """Return whether no connection was made, so that nothing was sent."""
    reason = getattr(error.args[0], "reason", None) if error.args else None
    causes = (error, error.__cause__)
    return isinstance(reason, NewConnectionError) or any(
        isinstance(each, requests.exceptions.ConnectTimeout) for each in causes
    )


def _job(found: JobData) -> VendorJob:
    """Return what IQM reports about a job."""
    state = _STATES.get(found.status, VendorJobState.VENDOR_JOB_STATE_ACTIVE)
    job = VendorJob(vendor_id=str(found.id), state=state, word=str(found.status.value))
    if found.queue_position is not None:
        job.queue_position = found.queue_position
    if started := _times(found).get(_STARTED):
        job.started_at.FromDatetime(started)
    if (seconds := _seconds(found)) is not None:
        job.seconds = seconds
    if state in (VendorJobState.VENDOR_JOB_STATE_FAILED, VendorJobState.VENDOR_JOB_STATE_CANCELLED):
        # IQM charges for the time of the machine.
        job.may_be_charged = started is not None
        for error in found.errors[:1]:
            job.error, job.error_code = error.message, error.error_code or ""
    return job


def _times(job: JobData) -> Mapping[str, datetime]:
    return {entry.status: entry.timestamp.astimezone(UTC) for entry in job.timeline}


def _seconds(job: JobData) -> float | None:
    """Return the time of the machine, once IQM reports it."""
    times = _times(job)
    return (times[_ENDED] - times[_STARTED]).total_seconds() if {_STARTED, _ENDED} <= times.keys() else None


def _facts(job: JobData) -> Mapping[str, Any]:
    """Return the facts about the run of a job."""
    facts: dict[str, Any] = {"vendor": "IQM"}
    if job.compilation is not None and job.compilation.calibration_set_id is not None:
        facts["calibration_id"] = str(job.compilation.calibration_set_id)
    if (seconds := _seconds(job)) is not None:
        facts["execution_seconds"] = seconds
    return facts


def _outcomes(
    found: Sequence[CircuitMeasurementCounts], submission: Submission, facts: Mapping[str, Any]
) -> Sequence[VendorOutcome]:
    """Return the outcomes of all circuits of a job; none if they are not those of its circuits."""
    outcomes = []
    for circuit, each in zip(submission.circuits, found, strict=False):
        wanted = {numbers[0] for name, _, numbers in json.loads(circuit.text)["steps"] if name == "measure"}
        # Each measurement has one qubit, so each key has one character.
        places = {
            int(key.removeprefix(BIT)): place
            for place, key in enumerate(each.measurement_keys)
            if key.startswith(BIT) and key.removeprefix(BIT).isdigit()
        }
        if places.keys() != wanted or any(len(text) != len(each.measurement_keys) for text in each.counts):
            return ()
        counts: dict[int, int] = {}
        for text, count in each.counts.items():
            key = sum((text[place] == "1") << clbit for clbit, place in places.items())
            counts[key] = counts.get(key, 0) + count
        outcomes.append(vendor_outcome(counts, **facts))
    return outcomes if len(found) == len(submission.circuits) else ()
