import datetime

from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import estimator_pb2 as _estimator_pb2
from qonduit.v1 import failure_pb2 as _failure_pb2
from qonduit.v1 import noise_pb2 as _noise_pb2
from qonduit.v1 import provenance_pb2 as _provenance_pb2
from qonduit.v1 import sampler_pb2 as _sampler_pb2
from qonduit.v1 import simulation_pb2 as _simulation_pb2
from qonduit.v1 import sweep_pb2 as _sweep_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_STATE_UNSPECIFIED: _ClassVar[JobState]
    JOB_STATE_QUEUED: _ClassVar[JobState]
    JOB_STATE_RUNNING: _ClassVar[JobState]
    JOB_STATE_CANCELLING: _ClassVar[JobState]
    JOB_STATE_SUCCEEDED: _ClassVar[JobState]
    JOB_STATE_FAILED: _ClassVar[JobState]
    JOB_STATE_CANCELLED: _ClassVar[JobState]

class JobType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    JOB_TYPE_UNSPECIFIED: _ClassVar[JobType]
    JOB_TYPE_RUNNER: _ClassVar[JobType]
    JOB_TYPE_SAMPLER: _ClassVar[JobType]
    JOB_TYPE_ESTIMATOR: _ClassVar[JobType]
    JOB_TYPE_IBM_RUNNER: _ClassVar[JobType]
    JOB_TYPE_IBM_UPLOAD: _ClassVar[JobType]

class QueueReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    QUEUE_REASON_UNSPECIFIED: _ClassVar[QueueReason]
    QUEUE_REASON_NO_WORKER: _ClassVar[QueueReason]
    QUEUE_REASON_EARLIER_JOBS: _ClassVar[QueueReason]
    QUEUE_REASON_SHARE: _ClassVar[QueueReason]
    QUEUE_REASON_DEVICE_UNAVAILABLE: _ClassVar[QueueReason]
    QUEUE_REASON_SCHEDULED: _ClassVar[QueueReason]
    QUEUE_REASON_QUOTA: _ClassVar[QueueReason]
    QUEUE_REASON_PAUSED: _ClassVar[QueueReason]
    QUEUE_REASON_CREDENTIAL: _ClassVar[QueueReason]
    QUEUE_REASON_VERSIONS: _ClassVar[QueueReason]

class VendorCancellation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VENDOR_CANCELLATION_UNSPECIFIED: _ClassVar[VendorCancellation]
    VENDOR_CANCELLATION_REQUESTED: _ClassVar[VendorCancellation]
    VENDOR_CANCELLATION_REFUSED: _ClassVar[VendorCancellation]
    VENDOR_CANCELLATION_TOO_LATE: _ClassVar[VendorCancellation]
    VENDOR_CANCELLATION_CONFIRMED: _ClassVar[VendorCancellation]

class VendorMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VENDOR_MODE_UNSPECIFIED: _ClassVar[VendorMode]
    VENDOR_MODE_BATCH: _ClassVar[VendorMode]
    VENDOR_MODE_SESSION: _ClassVar[VendorMode]
JOB_STATE_UNSPECIFIED: JobState
JOB_STATE_QUEUED: JobState
JOB_STATE_RUNNING: JobState
JOB_STATE_CANCELLING: JobState
JOB_STATE_SUCCEEDED: JobState
JOB_STATE_FAILED: JobState
JOB_STATE_CANCELLED: JobState
JOB_TYPE_UNSPECIFIED: JobType
JOB_TYPE_RUNNER: JobType
JOB_TYPE_SAMPLER: JobType
JOB_TYPE_ESTIMATOR: JobType
JOB_TYPE_IBM_RUNNER: JobType
JOB_TYPE_IBM_UPLOAD: JobType
QUEUE_REASON_UNSPECIFIED: QueueReason
QUEUE_REASON_NO_WORKER: QueueReason
QUEUE_REASON_EARLIER_JOBS: QueueReason
QUEUE_REASON_SHARE: QueueReason
QUEUE_REASON_DEVICE_UNAVAILABLE: QueueReason
QUEUE_REASON_SCHEDULED: QueueReason
QUEUE_REASON_QUOTA: QueueReason
QUEUE_REASON_PAUSED: QueueReason
QUEUE_REASON_CREDENTIAL: QueueReason
QUEUE_REASON_VERSIONS: QueueReason
VENDOR_CANCELLATION_UNSPECIFIED: VendorCancellation
VENDOR_CANCELLATION_REQUESTED: VendorCancellation
VENDOR_CANCELLATION_REFUSED: VendorCancellation
VENDOR_CANCELLATION_TOO_LATE: VendorCancellation
VENDOR_CANCELLATION_CONFIRMED: VendorCancellation
VENDOR_MODE_UNSPECIFIED: VendorMode
VENDOR_MODE_BATCH: VendorMode
VENDOR_MODE_SESSION: VendorMode

