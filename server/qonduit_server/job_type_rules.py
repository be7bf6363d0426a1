# SPDX-License-Identifier: Apache-2.0
"""The rules of estimators, samplers and parameter sets that can be checked without a program.

The server refuses a job at once that breaks one. Pure Python: the server process loads no NumPy and no SDK. Workers
check again, with the program at hand.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from qonduit.execution.v1.job_spec_pb2 import JobSpec
from qonduit.v1.estimator_pb2 import EstimatorOptions, Observable
from qonduit.v1.job_pb2 import JobType, ProgramOptions
from qonduit.v1.sweep_pb2 import ParameterSets
from qonduit_server import noise_rules
from qonduit_server.errors import Violation
from qonduit_server.pauli_sums import PauliSum, PauliSumError, from_masks, parse

#: Of one job: points of a program, and numbers of all points of a program.
MAX_POINTS: Final = 100_000
#: Of all observables of an estimator, in bytes.
MAX_OBSERVABLE_BYTES: Final = 4 * 1024**2
#: Larger estimators are checked by the worker: the server has no time to parse them.
_CHECKED_BYTES: Final = 64 * 1024
_MAX_QUBITS: Final = 4096
_ESTIMATOR: Final = JobType.JOB_TYPE_ESTIMATOR
_SAMPLER: Final = JobType.JOB_TYPE_SAMPLER
_RUNNER: Final = JobType.JOB_TYPE_RUNNER
#: The types of jobs with server programs: no circuit of theirs runs.
_WITHOUT_SHOTS: Final = (JobType.JOB_TYPE_IBM_RUNNER, JobType.JOB_TYPE_IBM_UPLOAD)
#: The types that take an option, by its field.
_TYPES: Final = {
    "estimator": (_ESTIMATOR,),
    "sampler": (_SAMPLER,),
    "parameter_sets": (_RUNNER, _SAMPLER, _ESTIMATOR),
}


def broken(spec: JobSpec, programs: int) -> Iterator[Violation]:
    """Yield the violations of a job's options.

    Args:
        spec: of the job.
        programs: the number of its programs.
    """
    yield from _options(spec, spec.type, "job")
    if spec.vendor_options.HasField("resilience_level"):
        yield from _vendor_estimator(spec)
    indices: set[int] = set()
    for place, options in enumerate(spec.program_options):
        path = f"job.program_options[{place}]"
        if options.index >= programs:
            message = f"must be below the number of programs ({programs}), got {options.index}"
            yield Violation(f"{path}.index", "program_options.index", f"{path}.index: {message}")
        if options.index in indices:
            message = f"{path}.index: must be unique, got {options.index} twice"
            yield Violation(f"{path}.index", "program_options.unique", message)
        indices.add(options.index)
        yield from _options(options, spec.type, path)
        yield from noise_rules.broken(options.noise_model, f"{path}.noise_model")
    yield from _of_programs(spec, programs)
    yield from _double_names(spec)


def _vendor_estimator(spec: JobSpec) -> Iterator[Violation]:
    """Yield the violations of a job for the vendor's own estimator, which returns values and standard errors alone."""
    path = "job.vendor_options.resilience_level"
    if spec.type != _ESTIMATOR:
        message = f"{path}: only jobs of type ESTIMATOR have it, the type is {_name(spec.type)}"
        yield Violation(path, "job.vendor_options.type", message)
    wanted = [("job", spec.estimator)]
    for place, options in enumerate(spec.program_options):
        wanted.append((f"job.program_options[{place}]", options.estimator))
    unsupported = [
        *(
            f"{where}.estimator.{name}"
            for where, estimator in wanted
            for name in ("exact", "per_term", "gradient")
            if getattr(estimator, name)
        ),
        *(["job.stop_when"] if spec.HasField("stop_when") else []),
        *(["job.include_compiled_circuit"] if spec.include_compiled_circuit else []),
    ]
    for field in unsupported:
        yield Violation(field, "job.vendor_options.estimator", f"{field}: must be unset with {path}")


def observable(message: Observable) -> PauliSum:
    """Return an observable of a request.

    Raises:
        PauliSumError: it is empty or wrong; the message contains the allowed forms.
    """
    match message.WhichOneof("form"):
        case "expression":
            return parse(message.expression)
        case "terms":
            terms = message.terms
            if not 1 <= terms.num_qubits <= _MAX_QUBITS:
                raise PauliSumError(f"num_qubits must be between 1 and {_MAX_QUBITS}, got {terms.num_qubits}")
            return from_masks(terms.coefficients, terms.x_masks, terms.z_masks, terms.num_qubits)
        case _:
            raise PauliSumError("expression or terms must be set")


