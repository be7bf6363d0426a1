from google.protobuf import struct_pb2 as _struct_pb2
from qonduit.v1 import event_pb2 as _event_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProgramForkRequest(_message.Message):
    __slots__ = ("id", "kill")
    ID_FIELD_NUMBER: _ClassVar[int]
    KILL_FIELD_NUMBER: _ClassVar[int]
    id: int
    kill: bool
    def __init__(self, id: _Optional[int] = ..., kill: _Optional[bool] = ...) -> None: ...

class ProgramForkReply(_message.Message):
    __slots__ = ("loaded", "forked", "exited")
    class Forked(_message.Message):
        __slots__ = ("id", "pid")
        ID_FIELD_NUMBER: _ClassVar[int]
        PID_FIELD_NUMBER: _ClassVar[int]
        id: int
        pid: int
        def __init__(self, id: _Optional[int] = ..., pid: _Optional[int] = ...) -> None: ...
    class Exited(_message.Message):
        __slots__ = ("id", "exit_code", "cpu_seconds")
        ID_FIELD_NUMBER: _ClassVar[int]
        EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
        CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
        id: int
        exit_code: int
        cpu_seconds: float
        def __init__(self, id: _Optional[int] = ..., exit_code: _Optional[int] = ..., cpu_seconds: _Optional[float] = ...) -> None: ...
    LOADED_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    loaded: str
    forked: ProgramForkReply.Forked
    exited: ProgramForkReply.Exited
    def __init__(self, loaded: _Optional[str] = ..., forked: _Optional[_Union[ProgramForkReply.Forked, _Mapping]] = ..., exited: _Optional[_Union[ProgramForkReply.Exited, _Mapping]] = ...) -> None: ...

class ProgramStart(_message.Message):
    __slots__ = ("job_id", "source", "entry_point", "inputs", "device", "log_level", "memory_bytes", "cpu_seconds", "file", "metadata")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_POINT_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    LOG_LEVEL_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CPU_SECONDS_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    source: str
    entry_point: str
    inputs: _struct_pb2.Struct
    device: str
    log_level: str
    memory_bytes: int
    cpu_seconds: int
    file: str
    metadata: str
    def __init__(self, job_id: _Optional[int] = ..., source: _Optional[str] = ..., entry_point: _Optional[str] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., device: _Optional[str] = ..., log_level: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., cpu_seconds: _Optional[int] = ..., file: _Optional[str] = ..., metadata: _Optional[str] = ...) -> None: ...

class ProgramCall(_message.Message):
    __slots__ = ("id", "method", "request", "follow")
    ID_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    id: int
    method: str
    request: bytes
    follow: bool
    def __init__(self, id: _Optional[int] = ..., method: _Optional[str] = ..., request: _Optional[bytes] = ..., follow: _Optional[bool] = ...) -> None: ...

class ProgramError(_message.Message):
    __slots__ = ("reason", "message", "line", "column")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    line: int
    column: int
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ..., line: _Optional[int] = ..., column: _Optional[int] = ...) -> None: ...

class ProgramMessage(_message.Message):
    __slots__ = ("started", "call", "log", "progress", "interim", "output", "failed")
    STARTED_FIELD_NUMBER: _ClassVar[int]
    CALL_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    OUTPUT_FIELD_NUMBER: _ClassVar[int]
    FAILED_FIELD_NUMBER: _ClassVar[int]
    started: bool
    call: ProgramCall
    log: _event_pb2.LogLine
    progress: _event_pb2.Progress
    interim: _event_pb2.InterimResult
    output: bytes
    failed: ProgramError
    def __init__(self, started: _Optional[bool] = ..., call: _Optional[_Union[ProgramCall, _Mapping]] = ..., log: _Optional[_Union[_event_pb2.LogLine, _Mapping]] = ..., progress: _Optional[_Union[_event_pb2.Progress, _Mapping]] = ..., interim: _Optional[_Union[_event_pb2.InterimResult, _Mapping]] = ..., output: _Optional[bytes] = ..., failed: _Optional[_Union[ProgramError, _Mapping]] = ...) -> None: ...

class ProgramReply(_message.Message):
    __slots__ = ("id", "status", "responses")
    ID_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    RESPONSES_FIELD_NUMBER: _ClassVar[int]
    id: int
    status: bytes
    responses: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, id: _Optional[int] = ..., status: _Optional[bytes] = ..., responses: _Optional[_Iterable[bytes]] = ...) -> None: ...
