# SPDX-License-Identifier: Apache-2.0
"""The limits of the server: the gRPC server checks them, and GetServerInfo reports them."""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.duration_pb2 import Duration

from qonduit.v1.system_service_pb2 import ServerLimits


@dataclass
class Limits:
    """Sizes in bytes, times in seconds. All services share one object, and read a limit when they check it."""

    max_request_bytes: int = 16 * 1024**2
    max_program_bytes: int = 1024**2
    max_programs: int = 500
    max_shots: int = 10_000_000
    max_task_memory_bytes: int = 0
    max_job_seconds: float = 3600.0
    max_queued_jobs: int = 100_000
    max_memory_bytes: int = 0
    max_result_bytes: int = 64 * 1024**2
    max_streams: int = 20_000
    #: Translations, validations and comparisons of one caller: at once, and in seconds of workers per minute; 0 means
    #: no limit.
    max_caller_preparations: int = 0
    max_caller_preparation_seconds: float = 0.0
    #: Days; 0 means that jobs are never deleted.
    retention_days: float = 0.0
    #: Short names of the languages whose programs may be Python source.
    python_source: frozenset[str] = frozenset()
    #: The names of the environments for server programs.
    python_environments: frozenset[str] = frozenset()
    #: gRPC clients accept 4 MiB by default; the contract promises 3.
    max_response_bytes: int = 3 * 1024**2

    def adopt(self, other: Limits) -> None:
        """Replace all limits, for calls that begin from now on."""
        vars(self).update(vars(other))

    def message(self) -> ServerLimits:
        """Return the limits as the message for clients."""
        duration = Duration()
        duration.FromNanoseconds(int(self.max_job_seconds * 1e9))
        retention = Duration(seconds=int(self.retention_days * 86_400)) if self.retention_days else None
        return ServerLimits(
            max_request_bytes=self.max_request_bytes,
            max_response_bytes=self.max_response_bytes,
            max_program_bytes=self.max_program_bytes,
            max_programs=self.max_programs,
            max_shots=self.max_shots,
            max_task_memory_bytes=self.max_task_memory_bytes,
            max_job_duration=duration,
            max_queued_jobs=self.max_queued_jobs,
            max_memory_bytes=self.max_memory_bytes,
            max_result_bytes=self.max_result_bytes,
            max_streams=self.max_streams,
            job_retention=retention,
        )