def _options(options: JobSpec | ProgramOptions, kind: JobType, path: str) -> Iterator[Violation]:
    for field, types in _TYPES.items():
        if options.HasField(field) and kind not in types:
            names = " or ".join(JobType.Name(each).removeprefix("JOB_TYPE_") for each in types)
            message = f"{path}.{field}: only jobs of type {names} have it, the type is {_name(kind)}"
            yield Violation(f"{path}.{field}", f"job.{field}.type", message)
    if options.HasField("parameter_sets"):
        yield from _sets(options.parameter_sets, f"{path}.parameter_sets")
    if options.sampler.exact and options.sampler.per_shot:
        field = f"{path}.sampler.per_shot"
        yield Violation(field, "sampler.exact.per_shot", f"{field}: must be unset with exact: no shots run")
    if options.HasField("estimator"):
        yield from _estimator(options.estimator, f"{path}.estimator")


def _sets(sets: ParameterSets, path: str) -> Iterator[Violation]:
    if sets.names and len(sets.values) > MAX_POINTS * len(sets.names):
        message = f"{path}.values: must have at most {MAX_POINTS} points, got {len(sets.values) // len(sets.names)}"
        yield Violation(f"{path}.values", "parameter_sets.max_points", message)
        return
    if not all(map(math.isfinite, sets.values)):
        place = next(place for place, value in enumerate(sets.values) if not math.isfinite(value))
        point, column = divmod(place, max(1, len(sets.names)))
        name = sets.names[column] if sets.names else ""
        message = f"{path}.values: must be finite, got {sets.values[place]} for {name!r} at point {point}"
        yield Violation(f"{path}.values[{place}]", "parameter_sets.finite", message)


def _estimator(estimator: EstimatorOptions, path: str) -> Iterator[Violation]:
    size = estimator.ByteSize()
    if size > MAX_OBSERVABLE_BYTES:
        message = f"{path}.observables: must have at most {MAX_OBSERVABLE_BYTES} bytes, got {size}"
        yield Violation(f"{path}.observables", "estimator.max_bytes", message)
        return
    if size > _CHECKED_BYTES:
        return
    for place, each in enumerate(estimator.observables):
        try:
            observable(each)
        except PauliSumError as error:
            field = f"{path}.observables[{place}]"
            yield Violation(field, "estimator.observable", f"{field}: {error}")


def _effective(spec: JobSpec, programs: int) -> Iterator[tuple[str, JobSpec | ProgramOptions, JobSpec]]:
    """Yield the options of programs, with their path and what stands there: once for all without own ones."""
    if len({options.index for options in spec.program_options}) < programs:
        yield "job", spec, spec
    for place, options in enumerate(spec.program_options):
        merged = JobSpec(type=spec.type, shots=options.shots or spec.shots)
        for field in ("estimator", "sampler", "parameter_sets"):
            source = options if options.HasField(field) else spec
            if source.HasField(field):
                getattr(merged, field).CopyFrom(getattr(source, field))
        yield f"job.program_options[{place}]", options, merged


def _of_programs(spec: JobSpec, programs: int) -> Iterator[Violation]:
    """Yield the violations of the options that programs have in the end."""
    for path, own, merged in _effective(spec, programs):
        estimator, sampler = merged.estimator, merged.sampler
        where = path if own.HasField("estimator") else "job"
        if spec.type == _ESTIMATOR and not estimator.observables:
            field = f"{where}.estimator.observables"
            yield Violation(field, "estimator.observables.required", f"{field}: must contain at least one observable")
        if estimator.gradient and not merged.parameter_sets.names:
            field = f"{where}.estimator.gradient"
            message = f"{field}: needs parameter_sets: the derivatives are those by its names"
            yield Violation(field, "estimator.gradient.parameters", message)
        without = sampler.exact or estimator.exact or estimator.HasField("precision")
        if not merged.shots and not without and spec.type not in _WITHOUT_SHOTS:
            field = f"{path}.shots"
            message = f"{field}: must be at least 1; only exact values, a precision and server programs need no shots"
            yield Violation(field, "job.shots.range", message)
        if without and spec.HasField("stop_when"):
            message = "job.stop_when: must be unset for exact values and with a precision, which decide the shots"
            yield Violation("job.stop_when", "job.stop_when.shots", message)


def _double_names(spec: JobSpec) -> Iterator[Violation]:
    """Yield the names of parameter sets that are inputs too."""
    inputs = spec.inputs.fields
    if not inputs:
        return
    all_sets = [("job", spec.parameter_sets)] + [
        (f"job.program_options[{place}]", each.parameter_sets) for place, each in enumerate(spec.program_options)
    ]
    for path, sets in all_sets:
        for name in sets.names:
            if name in inputs or name.partition("[")[0] in inputs:
                field = f"{path}.parameter_sets.names"
                message = f"{field}: {name!r} is in job.inputs too: give its value in one of them"
                yield Violation(field, "parameter_sets.names.inputs", message)


def _name(kind: JobType) -> str:
    return JobType.Name(kind).removeprefix("JOB_TYPE_")
