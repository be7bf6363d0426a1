# SPDX-License-Identifier: Apache-2.0
"""Rigetti's QCS, a process of its own: tokens, processors, quilc, the translation, and jobs, with planned failures.

It runs in the environment of RIGETTI. The messages are those of Rigetti's published protocol. A translated program is
native Quil, which the service runs with pyQuil's simulator; quilc is a small compiler of a few gates, which answers by
Rigetti's own protocol rpcq. A relay before the services over gRPC cuts connections.
"""

from __future__ import annotations

import base64
import json
import math
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Final
from urllib.parse import parse_qs

import grpc
import numpy as np
import zmq
from pyquil import Program
from pyquil.quilatom import Qubit
from pyquil.quilbase import Declare, Gate, Measurement
from pyquil.simulation import NumpyWavefunctionSimulator
from rpcq._base import from_msgpack, to_msgpack
from rpcq.messages import NativeQuilMetadata, NativeQuilResponse, RPCError, RPCReply

from qonduit_server.providers.vendors.rigetti_messages import message_classes
from tests.vendor_cloud.fake_vendor import Behavior, RoutedHandler, serve
from tests.vendor_cloud.grpc_service import Call, GrpcService, Relay, handled
from tests.vendor_cloud.rigetti_provider import AWAY, MACHINE, MICROSECONDS

_TIME: Final = "2026-11-01T00:00:00Z"
#: The qubits of the processor. Rigetti's numbers have gaps.
NODES: Final = (0, 1, 4, 7, 11, 12, 20, 21, 23)
_CONTROLLER, _TRANSLATION = "services.controller", "services.translation"
_MODEL: Final = "models.controller"
#: The messages of Rigetti's published protocol, with all fields that its client may send.
_messages: Final = message_classes(
    "qonduit/rigetti_service.proto",
    {
        f"{_MODEL}.JobEncryption": {"key_id": (1, "string"), "nonce": (2, "bytes")},
        f"{_MODEL}.EncryptedControllerJob": {"job": (1, "bytes"), "encryption": (2, f"{_MODEL}.JobEncryption")},
        f"{_MODEL}.JobExecutionConfiguration": {},
        f"{_MODEL}.IntegerReadoutValues": {"values": (1, "repeated int32")},
        f"{_MODEL}.ReadoutValues": {"integer_values": (1, f"{_MODEL}.IntegerReadoutValues")},
        # An entry of a map on the wire.
        f"{_MODEL}.ReadoutEntry": {"key": (1, "string"), "value": (2, f"{_MODEL}.ReadoutValues")},
        f"{_MODEL}.ControllerJobExecutionResult": {
            "readout_values": (2, f"repeated {_MODEL}.ReadoutEntry"),
            "status": (3, "int32"),
            "status_message": (4, "string"),
            "execution_duration_microseconds": (5, "uint64"),
        },
        f"{_CONTROLLER}.ExecutionOptions": {},
        f"{_CONTROLLER}.ExecuteControllerJobRequest": {
            "execution_configurations": (3, f"repeated {_MODEL}.JobExecutionConfiguration"),
            "options": (4, f"{_CONTROLLER}.ExecutionOptions"),
            "quantum_processor_id": (101, "string"),
            "endpoint_id": (102, "string"),
            "encrypted": (201, f"{_MODEL}.EncryptedControllerJob"),
        },
        f"{_CONTROLLER}.ExecuteControllerJobResponse": {"job_execution_ids": (1, "repeated string")},
        f"{_CONTROLLER}.JobRequest": {"id": (1, "string"), "quantum_processor_id": (101, "string")},
        f"{_CONTROLLER}.GetControllerJobStatusResponse": {"status": (1, "int32")},
        f"{_CONTROLLER}.GetControllerJobResultsResponse": {"result": (1, f"{_MODEL}.ControllerJobExecutionResult")},
        f"{_CONTROLLER}.CancelControllerJobsResponse": {},
        f"{_TRANSLATION}.MappingEntry": {"key": (1, "string"), "value": (2, "string")},
        f"{_TRANSLATION}.QuilTranslationMetadata": {"readout_mappings": (1, f"repeated {_TRANSLATION}.MappingEntry")},
        f"{_TRANSLATION}.TranslateQuilToEncryptedControllerJobRequest": {
            "quantum_processor_id": (1, "string"),
            "quil_program": (2, "string"),
            "num_shots_value": (3, "uint32"),
        },
        f"{_TRANSLATION}.TranslateQuilToEncryptedControllerJobResponse": {
            "job": (1, f"{_MODEL}.EncryptedControllerJob"),
            "metadata": (2, f"{_TRANSLATION}.QuilTranslationMetadata"),
        },
    },
)
_STATUS: Final = {"in line": 1, "complete": 3, "failed": 4, "cancelled": 5}
_QUARTER: Final = math.pi / 2
_NATIVE: Final = ("RX", "RZ", "CZ")


