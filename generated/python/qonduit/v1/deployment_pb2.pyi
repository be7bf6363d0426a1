import datetime

from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import provider_pb2 as _provider_pb2
from qonduit.v1 import server_program_pb2 as _server_program_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QuantumProgram(_message.Message):
    __slots__ = ("id", "quantum_circuit", "quantum_circuit_binary", "assembler_language", "deployment_id", "python_file_path", "python_file_metadata", "python_file_options", "python_file_inputs")
    ID_FIELD_NUMBER: _ClassVar[int]
    QUANTUM_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    QUANTUM_CIRCUIT_BINARY_FIELD_NUMBER: _ClassVar[int]
    ASSEMBLER_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_ID_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FILE_PATH_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FILE_METADATA_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FILE_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    PYTHON_FILE_INPUTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    quantum_circuit: str
    quantum_circuit_binary: bytes
    assembler_language: _provider_pb2.AssemblerLanguage
    deployment_id: int
    python_file_path: str
    python_file_metadata: str
    python_file_options: _struct_pb2.Struct
    python_file_inputs: _struct_pb2.Struct
    def __init__(self, id: _Optional[int] = ..., quantum_circuit: _Optional[str] = ..., quantum_circuit_binary: _Optional[bytes] = ..., assembler_language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., deployment_id: _Optional[int] = ..., python_file_path: _Optional[str] = ..., python_file_metadata: _Optional[str] = ..., python_file_options: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., python_file_inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class Deployment(_message.Message):
    __slots__ = ("id", "name", "deployed_at", "deployed_by", "programs", "labels", "project", "server_program")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    DEPLOYED_AT_FIELD_NUMBER: _ClassVar[int]
    DEPLOYED_BY_FIELD_NUMBER: _ClassVar[int]
    PROGRAMS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    PROJECT_FIELD_NUMBER: _ClassVar[int]
    SERVER_PROGRAM_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    deployed_at: _timestamp_pb2.Timestamp
    deployed_by: str
    programs: _containers.RepeatedCompositeFieldContainer[QuantumProgram]
    labels: _containers.ScalarMap[str, str]
    project: str
    server_program: _server_program_pb2.ServerProgram
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., deployed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., deployed_by: _Optional[str] = ..., programs: _Optional[_Iterable[_Union[QuantumProgram, _Mapping]]] = ..., labels: _Optional[_Mapping[str, str]] = ..., project: _Optional[str] = ..., server_program: _Optional[_Union[_server_program_pb2.ServerProgram, _Mapping]] = ...) -> None: ...
