# SPDX-License-Identifier: Apache-2.0
"""Runs tasks of a remote provider in a worker, without waiting for the vendor: as `SimulatorProvider` for the runner.

A run whose outcomes the task does not contain becomes submissions, and its task ends there. Once the vendor has
returned them, the same task runs again with the outcomes, up to its end or to its next submissions. So job types with
several dependent calls need no code of their own for vendors.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from google.protobuf.json_format import MessageToDict

from qonduit.execution.v1.vendor_pb2 import Estimation, NativeCircuit, Submission, VendorOutcome, VendorOutcomes
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.device_pb2 import Device
from qonduit.v1.estimator_pb2 import PauliTerms
from qonduit.v1.failure_pb2 import Failure
from qonduit.v1.job_pb2 import VendorCost, VendorOptions
from qonduit_server.capabilities import VENDOR_MODES
from qonduit_server.device_prices import add_estimate, total_cost
from qonduit_server.errors import DeviceError, LimitError, ProgramError, ProviderError, RunError
from qonduit_server.ir.circuit import Circuit, Outcome
from qonduit_server.pauli_sums import PauliSum
from qonduit_server.process.memory import format_bytes
from qonduit_server.providers.point_binding import OneByOne
from qonduit_server.providers.provider import DEFAULTS, CompiledCircuit, CompileOptions
from qonduit_server.providers.remote_provider import RemoteProvider, SubmissionLimits

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

#: The reason of the outcomes of circuits that are about to be submitted. No event contains it.
PENDING: Final = "SUBMISSION_PENDING"
#: The time after which a vendor ends a batch or a session by itself, if the job does not set one.
_GROUP_SECONDS: Final = 3600


class RemoteDevices(OneByOne):
    """The devices of a vendor, for the runner.

    Args:
        provider: compiles the circuits.
    """

    def __init__(self, provider: RemoteProvider) -> None:
        self.remote: Final = provider
        self.distributions: Sequence[str] = getattr(provider, "distributions", ())
        self.begin((), lambda: None, Device())

    @property
    def name(self) -> str:
        """See `SimulatorProvider`."""
        return self.remote.name

    def describe(self) -> ProviderDescription:
        """See `SimulatorProvider`."""
        return self.remote.describe()

    def load(self) -> None:
        """See `SimulatorProvider`."""
        self.remote.load()

    def compile(self, circuit: Circuit, device: str, options: CompileOptions = DEFAULTS) -> CompiledCircuit:
        """See `SimulatorProvider`."""
        self.remote.load()  # which a provider with simulators does not do
        compiled = self.remote.compile(circuit, device, options)
        size = compiled.native.ByteSize()
        if size > (most := self.remote.limits(device).bytes):
            raise LimitError(
                "TOO_LARGE",
                f"the compiled program has {format_bytes(size)}, and {self.name} accepts at most {format_bytes(most)}",
            )
        return CompiledCircuit(compiled.native, compiled.qubits, warnings=compiled.warnings, sliceable=False)

    def begin(
        self,
        outcomes: Iterable[VendorOutcomes],
        on_pending: Callable[[], None],
        device: Device,
        options: VendorOptions | None = None,
    ) -> None:
        """Begin a task.

        Args:
            outcomes: what the vendor returned for this task so far.
            on_pending: called when a run has no outcomes: those that follow are not known yet.
            device: the device's description in the catalogue, with its prices and its limit of shots.
            options: of the job, for its vendor.
        """
        self._options = options or VendorOptions()
        self._device = device
        self._known: dict[str, list[VendorOutcomes]] = {}
        for each in outcomes:
            self._known.setdefault(each.key, []).append(each)
        self._calls: Counter[str] = Counter()
        self._unused = set(self._known)
        self._pending: list[Submission] = []
        self._on_pending = on_pending

    def submissions(self) -> Sequence[Submission]:
        """Return the submissions that the task needs now.

        Raises:
            ProviderError: reason NOT_REPRODUCIBLE, the programs compile to other circuits than those that the vendor
                has run. They are not submitted, because the vendor would charge for them again.
        """
        if self._pending and self._unused:
            raise ProviderError(
                "NOT_REPRODUCIBLE",
                f"the programs compile to other circuits now than those that {self.name} has run for this job, so they "
                "are not submitted again: rerun the job if it is worth its cost",
            )
        return self._pending and [*self._opening(), *self._pending]

    def _opening(self) -> Sequence[Submission]:
        """Return what opens the batch or the session of the submissions, if they share one."""
        mode = self._options.mode
        if mode not in VENDOR_MODES:
            return ()
        seconds = self._options.max_seconds or _GROUP_SECONDS
        device = self._pending[0].device
        opening = Submission(key=VENDOR_MODES[mode], device=device, mode=mode, group_seconds=seconds)
        return (self._priced(opening),)

    def cost(self) -> VendorCost | None:
        """Return the estimated cost of the submissions that the task needs now; None if it is not known."""
        return total_cost([*self._opening(), *self._pending] if self._pending else [])

    def run(
        self, device: str, compiled: Sequence[CompiledCircuit], shots: int, seed: int | None
    ) -> Iterator[Outcome | RunError]:
        """Yield the outcomes that the vendor returned, or note the submissions; see `SimulatorProvider`."""
        del seed  # machines have none
        natives = [_native(each) for each in compiled]
        parts = self._call(natives, Submission(device=device, shots=shots), self._limits(device))
        if parts is not None:
            yield from _joined(parts, len(natives))
            return
        for _ in natives:
            yield ProviderError(PENDING, "the vendor has not returned the outcome")

    def estimate(
        self,
        device: str,
        compiled: Sequence[CompiledCircuit],
        observables: Sequence[PauliSum],
        shots: int,
        estimation: Estimation,
    ) -> Sequence[VendorOutcome | RunError]:
        """Return the estimates of the vendor's own estimator, or note the submissions.

        Args:
            device: the name of the device.
            compiled: circuits without measurements.
            observables: those of each circuit, at least one.
            shots: for each term, or as many as a precision needs for a variance of 1.
            estimation: how the estimator works.
        """
        terms = [_terms(each) for each in observables]
        natives = []
        for each in compiled:
            native = NativeCircuit(observables=terms)
            native.MergeFrom(_native(each))
            natives.append(native)
        # The vendor itself divides the shots.
        limits = replace(self._limits(device), shots=shots)
        parts = self._call(natives, Submission(device=device, shots=shots, estimation=estimation), limits)
        if parts is not None:
            return [_first(outcomes) for outcomes in _by_circuit(parts, len(natives))]
        return [ProviderError(PENDING, "the vendor has not returned the outcome")] * len(natives)

    def _call(
        self, natives: Sequence[NativeCircuit], wanted: Submission, limits: SubmissionLimits
    ) -> Sequence[VendorOutcomes] | None:
        """Return the outcomes of a call, by its parts; None if they are not known, after noting its submissions."""
        digest = _digest(natives, wanted)
        key = f"{digest}.{self._calls[digest]}"
        self._calls[digest] += 1
        if key in self._known:
            self._unused.discard(key)
            return self._known[key]
        self._pending += map(self._priced, _divided(key, natives, wanted, limits))
        self._on_pending()
        return None

    def _limits(self, device: str) -> SubmissionLimits:
        """Return the limits of one job at the vendor: those of the provider, replaced by those of the device."""
        limits, most = self.remote.limits(device), self._device.max_shots
        if most:
            limits = replace(limits, shots=min(limits.shots, most))
        if self._device.HasField("vendor_job"):
            own = self._device.vendor_job
            limits = replace(limits, circuits=own.circuits, all_shots=own.shots, min_all_shots=own.min_shots)
        return limits

    def _priced(self, submission: Submission) -> Submission:
        submission.mode = self._options.mode
        price = getattr(self.remote, "price", None)
        if self._device.price.stated or (price is None and self._device.HasField("price")):
            most_seconds = getattr(self.remote, "most_seconds", None)
            add_estimate(submission, self._device.price, most_seconds and most_seconds(submission))
        elif price is not None and (found := price(submission)) is not None:
            submission.price.CopyFrom(found)
        return submission

    def probabilities(self, device: str, compiled: CompiledCircuit) -> Mapping[int, float] | None:
        """Return no probabilities; see `SimulatorProvider`."""
        return None

    def statevector(self, device: str, compiled: CompiledCircuit) -> NDArray[np.complex128]:
        """Raise ProgramError; see `SimulatorProvider`."""
        raise DeviceError("NO_STATEVECTOR", f"{self.name}/{device} is no simulator, and has no statevectors")


def _native(compiled: CompiledCircuit) -> NativeCircuit:
    assert isinstance(compiled.native, NativeCircuit)
    return compiled.native


def _terms(observable: PauliSum) -> PauliTerms:
    width = max(1, observable.num_qubits)
    size = (width + 7) // 8
    return PauliTerms(
        coefficients=observable.coefficients,
        x_masks=b"".join(mask.to_bytes(size, "big") for mask in observable.x_masks),
        z_masks=b"".join(mask.to_bytes(size, "big") for mask in observable.z_masks),
        num_qubits=width,
    )


def _digest(natives: Sequence[NativeCircuit], wanted: Submission) -> str:
    """Hash a call of the device: equal calls are interchangeable, so their results are too."""
    digest = hashlib.sha256(f"{wanted.device}\0{wanted.shots}\0{len(natives)}\0".encode())
    if wanted.HasField("estimation"):
        digest.update(wanted.estimation.SerializeToString(deterministic=True) + b"\0")
    for native in natives:
        data = native.SerializeToString(deterministic=True)
        digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def _divided(
    key: str, natives: Sequence[NativeCircuit], wanted: Submission, limits: SubmissionLimits
) -> Iterator[Submission]:
    """Divide a call by the vendor's limits: first its circuits, then the shots of each group."""
    first, part, shots = 0, 0, wanted.shots
    # Equal parts: a small rest could be less than the vendor's minimum.
    parts = -(-shots // limits.shots)
    most = limits.circuits
    if limits.all_shots:
        most = max(1, min(most, limits.all_shots // -(-shots // parts)))
    while first < len(natives):
        end, size = first, 0
        while end < len(natives) and end - first < most:
            size += natives[end].ByteSize()
            if end > first and size > limits.bytes:
                break
            end += 1
        if (end - first) * (shots // parts) < limits.min_all_shots:
            end = first + 1
        for number in range(parts):
            own = shots // parts + (number < shots % parts)
            divided = Submission(key=key, part=part, first_circuit=first, circuits=natives[first:end], shots=own)
            divided.device = wanted.device
            if wanted.HasField("estimation"):
                divided.estimation.CopyFrom(wanted.estimation)
            yield divided
            part += 1
        first = end


def _by_circuit(parts: Iterable[VendorOutcomes], number: int) -> Sequence[Sequence[VendorOutcome]]:
    """Return the outcomes of each circuit of a call, in the order of its parts."""
    found: list[list[VendorOutcome]] = [[] for _ in range(number)]
    for part in sorted(parts, key=lambda each: each.part):
        for place, outcome in enumerate(part.outcomes, part.first_circuit):
            if place < number:
                found[place].append(outcome)
    return found


def _first(outcomes: Sequence[VendorOutcome]) -> VendorOutcome | RunError:
    """Return the only outcome of a circuit, or its failure."""
    if not outcomes:
        return ProviderError("RESULT_MISSING", "the vendor returned no result")
    return _error(outcomes[0].failure) if outcomes[0].HasField("failure") else outcomes[0]


def _joined(parts: Iterable[VendorOutcomes], number: int) -> Iterator[Outcome | RunError]:
    """Yield an outcome for each circuit of a call: the sum of the counts of its parts, or the first failure."""
    for outcomes in _by_circuit(parts, number):
        failures = [each.failure for each in outcomes if each.HasField("failure")]
        if failures or not outcomes:
            yield _error(failures[0]) if failures else ProviderError("RESULT_MISSING", "the vendor returned no result")
            continue
        counts: Counter[int] = Counter()
        for each in outcomes:
            for key, count in zip(each.keys, each.counts, strict=True):
                counts[int.from_bytes(key, "little")] += count
        yield Outcome(dict(counts), MessageToDict(outcomes[0].meta_data))


def _error(failure: Failure) -> RunError:
    kinds: dict[str, type[RunError]] = {each.category: each for each in (ProgramError, DeviceError, LimitError)}
    category = Failure.DESCRIPTOR.fields_by_name["category"].enum_type
    name = category.values_by_number[failure.category].name.removeprefix("FAILURE_CATEGORY_") if category else ""
    return kinds.get(name, ProviderError)(
        failure.reason, failure.message, retryable=failure.retryable, provider_code=failure.provider_code
    )
