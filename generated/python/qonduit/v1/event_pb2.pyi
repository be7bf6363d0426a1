import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import result_pb2 as _result_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class LogLevel(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    LOG_LEVEL_UNSPECIFIED: _ClassVar[LogLevel]
    LOG_LEVEL_INFO: _ClassVar[LogLevel]
    LOG_LEVEL_WARNING: _ClassVar[LogLevel]
LOG_LEVEL_UNSPECIFIED: LogLevel
LOG_LEVEL_INFO: LogLevel
LOG_LEVEL_WARNING: LogLevel

class StateChange(_message.Message):
    __slots__ = ("from_state", "to_state", "job")
    FROM_STATE_FIELD_NUMBER: _ClassVar[int]
    TO_STATE_FIELD_NUMBER: _ClassVar[int]
    JOB_FIELD_NUMBER: _ClassVar[int]
    from_state: _job_pb2.JobState
    to_state: _job_pb2.JobState
    job: _job_pb2.Job
    def __init__(self, from_state: _Optional[_Union[_job_pb2.JobState, str]] = ..., to_state: _Optional[_Union[_job_pb2.JobState, str]] = ..., job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("progress", "message")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    progress: float
    message: str
    def __init__(self, progress: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class ResultReady(_message.Message):
    __slots__ = ("result_id", "program_id", "points", "first_point")
    RESULT_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    POINTS_FIELD_NUMBER: _ClassVar[int]
    FIRST_POINT_FIELD_NUMBER: _ClassVar[int]
    result_id: int
    program_id: int
    points: int
    first_point: int
    def __init__(self, result_id: _Optional[int] = ..., program_id: _Optional[int] = ..., points: _Optional[int] = ..., first_point: _Optional[int] = ...) -> None: ...

class PartialResult(_message.Message):
    __slots__ = ("program_id", "index", "first_point", "results", "last_sequence")
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_POINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    program_id: int
    index: int
    first_point: int
    results: _containers.RepeatedCompositeFieldContainer[_result_pb2.Result]
    last_sequence: int
    def __init__(self, program_id: _Optional[int] = ..., index: _Optional[int] = ..., first_point: _Optional[int] = ..., results: _Optional[_Iterable[_Union[_result_pb2.Result, _Mapping]]] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class FinalResults(_message.Message):
    __slots__ = ("results", "last_sequence")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[_result_pb2.Result]
    last_sequence: int
    def __init__(self, results: _Optional[_Iterable[_Union[_result_pb2.Result, _Mapping]]] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class QueueChange(_message.Message):
    __slots__ = ("queue", "last_sequence")
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    queue: _job_pb2.QueuePlace
    last_sequence: int
    def __init__(self, queue: _Optional[_Union[_job_pb2.QueuePlace, _Mapping]] = ..., last_sequence: _Optional[int] = ...) -> None: ...

class LogLine(_message.Message):
    __slots__ = ("level", "message", "program_id")
    LEVEL_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    level: LogLevel
    message: str
    program_id: int
    def __init__(self, level: _Optional[_Union[LogLevel, str]] = ..., message: _Optional[str] = ..., program_id: _Optional[int] = ...) -> None: ...

class InterimResult(_message.Message):
    __slots__ = ("value", "final")
    VALUE_FIELD_NUMBER: _ClassVar[int]
    FINAL_FIELD_NUMBER: _ClassVar[int]
    value: _struct_pb2.Value
    final: bool
    def __init__(self, value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ..., final: _Optional[bool] = ...) -> None: ...

class Heartbeat(_message.Message):
    __slots__ = ("last_sequence",)
    LAST_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    last_sequence: int
    def __init__(self, last_sequence: _Optional[int] = ...) -> None: ...

class JobEvent(_message.Message):
    __slots__ = ("job_id", "sequence", "event_time", "log_epoch", "created", "state_change", "progress", "program_run", "result_ready", "log", "heartbeat", "partial_result", "queue_change", "final_results", "updated", "provider_status", "interim_result")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    EVENT_TIME_FIELD_NUMBER: _ClassVar[int]
    LOG_EPOCH_FIELD_NUMBER: _ClassVar[int]
    CREATED_FIELD_NUMBER: _ClassVar[int]
    STATE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_RUN_FIELD_NUMBER: _ClassVar[int]
    RESULT_READY_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    HEARTBEAT_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_RESULT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_CHANGE_FIELD_NUMBER: _ClassVar[int]
    FINAL_RESULTS_FIELD_NUMBER: _ClassVar[int]
    UPDATED_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_STATUS_FIELD_NUMBER: _ClassVar[int]
    INTERIM_RESULT_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    sequence: int
    event_time: _timestamp_pb2.Timestamp
    log_epoch: int
    created: _job_pb2.Job
    state_change: StateChange
    progress: Progress
    program_run: _job_pb2.ProgramRun
    result_ready: ResultReady
    log: LogLine
    heartbeat: Heartbeat
    partial_result: PartialResult
    queue_change: QueueChange
    final_results: FinalResults
    updated: _job_pb2.Job
    provider_status: _job_pb2.ProviderStatus
    interim_result: InterimResult
    def __init__(self, job_id: _Optional[int] = ..., sequence: _Optional[int] = ..., event_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., log_epoch: _Optional[int] = ..., created: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., state_change: _Optional[_Union[StateChange, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., program_run: _Optional[_Union[_job_pb2.ProgramRun, _Mapping]] = ..., result_ready: _Optional[_Union[ResultReady, _Mapping]] = ..., log: _Optional[_Union[LogLine, _Mapping]] = ..., heartbeat: _Optional[_Union[Heartbeat, _Mapping]] = ..., partial_result: _Optional[_Union[PartialResult, _Mapping]] = ..., queue_change: _Optional[_Union[QueueChange, _Mapping]] = ..., final_results: _Optional[_Union[FinalResults, _Mapping]] = ..., updated: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., provider_status: _Optional[_Union[_job_pb2.ProviderStatus, _Mapping]] = ..., interim_result: _Optional[_Union[InterimResult, _Mapping]] = ...) -> None: ...
