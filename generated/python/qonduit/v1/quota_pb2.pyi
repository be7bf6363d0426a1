from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QuotaValues(_message.Message):
    __slots__ = ("queued_jobs", "running_jobs", "shots_per_day", "worker_seconds_per_day", "running_memory_bytes", "stored_bytes", "open_streams", "calls_per_second", "open_buffers", "upload_bytes_per_minute", "cost_per_day")
    class CostPerDayEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    QUEUED_JOBS_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    WORKER_SECONDS_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    RUNNING_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    STORED_BYTES_FIELD_NUMBER: _ClassVar[int]
    OPEN_STREAMS_FIELD_NUMBER: _ClassVar[int]
    CALLS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    OPEN_BUFFERS_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_BYTES_PER_MINUTE_FIELD_NUMBER: _ClassVar[int]
    COST_PER_DAY_FIELD_NUMBER: _ClassVar[int]
    queued_jobs: int
    running_jobs: int
    shots_per_day: int
    worker_seconds_per_day: int
    running_memory_bytes: int
    stored_bytes: int
    open_streams: int
    calls_per_second: int
    open_buffers: int
    upload_bytes_per_minute: int
    cost_per_day: _containers.ScalarMap[str, float]
    def __init__(self, queued_jobs: _Optional[int] = ..., running_jobs: _Optional[int] = ..., shots_per_day: _Optional[int] = ..., worker_seconds_per_day: _Optional[int] = ..., running_memory_bytes: _Optional[int] = ..., stored_bytes: _Optional[int] = ..., open_streams: _Optional[int] = ..., calls_per_second: _Optional[int] = ..., open_buffers: _Optional[int] = ..., upload_bytes_per_minute: _Optional[int] = ..., cost_per_day: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Quota(_message.Message):
    __slots__ = ("owner", "limits", "effective", "used")
    OWNER_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    EFFECTIVE_FIELD_NUMBER: _ClassVar[int]
    USED_FIELD_NUMBER: _ClassVar[int]
    owner: str
    limits: QuotaValues
    effective: QuotaValues
    used: QuotaValues
    def __init__(self, owner: _Optional[str] = ..., limits: _Optional[_Union[QuotaValues, _Mapping]] = ..., effective: _Optional[_Union[QuotaValues, _Mapping]] = ..., used: _Optional[_Union[QuotaValues, _Mapping]] = ...) -> None: ...
