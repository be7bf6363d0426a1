from google.protobuf import struct_pb2 as _struct_pb2
from qonduit.execution.v1 import job_spec_pb2 as _job_spec_pb2
from qonduit.execution.v1 import vendor_pb2 as _vendor_pb2
from qonduit.v1 import device_pb2 as _device_pb2
from qonduit.v1 import event_pb2 as _event_pb2
from qonduit.v1 import failure_pb2 as _failure_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import job_service_pb2 as _job_service_pb2
from qonduit.v1 import provider_pb2 as _provider_pb2
from qonduit.v1 import result_pb2 as _result_pb2
from qonduit.v1 import server_program_pb2 as _server_program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TaskProgram(_message.Message):
    __slots__ = ("program_id", "language", "text", "binary", "inputs", "points_done", "options", "metadata", "file")
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    POINTS_DONE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    FILE_FIELD_NUMBER: _ClassVar[int]
    program_id: int
    language: _provider_pb2.AssemblerLanguage
    text: str
    binary: bytes
    inputs: _struct_pb2.Struct
    points_done: int
    options: _struct_pb2.Struct
    metadata: str
    file: str
    def __init__(self, program_id: _Optional[int] = ..., language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., text: _Optional[str] = ..., binary: _Optional[bytes] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., points_done: _Optional[int] = ..., options: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., metadata: _Optional[str] = ..., file: _Optional[str] = ...) -> None: ...

class Task(_message.Message):
    __slots__ = ("job_id", "attempt", "provider", "device", "programs", "memory_limit_bytes", "time_limit_seconds", "translate_to", "memory_granted_bytes", "declined_before", "max_result_bytes", "compile_only", "spec", "analyze_only", "credential", "check_only", "vendor_outcomes", "returned_attempts", "cache_scope", "vendor_device")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    TIME_LIMIT_SECONDS_FIELD_NUMBER: _ClassVar[int]
    TRANSLATE_TO_FIELD_NUMBER: _ClassVar[int]
    MEMORY_GRANTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    DECLINED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULT_BYTES_FIELD_NUMBER: _ClassVar[int]
    COMPILE_ONLY_FIELD_NUMBER: _ClassVar[int]
    SPEC_FIELD_NUMBER: _ClassVar[int]
    ANALYZE_ONLY_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CHECK_ONLY_FIELD_NUMBER: _ClassVar[int]
    VENDOR_OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    RETURNED_ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    CACHE_SCOPE_FIELD_NUMBER: _ClassVar[int]
    VENDOR_DEVICE_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    attempt: int
    provider: str
    device: str
    programs: _containers.RepeatedCompositeFieldContainer[TaskProgram]
    memory_limit_bytes: int
    time_limit_seconds: float
    translate_to: _provider_pb2.AssemblerLanguage
    memory_granted_bytes: int
    declined_before: bool
    max_result_bytes: int
    compile_only: bool
    spec: _job_spec_pb2.JobSpec
    analyze_only: bool
    credential: str
    check_only: bool
    vendor_outcomes: _containers.RepeatedCompositeFieldContainer[_vendor_pb2.VendorOutcomes]
    returned_attempts: int
    cache_scope: str
    vendor_device: _device_pb2.Device
    def __init__(self, job_id: _Optional[int] = ..., attempt: _Optional[int] = ..., provider: _Optional[str] = ..., device: _Optional[str] = ..., programs: _Optional[_Iterable[_Union[TaskProgram, _Mapping]]] = ..., memory_limit_bytes: _Optional[int] = ..., time_limit_seconds: _Optional[float] = ..., translate_to: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., memory_granted_bytes: _Optional[int] = ..., declined_before: _Optional[bool] = ..., max_result_bytes: _Optional[int] = ..., compile_only: _Optional[bool] = ..., spec: _Optional[_Union[_job_spec_pb2.JobSpec, _Mapping]] = ..., analyze_only: _Optional[bool] = ..., credential: _Optional[str] = ..., check_only: _Optional[bool] = ..., vendor_outcomes: _Optional[_Iterable[_Union[_vendor_pb2.VendorOutcomes, _Mapping]]] = ..., returned_attempts: _Optional[int] = ..., cache_scope: _Optional[str] = ..., vendor_device: _Optional[_Union[_device_pb2.Device, _Mapping]] = ...) -> None: ...

class TaskBatch(_message.Message):
    __slots__ = ("tasks",)
    TASKS_FIELD_NUMBER: _ClassVar[int]
    tasks: _containers.RepeatedCompositeFieldContainer[Task]
    def __init__(self, tasks: _Optional[_Iterable[_Union[Task, _Mapping]]] = ...) -> None: ...

class TaskStarted(_message.Message):
    __slots__ = ("message_id",)
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    def __init__(self, message_id: _Optional[str] = ...) -> None: ...

class TaskProgress(_message.Message):
    __slots__ = ("progress", "message")
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    progress: float
    message: str
    def __init__(self, progress: _Optional[float] = ..., message: _Optional[str] = ...) -> None: ...

