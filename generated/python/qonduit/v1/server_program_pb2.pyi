from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ServerProgram(_message.Message):
    __slots__ = ("program_id", "name", "version", "sha256", "deployment_id", "description", "environment", "python_version", "entry_point", "imports", "max_execution_time", "schemas", "upload_job_id")
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENT_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENTRY_POINT_FIELD_NUMBER: _ClassVar[int]
    IMPORTS_FIELD_NUMBER: _ClassVar[int]
    MAX_EXECUTION_TIME_FIELD_NUMBER: _ClassVar[int]
    SCHEMAS_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    program_id: int
    name: str
    version: int
    sha256: str
    deployment_id: int
    description: str
    environment: str
    python_version: str
    entry_point: str
    imports: _containers.RepeatedScalarFieldContainer[str]
    max_execution_time: float
    schemas: _containers.RepeatedScalarFieldContainer[str]
    upload_job_id: int
    def __init__(self, program_id: _Optional[int] = ..., name: _Optional[str] = ..., version: _Optional[int] = ..., sha256: _Optional[str] = ..., deployment_id: _Optional[int] = ..., description: _Optional[str] = ..., environment: _Optional[str] = ..., python_version: _Optional[str] = ..., entry_point: _Optional[str] = ..., imports: _Optional[_Iterable[str]] = ..., max_execution_time: _Optional[float] = ..., schemas: _Optional[_Iterable[str]] = ..., upload_job_id: _Optional[int] = ...) -> None: ...