def architecture(name: str) -> dict[str, Any]:
    """Return the ISA of a processor whose qubits are all coupled."""

    def operation(gate: str, sites: list[tuple[int, ...]], parameters: tuple[str, ...], **facts: float) -> Any:
        characteristics = [{"name": key, "value": value, "timestamp": _TIME} for key, value in facts.items()]
        return {
            "name": gate,
            "node_count": len(sites[0]),
            "parameters": [{"name": each} for each in parameters],
            "characteristics": [],
            "sites": [{"node_ids": list(site), "characteristics": characteristics} for site in sites],
        }

    single = [(node,) for node in NODES]
    pairs = [(one, other) for one in NODES for other in NODES if one < other]
    return {
        "name": name,
        "architecture": {
            "family": "Ankaa",
            "nodes": [{"node_id": node} for node in NODES],
            "edges": [{"node_ids": list(pair)} for pair in pairs],
        },
        "instructions": [
            operation("RX", single, ("theta",), fRX=0.999),
            operation("RZ", single, ("phi",)),
            operation("CZ", pairs, (), fCZ=0.98),
            operation("MEASURE", single, (), fRO=0.95),
        ],
        "benchmarks": [
            operation("FreeInversionRecovery", single, (), T1=30e-6),
            operation("FreeInductionDecay", single, (), T2=20e-6),
        ],
    }


def compiled(text: str, nodes: list[int]) -> str:
    """Compile Quil to native gates, on the last qubits of a processor first. Raises ValueError."""
    program, lines = Program(text), []
    places = dict(zip(sorted(program.get_qubit_indices()), reversed(nodes), strict=False))

    def turn(axis: str, angle: float, qubit: int) -> None:
        lines.append(f"R{axis}({angle!r}) {qubit}")

    def hadamard(qubit: int) -> None:
        for axis in "ZXZ":
            turn(axis, _QUARTER, qubit)

    for step in program:
        if isinstance(step, Declare):
            lines.append(step.out())
        elif isinstance(step, Measurement):
            lines.append(f"MEASURE {places[step.qubit.index]} {step.classical_reg.out()}")
        elif isinstance(step, Gate):
            qubits = [places[each.index] for each in step.qubits]
            match step.name, step.modifiers:
                case "X", []:
                    turn("X", math.pi, qubits[0])
                case "H", []:
                    hadamard(qubits[0])
                case "RZ", []:
                    turn("Z", float(step.params[0].real), qubits[0])
                case "CNOT", []:
                    hadamard(qubits[1])
                    lines.append(f"CZ {qubits[0]} {qubits[1]}")
                    hadamard(qubits[1])
                case _:
                    raise ValueError(f"no rule to compile {step.out()}")
        else:
            raise ValueError(f"no rule to compile {step}")
    return "\n".join(lines) + "\n"


