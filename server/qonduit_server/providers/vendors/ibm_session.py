# SPDX-License-Identifier: Apache-2.0
"""The calls of IBM's machines by IBM's SDK, with one credential. Imported only in the process that makes them."""

from __future__ import annotations

import io
import logging
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final

import numpy as np
from google.protobuf.timestamp_pb2 import Timestamp
from qiskit import QuantumCircuit, qpy
from qiskit.circuit import CONTROL_FLOW_OP_NAMES
from qiskit.quantum_info import SparsePauliOp
from qiskit.transpiler import Target, generate_preset_pass_manager
from qiskit_ibm_runtime import Batch, EstimatorV2, IBMBackend, SamplerV2, Session
from qiskit_ibm_runtime.decoders.result_decoder import ResultDecoder
from qiskit_ibm_runtime.utils.backend_decoder import configuration_from_server_data

from qonduit.execution.v1.vendor_pb2 import NativeCircuit, Submission, VendorJob, VendorJobState, VendorOutcome
from qonduit.execution.v1.worker_pb2 import CalibratedDevice, ProviderDescription
from qonduit.v1.device_pb2 import Device, DeviceCapabilities
from qonduit.v1.estimator_pb2 import PauliTerms
from qonduit.v1.job_pb2 import JobType, VendorMode
from qonduit_server.providers.provider import installed_version
from qonduit_server.providers.remote_provider import CallRefused, Fetched, VendorError, vendor_outcome
from qonduit_server.providers.shapes import backend_files
from qonduit_server.providers.vendors.ibm_access import (
    Client,
    Credential,
    Service,
    UnknownObject,
    only_instance,
    read_credential,
    vendor_errors,
)
from qonduit_server.providers.vendors.ibm_costs import UNIT, most_seconds

#: The register of circuits that `IBMMachines.compile` makes: its bit k is classical bit k of the IR circuit.
REGISTER: Final = "c"
#: The same program is compiled to the same circuit for the same calibration.
_SEED: Final = 0
#: The largest circuit that is unpacked, in bytes.
_MAX_QPY_BYTES: Final = 256 * 1024**2
#: IBM stopped a job that ran for longer than permitted. It reports the job as cancelled.
_RAN_TOO_LONG: Final = 1305
_STATES: Final = {
    "COMPLETED": VendorJobState.VENDOR_JOB_STATE_DONE,
    "FAILED": VendorJobState.VENDOR_JOB_STATE_FAILED,
    "CANCELLED": VendorJobState.VENDOR_JOB_STATE_CANCELLED,
}


_log: Final = logging.getLogger(__name__)


