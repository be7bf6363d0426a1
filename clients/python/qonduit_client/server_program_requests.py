# SPDX-License-Identifier: Apache-2.0
"""Build the requests of both clients for server programs, without a connection."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any, TypeAlias

from qonduit.v1 import job_service_pb2 as jobs_rpc
from qonduit.v1.deployment_pb2 import Deployment, QuantumProgram
from qonduit.v1.job_pb2 import Job, JobState, JobType
from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit.v1.result_pb2 import Result
from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_client.errors import JobFailed
from qonduit_client.input_values import Inputs, struct_of
from qonduit_client.requests import Pages, Request, deployments, missing, new_request_id

#: A Python file by its path, source text of several lines, or the id of a stored deployment with one program.
Source: TypeAlias = str | PathLike[str] | int
#: A mapping, JSON text, or the path of a JSON file.
Metadata: TypeAlias = Mapping[str, Any] | str | PathLike[str]


def program_of(
    source: Source,
    metadata: Metadata | None,
    name: str | None,
    options: Mapping[str, Any] | None,
    inputs: Inputs | None,
) -> QuantumProgram | int:
    """Return the message of a Python program, or the id of the deployment that contains it.

    Args:
        source: a file, source text, or the id, without the other arguments.
        metadata: name, description, max_execution_time and schemas.
        name: replaces the name of the metadata.
        options: environment, entry_point, log_level and limits.
        inputs: default values of the inputs.

    Raises:
        OSError: a file cannot be read.
        ValueError: the metadata are not a JSON object, an input has an unsupported value, or an id has other arguments.
    """
    if isinstance(source, int):
        if any((metadata, name, options, inputs)):
            raise ValueError("a stored deployment contains metadata, options and inputs: pass its id alone")
        return source
    text = _metadata_text(metadata)
    if name is not None:
        found = json.loads(text) if text else {}
        if not isinstance(found, dict):
            raise ValueError(f"metadata must be a JSON object, got {text[:60]}")
        text = json.dumps({**found, "name": name})
    is_text = isinstance(source, str) and "\n" in source
    program = QuantumProgram(
        quantum_circuit=source if is_text else Path(source).read_text(encoding="utf-8"),  # type: ignore[arg-type]
        assembler_language=AssemblerLanguage.ASSEMBLER_LANGUAGE_PYTHON,
        python_file_path="" if is_text else Path(source).name,
        python_file_metadata=text,
    )
    if options:
        program.python_file_options.update(options)
    if inputs:
        program.python_file_inputs.CopyFrom(struct_of(inputs))
    return program


def _metadata_text(metadata: Metadata | None) -> str:
    if metadata is None:
        return ""
    if isinstance(metadata, Mapping):
        return json.dumps(metadata)
    if isinstance(metadata, str) and metadata.lstrip().startswith("{"):
        return metadata
    return Path(metadata).read_text(encoding="utf-8")


def upload(
    program: QuantumProgram | int, project: str | None, request_id: str | None
) -> Request[jobs_rpc.CreateJobResponse]:
    """Check a program, or that of a deployment, and store it as the next version, by default with a new request id."""
    request = jobs_rpc.CreateJobRequest(
        job=Job(type=JobType.JOB_TYPE_IBM_UPLOAD, project=project or ""), request_id=request_id or new_request_id()
    )
    if isinstance(program, int):
        request.job.deployment_id = program
    else:
        request.deployment.programs.append(program)
    created = request.job if project is None else None
    return Request("JobService/CreateJob", request, jobs_rpc.CreateJobResponse, created=created)


def uploaded(job: Job) -> Job:
    """Return the job of an upload that succeeded. Raises JobFailed."""
    if job.state == JobState.JOB_STATE_FAILED:
        raise JobFailed(job.failure, job)
    return job


def receipt_of(results: Iterable[Result]) -> ServerProgram:
    """Return the receipt among the results of an upload."""
    return next(result.upload for result in results if result.HasField("upload"))


def versions(name: str, filter: str, limit: int | None) -> Pages[Deployment]:
    """List the versions of server programs, newest first.

    Args:
        name: only those of this name; all if it is empty.
        filter: a further filter.
        limit: the maximum number of versions.
    """
    parts = ["server_program = true"]
    if name:
        quoted = name.replace("\\", "\\\\").replace('"', '\\"').replace("*", "\\*")
        parts.append(f'name = "{quoted}"')
    if filter:
        parts.append(f"({filter})")
    return deployments(" AND ".join(parts), limit)


def split(named: str) -> tuple[str, int | None]:
    """Return the name and the version of "NAME" or "NAME@VERSION". Raises ValueError."""
    name, separator, version = named.rpartition("@")
    if not separator:
        return named, None
    if not version.isdigit():
        raise ValueError(f"expected NAME or NAME@VERSION with a number, got {named!r}")
    return name, int(version)


def chosen(named: str, project: str | None, found: Iterable[Deployment]) -> list[Deployment]:
    """Return the versions that "NAME" or "NAME@VERSION" means, the latest first.

    Args:
        named: the name.
        project: the project that owns it; "" for the user, and unset for any owner, of which the user comes first.
        found: the versions of that name.

    Raises:
        NotFound: no version matches.
    """
    _, version = split(named)
    matching = [
        each
        for each in sorted(found, key=lambda each: (each.project, -each.server_program.version))
        if version in (None, each.server_program.version) and project in (None, each.project)
    ]
    if not matching:
        raise missing("server program", named, "client.programs.list() returns all")
    return [each for each in matching if each.project == matching[0].project]
