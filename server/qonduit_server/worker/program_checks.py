# SPDX-License-Identifier: Apache-2.0
"""Checks server programs without running them: the source and the metadata of uploads, and the inputs of runs."""

from __future__ import annotations

import hashlib

from google.protobuf.json_format import MessageToDict
from google.protobuf.struct_pb2 import Struct

from qonduit.execution.v1.task_pb2 import ProgramChecked, TaskProgram
from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_server.errors import ProgramError
from qonduit_server.json_schemas import schema_violations, value_violations
from qonduit_server.languages.python import program_source
from qonduit_server.languages.python.source_runner import PythonSource
from qonduit_server.program_metadata import (
    OUTPUT_SCHEMAS,
    MetadataError,
    ProgramMetadata,
    RunOptions,
    read_metadata,
    read_options,
    time_limit,
)


def metadata_of(program: TaskProgram) -> tuple[ProgramMetadata, RunOptions]:
    """Return the metadata and the options of a program, which the server has checked. Raises ProgramError."""
    try:
        return read_metadata(program.metadata), read_options(program.options)
    except MetadataError as error:
        where = f"{error.path}: " if error.path else ""
        raise ProgramError("INVALID_METADATA", f"the metadata or options are invalid: {where}{error.message}") from None


def check_upload(program: TaskProgram, sandbox: PythonSource) -> ProgramChecked:
    """Check the metadata and the source of an upload.

    Raises:
        ProgramError: the source cannot run.
        LimitError: the source is too large to be parsed.
    """
    metadata, options = metadata_of(program)
    violations = list(schema_violations(metadata.schemas))
    if violations:
        return ProgramChecked(violations=violations)
    # The process of the program checks what it publishes and returns.
    checked = [name for name in OUTPUT_SCHEMAS if name in metadata.schemas]
    source = program_source.check(
        sandbox, options.environment, program.text, options.entry_point, ["jsonschema"] if checked else []
    )
    found = ServerProgram(
        name=metadata.name,
        sha256=hashlib.sha256(program.text.encode()).hexdigest(),
        description=metadata.description,
        environment=options.environment,
        python_version=source.python_version,
        entry_point=source.entry_point,
        imports=source.imports,
        max_execution_time=time_limit(metadata, options),
        schemas=list(metadata.schemas),
    )
    return ProgramChecked(found=found)


def check_inputs(program: TaskProgram, inputs: Struct) -> ProgramChecked:
    """Check the inputs of a run against the schema of the program's parameters. Raises ProgramError."""
    metadata, _ = metadata_of(program)
    schema = metadata.schemas.get("parameters")
    return ProgramChecked(violations=[] if schema is None else value_violations(schema, MessageToDict(inputs)))