class IBMSession:
    """The calls; see `VendorSession`.

    Args:
        credential: see `read_credential`.
        url: of the service; "" for that of the instance's region.
    """

    def __init__(self, credential: str, url: str = "") -> None:
        self._credential = read_credential(credential)
        self._url = url
        self._made: Client | None = None
        # It repeats each of its warnings in the log of the server.
        logging.getLogger("qiskit_ibm_runtime").setLevel(logging.ERROR)

    def _client(self) -> Client:
        if self._made is None:
            if not self._credential.instance:
                with vendor_errors():
                    self._credential = Credential(self._credential.key, only_instance(self._credential.key))
            with vendor_errors():
                self._made = Client(self._credential, self._url)
        return self._made

    def devices(self) -> ProviderDescription:
        """Return the machines of the instance, with their calibrations."""
        client = self._client()
        found = ProviderDescription()
        with vendor_errors(client):
            for listed in client.list_backends():
                name = listed["name"]
                configuration = client.backend_configuration(name, refresh=True)
                found.devices.append(_device(listed, configuration))
                if not configuration.get("simulator") and (properties := client.backend_properties(name)):
                    shape = backend_files.backend(name, configuration)
                    measured = backend_files.calibration_of(shape, properties)
                    found.calibrations.append(CalibratedDevice(device=name, calibration=measured))
        return found

    def open_group(self, submission: Submission) -> VendorJob:
        """Open a batch or a session. IBM offers no way to find one whose id is lost."""
        client = self._client()
        mode = "dedicated" if submission.mode == VendorMode.VENDOR_MODE_SESSION else "batch"
        with vendor_errors(client, submits=True):
            instance, seconds = self._credential.instance, submission.group_seconds
            made = client.create_session(submission.device, instance, seconds, mode)
            return VendorJob(vendor_id=made["id"], state=VendorJobState.VENDOR_JOB_STATE_ACTIVE, word="open")

    def close_group(self, group_id: str) -> VendorJob:
        """Let a batch or a session accept no further jobs; return its state and, of a session, its cost."""
        client = self._client()
        with vendor_errors(client):
            client.close_session(group_id)
            found = client.session_details(group_id)
        is_closed = found["state"] == "closed"
        state = VendorJobState.VENDOR_JOB_STATE_DONE if is_closed else VendorJobState.VENDOR_JOB_STATE_ACTIVE
        closed = VendorJob(vendor_id=group_id, state=state, word=str(found["state"]))
        if is_closed and found.get("mode") == "dedicated" and (seconds := found.get("elapsed_time")) is not None:
            closed.cost, closed.cost_unit, closed.seconds = float(seconds), UNIT, float(seconds)
        return closed

    def submit(self, token: str, submission: Submission) -> VendorJob:
        """Compile the circuits for the machine as it is now, and submit them with a tag."""
        return self.submit_to_group(token, submission, "")

    def submit_to_group(self, token: str, submission: Submission, group_id: str) -> VendorJob:
        """Submit to a batch or a session; see `submit`."""
        client = self._client()
        with vendor_errors(client, submits=True):
            name = submission.device
            raw = client.backend_configuration(name, refresh=True)
            configuration = configuration_from_server_data(raw, instance=self._credential.instance)
            if configuration is None:
                raise CallRefused(f"the SDK cannot read the configuration of IBM/{name}", code="SDK")
            service = Service(self._credential, client)
            backend = IBMBackend(configuration, service, client, instance=self._credential.instance)
            circuits = list(_compiled(submission.circuits, name, backend.target))
            options = {"max_execution_time": int(most_seconds(submission)), "environment": {"job_tags": [token]}}
            mode = _mode(backend, submission.mode, group_id)
            if submission.HasField("estimation"):
                job = _estimated(mode, options, circuits, submission)
            else:
                job = _primitive(SamplerV2, mode, options).run(circuits, shots=submission.shots)
            return VendorJob(vendor_id=job.job_id(), state=VendorJobState.VENDOR_JOB_STATE_ACTIVE, word="Queued")

    def find(self, token: str, device: str) -> VendorJob | None:
        """Return the job with a tag."""
        client = self._client()
        with vendor_errors(client):
            listed = client.jobs_get(limit=10, job_tags=[token])["jobs"]
            found = [job for job in listed if token in (job.get("tags") or ())]
            return _job(found[-1]) if found else None

    def poll(self, vendor_ids: Sequence[str]) -> Sequence[VendorJob]:
        """Return the states of jobs."""
        return [self._poll(vendor_id) for vendor_id in vendor_ids]

    def _poll(self, vendor_id: str) -> VendorJob:
        client = self._client()
        try:
            with vendor_errors(client):
                found = _job(client.job_get(vendor_id))
                if found.state != VendorJobState.VENDOR_JOB_STATE_ACTIVE:
                    _add_metrics(found, client.job_metadata(vendor_id))
                return found
        except UnknownObject:
            return VendorJob(vendor_id=vendor_id, state=VendorJobState.VENDOR_JOB_STATE_MISSING, word="missing")

    def fetch(self, vendor_id: str, submission: Submission) -> Fetched:
        """Return the results of a job."""
        client = self._client()
        with vendor_errors(client):
            text = client.job_results(vendor_id)
            if not text:
                raise VendorError(f"job {vendor_id} has no results yet")
            facts = {"vendor": "IBM", "qiskit-ibm-runtime": installed_version("qiskit-ibm-runtime")}
            with suppress(LookupError, TypeError):
                facts["calibration_id"] = str(client.job_get(vendor_id)["calibration_id"])
            read = _estimate if submission.HasField("estimation") else _outcome
            return Fetched(_outcomes(text, facts, read), text.encode())

    def cancel(self, vendor_id: str) -> VendorJob:
        """Request the cancellation of a job; return its state."""
        client = self._client()
        try:
            with vendor_errors(client):
                client.job_cancel(vendor_id)
        except CallRefused:
            found = self._poll(vendor_id)
            if found.state == VendorJobState.VENDOR_JOB_STATE_ACTIVE:
                raise
            return found
        return self._poll(vendor_id)


def _mode(backend: IBMBackend, mode: VendorMode, group_id: str) -> IBMBackend | Session:
    """Return what a primitive submits to: a machine, or an open batch or session of it."""
    if not group_id:
        return backend
    group = (Session if mode == VendorMode.VENDOR_MODE_SESSION else Batch)(backend, create_new=False)
    group._session_id = group_id  # noqa: SLF001 - as `Session.from_id`, which reads the machine again
    return group


