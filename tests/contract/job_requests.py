# SPDX-License-Identifier: Apache-2.0
"""Requests for jobs of every type, and a catalogue that has them."""

from __future__ import annotations

from typing import Any

from qonduit.v1 import job_service_pb2 as calls
from qonduit.v1.job_pb2 import Job, JobType
from qonduit.v1.result_service_pb2 import ReadBufferRequest
from qonduit_server.store import catalogue
from tests.contract.rpc_fixture import BELL, WAIT, RpcFixture, descriptions, programs

RUNNER, SAMPLER, ESTIMATOR = JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR


def with_every_type(rpc: RpcFixture) -> RpcFixture:
    """Have the simulator run every type of job."""
    described = descriptions()
    for device in described[0].devices:
        device.capabilities.job_types[:] = [RUNNER, SAMPLER, ESTIMATOR]
    catalogue.sync(rpc.db, described)
    return rpc


def asking(device: str = "IBM/aer_simulator", number: int = 1, **job: Any) -> calls.CreateJobRequest:
    """Return a request for a job of Bell programs."""
    return calls.CreateJobRequest(
        job=Job(**({"shots": 10} | job)), device=device, deployment=programs(*[BELL] * number)
    )


def create(rpc: RpcFixture, **fields: Any) -> Job:
    """Create a job."""
    return rpc.jobs.CreateJob(asking(**fields), timeout=WAIT).job


def read(rpc: RpcFixture, name: str) -> bytes:
    """Read a buffer."""
    return b"".join(piece.data for piece in rpc.results.ReadBuffer(ReadBufferRequest(name=name), timeout=WAIT))
