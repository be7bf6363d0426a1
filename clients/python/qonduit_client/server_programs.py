# SPDX-License-Identifier: Apache-2.0
"""The calls of the client for server programs: `client.programs`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from qonduit.v1.deployment_pb2 import Deployment
from qonduit.v1.server_program_pb2 import ServerProgram
from qonduit_client import requests
from qonduit_client import server_program_requests as program_requests
from qonduit_client.input_values import Inputs
from qonduit_client.listing import Table
from qonduit_client.program_runs import ProgramRuns
from qonduit_client.server_program_requests import Metadata, Source


class ServerPrograms(ProgramRuns):
    """Python programs that run on the server, beside a device; yours and those of your projects."""

    def upload(
        self,
        source: Source,
        metadata: Metadata | None = None,
        *,
        name: str | None = None,
        options: Mapping[str, Any] | None = None,
        inputs: Inputs | None = None,
        project: str | None = None,
        request_id: str | None = None,
    ) -> ServerProgram:
        """Check a Python program on the server, without running it, and store it as the next version of its name.

        Args:
            source: the path of the file, source text of several lines, or the id of a stored deployment with one
                program, its metadata and options.
            metadata: name, description, max_execution_time, and the JSON Schemas parameters, return_values and
                interim_results, flat or under `spec`: a mapping, JSON text, or the path of a JSON file.
            name: the name in place of that of the metadata; by default the name of the file without its suffix.
            options: environment, entry_point, log_level and limits.
            inputs: default values of the inputs.
            project: as in `run`.
            request_id: a UUID that makes a repeated upload return the first version.

        Raises:
            JobFailed: the program cannot run: its syntax, its entry point or an import is wrong.
            InvalidRequest: the metadata or the options are invalid.
            OSError: a file cannot be read.
        """
        program = program_requests.program_of(source, metadata, name, options, inputs)
        request = program_requests.upload(program, project, request_id)
        job = program_requests.uploaded(self._transport.call(request).job)
        return program_requests.receipt_of(self._transport.items(requests.results(job.id)))

    def list(self, name: str = "", filter: str = "", *, limit: int | None = None) -> Table[ServerProgram]:
        """Return versions, newest first: of one name, or of all; a filter is, for example, 'project = lab'."""
        found = self._transport.items(program_requests.versions(name, filter, limit))
        return Table((each.server_program for each in found), "ServerProgram")

    def get(self, program: str, *, project: str | None = None) -> ServerProgram:
        """Return "NAME@VERSION", or the latest version of "NAME"; of several owners yours. Raises NotFound."""
        return self._deployments(program, project)[0].server_program

    def source(self, program: str | ServerProgram, *, project: str | None = None) -> str:
        """Return the source of a version. Raises NotFound."""
        if isinstance(program, ServerProgram):
            found = self._transport.call(requests.deployment(program.deployment_id)).deployment
        else:
            found = self._deployments(program, project)[0]
        return found.programs[0].quantum_circuit

    def delete(self, program: str | ServerProgram, *, project: str | None = None) -> int:
        """Delete "NAME@VERSION", or all versions of "NAME"; return their number.

        Raises:
            NotFound: there is no such version.
            PreconditionFailed: jobs refer to a version; later ones are deleted.
        """
        if isinstance(program, ServerProgram):
            ids = [program.deployment_id]
        else:
            ids = [each.id for each in self._deployments(program, project)]
        count = 0
        for deployment_id in ids:
            self._transport.call(requests.delete_deployment(deployment_id))
            count += 1
        return count

    def _deployments(self, program: str, project: str | None) -> Sequence[Deployment]:
        name, _ = program_requests.split(program)
        pages = program_requests.versions(name, "", None)
        return program_requests.chosen(program, project, self._transport.items(pages))
