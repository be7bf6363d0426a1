# SPDX-License-Identifier: Apache-2.0
"""Sample data for a server to be fuzzed: jobs, deployments, results, and real page tokens."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from contextlib import suppress
from itertools import cycle
from typing import Any, Final

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct

from qonduit.v1 import deployment_service_pb2 as deployment_service
from qonduit.v1 import device_service_pb2 as device_service
from qonduit.v1 import job_service_pb2 as job_service
from qonduit.v1 import program_service_pb2 as program_service
from qonduit.v1 import provider_service_pb2 as provider_service
from qonduit.v1 import result_service_pb2 as result_service
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.deployment_service_pb2_grpc import DeploymentServiceStub
from qonduit.v1.device_service_pb2_grpc import DeviceServiceStub
from qonduit.v1.job_pb2 import Job
from qonduit.v1.job_service_pb2_grpc import JobServiceStub
from qonduit.v1.program_service_pb2_grpc import ProgramServiceStub
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.provider_service_pb2_grpc import ProviderServiceStub
from qonduit.v1.result_service_pb2_grpc import ResultServiceStub
from tests import example_programs
from tests.fuzz.messages import Known

_WAIT: Final = 60.0
_QASM2: Final = AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM2
_FILTERS: Final = (
    *('state = "RUNNING"', "state = QUEUED AND deployment_id = 1", 'name = "one"', "executed_on_id = 1"),
    *('created_at > "2020-01-01T00:00:00Z"', 'created_at <= "9999-12-31T23:59:59-23:59"', 'name = "a\\"b"'),
    *('created_at < "0001-01-01T00:00:00+23:59"', "deployment_id = 9223372036854775808", 'name = "\\\0"'),
    *(
        "id > 1",
        "is_simulator = true",
        "available = maybe",
        "provider_id = 1 AND is_local = true",
        'name = "\U0001f642"',
    ),
    *(
        "*",
        "label:a",
        "-label.a = b*",
        'label."*" != "\\*" OR name:*',
        "NOT (state = QUEUED OR state = RUNNING) shots > 5",
    ),
    *("device = IBM/* type != SAMPLER mine = true", f"{'(' * 16}id < 5{')' * 16}", "finished_at:* " * 64, "(" * 500),
    *(
        'owner = *a* AND label:"\\""',
        "started_at >= 2020-01-01T00:00:00Z",
        "label.x.y = -5 OR",
        "name = *b*l",
        "-" * 99,
    ),
)
#: Orders of lists, valid and invalid.
_ORDERS: Final = ("", "name", "name desc", "finished_at", "id  asc", "created_at desc", "colour", "id, name", "desc")
#: Symbols that reflection knows, and misspelt ones.
_SYMBOLS: Final = (
    *("qonduit.v1.JobService", "qonduit.v1.JobService.RunJob", "qonduit.v1.Job.id", "google.protobuf.Struct", "."),
    *(
        "qonduit/v1/job.proto",
        "qonduit.v1.JobState.JOB_STATE_QUEUED",
        "buf.validate.FieldRules",
        "grpc.health.v1.Health",
    ),
    *("google.protobuf.FieldOptions", "google.protobuf.MessageOptions", ".qonduit.v1.Job", "qonduit.v1..Job"),
)


def fill_server(channel: grpc.Channel, finish: Callable[[list[int]], None]) -> Known:
    """Create objects of every kind and return them as `Known`.

    Args:
        finish: runs jobs to their end.
    """
    jobs, deployments, results = JobServiceStub(channel), DeploymentServiceStub(channel), ResultServiceStub(channel)
    request_ids = [str(uuid.UUID(int=number)) for number in range(1, 5)]
    submitted = [_submission(job_service.CreateJobRequest, request_id=each) for each in request_ids]
    submitted += [_submission(job_service.CreateJobRequest, count=2) for _ in range(3)]
    made = [jobs.CreateJob(each, timeout=_WAIT).job for each in submitted]
    ended = [job.id for job in made[:4]]
    finish(ended)
    jobs.CancelJob(job_service.CancelJobRequest(id=made[4].id), timeout=_WAIT)
    stored = [
        deployments.CreateDeployment(
            deployment_service.CreateDeploymentRequest(deployment=_deployment(name), request_id=each), timeout=_WAIT
        ).deployment
        for name, each in zip(("one", "two", "é"), request_ids, strict=False)
    ]
    found = [
        result
        for job_id in ended
        for result in results.ListResults(result_service.ListResultsRequest(job_id=job_id), timeout=_WAIT).results
    ]
    with suppress(grpc.RpcError):  # The first call starts the translator; a server without workers has none.
        ProgramServiceStub(channel).TranslateProgram(_translations()[0], timeout=_WAIT)
    devices = DeviceServiceStub(channel).ListDevices(device_service.ListDevicesRequest(), timeout=_WAIT).devices
    providers = {
        each.id: each.name
        for each in ProviderServiceStub(channel)
        .ListProviders(provider_service.ListProvidersRequest(), timeout=_WAIT)
        .providers
    }
    names = [f"{providers[device.provider_id]}/{device.name}" for device in devices]
    tokens = _tokens(channel, ended[0])
    programs = [each for each in example_programs.programs().values() if isinstance(each, str)]
    numbers = sorted(
        {each.id for each in (*made, *stored, *found, *devices)}
        | {job.deployment_id for job in made}
        | providers.keys()
    )
    return Known(
        numbers=numbers,
        texts=[*names, *tokens, *_FILTERS, *request_ids, *_SYMBOLS, *programs, "name", "programs", "IBM/", "results/1"],
        fields={
            "page_token": [*tokens, *(token[:-4] + "AAAA" for token in tokens), *(token[1:] for token in tokens)],
            "filter": _FILTERS,
            "order_by": _ORDERS,
            "device": names,
            "request_id": request_ids,
            "paths": ["name", "programs", "deployed_by", "*", "deployment.name"],
            "name": ["one", *(result.buffer.name for result in found if result.HasField("buffer"))],
            "service": ["", "qonduit.v1.JobService"],
            "quantum_circuit": programs,
            "assembler_language": [int(_QASM2)],
            "shots": [1, 10],
        },
        examples=_examples(request_ids, [*ended, made[5].id], stored[0]),
    )


def _deployment(name: str | None = None, count: int = 1) -> Deployment:
    program = QuantumProgram(quantum_circuit=example_programs.QASM2, assembler_language=_QASM2)
    return Deployment(name=name, programs=[program] * count)


def _submission(kind: Any, count: int = 1, shots: int = 20, **fields: Any) -> Any:
    return kind(
        job=Job(shots=shots, name="one"), deployment=_deployment(count=count), device="IBM/aer_simulator", **fields
    )


def _tokens(channel: grpc.Channel, job_id: int) -> list[str]:
    """Return the token of the second page of every list that has one."""
    jobs, deployments = JobServiceStub(channel), DeploymentServiceStub(channel)
    pages = [
        jobs.ListJobs(job_service.ListJobsRequest(page_size=1), timeout=_WAIT),
        jobs.ListJobs(job_service.ListJobsRequest(page_size=1, filter='name = "one"'), timeout=_WAIT),
        jobs.ListJobEvents(job_service.ListJobEventsRequest(job_id=job_id, page_size=1), timeout=_WAIT),
        deployments.ListDeployments(deployment_service.ListDeploymentsRequest(page_size=1), timeout=_WAIT),
    ]
    return [page.next_page_token for page in pages if page.next_page_token]


def _examples(request_ids: list[str], job_ids: list[int], deployment: Deployment) -> dict[str, list[Message]]:
    """Return valid requests; methods not named here get their fields from `messages` alone."""
    run = job_service.RunJobRequest
    inputs = Struct()
    inputs.update({"theta": 0.5, "c": "01", "list": [1.0, [2.0]]})
    with_inputs = _submission(run)
    with_inputs.job.inputs.CopyFrom(inputs)
    with_inputs.deployment.programs[0].python_file_inputs.CopyFrom(inputs)
    stored = run(job=Job(shots=5, deployment_id=deployment.id), device="IBM/aer_simulator")
    submissions = [_submission(run), _submission(run, request_id=request_ids[0]), with_inputs, stored]
    creates = [job_service.CreateJobRequest.FromString(each.SerializeToString()) for each in submissions]
    creates.append(_submission(job_service.CreateJobRequest, request_id=request_ids[0]))
    update = deployment_service.UpdateDeploymentRequest(deployment=deployment)
    update.update_mask.paths.extend(["name", "programs"])
    service = "/qonduit.v1."
    return {
        f"{service}JobService/CreateJob": creates,
        f"{service}JobService/RunJob": submissions,
        f"{service}JobService/WatchJob": [
            job_service.WatchJobRequest(job_id=each, after_sequence=1) for each in job_ids
        ],
        f"{service}JobService/ListJobEvents": [job_service.ListJobEventsRequest(job_id=each) for each in job_ids],
        f"{service}JobService/ListJobs": [
            job_service.ListJobsRequest(page_size=3, filter=each, order_by=order)
            for each, order in zip(_FILTERS, cycle(_ORDERS), strict=False)
        ],
        f"{service}JobService/CancelJobs": [
            job_service.CancelJobsRequest(filter=each, validate_only=True) for each in _FILTERS
        ],
        f"{service}JobService/DeleteJobs": [
            job_service.DeleteJobsRequest(filter=each, validate_only=True) for each in _FILTERS
        ],
        f"{service}DeploymentService/CreateDeployment": [
            deployment_service.CreateDeploymentRequest(deployment=_deployment("new"), request_id=request_ids[3])
        ],
        f"{service}DeploymentService/UpdateDeployment": [update],
        f"{service}ProgramService/TranslateProgram": _translations(),
    }


def _translations() -> list[Message]:
    inputs = Struct()
    inputs.update({"theta": 0.5})
    return [
        program_service.TranslateProgramRequest(
            program=QuantumProgram(
                assembler_language=language,
                **{"quantum_circuit" if isinstance(text, str) else "quantum_circuit_binary": text},
            ),
            target_language=target,
            inputs=inputs,
        )
        for language, text in example_programs.programs().items()
        for target in (_QASM2, AssemblerLanguage.ASSEMBLER_LANGUAGE_QASM3)
    ]
