import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from qonduit.execution.v1 import task_pb2 as _task_pb2
from qonduit.execution.v1 import worker_pb2 as _worker_pb2
from qonduit.v1 import system_service_pb2 as _system_service_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LossKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOSS_KIND_UNSPECIFIED: _ClassVar[LossKind]
    LOSS_KIND_DIED: _ClassVar[LossKind]
    LOSS_KIND_CANCELLED: _ClassVar[LossKind]
    LOSS_KIND_TIME_LIMIT: _ClassVar[LossKind]
    LOSS_KIND_STOPPED: _ClassVar[LossKind]
LOSS_KIND_UNSPECIFIED: LossKind
LOSS_KIND_DIED: LossKind
LOSS_KIND_CANCELLED: LossKind
LOSS_KIND_TIME_LIMIT: LossKind
LOSS_KIND_STOPPED: LossKind

class TaskKey(_message.Message):
    __slots__ = ("job_id", "attempt")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    attempt: int
    def __init__(self, job_id: _Optional[int] = ..., attempt: _Optional[int] = ...) -> None: ...

class SealedCredential(_message.Message):
    __slots__ = ("task", "key_id", "data")
    TASK_FIELD_NUMBER: _ClassVar[int]
    KEY_ID_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    task: TaskKey
    key_id: str
    data: bytes
    def __init__(self, task: _Optional[_Union[TaskKey, _Mapping]] = ..., key_id: _Optional[str] = ..., data: _Optional[bytes] = ...) -> None: ...

class TaskMessage(_message.Message):
    __slots__ = ("version", "server", "message_id", "tasks", "session", "credentials")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    CREDENTIALS_FIELD_NUMBER: _ClassVar[int]
    version: int
    server: str
    message_id: str
    tasks: _containers.RepeatedCompositeFieldContainer[_task_pb2.Task]
    session: int
    credentials: _containers.RepeatedCompositeFieldContainer[SealedCredential]
    def __init__(self, version: _Optional[int] = ..., server: _Optional[str] = ..., message_id: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[_task_pb2.Task, _Mapping]]] = ..., session: _Optional[int] = ..., credentials: _Optional[_Iterable[_Union[SealedCredential, _Mapping]]] = ...) -> None: ...

