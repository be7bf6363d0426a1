import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import device_pb2 as _device_pb2
from qonduit.v1 import estimator_pb2 as _estimator_pb2
from qonduit.v1 import failure_pb2 as _failure_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Idempotency(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IDEMPOTENCY_UNSPECIFIED: _ClassVar[Idempotency]
    IDEMPOTENCY_CLIENT_ID: _ClassVar[Idempotency]
    IDEMPOTENCY_CLIENT_TOKEN: _ClassVar[Idempotency]
    IDEMPOTENCY_TAG: _ClassVar[Idempotency]
    IDEMPOTENCY_NOTHING: _ClassVar[Idempotency]

class VendorJobState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VENDOR_JOB_STATE_UNSPECIFIED: _ClassVar[VendorJobState]
    VENDOR_JOB_STATE_ACTIVE: _ClassVar[VendorJobState]
    VENDOR_JOB_STATE_DONE: _ClassVar[VendorJobState]
    VENDOR_JOB_STATE_FAILED: _ClassVar[VendorJobState]
    VENDOR_JOB_STATE_CANCELLED: _ClassVar[VendorJobState]
    VENDOR_JOB_STATE_MISSING: _ClassVar[VendorJobState]

class VendorErrorKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VENDOR_ERROR_KIND_UNSPECIFIED: _ClassVar[VendorErrorKind]
    VENDOR_ERROR_KIND_REFUSED: _ClassVar[VendorErrorKind]
    VENDOR_ERROR_KIND_CREDENTIAL: _ClassVar[VendorErrorKind]
    VENDOR_ERROR_KIND_BUSY: _ClassVar[VendorErrorKind]
    VENDOR_ERROR_KIND_NOT_SENT: _ClassVar[VendorErrorKind]
IDEMPOTENCY_UNSPECIFIED: Idempotency
IDEMPOTENCY_CLIENT_ID: Idempotency
IDEMPOTENCY_CLIENT_TOKEN: Idempotency
IDEMPOTENCY_TAG: Idempotency
IDEMPOTENCY_NOTHING: Idempotency
VENDOR_JOB_STATE_UNSPECIFIED: VendorJobState
VENDOR_JOB_STATE_ACTIVE: VendorJobState
VENDOR_JOB_STATE_DONE: VendorJobState
VENDOR_JOB_STATE_FAILED: VendorJobState
VENDOR_JOB_STATE_CANCELLED: VendorJobState
VENDOR_JOB_STATE_MISSING: VendorJobState
VENDOR_ERROR_KIND_UNSPECIFIED: VendorErrorKind
VENDOR_ERROR_KIND_REFUSED: VendorErrorKind
VENDOR_ERROR_KIND_CREDENTIAL: VendorErrorKind
VENDOR_ERROR_KIND_BUSY: VendorErrorKind
VENDOR_ERROR_KIND_NOT_SENT: VendorErrorKind

class VendorTerms(_message.Message):
    __slots__ = ("idempotency", "submit_seconds", "call_seconds", "grace_seconds", "recovery_seconds", "poll_seconds", "max_poll_seconds", "poll_batch", "calls", "estimates_costs")
    IDEMPOTENCY_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    CALL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    GRACE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    RECOVERY_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POLL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    MAX_POLL_SECONDS_FIELD_NUMBER: _ClassVar[int]
    POLL_BATCH_FIELD_NUMBER: _ClassVar[int]
    CALLS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATES_COSTS_FIELD_NUMBER: _ClassVar[int]
    idempotency: Idempotency
    submit_seconds: float
    call_seconds: float
    grace_seconds: float
    recovery_seconds: float
    poll_seconds: float
    max_poll_seconds: float
    poll_batch: int
    calls: int
    estimates_costs: bool
    def __init__(self, idempotency: _Optional[_Union[Idempotency, str]] = ..., submit_seconds: _Optional[float] = ..., call_seconds: _Optional[float] = ..., grace_seconds: _Optional[float] = ..., recovery_seconds: _Optional[float] = ..., poll_seconds: _Optional[float] = ..., max_poll_seconds: _Optional[float] = ..., poll_batch: _Optional[int] = ..., calls: _Optional[int] = ..., estimates_costs: _Optional[bool] = ...) -> None: ...

class NativeCircuit(_message.Message):
    __slots__ = ("text", "binary", "layout", "observables")
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    LAYOUT_FIELD_NUMBER: _ClassVar[int]
    OBSERVABLES_FIELD_NUMBER: _ClassVar[int]
    text: str
    binary: bytes
    layout: _struct_pb2.Struct
    observables: _containers.RepeatedCompositeFieldContainer[_estimator_pb2.PauliTerms]
    def __init__(self, text: _Optional[str] = ..., binary: _Optional[bytes] = ..., layout: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., observables: _Optional[_Iterable[_Union[_estimator_pb2.PauliTerms, _Mapping]]] = ...) -> None: ...

class Estimation(_message.Message):
    __slots__ = ("resilience_level", "precision")
    RESILIENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    resilience_level: int
    precision: float
    def __init__(self, resilience_level: _Optional[int] = ..., precision: _Optional[float] = ...) -> None: ...

class Submission(_message.Message):
    __slots__ = ("key", "part", "first_circuit", "device", "circuits", "shots", "price", "mode", "group_seconds", "estimation", "rates", "price_seconds")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    FIRST_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    GROUP_SECONDS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATION_FIELD_NUMBER: _ClassVar[int]
    RATES_FIELD_NUMBER: _ClassVar[int]
    PRICE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    key: str
    part: int
    first_circuit: int
    device: str
    circuits: _containers.RepeatedCompositeFieldContainer[NativeCircuit]
    shots: int
    price: _job_pb2.VendorCost
    mode: _job_pb2.VendorMode
    group_seconds: int
    estimation: Estimation
    rates: _device_pb2.DevicePrice
    price_seconds: float
    def __init__(self, key: _Optional[str] = ..., part: _Optional[int] = ..., first_circuit: _Optional[int] = ..., device: _Optional[str] = ..., circuits: _Optional[_Iterable[_Union[NativeCircuit, _Mapping]]] = ..., shots: _Optional[int] = ..., price: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ..., mode: _Optional[_Union[_job_pb2.VendorMode, str]] = ..., group_seconds: _Optional[int] = ..., estimation: _Optional[_Union[Estimation, _Mapping]] = ..., rates: _Optional[_Union[_device_pb2.DevicePrice, _Mapping]] = ..., price_seconds: _Optional[float] = ...) -> None: ...

class VendorOutcome(_message.Message):
    __slots__ = ("keys", "counts", "failure", "meta_data", "values", "standard_errors", "shots")
    KEYS_FIELD_NUMBER: _ClassVar[int]
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    META_DATA_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERRORS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    keys: _containers.RepeatedScalarFieldContainer[bytes]
    counts: _containers.RepeatedScalarFieldContainer[int]
    failure: _failure_pb2.Failure
    meta_data: _struct_pb2.Struct
    values: _containers.RepeatedScalarFieldContainer[float]
    standard_errors: _containers.RepeatedScalarFieldContainer[float]
    shots: int
    def __init__(self, keys: _Optional[_Iterable[bytes]] = ..., counts: _Optional[_Iterable[int]] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., meta_data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., values: _Optional[_Iterable[float]] = ..., standard_errors: _Optional[_Iterable[float]] = ..., shots: _Optional[int] = ...) -> None: ...

class VendorOutcomes(_message.Message):
    __slots__ = ("key", "part", "first_circuit", "outcomes")
    KEY_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    FIRST_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    key: str
    part: int
    first_circuit: int
    outcomes: _containers.RepeatedCompositeFieldContainer[VendorOutcome]
    def __init__(self, key: _Optional[str] = ..., part: _Optional[int] = ..., first_circuit: _Optional[int] = ..., outcomes: _Optional[_Iterable[_Union[VendorOutcome, _Mapping]]] = ...) -> None: ...

class VendorJob(_message.Message):
    __slots__ = ("vendor_id", "state", "word", "queue_position", "started_at", "estimated_start", "cost", "cost_unit", "error_code", "error", "may_be_charged", "seconds", "shots", "computed_cost")
    VENDOR_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WORD_FIELD_NUMBER: _ClassVar[int]
    QUEUE_POSITION_FIELD_NUMBER: _ClassVar[int]
    STARTED_AT_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_START_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    COST_UNIT_FIELD_NUMBER: _ClassVar[int]
    ERROR_CODE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    MAY_BE_CHARGED_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_COST_FIELD_NUMBER: _ClassVar[int]
    vendor_id: str
    state: VendorJobState
    word: str
    queue_position: int
    started_at: _timestamp_pb2.Timestamp
    estimated_start: _timestamp_pb2.Timestamp
    cost: float
    cost_unit: str
    error_code: str
    error: str
    may_be_charged: bool
    seconds: float
    shots: int
    computed_cost: float
    def __init__(self, vendor_id: _Optional[str] = ..., state: _Optional[_Union[VendorJobState, str]] = ..., word: _Optional[str] = ..., queue_position: _Optional[int] = ..., started_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., estimated_start: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., cost: _Optional[float] = ..., cost_unit: _Optional[str] = ..., error_code: _Optional[str] = ..., error: _Optional[str] = ..., may_be_charged: _Optional[bool] = ..., seconds: _Optional[float] = ..., shots: _Optional[int] = ..., computed_cost: _Optional[float] = ...) -> None: ...

class VendorCall(_message.Message):
    __slots__ = ("credential", "until", "submit", "find", "poll", "fetch", "cancel", "connect", "devices", "close_group", "estimate")
    class Submit(_message.Message):
        __slots__ = ("token", "submission", "group_id")
        TOKEN_FIELD_NUMBER: _ClassVar[int]
        SUBMISSION_FIELD_NUMBER: _ClassVar[int]
        GROUP_ID_FIELD_NUMBER: _ClassVar[int]
        token: str
        submission: Submission
        group_id: str
        def __init__(self, token: _Optional[str] = ..., submission: _Optional[_Union[Submission, _Mapping]] = ..., group_id: _Optional[str] = ...) -> None: ...
    class Find(_message.Message):
        __slots__ = ("token", "device")
        TOKEN_FIELD_NUMBER: _ClassVar[int]
        DEVICE_FIELD_NUMBER: _ClassVar[int]
        token: str
        device: str
        def __init__(self, token: _Optional[str] = ..., device: _Optional[str] = ...) -> None: ...
    class Poll(_message.Message):
        __slots__ = ("vendor_ids",)
        VENDOR_IDS_FIELD_NUMBER: _ClassVar[int]
        vendor_ids: _containers.RepeatedScalarFieldContainer[str]
        def __init__(self, vendor_ids: _Optional[_Iterable[str]] = ...) -> None: ...
    class Fetch(_message.Message):
        __slots__ = ("vendor_id", "submission")
        VENDOR_ID_FIELD_NUMBER: _ClassVar[int]
        SUBMISSION_FIELD_NUMBER: _ClassVar[int]
        vendor_id: str
        submission: Submission
        def __init__(self, vendor_id: _Optional[str] = ..., submission: _Optional[_Union[Submission, _Mapping]] = ...) -> None: ...
    class Cancel(_message.Message):
        __slots__ = ("vendor_id",)
        VENDOR_ID_FIELD_NUMBER: _ClassVar[int]
        vendor_id: str
        def __init__(self, vendor_id: _Optional[str] = ...) -> None: ...
    class CloseGroup(_message.Message):
        __slots__ = ("group_id",)
        GROUP_ID_FIELD_NUMBER: _ClassVar[int]
        group_id: str
        def __init__(self, group_id: _Optional[str] = ...) -> None: ...
    class Connect(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Devices(_message.Message):
        __slots__ = ()
        def __init__(self) -> None: ...
    class Estimate(_message.Message):
        __slots__ = ("submissions",)
        SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
        submissions: _containers.RepeatedCompositeFieldContainer[Submission]
        def __init__(self, submissions: _Optional[_Iterable[_Union[Submission, _Mapping]]] = ...) -> None: ...
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    SUBMIT_FIELD_NUMBER: _ClassVar[int]
    FIND_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    FETCH_FIELD_NUMBER: _ClassVar[int]
    CANCEL_FIELD_NUMBER: _ClassVar[int]
    CONNECT_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    CLOSE_GROUP_FIELD_NUMBER: _ClassVar[int]
    ESTIMATE_FIELD_NUMBER: _ClassVar[int]
    credential: str
    until: float
    submit: VendorCall.Submit
    find: VendorCall.Find
    poll: VendorCall.Poll
    fetch: VendorCall.Fetch
    cancel: VendorCall.Cancel
    connect: VendorCall.Connect
    devices: VendorCall.Devices
    close_group: VendorCall.CloseGroup
    estimate: VendorCall.Estimate
    def __init__(self, credential: _Optional[str] = ..., until: _Optional[float] = ..., submit: _Optional[_Union[VendorCall.Submit, _Mapping]] = ..., find: _Optional[_Union[VendorCall.Find, _Mapping]] = ..., poll: _Optional[_Union[VendorCall.Poll, _Mapping]] = ..., fetch: _Optional[_Union[VendorCall.Fetch, _Mapping]] = ..., cancel: _Optional[_Union[VendorCall.Cancel, _Mapping]] = ..., connect: _Optional[_Union[VendorCall.Connect, _Mapping]] = ..., devices: _Optional[_Union[VendorCall.Devices, _Mapping]] = ..., close_group: _Optional[_Union[VendorCall.CloseGroup, _Mapping]] = ..., estimate: _Optional[_Union[VendorCall.Estimate, _Mapping]] = ...) -> None: ...

class VendorReply(_message.Message):
    __slots__ = ("error", "jobs", "results", "devices", "costs")
    class Error(_message.Message):
        __slots__ = ("kind", "code", "message", "retry_after_seconds")
        KIND_FIELD_NUMBER: _ClassVar[int]
        CODE_FIELD_NUMBER: _ClassVar[int]
        MESSAGE_FIELD_NUMBER: _ClassVar[int]
        RETRY_AFTER_SECONDS_FIELD_NUMBER: _ClassVar[int]
        kind: VendorErrorKind
        code: str
        message: str
        retry_after_seconds: float
        def __init__(self, kind: _Optional[_Union[VendorErrorKind, str]] = ..., code: _Optional[str] = ..., message: _Optional[str] = ..., retry_after_seconds: _Optional[float] = ...) -> None: ...
    class Results(_message.Message):
        __slots__ = ("outcomes", "raw", "cost", "seconds")
        OUTCOMES_FIELD_NUMBER: _ClassVar[int]
        RAW_FIELD_NUMBER: _ClassVar[int]
        COST_FIELD_NUMBER: _ClassVar[int]
        SECONDS_FIELD_NUMBER: _ClassVar[int]
        outcomes: _containers.RepeatedCompositeFieldContainer[VendorOutcome]
        raw: bytes
        cost: _job_pb2.VendorCost
        seconds: float
        def __init__(self, outcomes: _Optional[_Iterable[_Union[VendorOutcome, _Mapping]]] = ..., raw: _Optional[bytes] = ..., cost: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ..., seconds: _Optional[float] = ...) -> None: ...
    ERROR_FIELD_NUMBER: _ClassVar[int]
    JOBS_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    COSTS_FIELD_NUMBER: _ClassVar[int]
    error: VendorReply.Error
    jobs: _containers.RepeatedCompositeFieldContainer[VendorJob]
    results: VendorReply.Results
    devices: bytes
    costs: _containers.RepeatedCompositeFieldContainer[_job_pb2.VendorCost]
    def __init__(self, error: _Optional[_Union[VendorReply.Error, _Mapping]] = ..., jobs: _Optional[_Iterable[_Union[VendorJob, _Mapping]]] = ..., results: _Optional[_Union[VendorReply.Results, _Mapping]] = ..., devices: _Optional[bytes] = ..., costs: _Optional[_Iterable[_Union[_job_pb2.VendorCost, _Mapping]]] = ...) -> None: ...