class ProgramRun(_message.Message):
    __slots__ = ("program_id", "index", "state", "failure", "result_ids", "points", "points_done")
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    RESULT_IDS_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    POINTS_DONE_FIELD_NUMBER: _ClassVar[int]
    program_id: int
    index: int
    state: JobState
    failure: _failure_pb2.Failure
    result_ids: _containers.RepeatedScalarFieldContainer[int]
    points: int
    points_done: int
    def __init__(self, program_id: _Optional[int] = ..., index: _Optional[int] = ..., state: _Optional[_Union[JobState, str]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., result_ids: _Optional[_Iterable[int]] = ..., points: _Optional[int] = ..., points_done: _Optional[int] = ...) -> None: ...

class OptionReference(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256", "names", "count", "points")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: str
    names: _containers.RepeatedScalarFieldContainer[str]
    count: int
    points: int
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., count: _Optional[int] = ..., points: _Optional[int] = ...) -> None: ...

class ProgramOptions(_message.Message):
    __slots__ = ("index", "shots", "estimator", "sampler", "parameter_sets", "noise_model")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SETS_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_FIELD_NUMBER: _ClassVar[int]
    index: int
    shots: int
    estimator: _estimator_pb2.EstimatorOptions
    sampler: _sampler_pb2.SamplerOptions
    parameter_sets: _sweep_pb2.ParameterSets
    noise_model: _noise_pb2.NoiseModel
    def __init__(self, index: _Optional[int] = ..., shots: _Optional[int] = ..., estimator: _Optional[_Union[_estimator_pb2.EstimatorOptions, _Mapping]] = ..., sampler: _Optional[_Union[_sampler_pb2.SamplerOptions, _Mapping]] = ..., parameter_sets: _Optional[_Union[_sweep_pb2.ParameterSets, _Mapping]] = ..., noise_model: _Optional[_Union[_noise_pb2.NoiseModel, _Mapping]] = ...) -> None: ...

class StopCondition(_message.Message):
    __slots__ = ("standard_error",)
    STANDARD_ERROR_FIELD_NUMBER: _ClassVar[int]
    standard_error: float
    def __init__(self, standard_error: _Optional[float] = ...) -> None: ...

class QueuePlace(_message.Message):
    __slots__ = ("position", "reason", "message", "estimated_start_seconds_p50", "estimated_start_seconds_p90", "estimated_end_seconds_p50", "estimated_end_seconds_p90")
    POSITION_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_SECONDS_P50_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_SECONDS_P90_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_SECONDS_P50_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_END_SECONDS_P90_FIELD_NUMBER: _ClassVar[int]
    position: int
    reason: QueueReason
    message: str
    estimated_start_seconds_p50: float
    estimated_start_seconds_p90: float
    estimated_end_seconds_p50: float
    estimated_end_seconds_p90: float
    def __init__(self, position: _Optional[int] = ..., reason: _Optional[_Union[QueueReason, str]] = ..., message: _Optional[str] = ..., estimated_start_seconds_p50: _Optional[float] = ..., estimated_start_seconds_p90: _Optional[float] = ..., estimated_end_seconds_p50: _Optional[float] = ..., estimated_end_seconds_p90: _Optional[float] = ...) -> None: ...

class RequiredVersions(_message.Message):
    __slots__ = ("requirements", "wait")
    REQUIREMENTS_FIELD_NUMBER: _ClassVar[int]
    WAIT_FIELD_NUMBER: _ClassVar[int]
    requirements: _containers.RepeatedScalarFieldContainer[str]
    wait: bool
    def __init__(self, requirements: _Optional[_Iterable[str]] = ..., wait: _Optional[bool] = ...) -> None: ...

class DeviceChoice(_message.Message):
    __slots__ = ("requested", "reason", "method", "memory_bytes", "estimated_seconds_p50", "estimated_seconds_p90")
    REQUESTED_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_P50_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_P90_FIELD_NUMBER: _ClassVar[int]
    requested: str
    reason: str
    method: str
    memory_bytes: int
    estimated_seconds_p50: float
    estimated_seconds_p90: float
    def __init__(self, requested: _Optional[str] = ..., reason: _Optional[str] = ..., method: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., estimated_seconds_p50: _Optional[float] = ..., estimated_seconds_p90: _Optional[float] = ...) -> None: ...

class VendorCost(_message.Message):
    __slots__ = ("amount", "unit")
    AMOUNT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    amount: float
    unit: str
    def __init__(self, amount: _Optional[float] = ..., unit: _Optional[str] = ...) -> None: ...

class VendorOptions(_message.Message):
    __slots__ = ("mode", "max_seconds", "resilience_level")
    MODE_FIELD_NUMBER: _ClassVar[int]
    MAX_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RESILIENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    mode: VendorMode
    max_seconds: int
    resilience_level: int
    def __init__(self, mode: _Optional[_Union[VendorMode, str]] = ..., max_seconds: _Optional[int] = ..., resilience_level: _Optional[int] = ...) -> None: ...

class VendorGroup(_message.Message):
    __slots__ = ("mode", "id", "state")
    MODE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    mode: VendorMode
    id: str
    state: str
    def __init__(self, mode: _Optional[_Union[VendorMode, str]] = ..., id: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class VendorPart(_message.Message):
    __slots__ = ("stage", "part", "vendor_id", "state")
    STAGE_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    VENDOR_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    stage: int
    part: int
    vendor_id: str
    state: str
    def __init__(self, stage: _Optional[int] = ..., part: _Optional[int] = ..., vendor_id: _Optional[str] = ..., state: _Optional[str] = ...) -> None: ...

class ProviderStatus(_message.Message):
    __slots__ = ("state", "queue_position", "started_at", "estimated_start", "cost", "parts", "part_count", "cancellation", "may_be_charged", "message", "reserved", "group", "computed_cost")
    STATE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PART_COUNT_FIELD_NUMBER: _ClassVar[int]
    CANCELLATION_FIELD_NUMBER: _ClassVar[int]
    MAY_BE_CHARGED_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    RESERVED_FIELD_NUMBER: _ClassVar[int]
    GROUP_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_COST_FIELD_NUMBER: _ClassVar[int]
    state: str
    queue_position: int
    started_at: _timestamp_pb2.Timestamp
    estimated_start: _timestamp_pb2.Timestamp
    cost: VendorCost
    parts: _containers.RepeatedCompositeFieldContainer[VendorPart]
    part_count: int
    cancellation: VendorCancellation
    may_be_charged: bool
    message: str
    reserved: VendorCost
    group: VendorGroup
    computed_cost: VendorCost
    def __init__(self, state: _Optional[str] = ..., queue_position: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., estimated_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cost: _Optional[_Union[VendorCost, _Mapping]] = ..., parts: _Optional[_Iterable[_Union[VendorPart, _Mapping]]] = ..., part_count: _Optional[int] = ..., cancellation: _Optional[_Union[VendorCancellation, str]] = ..., may_be_charged: _Optional[bool] = ..., message: _Optional[str] = ..., reserved: _Optional[_Union[VendorCost, _Mapping]] = ..., group: _Optional[_Union[VendorGroup, _Mapping]] = ..., computed_cost: _Optional[_Union[VendorCost, _Mapping]] = ...) -> None: ...

class Job(_message.Message):
    __slots__ = ("id", "name", "executed_by", "progress", "state", "shots", "type", "started_at", "provider_specific_id", "celery_id", "executed_on_id", "deployment_id", "finished_at", "created_at", "last_sequence", "log_epoch", "failure", "seed", "program_runs", "attempt", "inputs", "include_statevector", "device", "server", "inputs_reference", "simulation", "noise_model", "noise_model_reference", "device_choice", "estimator", "sampler", "parameter_sets", "program_options", "estimator_reference", "parameter_sets_reference", "program_options_reference", "stop_when", "labels", "queue", "include_compiled_circuit", "drawn_seed", "required_provenance", "priority", "not_before", "expires_at", "credential_id", "project", "client_data_reference", "client_data", "one_time_credential", "traceparent", "required_versions", "provider_status", "resolved_from", "parent_job_id", "max_cost", "vendor_options", "returned_attempts")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_BY_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_SPECIFIC_ID_FIELD_NUMBER: _ClassVar[int]
    CELERY_ID_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_ON_ID_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    FINISHED_AT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    LOG_EPOCH_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_RUNS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATEVECTOR_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    INPUTS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CHOICE_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SETS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SETS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_OPTIONS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    STOP_WHEN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_COMPILED_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    DRAWN_SEED_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_DATA_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_DATA_FIELD_NUMBER: _ClassVar[int]
    ONE_TIME_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_STATUS_FIELD_NUMBER: _ClassVar[int]
    RESOLVED_FROM_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    VENDOR_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RETURNED_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    executed_by: str
    progress: float
    state: JobState
    shots: int
    type: JobType
    started_at: _timestamp_pb2.Timestamp
    provider_specific_id: str
    celery_id: str
    executed_on_id: int
    deployment_id: int
    finished_at: _timestamp_pb2.Timestamp
    created_at: _timestamp_pb2.Timestamp
    last_sequence: int
    log_epoch: int
    failure: _failure_pb2.Failure
    seed: int
    program_runs: _containers.RepeatedCompositeFieldContainer[ProgramRun]
    attempt: int
    inputs: _struct_pb2.Struct
    include_statevector: bool
    device: str
    server: str
    inputs_reference: OptionReference
    simulation: _simulation_pb2.SimulationOptions
    noise_model: _noise_pb2.NoiseModel
    noise_model_reference: OptionReference
    device_choice: DeviceChoice
    estimator: _estimator_pb2.EstimatorOptions
    sampler: _sampler_pb2.SamplerOptions
    parameter_sets: _sweep_pb2.ParameterSets
    program_options: _containers.RepeatedCompositeFieldContainer[ProgramOptions]
    estimator_reference: OptionReference
    parameter_sets_reference: OptionReference
    program_options_reference: OptionReference
    stop_when: StopCondition
    labels: _containers.ScalarMap[str, str]
    queue: QueuePlace
    include_compiled_circuit: bool
    drawn_seed: int
    required_provenance: _provenance_pb2.Provenance
    priority: int
    not_before: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    credential_id: int
    project: str
    client_data_reference: OptionReference
    client_data: bytes
    one_time_credential: bool
    traceparent: str
    required_versions: RequiredVersions
    provider_status: ProviderStatus
    resolved_from: int
    parent_job_id: int
    max_cost: VendorCost
    vendor_options: VendorOptions
    returned_attempts: int
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., executed_by: _Optional[str] = ..., progress: _Optional[float] = ..., state: _Optional[_Union[JobState, str]] = ..., shots: _Optional[int] = ..., type: _Optional[_Union[JobType, str]] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., provider_specific_id: _Optional[str] = ..., celery_id: _Optional[str] = ..., executed_on_id: _Optional[int] = ..., deployment_id: _Optional[int] = ..., finished_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., created_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_sequence: _Optional[int] = ..., log_epoch: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., seed: _Optional[int] = ..., program_runs: _Optional[_Iterable[_Union[ProgramRun, _Mapping]]] = ..., attempt: _Optional[int] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., include_statevector: _Optional[bool] = ..., device: _Optional[str] = ..., server: _Optional[str] = ..., inputs_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., simulation: _Optional[_Union[_simulation_pb2.SimulationOptions, _Mapping]] = ..., noise_model: _Optional[_Union[_noise_pb2.NoiseModel, _Mapping]] = ..., noise_model_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., device_choice: _Optional[_Union[DeviceChoice, _Mapping]] = ..., estimator: _Optional[_Union[_estimator_pb2.EstimatorOptions, _Mapping]] = ..., sampler: _Optional[_Union[_sampler_pb2.SamplerOptions, _Mapping]] = ..., parameter_sets: _Optional[_Union[_sweep_pb2.ParameterSets, _Mapping]] = ..., program_options: _Optional[_Iterable[_Union[ProgramOptions, _Mapping]]] = ..., estimator_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., parameter_sets_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., program_options_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., stop_when: _Optional[_Union[StopCondition, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., queue: _Optional[_Union[QueuePlace, _Mapping]] = ..., include_compiled_circuit: _Optional[bool] = ..., drawn_seed: _Optional[int] = ..., required_provenance: _Optional[_Union[_provenance_pb2.Provenance, _Mapping]] = ..., priority: _Optional[int] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credential_id: _Optional[int] = ..., project: _Optional[str] = ..., client_data_reference: _Optional[_Union[OptionReference, _Mapping]] = ..., client_data: _Optional[bytes] = ..., one_time_credential: _Optional[bool] = ..., traceparent: _Optional[str] = ..., required_versions: _Optional[_Union[RequiredVersions, _Mapping]] = ..., provider_status: _Optional[_Union[ProviderStatus, _Mapping]] = ..., resolved_from: _Optional[int] = ..., parent_job_id: _Optional[int] = ..., max_cost: _Optional[_Union[VendorCost, _Mapping]] = ..., vendor_options: _Optional[_Union[VendorOptions, _Mapping]] = ..., returned_attempts: _Optional[int] = ...) -> None: ...