def _primitive(kind: type[Any], mode: IBMBackend | Session, options: Mapping[str, Any]) -> Any:
    """Return a primitive of the SDK without the notice that the SDK will replace it.

    The primitives of `executor_sampler` and `executor_estimator` submit another program of IBM's, and compute values
    and errors here in place of IBM. Jobs that IBM already has could then not be read in the same way, and a value from
    IBM's estimator would be the SDK's. The top-level names of the SDK are still those of IBM's programs.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"The (Sampler|Estimator)V2 class is deprecated", DeprecationWarning)
        return kind(mode=mode, options=dict(options))


def _compiled(circuits: Sequence[NativeCircuit], device: str, target: Target) -> Iterator[QuantumCircuit]:
    """Yield circuits in the gates of a machine, on its qubits. Raises CallRefused."""
    for native in circuits:
        circuit = _unpacked(native.binary)
        if circuit.num_qubits > target.num_qubits:
            raise CallRefused(
                f"the program has {circuit.num_qubits} qubits, IBM/{device} has {target.num_qubits}",
                code="TOO_MANY_QUBITS",
            )
        if missing := sorted(_control_flow(circuit) - set(target.operation_names)):
            raise CallRefused(
                f"IBM/{device} does not support {', '.join(missing)}: operations that depend on measured bits run only "
                "on machines whose capabilities contain conditionals or loops",
                code="UNSUPPORTED_CONSTRUCT",
            )
        level: Any = native.layout["optimization_level"]
        compiler = generate_preset_pass_manager(int(level), target=target, seed_transpiler=_SEED)
        compiled = compiler.run(circuit)
        compiled.metadata = {
            "layout": compiled.layout.initial_index_layout(filter_ancillas=True),
            "depth": compiled.depth(),
            "two_qubit_gates": compiled.num_nonlocal_gates(),
        }
        yield compiled


def _unpacked(data: bytes) -> QuantumCircuit:
    unpacker = zlib.decompressobj()
    text = unpacker.decompress(data, _MAX_QPY_BYTES)
    if not unpacker.eof:
        raise CallRefused("a circuit is larger than its limit", code="TOO_LARGE")
    (circuit,) = qpy.load(io.BytesIO(text))
    assert isinstance(circuit, QuantumCircuit)
    return circuit


def _control_flow(circuit: QuantumCircuit) -> set[str]:
    """Return the names of control flow and assignments in a circuit."""
    found: set[str] = set()
    for step in circuit.data:
        if step.name in CONTROL_FLOW_OP_NAMES or step.name == "store":
            found.add(step.name)
        for block in getattr(step.operation, "blocks", ()):
            found |= _control_flow(block)
    return found


def _estimated(
    mode: IBMBackend | Session, options: Mapping[str, Any], circuits: Sequence[QuantumCircuit], submission: Submission
) -> Any:
    """Submit circuits and their observables to IBM's estimator; return the SDK's job."""
    wanted = submission.estimation
    more: dict[str, Any] = {"resilience_level": wanted.resilience_level}
    if not wanted.precision:
        more["default_shots"] = submission.shots
    pubs = [
        (circuit, [_observable(each, circuit) for each in native.observables])
        for circuit, native in zip(circuits, submission.circuits, strict=True)
    ]
    return _primitive(EstimatorV2, mode, {**options, **more}).run(pubs, precision=wanted.precision or None)


def _observable(terms: PauliTerms, compiled: QuantumCircuit) -> SparsePauliOp:
    """Return an observable of a program on the machine's qubits, to which the program was compiled."""
    size, width = (terms.num_qubits + 7) // 8, len(compiled.layout.initial_index_layout(filter_ancillas=True))

    def label(place: int) -> str:
        own = slice(place * size, (place + 1) * size)
        x, z = int.from_bytes(terms.x_masks[own], "big"), int.from_bytes(terms.z_masks[own], "big")
        return "".join("IXZY"[(x >> k & 1) + 2 * (z >> k & 1)] for k in reversed(range(width)))

    found = SparsePauliOp.from_list([(label(k), value) for k, value in enumerate(terms.coefficients)])
    return found.apply_layout(compiled.layout)


def _outcomes(
    text: str, facts: Mapping[str, str], read: Callable[[Any, Mapping[str, str]], VendorOutcome]
) -> Sequence[VendorOutcome]:
    """Return the outcomes of all circuits of a job; none if its results are not those of its primitive."""
    try:
        return [read(each, facts) for each in ResultDecoder.decode(text)]
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        _log.error("IBM's results cannot be read: %s: %s", type(error).__name__, error)
        return ()


