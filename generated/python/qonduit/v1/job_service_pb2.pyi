import datetime

from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from qonduit.v1 import deployment_pb2 as _deployment_pb2
from qonduit.v1 import event_pb2 as _event_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CreateJobRequest(_message.Message):
    __slots__ = ("job", "deployment", "device", "request_id", "validate_only", "credential", "program", "credential_id")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    deployment: _deployment_pb2.Deployment
    device: str
    request_id: str
    validate_only: bool
    credential: str
    program: str
    credential_id: int
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., deployment: _Optional[_Union[_deployment_pb2.Deployment, _Mapping]] = ..., device: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., credential: _Optional[str] = ..., program: _Optional[str] = ..., credential_id: _Optional[int] = ...) -> None: ...

class CompiledProgram(_message.Message):
    __slots__ = ("index", "num_qubits", "depth", "two_qubit_gates", "memory_bytes", "circuits", "warnings")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NUM_QUBITS_FIELD_NUMBER: _ClassVar[int]
    DEPTH_FIELD_NUMBER: _ClassVar[int]
    TWO_QUBIT_GATES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    index: int
    num_qubits: int
    depth: int
    two_qubit_gates: int
    memory_bytes: int
    circuits: int
    warnings: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, index: _Optional[int] = ..., num_qubits: _Optional[int] = ..., depth: _Optional[int] = ..., two_qubit_gates: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., circuits: _Optional[int] = ..., warnings: _Optional[_Iterable[str]] = ...) -> None: ...

class CreateJobResponse(_message.Message):
    __slots__ = ("job", "deduplicated", "compiled", "cost")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    COMPILED_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    deduplicated: bool
    compiled: _containers.RepeatedCompositeFieldContainer[CompiledProgram]
    cost: _job_pb2.VendorCost
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., deduplicated: _Optional[bool] = ..., compiled: _Optional[_Iterable[_Union[CompiledProgram, _Mapping]]] = ..., cost: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ...) -> None: ...

class RunJobRequest(_message.Message):
    __slots__ = ("job", "deployment", "device", "request_id", "validate_only", "credential", "after_sequence", "heartbeat_interval", "partial_results", "queue_updates", "final_results", "omit_intermediate", "program", "credential_id", "after_epoch")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_UPDATES_FIELD_NUMBER: _ClassVar[int]
    FINAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    OMIT_INTERMEDIATE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    deployment: _deployment_pb2.Deployment
    device: str
    request_id: str
    validate_only: bool
    credential: str
    after_sequence: int
    heartbeat_interval: _duration_pb2.Duration
    partial_results: bool
    queue_updates: bool
    final_results: bool
    omit_intermediate: bool
    program: str
    credential_id: int
    after_epoch: int
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., deployment: _Optional[_Union[_deployment_pb2.Deployment, _Mapping]] = ..., device: _Optional[str] = ..., request_id: _Optional[str] = ..., validate_only: _Optional[bool] = ..., credential: _Optional[str] = ..., after_sequence: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., partial_results: _Optional[bool] = ..., queue_updates: _Optional[bool] = ..., final_results: _Optional[bool] = ..., omit_intermediate: _Optional[bool] = ..., program: _Optional[str] = ..., credential_id: _Optional[int] = ..., after_epoch: _Optional[int] = ...) -> None: ...

class RunJobResponse(_message.Message):
    __slots__ = ("event", "compiled", "cost")
    EVENT_FIELD_NUMBER: _ClassVar[int]
    COMPILED_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    event: _event_pb2.JobEvent
    compiled: _containers.RepeatedCompositeFieldContainer[CompiledProgram]
    cost: _job_pb2.VendorCost
    def __init__(self, event: _Optional[_Union[_event_pb2.JobEvent, _Mapping]] = ..., compiled: _Optional[_Iterable[_Union[CompiledProgram, _Mapping]]] = ..., cost: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ...) -> None: ...

class GetJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class ListJobsRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter", "order_by")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    ORDER_BY_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    order_by: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ..., order_by: _Optional[str] = ...) -> None: ...

