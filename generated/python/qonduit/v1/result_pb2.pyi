from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ResultType(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    RESULT_TYPE_UNSPECIFIED: _ClassVar[ResultType]
    RESULT_TYPE_COUNTS_AND_PROBABILITIES: _ClassVar[ResultType]
    RESULT_TYPE_QUASI_DISTRIBUTION: _ClassVar[ResultType]
    RESULT_TYPE_EXPECTATION_VALUES: _ClassVar[ResultType]
    RESULT_TYPE_UPLOAD: _ClassVar[ResultType]
RESULT_TYPE_UNSPECIFIED: ResultType
RESULT_TYPE_COUNTS_AND_PROBABILITIES: ResultType
RESULT_TYPE_QUASI_DISTRIBUTION: ResultType
RESULT_TYPE_EXPECTATION_VALUES: ResultType
RESULT_TYPE_UPLOAD: ResultType

class Register(_message.Message):
    __slots__ = ("name", "size")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    name: str
    size: int
    def __init__(self, name: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class CountsAndProbabilities(_message.Message):
    __slots__ = ("counts", "probabilities")
    class CountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ProbabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    COUNTS_FIELD_NUMBER: _ClassVar[int]
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    counts: _containers.ScalarMap[str, int]
    probabilities: _containers.ScalarMap[str, float]
    def __init__(self, counts: _Optional[_Mapping[str, int]] = ..., probabilities: _Optional[_Mapping[str, float]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "job_id", "program_id", "result_type", "counts_and_probabilities", "meta_data", "shots", "registers")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_AND_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    META_DATA_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    id: int
    job_id: int
    program_id: int
    result_type: ResultType
    counts_and_probabilities: CountsAndProbabilities
    meta_data: _struct_pb2.Struct
    shots: int
    registers: _containers.RepeatedCompositeFieldContainer[Register]
    def __init__(self, id: _Optional[int] = ..., job_id: _Optional[int] = ..., program_id: _Optional[int] = ..., result_type: _Optional[_Union[ResultType, str]] = ..., counts_and_probabilities: _Optional[_Union[CountsAndProbabilities, _Mapping]] = ..., meta_data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., shots: _Optional[int] = ..., registers: _Optional[_Iterable[_Union[Register, _Mapping]]] = ...) -> None: ...