def serve_quilc(port: zmq.Socket[bytes], service: Qcs) -> None:
    """Answer the requests of Rigetti's client to quilc."""
    while True:
        peer, data = port.recv_multipart()
        request = from_msgpack(data)
        with service.lock:
            if service.next("quilc") == "hang":
                continue
        try:
            if request.method == "get_version_info":
                result: Any = {"quilc": "1.26.0"}
            else:
                parameters = request.params["*args"][0]
                nodes = sorted(int(node) for node in parameters.target_device.isa["1Q"])
                result = NativeQuilResponse(
                    quil=compiled(parameters.quil, nodes), metadata=NativeQuilMetadata(final_rewiring=[])
                )
            reply: Any = RPCReply(id=request.id, result=result)
        except (ValueError, KeyError) as error:
            reply = RPCError(id=request.id, error=str(error))
        port.send_multipart([peer, to_msgpack(reply)])


@dataclass
class QcsBehavior(Behavior):
    """What the service does.

    Attributes:
        compilations: what happens to the next requests to quilc: "ok", or "hang".
        translations: what happens to the next translations, as in `submits`.
        life: the seconds for which access tokens are valid.
    """

    compilations: list[str] = field(default_factory=list)
    translations: list[str] = field(default_factory=list)
    life: float = 3600.0


class QcsCall(Call):
    """One call over gRPC."""

    service: Qcs

    def is_valid(self, token: str) -> bool:
        return self.service.is_valid(token)


class Qcs(GrpcService):
    """The processors, the programs and the jobs."""

    def __init__(self) -> None:
        super().__init__()
        self.behavior: QcsBehavior = QcsBehavior()
        self.quilc = 0

    def next(self, kind: str) -> str:
        queues = {"translate": self.behavior.translations, "quilc": self.behavior.compilations}
        if kind not in queues:
            return super().next(kind)
        self.note(kind)
        return queues[kind].pop(0) if queues[kind] else "ok"

    def report(self) -> dict[str, Any]:
        """Return the jobs by their ids with readouts, the requests, and how the services are reached."""
        found = super().report()
        return found | {
            "jobs": {self._name(key): job for key, job in found["jobs"].items()},
            "grpc": f"http://127.0.0.1:{self.relay.port}",
            "quilc": f"tcp://127.0.0.1:{self.quilc}",
        }

    def _name(self, job: str) -> str:
        program = Program(self.jobs[job]["circuits"][0]["quil"])
        measured = {step.classical_reg.offset: step.qubit.index for step in program if isinstance(step, Measurement)}
        return f"{MACHINE}/{job}/*:{','.join(_readout(measured[offset]) for offset in sorted(measured))}"

    def token(self, secret: str) -> str:
        """Return an access token for a secret: a JSON Web Token, whose signature Rigetti's client does not verify."""
        claims = {
            "aud": "api://qcs",
            "exp": int(self.now().timestamp() + self.behavior.life),
            "sub": sha256(secret.encode()).hexdigest(),
        }
        return ".".join(
            base64.urlsafe_b64encode(part).decode().rstrip("=")
            for part in (b'{"alg":"RS256","typ":"JWT"}', json.dumps(claims).encode(), b"signature")
        )

    def is_valid(self, token: str) -> bool:
        """Whether an access token is of a valid secret."""
        part = token.split(".")[1]
        subject = json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))["sub"]
        valid = self.behavior.tokens
        return not valid or subject in [sha256(each.encode()).hexdigest() for each in valid]

    def translate(self, call: Call, request: Any) -> Any:
        with call.planned("translate"):
            return self._translated(call, request)
        raise AssertionError("not reached")

    def _translated(self, call: Call, request: Any) -> Any:
        program, nodes = Program(request.quil_program), set(NODES)
        if request.quantum_processor_id != MACHINE or not 1 <= request.num_shots_value <= 1_000_000:
            call.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such processor, or too many shots")
        for step in program:
            if isinstance(step, Gate) and (step.name not in _NATIVE or set(step.get_qubit_indices()) - nodes):
                call.abort(grpc.StatusCode.INVALID_ARGUMENT, f"{step.out()} is not native")
        answer = _messages[f"{_TRANSLATION}.TranslateQuilToEncryptedControllerJobResponse"]()
        answer.job.job = json.dumps({"quil": program.out(), "shots": request.num_shots_value}).encode()
        answer.job.encryption.key_id, answer.job.encryption.nonce = "key-1", b"\0nonce"
        for step in program:
            if isinstance(step, Measurement):
                mapped = answer.metadata.readout_mappings
                mapped.add(key=step.classical_reg.out(), value=_readout(step.qubit.index))
        return answer

    def execute(self, call: Call, request: Any) -> Any:
        with call.planned("submit"):
            content = json.loads(request.encrypted.job)
            if request.quantum_processor_id != MACHINE or len(request.execution_configurations) != 1:
                call.abort(grpc.StatusCode.INVALID_ARGUMENT, "no such processor, or not one configuration")
            if request.encrypted.encryption.nonce != b"\0nonce" or request.encrypted.encryption.key_id != "key-1":
                call.abort(grpc.StatusCode.INVALID_ARGUMENT, "the program cannot be decrypted")
            fails = self.behavior.outcome == "partial" and not any(each["fails"] for each in self.jobs.values())
            job = self.accept({"mark": "", "circuits": [content], "fails": fails})
            return _messages[f"{_CONTROLLER}.ExecuteControllerJobResponse"](job_execution_ids=[job["id"]])
        raise AssertionError("not reached")

    def status(self, call: Call, request: Any) -> Any:
        with call.planned("poll"):
            job = self._job(call, request)
            if job["fails"] and job["state"] == "in line":
                job["state"] = "failed"
            number = _STATUS[self.look(job)["state"]]
            return _messages[f"{_CONTROLLER}.GetControllerJobStatusResponse"](status=number)
        raise AssertionError("not reached")

    def read(self, call: Call, request: Any) -> Any:
        with call.planned("results"):
            job = self._job(call, request)
            answer = _messages[f"{_CONTROLLER}.GetControllerJobResultsResponse"]()
            if job["state"] == "failed":
                answer.result.status = 2
                answer.result.status_message = "calibration lost" if job["fails"] else "the cryostat is warm"
                return answer
            (content,) = job["circuits"]
            answer.result.status, answer.result.execution_duration_microseconds = 1, MICROSECONDS
            for name, values in measured(content["quil"], content["shots"]).items():
                entry = answer.result.readout_values.add(key=name)
                entry.value.integer_values.values.extend(values)
            return answer
        raise AssertionError("not reached")

    def cancel(self, call: Call, request: Any) -> Any:
        call.enter("cancel")
        job = self._job(call, request)
        if self.behavior.cancel == "fail":
            call.abort(grpc.StatusCode.INTERNAL, "try again")
        if self.behavior.cancel == "refuse" or job["state"] != "in line":
            call.abort(grpc.StatusCode.FAILED_PRECONDITION, "the job is on the machine")
        job["state"], job["cancelled"] = "cancelled", True
        return _messages[f"{_CONTROLLER}.CancelControllerJobsResponse"]()

    def _job(self, call: Call, request: Any) -> dict[str, Any]:
        if self.behavior.forget or request.id not in self.jobs or request.quantum_processor_id != MACHINE:
            call.abort(grpc.StatusCode.NOT_FOUND, f"{request.id} does not exist")
        return self.jobs[request.id]


