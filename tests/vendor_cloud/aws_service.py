# SPDX-License-Identifier: Apache-2.0
"""Amazon Braket and S3 over HTTP, in a process of their own, with the failures of the vendor's cloud.

It checks each request against Amazon's own model of the service, and its signature. It runs programs with Braket's own
simulator, which also writes the results in Braket's schema.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

import botocore.session
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from botocore.model import OperationModel
from botocore.validate import ParamValidator
from braket.default_simulator import StateVectorSimulator
from braket.ir.openqasm import Program, ProgramSet
from braket.schema_common import BraketSchemaBase
from braket.task_result import (
    ProgramResult,
    ProgramSetExecutableFailure,
    ProgramSetExecutableResult,
    ProgramSetTaskMetadata,
    ProgramSetTaskResult,
    SimulatorMetadata,
)

from tests.vendor_cloud.aws_provider import BUCKET, REGION, SHOT
from tests.vendor_cloud.fake_vendor import Handler, Service, serve

ACCOUNT: Final = "123456789012"
_RESULTS: Final = "results.json"
_WORDS: Final = {"in line": "QUEUED", "complete": "COMPLETED", "failed": "FAILED", "cancelled": "CANCELLED"}
_HEADER: Final = "braketSchemaHeader"


def _service(**fields: Any) -> dict[str, Any]:
    window = {"executionDay": "Everyday", "windowStartHour": "09:00", "windowEndHour": "17:30"}
    header = {"name": "braket.device_schema.device_service_properties", "version": "1"}
    return {_HEADER: header, "executionWindows": [window], "updatedAt": "2026-11-30T04:00:00", **fields}


def _sets() -> dict[str, Any]:
    """Return the limits of tasks with sets of programs: three programs, and 5000 shots in all."""
    kind = "braket.ir.openqasm.program_set"
    return {kind: {"actionType": kind, "version": ["1"], "maximumExecutables": 3, "maximumTotalShots": 5000}}


def _action() -> dict[str, Any]:
    gates = ["x", "y", "z", "h", "s", "si", "t", "ti", "v", "vi", "rx", "ry", "rz", "cnot", "swap", "i"]
    return {
        "braket.ir.openqasm.program": {
            "actionType": "braket.ir.openqasm.program",
            "version": ["1"],
            "supportedOperations": gates,
            "supportedResultTypes": [{"name": "Probability", "minShots": 1, "maxShots": 5000}],
        }
    }


def _processor(kind: str, shots: tuple[int, int], price: float, **paradigm: Any) -> dict[str, Any]:
    header = {"name": "braket.device_schema.gate_model_qpu_paradigm_properties", "version": "1"}
    return {
        _HEADER: {"name": f"braket.device_schema.{kind}.{kind}_device_capabilities", "version": "1"},
        "service": _service(shotsRange=shots, deviceCost={"price": price, "unit": "shot"}, deviceLocation="Maryland"),
        "action": _action(),
        "deviceParameters": {},
        "paradigm": {_HEADER: header, "nativeGateSet": ["gpi", "gpi2", "ms"], **paradigm},
    }


def _measured() -> dict[str, Any]:
    """Return the calibration of a pair of qubits, in Braket's standard form."""
    benchmark, readout = {"name": "RANDOMIZED_BENCHMARKING"}, {"name": "READOUT"}
    qubit = {
        "T1": {"value": 28.9, "standardError": 0.01, "unit": "us"},
        "T2": {"value": 44.5, "standardError": 0.02, "unit": "us"},
        "oneQubitFidelity": [
            {"fidelityType": benchmark, "fidelity": 0.9993},
            {"fidelityType": readout, "fidelity": 0.903},
        ],
    }
    gate = {
        "direction": {"control": 0, "target": 1},
        "gateName": "CNOT",
        "fidelity": 0.877,
        "fidelityType": {"name": "INTERLEAVED_RANDOMIZED_BENCHMARKING"},
    }
    header = {"name": "braket.device_schema.standardized_gate_model_qpu_device_properties", "version": "1"}
    return {
        _HEADER: header,
        "oneQubitProperties": {"0": qubit, "1": qubit},
        "twoQubitProperties": {"0-1": {"twoQubitGateFidelity": [gate]}},
    }


