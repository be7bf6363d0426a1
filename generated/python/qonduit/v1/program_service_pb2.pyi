from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from qonduit.v1 import deployment_pb2 as _deployment_pb2
from qonduit.v1 import provider_pb2 as _provider_pb2
from qonduit.v1 import result_pb2 as _result_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class TranslateProgramRequest(_message.Message):
    __slots__ = ("program", "target_language", "inputs")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    TARGET_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    program: _deployment_pb2.QuantumProgram
    target_language: _provider_pb2.AssemblerLanguage
    inputs: _struct_pb2.Struct
    def __init__(self, program: _Optional[_Union[_deployment_pb2.QuantumProgram, _Mapping]] = ..., target_language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class TranslateProgramResponse(_message.Message):
    __slots__ = ("program", "warnings", "registers", "read_seconds", "write_seconds")
    PROGRAM_FIELD_NUMBER: _ClassVar[int]
    WARNINGS_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    READ_SECONDS_FIELD_NUMBER: _ClassVar[int]
    WRITE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    program: _deployment_pb2.QuantumProgram
    warnings: _containers.RepeatedScalarFieldContainer[str]
    registers: _containers.RepeatedCompositeFieldContainer[_result_pb2.Register]
    read_seconds: float
    write_seconds: float
    def __init__(self, program: _Optional[_Union[_deployment_pb2.QuantumProgram, _Mapping]] = ..., warnings: _Optional[_Iterable[str]] = ..., registers: _Optional[_Iterable[_Union[_result_pb2.Register, _Mapping]]] = ..., read_seconds: _Optional[float] = ..., write_seconds: _Optional[float] = ...) -> None: ...

class ListLanguagesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Language(_message.Message):
    __slots__ = ("language", "title", "binary", "readable", "writable", "python_source")
    LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TITLE_FIELD_NUMBER: _ClassVar[int]
    BINARY_FIELD_NUMBER: _ClassVar[int]
    READABLE_FIELD_NUMBER: _ClassVar[int]
    WRITABLE_FIELD_NUMBER: _ClassVar[int]
    PYTHON_SOURCE_FIELD_NUMBER: _ClassVar[int]
    language: _provider_pb2.AssemblerLanguage
    title: str
    binary: bool
    readable: bool
    writable: bool
    python_source: bool
    def __init__(self, language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., title: _Optional[str] = ..., binary: _Optional[bool] = ..., readable: _Optional[bool] = ..., writable: _Optional[bool] = ..., python_source: _Optional[bool] = ...) -> None: ...

class Translation(_message.Message):
    __slots__ = ("name", "from_language", "to_language", "cost_milliseconds")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FROM_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    TO_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    COST_MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    name: str
    from_language: _provider_pb2.AssemblerLanguage
    to_language: _provider_pb2.AssemblerLanguage
    cost_milliseconds: float
    def __init__(self, name: _Optional[str] = ..., from_language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., to_language: _Optional[_Union[_provider_pb2.AssemblerLanguage, str]] = ..., cost_milliseconds: _Optional[float] = ...) -> None: ...

class PythonEnvironment(_message.Message):
    __slots__ = ("name", "python_version", "packages")
    class PackagesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    PYTHON_VERSION_FIELD_NUMBER: _ClassVar[int]
    PACKAGES_FIELD_NUMBER: _ClassVar[int]
    name: str
    python_version: str
    packages: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., python_version: _Optional[str] = ..., packages: _Optional[_Mapping[str, str]] = ...) -> None: ...

class ListLanguagesResponse(_message.Message):
    __slots__ = ("languages", "translations", "python_environments")
    LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    TRANSLATIONS_FIELD_NUMBER: _ClassVar[int]
    PYTHON_ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    languages: _containers.RepeatedCompositeFieldContainer[Language]
    translations: _containers.RepeatedCompositeFieldContainer[Translation]
    python_environments: _containers.RepeatedCompositeFieldContainer[PythonEnvironment]
    def __init__(self, languages: _Optional[_Iterable[_Union[Language, _Mapping]]] = ..., translations: _Optional[_Iterable[_Union[Translation, _Mapping]]] = ..., python_environments: _Optional[_Iterable[_Union[PythonEnvironment, _Mapping]]] = ...) -> None: ...