class ProgramStarted(_message.Message):
    __slots__ = ("index",)
    INDEX_FIELD_NUMBER: _ClassVar[int]
    index: int
    def __init__(self, index: _Optional[int] = ...) -> None: ...

class FurtherResult(_message.Message):
    __slots__ = ("result", "buffer")
    RESULT_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    result: _result_pb2.Result
    buffer: bytes
    def __init__(self, result: _Optional[_Union[_result_pb2.Result, _Mapping]] = ..., buffer: _Optional[bytes] = ...) -> None: ...

class PointsDone(_message.Message):
    __slots__ = ("index", "first_point", "results")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_POINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    index: int
    first_point: int
    results: _containers.RepeatedCompositeFieldContainer[FurtherResult]
    def __init__(self, index: _Optional[int] = ..., first_point: _Optional[int] = ..., results: _Optional[_Iterable[_Union[FurtherResult, _Mapping]]] = ...) -> None: ...

class ProgramPartial(_message.Message):
    __slots__ = ("index", "first_point", "results")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FIRST_POINT_FIELD_NUMBER: _ClassVar[int]
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    index: int
    first_point: int
    results: _containers.RepeatedCompositeFieldContainer[FurtherResult]
    def __init__(self, index: _Optional[int] = ..., first_point: _Optional[int] = ..., results: _Optional[_Iterable[_Union[FurtherResult, _Mapping]]] = ...) -> None: ...

class ProgramSucceeded(_message.Message):
    __slots__ = ("index", "result", "buffer", "further")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    FURTHER_FIELD_NUMBER: _ClassVar[int]
    index: int
    result: _result_pb2.Result
    buffer: bytes
    further: _containers.RepeatedCompositeFieldContainer[FurtherResult]
    def __init__(self, index: _Optional[int] = ..., result: _Optional[_Union[_result_pb2.Result, _Mapping]] = ..., buffer: _Optional[bytes] = ..., further: _Optional[_Iterable[_Union[FurtherResult, _Mapping]]] = ...) -> None: ...

class ProgramTranslated(_message.Message):
    __slots__ = ("index", "text", "binary", "warnings", "registers", "read_seconds", "write_seconds")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    READ_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WRITE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    index: int
    text: str
    binary: bytes
    warnings: _containers.RepeatedScalarFieldContainer[str]
    registers: _containers.RepeatedCompositeFieldContainer[_result_pb2.Register]
    read_seconds: float
    write_seconds: float
    def __init__(self, index: _Optional[int] = ..., text: _Optional[str] = ..., binary: _Optional[bytes] = ..., warnings: _Optional[_Iterable[str]] = ..., registers: _Optional[_Iterable[_Union[_result_pb2.Register, _Mapping]]] = ..., read_seconds: _Optional[float] = ..., write_seconds: _Optional[float] = ...) -> None: ...

class ProgramNeeds(_message.Message):
    __slots__ = ("num_qubits", "mid_circuit_measurement", "reset", "conditionals", "loops", "noise", "clifford")
    NUM_QUBITS_FIELD_NUMBER: _ClassVar[int]
    MID_CIRCUIT_MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CONDITIONALS_FIELD_NUMBER: _ClassVar[int]
    LOOPS_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    CLIFFORD_FIELD_NUMBER: _ClassVar[int]
    num_qubits: int
    mid_circuit_measurement: bool
    reset: bool
    conditionals: bool
    loops: bool
    noise: bool
    clifford: bool
    def __init__(self, num_qubits: _Optional[int] = ..., mid_circuit_measurement: _Optional[bool] = ..., reset: _Optional[bool] = ..., conditionals: _Optional[bool] = ..., loops: _Optional[bool] = ..., noise: _Optional[bool] = ..., clifford: _Optional[bool] = ...) -> None: ...

class ProgramFeatures(_message.Message):
    __slots__ = ("index", "needs", "operations", "two_qubit_gates", "obstacle")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    OPERATIONS_FIELD_NUMBER: _ClassVar[int]
    TWO_QUBIT_GATES_FIELD_NUMBER: _ClassVar[int]
    OBSTACLE_FIELD_NUMBER: _ClassVar[int]
    index: int
    needs: ProgramNeeds
    operations: int
    two_qubit_gates: int
    obstacle: str
    def __init__(self, index: _Optional[int] = ..., needs: _Optional[_Union[ProgramNeeds, _Mapping]] = ..., operations: _Optional[int] = ..., two_qubit_gates: _Optional[int] = ..., obstacle: _Optional[str] = ...) -> None: ...

class ProgramChecked(_message.Message):
    __slots__ = ("index", "found", "violations")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FOUND_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    index: int
    found: _server_program_pb2.ServerProgram
    violations: _containers.RepeatedCompositeFieldContainer[SchemaViolation]
    def __init__(self, index: _Optional[int] = ..., found: _Optional[_Union[_server_program_pb2.ServerProgram, _Mapping]] = ..., violations: _Optional[_Iterable[_Union[SchemaViolation, _Mapping]]] = ...) -> None: ...