def _readout(node: int) -> str:
    return f"q{node}_classified"


def measured(quil: str, shots: int) -> dict[str, list[int]]:
    """Run native Quil with pyQuil's simulator; return the bits of each readout."""
    program = Program(quil)
    # The simulator numbers its qubits from 0.
    places = {node: place for place, node in enumerate(sorted(program.get_qubit_indices()))}
    seed = int.from_bytes(sha256(quil.encode()).digest()[:4])
    machine = NumpyWavefunctionSimulator(len(places), rs=np.random.RandomState(seed))
    for step in program:
        if isinstance(step, Gate):
            machine.do_gate(Gate(step.name, step.params, [Qubit(places[each.index]) for each in step.qubits]))
    rows = machine.sample_bitstrings(shots)
    return {
        _readout(step.qubit.index): rows[:, places[step.qubit.index]].astype(int).tolist()
        for step in program
        if isinstance(step, Measurement)
    }


#: The methods: the type of the request, and what makes the response.
_METHODS: Final[dict[str, dict[str, tuple[str, Callable[[Qcs, Call, Any], Any]]]]] = {
    f"{_TRANSLATION}.Translation": {
        "TranslateQuilToEncryptedControllerJob": (
            f"{_TRANSLATION}.TranslateQuilToEncryptedControllerJobRequest",
            Qcs.translate,
        ),
    },
    f"{_CONTROLLER}.Controller": {
        "ExecuteControllerJob": (f"{_CONTROLLER}.ExecuteControllerJobRequest", Qcs.execute),
        "GetControllerJobStatus": (f"{_CONTROLLER}.JobRequest", Qcs.status),
        "GetControllerJobResults": (f"{_CONTROLLER}.JobRequest", Qcs.read),
        "CancelControllerJobs": (f"{_CONTROLLER}.JobRequest", Qcs.cancel),
    },
}


