from qonduit.v1 import pause_pb2 as _pause_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AssemblerLanguage(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ASSEMBLER_LANGUAGE_UNSPECIFIED: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_QASM2: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_QASM3: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_QISKIT: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_BRAKET: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_CIRQ: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_QUIL: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_QRISP: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_IONQ: _ClassVar[AssemblerLanguage]
    ASSEMBLER_LANGUAGE_PYTHON: _ClassVar[AssemblerLanguage]
ASSEMBLER_LANGUAGE_UNSPECIFIED: AssemblerLanguage
ASSEMBLER_LANGUAGE_QASM2: AssemblerLanguage
ASSEMBLER_LANGUAGE_QASM3: AssemblerLanguage
ASSEMBLER_LANGUAGE_QISKIT: AssemblerLanguage
ASSEMBLER_LANGUAGE_BRAKET: AssemblerLanguage
ASSEMBLER_LANGUAGE_CIRQ: AssemblerLanguage
ASSEMBLER_LANGUAGE_QUIL: AssemblerLanguage
ASSEMBLER_LANGUAGE_QRISP: AssemblerLanguage
ASSEMBLER_LANGUAGE_IONQ: AssemblerLanguage
ASSEMBLER_LANGUAGE_PYTHON: AssemblerLanguage

class ProviderAssemblerLanguage(_message.Message):
    __slots__ = ("id", "provider_id", "supported_language")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_LANGUAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    provider_id: int
    supported_language: AssemblerLanguage
    def __init__(self, id: _Optional[int] = ..., provider_id: _Optional[int] = ..., supported_language: _Optional[_Union[AssemblerLanguage, str]] = ...) -> None: ...

class Environment(_message.Message):
    __slots__ = ("versions",)
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    versions: _containers.ScalarMap[str, str]
    def __init__(self, versions: _Optional[_Mapping[str, str]] = ...) -> None: ...

class Provider(_message.Message):
    __slots__ = ("id", "name", "with_token", "supported_languages", "pause", "environments")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    WITH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_LANGUAGES_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    with_token: bool
    supported_languages: _containers.RepeatedCompositeFieldContainer[ProviderAssemblerLanguage]
    pause: _pause_pb2.Pause
    environments: _containers.RepeatedCompositeFieldContainer[Environment]
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., with_token: _Optional[bool] = ..., supported_languages: _Optional[_Iterable[_Union[ProviderAssemblerLanguage, _Mapping]]] = ..., pause: _Optional[_Union[_pause_pb2.Pause, _Mapping]] = ..., environments: _Optional[_Iterable[_Union[Environment, _Mapping]]] = ...) -> None: ...
