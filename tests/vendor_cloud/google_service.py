# SPDX-License-Identifier: Apache-2.0
"""Google's Quantum Engine over gRPC with TLS, a process of its own, with the failures of the vendor's cloud.

It implements Google's own protos. It checks programs against the specification of the processor with Google's own
classes, runs them with Cirq, and packs results as Google's service does. A relay before the service cuts connections.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import cirq
import cirq_google
import google.auth.jwt
import grpc
from cirq_google.api import v2
from cirq_google.cloud import quantum
from cirq_google.cloud.quantum_v1alpha1.types import engine
from cirq_google.engine import engine_validator
from cirq_google.engine.virtual_engine_factory import (
    create_device_spec_from_processor_id,
    load_median_device_calibration,
)
from google.protobuf import any_pb2, empty_pb2

from tests.certificate_authority import CertificateAuthority
from tests.vendor_cloud.fake_vendor import Behavior, Handler, serve
from tests.vendor_cloud.google_provider import AWAY, MACHINE, PROJECT
from tests.vendor_cloud.grpc_service import Call, GrpcService, Relay, handled

#: The shapes that they have.
_SHAPES: Final = {MACHINE: "willow_pink", AWAY: "rainbow"}
#: The time of the calibration, which is its id.
CALIBRATION: Final = 1723795877
_NAME: Final = re.compile(r"projects/([^/]+)/programs/([A-Za-z0-9_-]{1,100})(?:/jobs/([A-Za-z0-9_-]{1,100}))?")
_SERVICE: Final = "google.cloud.quantum.v1alpha1.QuantumEngineService"
_STATE: Final = quantum.ExecutionStatus.State
_CODE: Final = quantum.ExecutionStatus.Failure.Code


@dataclass
class EngineBehavior(Behavior):
    """What the service does.

    Attributes:
        public_key: of the service account, whose signed tokens are valid too.
    """

    public_key: str = ""


class Engine(GrpcService):
    """The programs, the jobs and the processors of one project."""

    def __init__(self) -> None:
        super().__init__()
        self.behavior: EngineBehavior = EngineBehavior()
        self.roots = ""
        self.programs: dict[str, quantum.QuantumProgram] = {}
        self.known: dict[str, quantum.QuantumJob] = {}
        self.results_of: dict[str, v2.result_pb2.Result] = {}
        self.specifications = {
            name: create_device_spec_from_processor_id(template) for name, template in _SHAPES.items()
        }
        self.devices = {
            name: cirq_google.GridDevice.from_proto(specification)
            for name, specification in self.specifications.items()
        }
        self.metrics = {name: load_median_device_calibration(shape).to_proto() for name, shape in _SHAPES.items()}

    def report(self) -> dict[str, Any]:
        """Return the jobs, the requests, and how the service is reached."""
        return super().report() | {"endpoint": f"localhost:{self.relay.port}", "roots": self.roots}

    def create_program(self, call: Call, request: engine.CreateQuantumProgramRequest) -> quantum.QuantumProgram:
        program = request.quantum_program
        call.enter("program")
        self._check_name(call, program.name, request.parent, 2)
        if program.name in self.programs:
            call.abort(grpc.StatusCode.ALREADY_EXISTS, f"{program.name} exists")
        self.programs[program.name] = program
        return program

    def create_job(self, call: Call, request: engine.CreateQuantumJobRequest) -> quantum.QuantumJob:
        job = request.quantum_job
        with call.planned("submit"):
            self._check_name(call, job.name, request.parent, 3)
            if job.name in self.known:
                call.abort(grpc.StatusCode.ALREADY_EXISTS, f"{job.name} exists")
            processor = job.scheduling_config.processor_selector.processor.rpartition("/")[2]
            if request.parent not in self.programs or processor not in self.devices:
                call.abort(grpc.StatusCode.NOT_FOUND, f"{request.parent} or processor {processor} does not exist")
            circuit = self._circuit(call, request.parent, processor)
            shots = self._shots(call, circuit, job)
            status = quantum.ExecutionStatus(state=_STATE.READY)
            stored = quantum.QuantumJob(name=job.name, execution_status=status, create_time=self.now())
            self.known[job.name] = stored
            self.jobs[job.name] = {
                "mark": job.name.rpartition("/")[2].removeprefix("qonduit-"),
                "state": "READY",
                "cancelled": False,
                "circuit": circuit,
                "shots": shots,
                "processor": processor,
                # The failure is that of the job which is accepted first.
                "fails": self.behavior.outcome == "partial" and not any(each["fails"] for each in self.jobs.values()),
            }
            return stored
        raise AssertionError("not reached")

    def get_job(self, call: Call, request: engine.GetQuantumJobRequest) -> quantum.QuantumJob:
        with call.planned("poll"):
            self._check_name(call, request.name, "", 3)
            job = self._job(call, request.name)
            if job.execution_status.state == _STATE.READY and not self.behavior.hold:
                self._run(job)
            return job
        raise AssertionError("not reached")

    def get_result(self, call: Call, request: engine.GetQuantumResultRequest) -> quantum.QuantumResult:
        with call.planned("results"):
            self._job(call, request.parent)
            packed = any_pb2.Any()
            packed.Pack(self.results_of[request.parent])
            return quantum.QuantumResult(parent=request.parent, result=packed)
        raise AssertionError("not reached")

    def cancel_job(self, call: Call, request: engine.CancelQuantumJobRequest) -> empty_pb2.Empty:
        call.enter("cancel")
        job = self._job(call, request.name)
        if self.behavior.cancel == "refuse" or job.execution_status.state != _STATE.READY:
            call.abort(grpc.StatusCode.FAILED_PRECONDITION, "the job is on the machine")
        if self.behavior.cancel == "fail":
            call.abort(grpc.StatusCode.INTERNAL, "try again")
        job.execution_status.state = _STATE.CANCELLED
        self.jobs[job.name] |= {"state": "CANCELLED", "cancelled": True}
        return empty_pb2.Empty()

    def get_processor(self, call: Call, request: engine.GetQuantumProcessorRequest) -> quantum.QuantumProcessor:
        call.enter("processor")
        return self._processor(call, request.name)

    def list_processors(
        self, call: Call, request: engine.ListQuantumProcessorsRequest
    ) -> engine.ListQuantumProcessorsResponse:
        call.enter("processors")
        found = [self._processor(call, f"{request.parent}/processors/{name}") for name in self.specifications]
        return engine.ListQuantumProcessorsResponse(processors=found)

    def get_calibration(self, call: Call, request: engine.GetQuantumCalibrationRequest) -> quantum.QuantumCalibration:
        call.enter("calibration")
        processor = request.name.split("/")[3]
        packed = any_pb2.Any()
        packed.Pack(self.metrics[processor])
        name = f"projects/{PROJECT}/processors/{processor}/calibrations/{CALIBRATION}"
        return quantum.QuantumCalibration(name=name, timestamp={"seconds": CALIBRATION}, data=packed)

    def list_time_slots(
        self, call: Call, request: engine.ListQuantumTimeSlotsRequest
    ) -> engine.ListQuantumTimeSlotsResponse:
        call.enter("slots")
        begin = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
        slot = quantum.QuantumTimeSlot(
            processor_name=request.parent,
            start_time=begin,
            end_time=begin + timedelta(hours=2),
            time_slot_type=quantum.QuantumTimeSlot.TimeSlotType.MAINTENANCE,
        )
        return engine.ListQuantumTimeSlotsResponse(time_slots=[slot])

    def _processor(self, call: Call, name: str) -> quantum.QuantumProcessor:
        processor = name.rpartition("/")[2]
        if processor not in self.specifications:
            call.abort(grpc.StatusCode.NOT_FOUND, f"{name} does not exist")
        packed = any_pb2.Any()
        packed.Pack(self.specifications[processor])
        health = quantum.QuantumProcessor.Health
        found = quantum.QuantumProcessor(
            name=name,
            health=health.DOWN if processor == AWAY else health.OK,
            device_spec=packed,
            current_calibration=f"{name}/calibrations/{CALIBRATION}",
            activity_stats={"active_jobs_count": 7},
        )
        if processor == AWAY:
            found.expected_recovery_time = datetime(2030, 1, 2, 3, 4, tzinfo=UTC)
        return found

    def _check_name(self, call: Call, name: str, parent: str, parts: int) -> None:
        found = _NAME.fullmatch(name)
        if found is None or len([each for each in found.groups() if each]) != parts or not name.startswith(parent):
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"invalid name: {name!r}")
        if found is not None and found[1] != PROJECT:
            call.abort(grpc.StatusCode.PERMISSION_DENIED, f"no access to the project {found[1]}")

    def _circuit(self, call: Call, program: str, processor: str) -> cirq.AbstractCircuit:
        message = v2.program_pb2.Program()
        try:
            assert self.programs[program].code.Unpack(message)
            circuit = cirq_google.CIRCUIT_SERIALIZER.deserialize(message)
            self.devices[processor].validate_circuit(circuit)
        except (AssertionError, ValueError) as error:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"INVALID_PROGRAM: {error}")
        return circuit

    @staticmethod
    def _shots(call: Call, circuit: cirq.AbstractCircuit, job: quantum.QuantumJob) -> int:
        context = v2.run_context_pb2.RunContext()
        try:
            assert job.run_context.Unpack(context)
            (sweep,) = context.parameter_sweeps
            engine_validator.validate_for_engine([circuit], [v2.sweep_from_proto(sweep.sweep)], sweep.repetitions)
        except (AssertionError, ValueError, RuntimeError) as error:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"INVALID_RUN_CONTEXT: {error}")
        return sweep.repetitions

    def _job(self, call: Call, name: str) -> quantum.QuantumJob:
        if self.behavior.forget or name not in self.known:
            call.abort(grpc.StatusCode.NOT_FOUND, f"{name} does not exist")
        return self.known[name]

    def _run(self, job: quantum.QuantumJob) -> None:
        own, status = self.jobs[job.name], job.execution_status
        status.timing = quantum.ExecutionStatus.Timing(started_time=self.now())
        status.processor_name = f"projects/{PROJECT}/processors/{own['processor']}"
        status.calibration_name = f"{status.processor_name}/calibrations/{CALIBRATION}"
        if own["fails"] or self.behavior.outcome == "failed":
            text = "calibration lost" if own["fails"] else "the cryostat is warm"
            status.state, own["state"] = _STATE.FAILURE, "FAILURE"
            status.failure = quantum.ExecutionStatus.Failure(error_code=_CODE.SYSTEM_ERROR, error_message=text)
            return
        result = cirq.Simulator().run(own["circuit"], repetitions=own["shots"])
        measurements = v2.find_measurements(own["circuit"])
        self.results_of[job.name] = v2.results_to_proto([[result]], measurements)
        status.state, own["state"] = _STATE.SUCCESS, "SUCCESS"


class EngineCall(Call):
    """One call of the service."""

    service: Engine

    def is_valid(self, token: str) -> bool:
        if super().is_valid(token):
            return True
        try:
            claims = google.auth.jwt.decode(token, certs=self.service.behavior.public_key.encode())
        except ValueError:
            return False
        return bool(claims["scope"] == "https://www.googleapis.com/auth/cloud-platform")


#: The methods: the type of the request, that of the response, and what makes the response.
_METHODS: Final[dict[str, tuple[Any, Callable[[Engine, Call, Any], Any]]]] = {
    "CreateQuantumProgram": (engine.CreateQuantumProgramRequest, Engine.create_program),
    "CreateQuantumJob": (engine.CreateQuantumJobRequest, Engine.create_job),
    "GetQuantumJob": (engine.GetQuantumJobRequest, Engine.get_job),
    "GetQuantumResult": (engine.GetQuantumResultRequest, Engine.get_result),
    "CancelQuantumJob": (engine.CancelQuantumJobRequest, Engine.cancel_job),
    "GetQuantumProcessor": (engine.GetQuantumProcessorRequest, Engine.get_processor),
    "ListQuantumProcessors": (engine.ListQuantumProcessorsRequest, Engine.list_processors),
    "GetQuantumCalibration": (engine.GetQuantumCalibrationRequest, Engine.get_calibration),
    "ListQuantumTimeSlots": (engine.ListQuantumTimeSlotsRequest, Engine.list_time_slots),
}


def _handler(service: Engine, work: Callable[[Engine, Call, Any], Any]) -> Callable[..., Any]:
    def answered(call: EngineCall, request: Any) -> Any:
        answer = work(service, call, request)
        # The answer of this moment: another call may change the job.
        return answer if isinstance(answer, empty_pb2.Empty) else type(answer)(answer)

    return handled(lambda context: EngineCall(service, context), answered)


def _serialized(message: Any) -> bytes:
    own: Any = message if isinstance(message, empty_pb2.Empty) else type(message).pb(message)
    data: bytes = own.SerializeToString()
    return data


def main() -> None:
    """Serve on free ports, of which that of the control is printed, until standard input ends."""
    service = Engine()
    with tempfile.TemporaryDirectory() as folder:
        authority = CertificateAuthority(Path(folder))
        pair = authority.issue("service")
        credentials = grpc.ssl_server_credentials([(pair.key.read_bytes(), pair.certificate.read_bytes())])
        handlers = {
            name: grpc.unary_unary_rpc_method_handler(
                _handler(service, work), request_deserializer=request.deserialize, response_serializer=_serialized
            )
            for name, (request, work) in _METHODS.items()
        }
        server = grpc.server(ThreadPoolExecutor(32))
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        service.relay = Relay(server.add_secure_port("127.0.0.1:0", credentials))
        service.roots = str(authority.file)
        server.start()
        serve(Handler, service)
        server.stop(0)


if __name__ == "__main__":
    main()