def _outcome(result: Any, facts: Mapping[str, str]) -> VendorOutcome:
    """Return the outcome of one circuit. Bit k of an outcome is bit k of its register."""
    bits = result.data[REGISTER]
    # A row for each shot: big-endian bytes.
    rows, counts = np.unique(bits.array.reshape(-1, bits.array.shape[-1]), axis=0, return_counts=True)
    keys = (int.from_bytes(row.tobytes(), "big") for row in rows)
    compiled = result.metadata.get("circuit_metadata") or {}
    return vendor_outcome(dict(zip(keys, map(int, counts), strict=True)), **compiled, **facts)


def _estimate(result: Any, facts: Mapping[str, str]) -> VendorOutcome:
    """Return the estimates of one circuit, with the standard errors and the shots that IBM reports."""
    metadata = result.metadata
    found = vendor_outcome({}, estimator="IBM EstimatorV2", **(metadata.get("circuit_metadata") or {}), **facts)
    found.values.extend(map(float, np.ravel(result.data.evs)))
    found.standard_errors.extend(map(float, np.ravel(result.data.stds)))
    found.shots = int(metadata["shots"])
    for name in ("target_precision", "num_randomizations"):
        if metadata.get(name) is not None:
            found.meta_data[name] = float(metadata[name])
    return found


def _job(answer: Mapping[str, Any]) -> VendorJob:
    """Return what IBM reports about a job."""
    stated = answer["state"]
    word, code = str(stated["status"]), stated.get("reason_code") or stated.get("reasonCode") or ""
    state = _STATES.get(word.upper(), VendorJobState.VENDOR_JOB_STATE_ACTIVE)
    if state == VendorJobState.VENDOR_JOB_STATE_CANCELLED and str(code) == str(_RAN_TOO_LONG):
        state = VendorJobState.VENDOR_JOB_STATE_FAILED
    found = VendorJob(vendor_id=answer["id"], state=state, word=word)
    if state in (VendorJobState.VENDOR_JOB_STATE_FAILED, VendorJobState.VENDOR_JOB_STATE_CANCELLED):
        found.error, found.error_code = str(stated.get("reason") or ""), str(code)
    _add_usage(found, answer.get("usage") or {})
    return found


def _add_usage(job: VendorJob, usage: Mapping[str, Any]) -> None:
    """Add the time for which IBM charges, unless it is not known yet."""
    seconds = usage.get("qpu_charge_time_seconds")
    if seconds is not None and usage.get("status") != "pending":
        job.cost, job.cost_unit, job.seconds = float(seconds), UNIT, float(seconds)


def _add_metrics(job: VendorJob, metrics: Mapping[str, Any]) -> None:
    """Add the time of the start and the usage of a job that ended."""
    _add_usage(job, metrics.get("usage") or {})
    if started := (metrics.get("timestamps") or {}).get("running"):
        job.started_at.CopyFrom(_timestamp(started))
    # What ran may be charged, until IBM reports that it is not.
    job.may_be_charged = job.cost > 0 if job.HasField("cost") else job.HasField("started_at")


def _timestamp(text: str) -> Timestamp:
    found = Timestamp()
    found.FromJsonString(text if text[-1] in "Zz" or "+" in text[10:] or "-" in text[10:] else f"{text}Z")
    return found


def _device(listed: Mapping[str, Any], configuration: Mapping[str, Any]) -> Device:
    """Return a machine as IBM describes it."""
    status, instructions = listed["status"], configuration.get("supported_instructions") or ()
    described = ": ".join(filter(None, (status["name"], status.get("reason"))))
    return Device(
        name=listed["name"],
        num_qubits=configuration["n_qubits"],
        is_simulator=bool(configuration.get("simulator")),
        is_local=False,
        available=status["name"] == "online",
        status_message=f"{described}; {listed['queue_length']} jobs wait at IBM",
        max_shots=configuration["max_shots"],
        basis_gates=[gate for gate in configuration["basis_gates"] if gate != "reset"],
        capabilities=DeviceCapabilities(
            mid_circuit_measurement=True,
            reset="reset" in instructions,
            conditionals="if_else" in instructions,
            loops="while_loop" in instructions,
            parameters=True,
            coupling_map=True,
            vendor_modes=[VendorMode.VENDOR_MODE_BATCH, VendorMode.VENDOR_MODE_SESSION],
            vendor_estimator=True,
            job_types=[JobType.JOB_TYPE_RUNNER, JobType.JOB_TYPE_SAMPLER, JobType.JOB_TYPE_ESTIMATOR],
        ),
    )
