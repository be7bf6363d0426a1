# SPDX-License-Identifier: Apache-2.0
"""The calls of Amazon Braket, with Amazon's SDK and Braket's models. Imported only in the process that calls Braket."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from botocore.exceptions import ClientError
from braket.ir.openqasm import Program, ProgramSet

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob, VendorJobState, VendorOutcome
from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.failure_pb2 import FailureCategory
from qonduit_server.providers.remote_provider import CallRefused, Fetched, vendor_outcome
from qonduit_server.providers.vendors import braket_catalogue, braket_results
from qonduit_server.providers.vendors.braket_access import Clients, code_of, read_credential, vendor_errors

#: The folder of the results in the bucket.
_FOLDER: Final = "qonduit"
#: The largest results that are read: 100,000 shots of 200 qubits.
_MAX_BYTES: Final = 96 * 1024**2
_ARN: Final = "arn:"
#: The tag of a task by which a person finds it in Braket's console.
TAG: Final = "qonduit"
_STATES: Final = {
    "CREATED": VendorJobState.VENDOR_JOB_STATE_ACTIVE,
    "QUEUED": VendorJobState.VENDOR_JOB_STATE_ACTIVE,
    "RUNNING": VendorJobState.VENDOR_JOB_STATE_ACTIVE,
    "CANCELLING": VendorJobState.VENDOR_JOB_STATE_ACTIVE,
    "COMPLETED": VendorJobState.VENDOR_JOB_STATE_DONE,
    "FAILED": VendorJobState.VENDOR_JOB_STATE_FAILED,
    "CANCELLED": VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}
_NOT_FOUND: Final = "ResourceNotFoundException"
_CONFLICT: Final = "ConflictException"
#: S3 has no results of the task.
_MISSING: Final = ("NoSuchKey", "NoSuchBucket", "404")


class BraketSession:
    """The calls with one account; see `VendorSession`.

    Args:
        credential: the account, as JSON.
    """

    def __init__(self, credential: str) -> None:
        self._credential = read_credential(credential)
        self._clients = Clients(self._credential)
        self._braket = self._clients.braket

    def devices(self) -> ProviderDescription:
        """Return the devices of the account's region, and the simulators."""
        found = ProviderDescription()
        with vendor_errors():
            for each in self._listed():
                answer = self._braket.get_device(deviceArn=each["deviceArn"])
                properties = braket_catalogue.properties_of(answer)
                device = None if properties is None else braket_catalogue.device(answer, properties)
                if device is None:
                    continue
                found.devices.append(device)
                if (measured := braket_catalogue.calibration(properties)) is not None:
                    found.calibrations.append(CalibratedDevice(device=device.name, calibration=measured))
        return found

    def _listed(self) -> Iterator[Mapping[str, Any]]:
        """Yield the devices that are not retired."""
        pages = self._braket.get_paginator("search_devices").paginate(filters=[])
        for page in pages:
            yield from (each for each in page["devices"] if each["deviceStatus"] != "RETIRED")

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Create a task, with a set of programs if there are several. A repetition returns the first task."""
        programs = [Program(source=circuit.text) for circuit in submission.circuits]
        action = programs[0] if len(programs) == 1 else ProgramSet(programs=programs)
        with vendor_errors():
            answer = self._braket.create_quantum_task(
                clientToken=token,
                deviceArn=braket_catalogue.device_arn(submission.device, self._credential.region),
                action=action.json(),
                # Those of all programs of a set together.
                shots=submission.shots * len(programs),
                outputS3Bucket=self._credential.bucket,
                outputS3KeyPrefix=_FOLDER,
                tags={TAG: token},
            )
        return VendorJob(
            vendor_id=answer["quantumTaskArn"], state=VendorJobState.VENDOR_JOB_STATE_ACTIVE, word="CREATED"
        )

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return no task: a repetition with the token finds it; see `VendorSession`."""
        return None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Return the states of tasks."""
        return [self._look(each) for each in vendor_ids]

    def _look(self, arn: str) -> VendorJob:
        missing = VendorJob(vendor_id=arn, state=VendorJobState.VENDOR_JOB_STATE_MISSING, word="not found")
        if not arn.startswith(_ARN):
            return missing
        with vendor_errors():
            try:
                answer = self._read(arn)
            except ClientError as error:
                if code_of(error) == _NOT_FOUND:
                    return missing
                raise
        return self._job(arn, answer)

    def _read(self, arn: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._braket.get_quantum_task(
            quantumTaskArn=arn, additionalAttributeNames=["QueueInfo"]
        )
        return answer

    def _job(self, arn: str, answer: Mapping[str, Any]) -> VendorJob:
        word = answer["status"]
        found = VendorJob(vendor_id=arn, state=_STATES.get(word, VendorJobState.VENDOR_JOB_STATE_ACTIVE), word=word)
        position = str((answer.get("queueInfo") or {}).get("position", ""))
        if position.isdecimal():  # ">2000" is no position
            found.queue_position = int(position)
        if found.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
            return found
        if word == "FAILED" and _is_set(answer) and answer.get("numSuccessfulShots"):
            # Its results contain which of the programs ran.
            found.state = VendorJobState.VENDOR_JOB_STATE_DONE
        found.error, found.error_code = answer.get("failureReason", ""), "" if word == "COMPLETED" else word
        ran = int(answer.get("numSuccessfulShots", answer["shots"] if word == "COMPLETED" else 0))
        found.may_be_charged = word != "COMPLETED" and ran > 0
        found.shots = ran
        return found

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Return the results of a task, from S3."""
        with vendor_errors():
            answer = self._read(vendor_id)
            key = f"{answer['outputS3Directory']}/{braket_results.RESULTS}"
            try:
                data = self._clients.read_object(answer["outputS3Bucket"], key, _MAX_BYTES)
            except ClientError as error:
                if code_of(error) in _MISSING:
                    return Fetched([], b"")
                raise
        if data is None:
            return Fetched([_too_large(answer, key)] * len(submission.circuits), b"")
        files = _Files(self._clients, answer["outputS3Bucket"], data)
        try:
            with vendor_errors():
                folder = answer["outputS3Directory"]
                found = braket_results.outcomes(data, submission.circuits, submission.shots, folder, files.read)
        except _TooLargeError:
            return Fetched([_too_large(answer, key)] * len(submission.circuits), b"")
        return Fetched(found, b"\n".join(files.all), seconds=braket_results.charged_seconds(data))

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a task; Braket refuses that of a task that has ended."""
        before = self._look(vendor_id)
        if before.state != VendorJobState.VENDOR_JOB_STATE_ACTIVE:
            return before
        with vendor_errors():
            try:
                self._braket.cancel_quantum_task(quantumTaskArn=vendor_id)
            except ClientError as error:
                if code_of(error) != _CONFLICT:
                    raise
                after = self._look(vendor_id)
                if after.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
                    raise CallRefused(str(error), code=_CONFLICT) from error
                return after
        return before


class _TooLargeError(Exception):
    """The files of results are larger than the limit of a read."""


class _Files:
    """The files of the results of a task.

    Args:
        clients: read them.
        bucket: of the task.
        first: the one that was read.
    """

    def __init__(self, clients: Clients, bucket: str, first: bytes) -> None:
        self._clients = clients
        self._bucket = bucket
        self.all = [first]

    def read(self, key: str) -> bytes:
        """Return a further file. Raises _TooLargeError."""
        data = self._clients.read_object(self._bucket, key, _MAX_BYTES - sum(map(len, self.all)))
        if data is None:
            raise _TooLargeError
        self.all.append(data)
        return data


def _is_set(answer: Mapping[str, Any]) -> bool:
    """Return whether a task has a set of programs."""
    return (answer.get("actionMetadata") or {}).get("actionType") == braket_catalogue.SET_ACTION


def _too_large(answer: Mapping[str, Any], key: str) -> VendorOutcome:
    outcome = vendor_outcome({})
    outcome.failure.category = FailureCategory.FAILURE_CATEGORY_PROVIDER
    outcome.failure.reason = "VENDOR_RESULTS_UNREADABLE"
    outcome.failure.message = (
        f"the results have more than {_MAX_BYTES} bytes, and are in s3://{answer['outputS3Bucket']}/{key}"
    )
    return outcome