class ListJobsResponse(_message.Message):
    __slots__ = ("jobs", "next_page_token")
    JOBS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    jobs: _containers.RepeatedCompositeFieldContainer[_job_pb2.Job]
    next_page_token: str
    def __init__(self, jobs: _Optional[_Iterable[_Union[_job_pb2.Job, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class CancelJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class CancelJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class UpdateJobRequest(_message.Message):
    __slots__ = ("job", "update_mask")
    JOB_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    update_mask: _field_mask_pb2.FieldMask
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ...) -> None: ...

class UpdateJobResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class CancelJobsRequest(_message.Message):
    __slots__ = ("filter", "validate_only", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: str
    validate_only: bool
    page_token: str
    def __init__(self, filter: _Optional[str] = ..., validate_only: _Optional[bool] = ..., page_token: _Optional[str] = ...) -> None: ...

class CancelJobsResponse(_message.Message):
    __slots__ = ("count", "job_ids", "next_page_token")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    count: int
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    next_page_token: str
    def __init__(self, count: _Optional[int] = ..., job_ids: _Optional[_Iterable[int]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RerunJobRequest(_message.Message):
    __slots__ = ("id", "request_id", "exact", "credential", "credential_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    request_id: str
    exact: bool
    credential: str
    credential_id: int
    def __init__(self, id: _Optional[int] = ..., request_id: _Optional[str] = ..., exact: _Optional[bool] = ..., credential: _Optional[str] = ..., credential_id: _Optional[int] = ...) -> None: ...

class RerunJobResponse(_message.Message):
    __slots__ = ("job", "deduplicated")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DEDUPLICATED_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    deduplicated: bool
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., deduplicated: _Optional[bool] = ...) -> None: ...

class ResolveSubmissionRequest(_message.Message):
    __slots__ = ("id", "vendor_id", "not_submitted", "request_id", "credential", "credential_id")
    ID_FIELD_NUMBER: _ClassVar[int]
    VENDOR_ID_FIELD_NUMBER: _ClassVar[int]
    NOT_SUBMITTED_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    vendor_id: str
    not_submitted: bool
    request_id: str
    credential: str
    credential_id: int
    def __init__(self, id: _Optional[int] = ..., vendor_id: _Optional[str] = ..., not_submitted: _Optional[bool] = ..., request_id: _Optional[str] = ..., credential: _Optional[str] = ..., credential_id: _Optional[int] = ...) -> None: ...

class ResolveSubmissionResponse(_message.Message):
    __slots__ = ("job",)
    JOB_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class DeleteJobRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class DeleteJobResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DeleteJobsRequest(_message.Message):
    __slots__ = ("filter", "validate_only", "page_token")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    VALIDATE_ONLY_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    filter: str
    validate_only: bool
    page_token: str
    def __init__(self, filter: _Optional[str] = ..., validate_only: _Optional[bool] = ..., page_token: _Optional[str] = ...) -> None: ...

class DeleteJobsResponse(_message.Message):
    __slots__ = ("count", "job_ids", "next_page_token")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    JOB_IDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    count: int
    job_ids: _containers.RepeatedScalarFieldContainer[int]
    next_page_token: str
    def __init__(self, count: _Optional[int] = ..., job_ids: _Optional[_Iterable[int]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchJobRequest(_message.Message):
    __slots__ = ("job_id", "after_sequence", "heartbeat_interval", "partial_results", "queue_updates", "final_results", "omit_intermediate", "after_epoch")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    QUEUE_UPDATES_FIELD_NUMBER: _ClassVar[int]
    FINAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    OMIT_INTERMEDIATE_FIELD_NUMBER: _ClassVar[int]
    AFTER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    after_sequence: int
    heartbeat_interval: _duration_pb2.Duration
    partial_results: bool
    queue_updates: bool
    final_results: bool
    omit_intermediate: bool
    after_epoch: int
    def __init__(self, job_id: _Optional[int] = ..., after_sequence: _Optional[int] = ..., heartbeat_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., partial_results: _Optional[bool] = ..., queue_updates: _Optional[bool] = ..., final_results: _Optional[bool] = ..., omit_intermediate: _Optional[bool] = ..., after_epoch: _Optional[int] = ...) -> None: ...

class WatchJobResponse(_message.Message):
    __slots__ = ("event",)
    EVENT_FIELD_NUMBER: _ClassVar[int]
    event: _event_pb2.JobEvent
    def __init__(self, event: _Optional[_Union[_event_pb2.JobEvent, _Mapping]] = ...) -> None: ...

class ListJobEventsRequest(_message.Message):
    __slots__ = ("job_id", "page_size", "page_token", "after_sequence", "after_epoch")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    AFTER_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    AFTER_EPOCH_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    page_size: int
    page_token: str
    after_sequence: int
    after_epoch: int
    def __init__(self, job_id: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., after_sequence: _Optional[int] = ..., after_epoch: _Optional[int] = ...) -> None: ...

class ListJobEventsResponse(_message.Message):
    __slots__ = ("events", "next_page_token")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_event_pb2.JobEvent]
    next_page_token: str
    def __init__(self, events: _Optional[_Iterable[_Union[_event_pb2.JobEvent, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