class DescribeProvider(_message.Message):
    __slots__ = ("provider", "request", "timeout")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_FIELD_NUMBER: _ClassVar[int]
    provider: str
    request: int
    timeout: _duration_pb2.Duration
    def __init__(self, provider: _Optional[str] = ..., request: _Optional[int] = ..., timeout: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class MachineRequest(_message.Message):
    __slots__ = ("version", "server", "acknowledged", "repeat", "describe_all", "cancels", "describe", "preload", "patience", "session")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    ACKNOWLEDGED_FIELD_NUMBER: _ClassVar[int]
    REPEAT_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_ALL_FIELD_NUMBER: _ClassVar[int]
    CANCELS_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    PRELOAD_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    server: str
    acknowledged: int
    repeat: bool
    describe_all: bool
    cancels: _containers.RepeatedCompositeFieldContainer[TaskKey]
    describe: DescribeProvider
    preload: _containers.RepeatedScalarFieldContainer[str]
    patience: _duration_pb2.Duration
    session: int
    def __init__(self, version: _Optional[int] = ..., server: _Optional[str] = ..., acknowledged: _Optional[int] = ..., repeat: _Optional[bool] = ..., describe_all: _Optional[bool] = ..., cancels: _Optional[_Iterable[_Union[TaskKey, _Mapping]]] = ..., describe: _Optional[_Union[DescribeProvider, _Mapping]] = ..., preload: _Optional[_Iterable[str]] = ..., patience: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., session: _Optional[int] = ...) -> None: ...

class MachineHello(_message.Message):
    __slots__ = ("request_queue", "task_queue", "host", "release")
    REQUEST_QUEUE_FIELD_NUMBER: _ClassVar[int]
    TASK_QUEUE_FIELD_NUMBER: _ClassVar[int]
    HOST_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    request_queue: str
    task_queue: str
    host: str
    release: str
    def __init__(self, request_queue: _Optional[str] = ..., task_queue: _Optional[str] = ..., host: _Optional[str] = ..., release: _Optional[str] = ...) -> None: ...

class MachineState(_message.Message):
    __slots__ = ("limits", "tasks", "workers", "last_sequence", "task_memory_bytes", "memory_bytes", "worker_ends")
    class LimitsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    WORKERS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    TASK_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    WORKER_ENDS_FIELD_NUMBER: _ClassVar[int]
    limits: _containers.ScalarMap[str, int]
    tasks: _containers.RepeatedCompositeFieldContainer[TaskKey]
    workers: _containers.RepeatedCompositeFieldContainer[_system_service_pb2.Worker]
    last_sequence: int
    task_memory_bytes: int
    memory_bytes: int
    worker_ends: _containers.RepeatedCompositeFieldContainer[WorkerEndCount]
    def __init__(self, limits: _Optional[_Mapping[str, int]] = ..., tasks: _Optional[_Iterable[_Union[TaskKey, _Mapping]]] = ..., workers: _Optional[_Iterable[_Union[_system_service_pb2.Worker, _Mapping]]] = ..., last_sequence: _Optional[int] = ..., task_memory_bytes: _Optional[int] = ..., memory_bytes: _Optional[int] = ..., worker_ends: _Optional[_Iterable[_Union[WorkerEndCount, _Mapping]]] = ...) -> None: ...

class WorkerEndCount(_message.Message):
    __slots__ = ("provider", "cause", "count")
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    CAUSE_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    provider: str
    cause: str
    count: int
    def __init__(self, provider: _Optional[str] = ..., cause: _Optional[str] = ..., count: _Optional[int] = ...) -> None: ...

class TasksAccepted(_message.Message):
    __slots__ = ("message_id", "tasks")
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    TASKS_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    tasks: _containers.RepeatedCompositeFieldContainer[TaskKey]
    def __init__(self, message_id: _Optional[str] = ..., tasks: _Optional[_Iterable[_Union[TaskKey, _Mapping]]] = ...) -> None: ...

class TaskLost(_message.Message):
    __slots__ = ("task", "kind", "message", "pid", "seconds")
    TASK_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    task: TaskKey
    kind: LossKind
    message: str
    pid: int
    seconds: float
    def __init__(self, task: _Optional[_Union[TaskKey, _Mapping]] = ..., kind: _Optional[_Union[LossKind, str]] = ..., message: _Optional[str] = ..., pid: _Optional[int] = ..., seconds: _Optional[float] = ...) -> None: ...

class ProviderDescribed(_message.Message):
    __slots__ = ("request", "description", "error", "temporary")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    TEMPORARY_FIELD_NUMBER: _ClassVar[int]
    request: int
    description: _worker_pb2.ProviderDescription
    error: str
    temporary: bool
    def __init__(self, request: _Optional[int] = ..., description: _Optional[_Union[_worker_pb2.ProviderDescription, _Mapping]] = ..., error: _Optional[str] = ..., temporary: _Optional[bool] = ...) -> None: ...

class MessagePart(_message.Message):
    __slots__ = ("data", "last")
    DATA_FIELD_NUMBER: _ClassVar[int]
    LAST_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    last: bool
    def __init__(self, data: _Optional[bytes] = ..., last: _Optional[bool] = ...) -> None: ...

class MachineStopping(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class MachineMessage(_message.Message):
    __slots__ = ("version", "machine", "sequence", "state", "hello", "accepted", "events", "lost", "described", "part", "stopping", "check", "session")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MACHINE_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    LOST_FIELD_NUMBER: _ClassVar[int]
    DESCRIBED_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    STOPPING_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    SESSION_FIELD_NUMBER: _ClassVar[int]
    version: int
    machine: str
    sequence: int
    state: MachineState
    hello: MachineHello
    accepted: TasksAccepted
    events: _task_pb2.TaskEventBatch
    lost: TaskLost
    described: ProviderDescribed
    part: MessagePart
    stopping: MachineStopping
    check: PathCheck
    session: int
    def __init__(self, version: _Optional[int] = ..., machine: _Optional[str] = ..., sequence: _Optional[int] = ..., state: _Optional[_Union[MachineState, _Mapping]] = ..., hello: _Optional[_Union[MachineHello, _Mapping]] = ..., accepted: _Optional[_Union[TasksAccepted, _Mapping]] = ..., events: _Optional[_Union[_task_pb2.TaskEventBatch, _Mapping]] = ..., lost: _Optional[_Union[TaskLost, _Mapping]] = ..., described: _Optional[_Union[ProviderDescribed, _Mapping]] = ..., part: _Optional[_Union[MessagePart, _Mapping]] = ..., stopping: _Optional[_Union[MachineStopping, _Mapping]] = ..., check: _Optional[_Union[PathCheck, _Mapping]] = ..., session: _Optional[int] = ...) -> None: ...

class PathCheck(_message.Message):
    __slots__ = ("sent_at",)
    SENT_AT_FIELD_NUMBER: _ClassVar[int]
    sent_at: float
    def __init__(self, sent_at: _Optional[float] = ...) -> None: ...
