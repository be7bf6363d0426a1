# SPDX-License-Identifier: Apache-2.0
"""Build the requests of estimators and samplers for both clients, without a connection."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final, TypedDict, Unpack

from qonduit.v1.device_pb2 import Device
from qonduit.v1.estimator_pb2 import EstimatorOptions
from qonduit.v1.job_pb2 import JobType
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit_client import requests
from qonduit_client.circuits import without_measurements
from qonduit_client.costs import Cost
from qonduit_client.input_values import Inputs
from qonduit_client.job_credential import JobCredential
from qonduit_client.observables import ObservableLike, QubitOrder, observables_of
from qonduit_client.parameter_values import ParameterValues
from qonduit_client.program_messages import Program
from qonduit_client.requests import Request
from qonduit_client.required_versions import Versions
from qonduit_client.schedule import Schedule
from qonduit_client.simulation_options import Noise, Simulation, Stop
from qonduit_client.vendor_options import Vendor

#: The shots of a job that sets neither shots nor a precision, and is not exact.
DEFAULT_SHOTS: Final = 1000


class JobOptions(TypedDict, total=False):
    """Options of every job; see `Client.run`."""

    seed: int | None
    name: str | None
    language: str | None
    request_id: str | None
    deployment_id: int | None
    credential: JobCredential
    inputs: Inputs | None
    simulation: Simulation | None
    noise_model: Noise | None
    stop_when: Stop | None
    labels: Mapping[str, str] | None
    client_data: bytes
    schedule: Schedule | None
    versions: Versions | None
    wait_for_versions: bool
    max_cost: Cost | None
    vendor_options: Vendor | None
    project: str | None
    validate_only: bool


class EstimateOptions(JobOptions, total=False):
    """Options of an estimator; see `Client.estimate`."""

    precision: float | None
    exact: bool
    shots: int | None
    parameter_values: ParameterValues | None
    gradient: bool
    per_term: bool
    confidence_level: float | None
    qubits: QubitOrder | None


class SampleOptions(JobOptions, total=False):
    """Options of a sampler; see `Client.sample`."""

    shots: int | None
    per_shot: bool
    exact: bool


def estimate(
    program: Program | Iterable[Program] | None,
    observables: ObservableLike | Iterable[ObservableLike],
    device: str | Device,
    *,
    precision: float | None = None,
    exact: bool = False,
    shots: int | None = None,
    parameter_values: ParameterValues | None = None,
    gradient: bool = False,
    per_term: bool = False,
    confidence_level: float | None = None,
    qubits: QubitOrder | None = None,
    **options: Unpack[JobOptions],
) -> Request[CreateJobResponse]:
    """Create a job that estimates observables.

    Raises:
        ProgramUnreadable: a program is invalid, or its language cannot be detected.
        ValueError, TypeError: an argument is invalid.
    """
    if shots is None:
        shots = 0 if exact or precision is not None else DEFAULT_SHOTS
    plain = (
        [without_measurements(each) for each in program] if isinstance(program, list) else without_measurements(program)
    )
    request = _request(plain, device, shots, parameter_values, options)
    request.message.job.type = JobType.JOB_TYPE_ESTIMATOR
    request.message.job.estimator.CopyFrom(
        EstimatorOptions(
            observables=observables_of(observables, qubits, program),
            precision=precision,
            exact=exact,
            per_term=per_term,
            gradient=gradient,
            confidence_level=confidence_level,
        )
    )
    return request


def sample(
    program: Program | Iterable[Program] | None,
    device: str | Device,
    *,
    shots: int | None = None,
    parameter_values: ParameterValues | None = None,
    per_shot: bool = False,
    exact: bool = False,
    **options: Unpack[JobOptions],
) -> Request[CreateJobResponse]:
    """Create a job that samples programs; raises as `estimate`."""
    if shots is None:
        shots = 0 if exact else DEFAULT_SHOTS
    request = _request(program, device, shots, parameter_values, options)
    request.message.job.type = JobType.JOB_TYPE_SAMPLER
    sampler = request.message.job.sampler
    sampler.SetInParent()
    sampler.per_shot, sampler.exact = per_shot, exact
    return request


def _request(
    program: Program | Iterable[Program] | None,
    device: str | Device,
    shots: int,
    parameter_values: ParameterValues | None,
    options: JobOptions,
) -> Request[CreateJobResponse]:
    own: dict[str, Any] = {"deployment_id": None, "inputs": None, **options}
    return requests.submit(
        program,
        device,
        shots,
        own.pop("seed", None),
        own.pop("name", None),
        own.pop("language", None),
        statevector=False,
        parameter_values=parameter_values,
        **own,
    )