def _simulator(qubits: int) -> dict[str, Any]:
    name = "braket.device_schema.simulators.gate_model_simulator"
    return {
        _HEADER: {"name": f"{name}_device_capabilities", "version": "1"},
        "service": _service(shotsRange=(0, 100_000), deviceCost={"price": 0.075, "unit": "minute"}),
        "action": _action(),
        "deviceParameters": {},
        "paradigm": {_HEADER: {"name": f"{name}_paradigm_properties", "version": "1"}, "qubitCount": qubits},
    }


def _with_sets(capabilities: dict[str, Any]) -> dict[str, Any]:
    capabilities["action"] |= _sets()
    return capabilities


_ALL: Final = {"fullyConnected": True, "connectivityGraph": {}}
_LINE: Final = {"fullyConnected": False, "connectivityGraph": {"0": ["1"], "1": ["0"]}}
#: By ARN: the maker, the name, the state and the capabilities.
DEVICES: Final[dict[str, tuple[str, str, str, dict[str, Any]]]] = {
    f"arn:aws:braket:{REGION}::device/qpu/ionq/Forte-1": (
        "IonQ",
        "Forte 1",
        "ONLINE",
        _with_sets(_processor("ionq", (1, 5000), SHOT, qubitCount=36, connectivity=_ALL)),
    ),
    f"arn:aws:braket:{REGION}::device/qpu/rigetti/Ankaa-3": (
        "Rigetti",
        "Ankaa-3",
        "OFFLINE",
        _processor("rigetti", (10, 50_000), 0.0009, qubitCount=2, connectivity=_LINE) | {"standardized": _measured()},
    ),
    "arn:aws:braket:::device/quantum-simulator/amazon/sv1": ("Amazon Braket", "SV1", "ONLINE", _simulator(34)),
}


class Refused(Exception):
    """The service refuses a request.

    Args:
        status: the status of HTTP.
        code: Amazon's code.
        message: the text.
    """

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status, self.code, self.message = status, code, message


