# SPDX-License-Identifier: Apache-2.0
"""The estimator and the sampler of the client."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import closing
from typing import TYPE_CHECKING, Final, Unpack, overload

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_service_pb2 import CreateJobResponse
from qonduit_client import primitive_requests
from qonduit_client.handle import only
from qonduit_client.job import JobHandle
from qonduit_client.observables import ObservableLike
from qonduit_client.parameter_values import ParameterValues
from qonduit_client.primitive_requests import EstimateOptions, JobOptions, SampleOptions
from qonduit_client.program_messages import Program
from qonduit_client.requests import Request
from qonduit_client.resumable_stream import RunStream
from qonduit_client.samples import Sample
from qonduit_client.transport import Transport

if TYPE_CHECKING:
    from qonduit_client.estimates import Estimate

DEFAULT_DEVICE: Final = "IBM/aer_simulator"


class Primitives:
    """The base class of the client with the calls for estimators and samplers."""

    _transport: Transport

    def estimate(
        self,
        program: Program | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        *,
        timeout: float | None = None,
        **options: Unpack[EstimateOptions],
    ) -> Estimate:
        """Estimate the expectation values of observables and wait for them. Measurements at the end are ignored.

        Args:
            program: one program, as in `run`; None with `deployment_id`.
            observables: one or several: text ("1.5*X0*X1 - 0.5*Z0 + 0.25"), dictionaries ({"X0*X1": 1.5}), or
                observables of Qiskit, Cirq, Braket and PennyLane. Qubits are numbered as the program declares them.
            device: "PROVIDER/device", or one of `devices()`.
            timeout: seconds to wait for the job. By default unlimited.
            precision: the standard error to reach for each observable, at each point. `shots` is then the maximum.
            exact: compute exact values; devices without them refuse the job.
            shots: for each circuit; by default 1000, unless the job has a precision or is exact.
            parameter_values: values of inputs (free parameters) at many points: {"theta": [0.1, 0.2]}, or
                (names, matrix) with a row for each point. A number holds at every point. An array has a list for each
                point. The arrays of the estimate then have an axis of points.
            gradient: also return the derivatives by the names of `parameter_values`.
            per_term: also return the values of the terms of each observable.
            confidence_level: of the confidence intervals; by default 0.95.
            qubits: the qubits of the SDK's observables in the order of the program's qubits. By default those of the
                program, if it is a circuit of the same SDK, else their numbers.
            options: `seed`, `name`, `language`, `request_id`, `deployment_id`, `inputs`, `simulation`, `noise_model`,
                `stop_when`, `labels`, `client_data`, `schedule`, `versions`, `wait_for_versions`, `max_cost`,
                `vendor_options`, `credential` and `project`, as in `run`.

        Raises:
            ValueError, TypeError: an observable or another argument is invalid.
            JobFailed: the job failed.
            TimedOut: the job has not ended in time; it continues.
            ImportError: NumPy is not installed.
            QonduitError: the server rejected the job, or is unreachable.
        """
        request = primitive_requests.estimate(program, observables, device, **options)
        return self._ran(request, options, timeout).estimate(timeout)

    def submit_estimate(
        self,
        program: Program | Iterable[Program] | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        **options: Unpack[EstimateOptions],
    ) -> JobHandle:
        """Queue a job that estimates observables, and return immediately.

        Arguments are those of `estimate`, and several programs are possible. `job.estimate()` waits for the estimates
        of one program, `job.estimates()` for those of several.
        """
        return self._submitted(primitive_requests.estimate(program, observables, device, **options))

    def check_estimate(
        self,
        program: Program | Iterable[Program] | None,
        observables: ObservableLike | Iterable[ObservableLike],
        device: str | Device = DEFAULT_DEVICE,
        **options: Unpack[EstimateOptions],
    ) -> CreateJobResponse:
        """Read and compile the job that `submit_estimate` would create, without running or storing anything.

        Returns and raises as `check`.
        """
        options["validate_only"] = True
        return self._transport.call(primitive_requests.estimate(program, observables, device, **options))

    @overload
    def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: None = None,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample: ...

    @overload
    def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> list[Sample]: ...

    def sample(
        self,
        program: Program | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        timeout: float | None = None,
        **options: Unpack[SampleOptions],
    ) -> Sample | list[Sample]:
        """Sample the outcomes of a program and wait for them.

        Args:
            program: one program, as in `run`; None with `deployment_id`.
            device: "PROVIDER/device", or one of `devices()`.
            parameter_values: values of inputs at many points, as in `estimate`.
            timeout: seconds to wait for the job. By default unlimited.
            options: `shots` (by default 1000), `per_shot` (also return the outcome of each shot, in order), `exact`
                (return exact probabilities), and those of `run` that `estimate` lists.

        Returns:
            The sample; with `parameter_values` a list with the sample of each point.
        """
        request = primitive_requests.sample(program, device, parameter_values=parameter_values, **options)
        job = self._ran(request, options, timeout)
        found = job.samples(timeout)
        return found if parameter_values is not None else only(found, job.id)

    def submit_sample(
        self,
        program: Program | Iterable[Program] | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        **options: Unpack[SampleOptions],
    ) -> JobHandle:
        """Queue a job that samples programs, and return immediately; `job.samples()` waits for the samples.

        Arguments are those of `sample`, and several programs are possible.
        """
        return self._submitted(primitive_requests.sample(program, device, parameter_values=parameter_values, **options))

    def check_sample(
        self,
        program: Program | Iterable[Program] | None,
        device: str | Device = DEFAULT_DEVICE,
        *,
        parameter_values: ParameterValues | None = None,
        **options: Unpack[SampleOptions],
    ) -> CreateJobResponse:
        """Read and compile the job that `submit_sample` would create; as `check_estimate`."""
        options["validate_only"] = True
        return self._transport.call(
            primitive_requests.sample(program, device, parameter_values=parameter_values, **options)
        )

    def _ran(self, request: Request[CreateJobResponse], options: JobOptions, timeout: float | None) -> JobHandle:
        """Create a job and wait for it, on one stream that also contains its results."""
        if options.get("request_id") or (timeout is not None and timeout <= 0):
            # The caller's id may be that of a job that `submit_estimate` or `submit_sample` created.
            return self._submitted(request)
        job = JobHandle(self._transport, 0, request_id=request.message.request_id)
        with closing(self._transport.resumed(RunStream(self._transport, request, timeout))) as events:
            for event in events:
                job.receive(event)
        return job

    def _submitted(self, request: Request[CreateJobResponse]) -> JobHandle:
        answer = self._transport.call(request)
        return JobHandle(
            self._transport,
            answer.job.id,
            known=answer.job,
            request_id=request.message.request_id,
            deduplicated=answer.deduplicated,
        )