class SchemaViolation(_message.Message):
    __slots__ = ("path", "message")
    PATH_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    path: str
    message: str
    def __init__(self, path: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ProgramFailed(_message.Message):
    __slots__ = ("index", "failure", "needs", "diagnostic")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    NEEDS_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    index: int
    failure: _failure_pb2.Failure
    needs: ProgramNeeds
    diagnostic: str
    def __init__(self, index: _Optional[int] = ..., failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., needs: _Optional[_Union[ProgramNeeds, _Mapping]] = ..., diagnostic: _Optional[str] = ...) -> None: ...

class TaskDeclined(_message.Message):
    __slots__ = ("memory_bytes",)
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    memory_bytes: int
    def __init__(self, memory_bytes: _Optional[int] = ...) -> None: ...

class TaskFinished(_message.Message):
    __slots__ = ("failure", "diagnostic", "partial", "seconds", "submissions", "cost")
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    DIAGNOSTIC_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    SUBMISSIONS_FIELD_NUMBER: _ClassVar[int]
    COST_FIELD_NUMBER: _ClassVar[int]
    failure: _failure_pb2.Failure
    diagnostic: str
    partial: _containers.RepeatedCompositeFieldContainer[ProgramPartial]
    seconds: float
    submissions: _containers.RepeatedCompositeFieldContainer[_vendor_pb2.Submission]
    cost: _job_pb2.VendorCost
    def __init__(self, failure: _Optional[_Union[_failure_pb2.Failure, _Mapping]] = ..., diagnostic: _Optional[str] = ..., partial: _Optional[_Iterable[_Union[ProgramPartial, _Mapping]]] = ..., seconds: _Optional[float] = ..., submissions: _Optional[_Iterable[_Union[_vendor_pb2.Submission, _Mapping]]] = ..., cost: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ...) -> None: ...

class TaskPhase(_message.Message):
    __slots__ = ("message",)
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    message: str
    def __init__(self, message: _Optional[str] = ...) -> None: ...

class TaskEvent(_message.Message):
    __slots__ = ("job_id", "attempt", "started", "progress", "program_started", "program_succeeded", "program_failed", "log", "finished", "program_translated", "declined", "phase", "program_compiled", "program_analyzed", "points_done", "program_partial", "interim_result", "program_checked")
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_STARTED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_SUCCEEDED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_FAILED_FIELD_NUMBER: _ClassVar[int]
    LOG_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_TRANSLATED_FIELD_NUMBER: _ClassVar[int]
    DECLINED_FIELD_NUMBER: _ClassVar[int]
    PHASE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_COMPILED_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ANALYZED_FIELD_NUMBER: _ClassVar[int]
    POINTS_DONE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_PARTIAL_FIELD_NUMBER: _ClassVar[int]
    INTERIM_RESULT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_CHECKED_FIELD_NUMBER: _ClassVar[int]
    job_id: int
    attempt: int
    started: TaskStarted
    progress: TaskProgress
    program_started: ProgramStarted
    program_succeeded: ProgramSucceeded
    program_failed: ProgramFailed
    log: _event_pb2.LogLine
    finished: TaskFinished
    program_translated: ProgramTranslated
    declined: TaskDeclined
    phase: TaskPhase
    program_compiled: _job_service_pb2.CompiledProgram
    program_analyzed: ProgramFeatures
    points_done: PointsDone
    program_partial: ProgramPartial
    interim_result: _event_pb2.InterimResult
    program_checked: ProgramChecked
    def __init__(self, job_id: _Optional[int] = ..., attempt: _Optional[int] = ..., started: _Optional[_Union[TaskStarted, _Mapping]] = ..., progress: _Optional[_Union[TaskProgress, _Mapping]] = ..., program_started: _Optional[_Union[ProgramStarted, _Mapping]] = ..., program_succeeded: _Optional[_Union[ProgramSucceeded, _Mapping]] = ..., program_failed: _Optional[_Union[ProgramFailed, _Mapping]] = ..., log: _Optional[_Union[_event_pb2.LogLine, _Mapping]] = ..., finished: _Optional[_Union[TaskFinished, _Mapping]] = ..., program_translated: _Optional[_Union[ProgramTranslated, _Mapping]] = ..., declined: _Optional[_Union[TaskDeclined, _Mapping]] = ..., phase: _Optional[_Union[TaskPhase, _Mapping]] = ..., program_compiled: _Optional[_Union[_job_service_pb2.CompiledProgram, _Mapping]] = ..., program_analyzed: _Optional[_Union[ProgramFeatures, _Mapping]] = ..., points_done: _Optional[_Union[PointsDone, _Mapping]] = ..., program_partial: _Optional[_Union[ProgramPartial, _Mapping]] = ..., interim_result: _Optional[_Union[_event_pb2.InterimResult, _Mapping]] = ..., program_checked: _Optional[_Union[ProgramChecked, _Mapping]] = ...) -> None: ...

class TaskEventBatch(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[TaskEvent]
    def __init__(self, events: _Optional[_Iterable[_Union[TaskEvent, _Mapping]]] = ...) -> None: ...