class AWSService(Service):
    """The tasks, and the model of the service."""

    def __init__(self) -> None:
        super().__init__()
        self.model = botocore.session.Session().get_service_model("braket")
        for *_, capabilities in DEVICES.values():
            BraketSchemaBase.parse_raw_schema(json.dumps(capabilities))
        self.simulator = StateVectorSimulator()
        #: The objects of S3, by bucket and key.
        self.objects: dict[str, bytes] = {}

    def check(self, operation: str, parameters: dict[str, Any]) -> None:
        """Check the parameters of a request against Amazon's model."""
        model: OperationModel = self.model.operation_model(operation)
        report = ParamValidator().validate(parameters, model.input_shape)
        if report.has_errors():
            raise Refused(400, "ValidationException", report.generate_report())

    def create(self, wanted: dict[str, Any]) -> dict[str, Any]:
        """Accept a task; one with the token of an earlier one returns that one, if it is equal."""
        if wanted["deviceArn"] not in DEVICES:
            raise Refused(400, "ValidationException", f"the device {wanted['deviceArn']} does not exist")
        if wanted["outputS3Bucket"] != BUCKET:
            raise Refused(403, "AccessDeniedException", f"the bucket {wanted['outputS3Bucket']} is not yours")
        low, high = DEVICES[wanted["deviceArn"]][3]["service"]["shotsRange"]
        if not low <= wanted["shots"] <= high:
            raise Refused(400, "ValidationException", f"{wanted['shots']} shots are not in {low} to {high}")
        action = BraketSchemaBase.parse_raw_schema(wanted["action"])
        programs = self._programs(action, wanted)
        # Braket reads the programs before it accepts the task.
        for program in programs:
            self.simulator.parse_program(program)
        known = {job["mark"] for job in self.jobs.values()}
        job = self.accept({"mark": wanted["clientToken"], "once": True, "circuits": programs})
        if wanted["clientToken"] in known:
            if job["request"] != wanted:
                raise Refused(400, "ValidationException", "the token was used with other parameters")
            return job
        name = f"arn:aws:braket:{REGION}:{ACCOUNT}:quantum-task/{len(self.jobs):08d}-0000-4000-8000-000000000000"
        self.jobs[name] = self.jobs.pop(job["id"])
        job |= {"id": name, "request": wanted, "created": _text(self.now())}
        return job

    def _programs(self, action: Any, wanted: dict[str, Any]) -> list[Program]:
        """Return the programs of a task. Raises Refused: the device does not run such a set."""
        if isinstance(action, Program):
            return [action]
        assert isinstance(action, ProgramSet)
        limits = DEVICES[wanted["deviceArn"]][3]["action"].get("braket.ir.openqasm.program_set")
        if limits is None:
            raise Refused(400, "ValidationException", "the device does not run program sets")
        number = action.num_executables
        if number > limits["maximumExecutables"] or wanted["shots"] > limits["maximumTotalShots"]:
            raise Refused(400, "ValidationException", f"too many executables or shots: {number}, {wanted['shots']}")
        if wanted["shots"] % number:
            raise Refused(400, "ValidationException", f"{wanted['shots']} shots cannot be divided by {number}")
        return list(action.programs)

    def described(self, job: dict[str, Any]) -> dict[str, Any]:
        """Return a task as Braket describes it; the results of one that has just ended are stored in S3."""
        found, wanted = self.look(job), job["request"]
        folder = f"{wanted['outputS3KeyPrefix']}/{job['id'].rpartition('/')[2]}"
        answer = {
            "quantumTaskArn": job["id"],
            "status": _WORDS[found["state"]],
            "deviceArn": wanted["deviceArn"],
            "deviceParameters": "{}",
            "shots": wanted["shots"],
            "outputS3Bucket": wanted["outputS3Bucket"],
            "outputS3Directory": folder,
            "createdAt": job["created"],
            "tags": wanted.get("tags", {}),
        }
        if len(job["circuits"]) > 1:
            answer["actionMetadata"] = {"actionType": "braket.ir.openqasm.program_set"}
        if found["state"] == "in line":
            position = str(job["position"])
            return answer | {"queueInfo": {"queue": "QUANTUM_TASKS_QUEUE", "position": position}}
        answer["endedAt"] = _text(self.now())
        if found["state"] == "failed":
            answer |= {"failureReason": "the cryostat is warm", "numSuccessfulShots": 1}
        key = f"{wanted['outputS3Bucket']}/{folder}/{_RESULTS}"
        if found["state"] == "complete" and len(job["circuits"]) > 1:
            self._describe_set(job, folder, answer)
        elif found["state"] == "complete" and key not in self.objects:
            self.objects[key] = self._results(job)
        return answer

    def _describe_set(self, job: dict[str, Any], folder: str, answer: dict[str, Any]) -> None:
        """Store the results of a set of programs, in one file or in many."""
        wanted, number = job["request"], len(job["circuits"])
        own = wanted["shots"] // number
        partial = self.behavior.outcome.startswith("partial")
        answer["numSuccessfulShots"] = own * (number - partial)
        if self.behavior.outcome == "partial-failed":
            answer |= {"status": "FAILED", "failureReason": "1 executable failed"}
        key = f"{wanted['outputS3Bucket']}/{folder}/{_RESULTS}"
        if key in self.objects:
            return
        results: list[Any] = []
        metadata: list[Any] = []
        for place, program in enumerate(job["circuits"]):
            if partial and not place:
                failed = {"failureReason": "calibration lost", "retryable": True, "category": "DEVICE"}
                executable: Any = ProgramSetExecutableFailure(inputsIndex=0, failureMetadata=failed)
                metadata.append({"executables": [failed]})
            else:
                ran = self.simulator.run_openqasm(program, shots=own)
                executable = ProgramSetExecutableResult(
                    inputsIndex=0, measurements=ran.measurements, measuredQubits=ran.measuredQubits
                )
                metadata.append({"executables": [{}]})
            results.append(ProgramResult(executableResults=[executable], source=program, additionalMetadata={}))
        task = ProgramSetTaskMetadata(
            id=job["id"],
            deviceId=wanted["deviceArn"],
            requestedShots=wanted["shots"],
            successfulShots=answer["numSuccessfulShots"],
            programMetadata=metadata,
            createdAt="2026-11-30T05:00:00.000Z",
            endedAt="2026-11-30T05:00:00.000Z",
            totalFailedExecutables=int(partial),
        )
        if self.behavior.files:
            place_of = f"{wanted['outputS3Bucket']}/{folder}"
            for number, result in enumerate(results):
                self.objects[f"{place_of}/programs/{number}/executables/0.json"] = _encoded(result.executableResults[0])
                self.objects[f"{place_of}/programs/{number}/program.json"] = _encoded(result.source)
                apart = ProgramResult(
                    executableResults=["executables/0.json"], source="program.json", additionalMetadata={}
                )
                self.objects[f"{place_of}/programs/{number}/{_RESULTS}"] = _encoded(apart)
                results[number] = f"programs/{number}/{_RESULTS}"
            self.objects[f"{place_of}/metadata.json"] = _encoded(task)
        location = (wanted["outputS3Bucket"], folder) if self.behavior.files else None
        whole = ProgramSetTaskResult(
            programResults=results, taskMetadata="metadata.json" if self.behavior.files else task, s3Location=location
        )
        self.objects[key] = _encoded(whole)

    def _results(self, job: dict[str, Any]) -> bytes:
        """Run the program; return the results as Braket stores them."""
        (program,), wanted = job["circuits"], job["request"]
        result = self.simulator.run_openqasm(program, shots=wanted["shots"])
        result.taskMetadata.id, result.taskMetadata.deviceId = job["id"], wanted["deviceArn"]
        result.taskMetadata.createdAt = result.taskMetadata.endedAt = "2026-11-30T05:00:00.000Z"
        if "simulator" in wanted["deviceArn"]:
            result.additionalMetadata.simulatorMetadata = SimulatorMetadata(executionDuration=8000)
        if self.behavior.outcome == "probabilities":
            total = len(result.measurements)
            rows = ["".join(map(str, row)) for row in result.measurements]
            result.measurementProbabilities = {row: rows.count(row) / total for row in set(rows)}
            result.measurements = None
        encoded: str = result.json()
        return encoded.encode()