class QcsHandler(RoutedHandler):
    """One request over HTTP."""

    service: Qcs

    def routed(self, method: str, path: list[str], query: dict[str, list[str]], body: bytes) -> tuple[str, int, Any]:
        return "ok", *self._answer_to(method, path, body)

    def _answer_to(self, method: str, path: list[str], data: bytes) -> tuple[int, Any]:
        service = self.service
        if path[-1] == "token" and method == "POST":
            service.note("token")
            return self._granted({key: values[0] for key, values in parse_qs(data.decode()).items()})
        token = (self.headers["Authorization"] or "").removeprefix("Bearer ")
        if not token or not service.is_valid(token):
            return 401, {"code": "unauthorized", "message": f"the token {token} is not valid", "requestId": "request-1"}
        assert path[:2] == ["v1", "quantumProcessors"]
        service.note(path[-1])
        if len(path) == 2:
            return 200, {"quantumProcessors": [{"id": MACHINE}, {"id": AWAY}]}
        if path[2] not in (MACHINE, AWAY):
            return 404, {"code": "not_found", "message": f"no processor {path[2]}", "requestId": "request-1"}
        if path[3] == "instructionSetArchitecture":
            return 200, architecture(path[2])
        assert path[3] == "accessors"
        address = f"http://127.0.0.1:{service.relay.port}"
        gateway = {"accessType": "gateway.v1", "live": path[2] == MACHINE, "url": address, "rank": 1}
        direct = {"accessType": "direct.v1", "live": True, "url": "http://127.0.0.1:1", "rank": 0}
        return 200, {"accessors": [direct, gateway]}

    def _granted(self, form: dict[str, str]) -> tuple[int, Any]:
        """Grant an access token for a refresh token, or for the client id and secret of the header."""
        if form["grant_type"] == "client_credentials":
            pair = base64.b64decode((self.headers["Authorization"] or "").removeprefix("Basic ")).decode()
            secret = pair.partition(":")[2]
        else:
            secret = form["refresh_token"]
        token = self.service.token(secret)
        if not self.service.is_valid(token):
            return 400, {"error": "invalid_grant", "error_description": f"the token {secret} is not valid"}
        return 200, {"access_token": token, "refresh_token": secret, "token_type": "Bearer", "expires_in": 3600}


def main() -> None:
    """Serve on free ports, of which that of the control is printed, until standard input ends."""
    service = Qcs()
    port = zmq.Context.instance().socket(zmq.ROUTER)
    service.quilc = port.bind_to_random_port("tcp://127.0.0.1")
    threading.Thread(target=serve_quilc, args=(port, service), daemon=True).start()
    server = grpc.server(ThreadPoolExecutor(32))
    for name, methods in _METHODS.items():
        handlers = {
            method: grpc.unary_unary_rpc_method_handler(
                handled(
                    lambda context: QcsCall(service, context),
                    lambda call, request, work=work: work(service, call, request),
                ),
                request_deserializer=_messages[request].FromString,
                response_serializer=lambda message: message.SerializeToString(),
            )
            for method, (request, work) in methods.items()
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, handlers),))
    service.relay = Relay(server.add_insecure_port("127.0.0.1:0"))
    server.start()
    serve(QcsHandler, service)
    server.stop(0)


if __name__ == "__main__":
    main()