def _encoded(result: Any) -> bytes:
    text: str = result.json()
    return text.encode()


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"


class AWSHandler(Handler):
    """One request of Amazon's SDK."""

    service: AWSService

    def error(self, message: str, code: str) -> dict[str, Any]:
        codes = {"429": "ThrottlingException", "500": "InternalServiceException"}
        return {"message": message, "code": codes.get(code, code)}

    def handle_request(self, method: str, data: bytes) -> None:
        parts = urlsplit(self.path)
        path = [unquote(each) for each in parts.path.strip("/").split("/")]
        if path == ["control"]:
            self.control(json.loads(data))
            return
        self.mode = "ok"
        with self.service.lock:
            try:
                self._authorize(method, data)
                status, answer = self._routed(method, path, parse_qs(parts.query), data)
            except Refused as refused:
                self._refuse(refused)
                return
        self._deliver(self.mode.removeprefix("accept-"), status, answer)

    def _refuse(self, refused: Refused) -> None:
        if self.headers.get("x-amz-content-sha256"):
            text = f"<Error><Code>{refused.code}</Code><Message>{refused.message}</Message></Error>"
            self._send(refused.status, text.encode(), {"x-amz-request-id": "1"})
            return
        self._send(refused.status, {"message": refused.message}, {"x-amzn-ErrorType": refused.code})

    def _authorize(self, method: str, data: bytes) -> None:
        """Check that a request is signed with the secret of its key."""
        scheme, _, fields = (self.headers["Authorization"] or "").partition(" ")
        found = dict(each.strip().split("=", 1) for each in fields.split(",") if "=" in each)
        if scheme != "AWS4-HMAC-SHA256":
            raise Refused(403, "MissingAuthenticationTokenException", "the request is not signed")
        key, _, region, service, _ = found["Credential"].split("/")
        token = key.removeprefix("AKIA")
        self.service.authorizations.add(token)
        if self.service.behavior.tokens and token not in self.service.behavior.tokens:
            message = f"The security token of {key} included in the request is invalid."
            raise Refused(403, "UnrecognizedClientException", message)
        auth = (S3SigV4Auth if service == "s3" else SigV4Auth)(
            Credentials(key, f"secret of {token}", self.headers.get("X-Amz-Security-Token")), service, region
        )
        signed = {name: self.headers[name] for name in found["SignedHeaders"].split(";")}
        request = AWSRequest(method, f"http://{self.headers['Host']}{self.path}", signed, data)
        request.context["timestamp"] = self.headers["X-Amz-Date"]
        text = auth.string_to_sign(request, auth.canonical_request(request))
        if auth.signature(text, request) != found["Signature"]:
            raise Refused(403, "InvalidSignatureException", "The request signature does not match.")

    def _routed(
        self, method: str, path: list[str], query: dict[str, list[str]], data: bytes
    ) -> tuple[int, dict[str, Any] | bytes]:
        """Return the answer; `self.mode` is how it is delivered."""
        service = self.service
        match method, path:
            case "POST", ["quantum-task"]:
                return self._created(json.loads(data))
            case "GET", ["quantum-task", arn]:
                self.mode = service.next("poll")
                service.check("GetQuantumTask", {"quantumTaskArn": arn, **_lists(query)})
                return 200, service.described(self._task(arn)) if self._accepted() else {}
            case "PUT", ["quantum-task", arn, "cancel"]:
                service.note("cancel")
                service.check("CancelQuantumTask", {"quantumTaskArn": arn, **json.loads(data)})
                return 200, self._cancelled(self._task(arn))
            case "POST", ["devices"]:
                service.note("list")
                service.check("SearchDevices", json.loads(data))
                return 200, {"devices": [_summary(arn) for arn in DEVICES]}
            case "GET", ["device", arn]:
                service.note("device")
                return 200, _device(arn)
            case "GET", [bucket, *key]:
                self.mode = service.next("results")
                found = service.objects.get("/".join((bucket, *key)))
                if found is None:
                    raise Refused(404, "NoSuchKey", "The specified key does not exist.")
                return 200, found
        raise Refused(404, "UnknownOperationException", f"{method} {path}")

    def _accepted(self) -> bool:
        return self.mode == "ok" or self.mode.startswith("accept")

    def _created(self, wanted: dict[str, Any]) -> tuple[int, dict[str, Any]]:
        self.mode = self.service.next("submit")
        self.service.check("CreateQuantumTask", wanted)
        if not self._accepted():
            return 201, {}
        return 201, {"quantumTaskArn": self.service.create(wanted)["id"]}

    def _task(self, arn: str) -> dict[str, Any]:
        if self.service.behavior.forget or arn not in self.service.jobs:
            raise Refused(404, "ResourceNotFoundException", f"{arn} does not exist")
        return self.service.jobs[arn]

    def _cancelled(self, job: dict[str, Any]) -> dict[str, Any]:
        if self.service.behavior.cancel == "fail":
            raise Refused(500, "InternalServiceException", "try again")
        if self.service.behavior.cancel == "refuse" or job["state"] != "in line":
            raise Refused(409, "ConflictException", "the task is on the machine")
        job["state"], job["cancelled"] = "cancelled", True
        return {"quantumTaskArn": job["id"], "cancellationStatus": "CANCELLING"}


def _lists(query: dict[str, list[str]]) -> dict[str, Any]:
    return dict(query)


def _summary(arn: str) -> dict[str, Any]:
    maker, name, state, _ = DEVICES[arn]
    kind = "SIMULATOR" if "simulator" in arn else "QPU"
    return {"deviceArn": arn, "deviceName": name, "providerName": maker, "deviceType": kind, "deviceStatus": state}


def _device(arn: str) -> dict[str, Any]:
    if arn not in DEVICES:
        raise Refused(404, "ResourceNotFoundException", f"{arn} does not exist")
    waiting = {"queue": "QUANTUM_TASKS_QUEUE", "queueSize": "12", "queuePriority": "Normal"}
    return _summary(arn) | {"deviceCapabilities": json.dumps(DEVICES[arn][3]), "deviceQueueInfo": [waiting]}


if __name__ == "__main__":
    serve(AWSHandler, AWSService())
