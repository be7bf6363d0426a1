from google.protobuf import struct_pb2 as _struct_pb2
from qonduit.v1 import provenance_pb2 as _provenance_pb2
from qonduit.v1 import server_program_pb2 as _server_program_pb2
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
    RESULT_TYPE_STATEVECTOR: _ClassVar[ResultType]
    RESULT_TYPE_TERM_VALUES: _ClassVar[ResultType]
    RESULT_TYPE_COMPILED_CIRCUIT: _ClassVar[ResultType]
    RESULT_TYPE_PROGRAM_OUTPUT: _ClassVar[ResultType]

class ColumnKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COLUMN_KIND_UNSPECIFIED: _ClassVar[ColumnKind]
    COLUMN_KIND_UINT: _ClassVar[ColumnKind]
    COLUMN_KIND_FLOAT64: _ClassVar[ColumnKind]
RESULT_TYPE_UNSPECIFIED: ResultType
RESULT_TYPE_COUNTS_AND_PROBABILITIES: ResultType
RESULT_TYPE_QUASI_DISTRIBUTION: ResultType
RESULT_TYPE_EXPECTATION_VALUES: ResultType
RESULT_TYPE_UPLOAD: ResultType
RESULT_TYPE_STATEVECTOR: ResultType
RESULT_TYPE_TERM_VALUES: ResultType
RESULT_TYPE_COMPILED_CIRCUIT: ResultType
RESULT_TYPE_PROGRAM_OUTPUT: ResultType
COLUMN_KIND_UNSPECIFIED: ColumnKind
COLUMN_KIND_UINT: ColumnKind
COLUMN_KIND_FLOAT64: ColumnKind

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

class RegisterDistribution(_message.Message):
    __slots__ = ("register", "quasi_probabilities")
    class QuasiProbabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    REGISTER_FIELD_NUMBER: _ClassVar[int]
    QUASI_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    register: str
    quasi_probabilities: _containers.ScalarMap[str, float]
    def __init__(self, register: _Optional[str] = ..., quasi_probabilities: _Optional[_Mapping[str, float]] = ...) -> None: ...

class QuasiDistribution(_message.Message):
    __slots__ = ("quasi_probabilities", "by_register", "outcomes", "exact")
    class QuasiProbabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    QUASI_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    BY_REGISTER_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    quasi_probabilities: _containers.ScalarMap[str, float]
    by_register: _containers.RepeatedCompositeFieldContainer[RegisterDistribution]
    outcomes: bytes
    exact: bool
    def __init__(self, quasi_probabilities: _Optional[_Mapping[str, float]] = ..., by_register: _Optional[_Iterable[_Union[RegisterDistribution, _Mapping]]] = ..., outcomes: _Optional[bytes] = ..., exact: _Optional[bool] = ...) -> None: ...

class ExpectationValues(_message.Message):
    __slots__ = ("values", "standard_errors", "variances", "exact", "gradients", "shots", "confidence_intervals", "confidence_level", "bounded", "num_observables", "num_points", "parameters")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STANDARD_ERRORS_FIELD_NUMBER: _ClassVar[int]
    VARIANCES_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    GRADIENTS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_INTERVALS_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    BOUNDED_FIELD_NUMBER: _ClassVar[int]
    NUM_OBSERVABLES_FIELD_NUMBER: _ClassVar[int]
    NUM_POINTS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    standard_errors: _containers.RepeatedScalarFieldContainer[float]
    variances: _containers.RepeatedScalarFieldContainer[float]
    exact: bool
    gradients: _containers.RepeatedScalarFieldContainer[float]
    shots: _containers.RepeatedScalarFieldContainer[int]
    confidence_intervals: _containers.RepeatedScalarFieldContainer[float]
    confidence_level: float
    bounded: _containers.RepeatedScalarFieldContainer[bool]
    num_observables: int
    num_points: int
    parameters: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, values: _Optional[_Iterable[float]] = ..., standard_errors: _Optional[_Iterable[float]] = ..., variances: _Optional[_Iterable[float]] = ..., exact: _Optional[bool] = ..., gradients: _Optional[_Iterable[float]] = ..., shots: _Optional[_Iterable[int]] = ..., confidence_intervals: _Optional[_Iterable[float]] = ..., confidence_level: _Optional[float] = ..., bounded: _Optional[_Iterable[bool]] = ..., num_observables: _Optional[int] = ..., num_points: _Optional[int] = ..., parameters: _Optional[_Iterable[str]] = ...) -> None: ...

class TermValues(_message.Message):
    __slots__ = ("values", "num_terms")
    VALUES_FIELD_NUMBER: _ClassVar[int]
    NUM_TERMS_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedScalarFieldContainer[float]
    num_terms: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, values: _Optional[_Iterable[float]] = ..., num_terms: _Optional[_Iterable[int]] = ...) -> None: ...

class Statevector(_message.Message):
    __slots__ = ("num_qubits", "real", "imaginary")
    NUM_QUBITS_FIELD_NUMBER: _ClassVar[int]
    REAL_FIELD_NUMBER: _ClassVar[int]
    IMAGINARY_FIELD_NUMBER: _ClassVar[int]
    num_qubits: int
    real: _containers.RepeatedScalarFieldContainer[float]
    imaginary: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, num_qubits: _Optional[int] = ..., real: _Optional[_Iterable[float]] = ..., imaginary: _Optional[_Iterable[float]] = ...) -> None: ...

class CompiledCircuit(_message.Message):
    __slots__ = ("text",)
    TEXT_FIELD_NUMBER: _ClassVar[int]
    text: str
    def __init__(self, text: _Optional[str] = ...) -> None: ...

class ProgramOutput(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: _struct_pb2.Value
    def __init__(self, value: _Optional[_Union[_struct_pb2.Value, _Mapping]] = ...) -> None: ...

class BufferColumn(_message.Message):
    __slots__ = ("name", "kind", "width")
    NAME_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    name: str
    kind: ColumnKind
    width: int
    def __init__(self, name: _Optional[str] = ..., kind: _Optional[_Union[ColumnKind, str]] = ..., width: _Optional[int] = ...) -> None: ...

class BufferReference(_message.Message):
    __slots__ = ("name", "size_bytes", "sha256", "rows", "columns")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SIZE_BYTES_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    name: str
    size_bytes: int
    sha256: str
    rows: int
    columns: _containers.RepeatedCompositeFieldContainer[BufferColumn]
    def __init__(self, name: _Optional[str] = ..., size_bytes: _Optional[int] = ..., sha256: _Optional[str] = ..., rows: _Optional[int] = ..., columns: _Optional[_Iterable[_Union[BufferColumn, _Mapping]]] = ...) -> None: ...

class Result(_message.Message):
    __slots__ = ("id", "job_id", "program_id", "result_type", "counts_and_probabilities", "statevector", "quasi_distribution", "expectation_values", "term_values", "compiled_circuit", "program_output", "upload", "buffer", "meta_data", "shots", "registers", "point", "partial", "provenance")
    ID_FIELD_NUMBER: _ClassVar[int]
    JOB_ID_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_ID_FIELD_NUMBER: _ClassVar[int]
    RESULT_TYPE_FIELD_NUMBER: _ClassVar[int]
    COUNTS_AND_PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    STATEVECTOR_FIELD_NUMBER: _ClassVar[int]
    QUASI_DISTRIBUTION_FIELD_NUMBER: _ClassVar[int]
    EXPECTATION_VALUES_FIELD_NUMBER: _ClassVar[int]
    TERM_VALUES_FIELD_NUMBER: _ClassVar[int]
    COMPILED_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_OUTPUT_FIELD_NUMBER: _ClassVar[int]
    UPLOAD_FIELD_NUMBER: _ClassVar[int]
    BUFFER_FIELD_NUMBER: _ClassVar[int]
    META_DATA_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    REGISTERS_FIELD_NUMBER: _ClassVar[int]
    POINT_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    id: int
    job_id: int
    program_id: int
    result_type: ResultType
    counts_and_probabilities: CountsAndProbabilities
    statevector: Statevector
    quasi_distribution: QuasiDistribution
    expectation_values: ExpectationValues
    term_values: TermValues
    compiled_circuit: CompiledCircuit
    program_output: ProgramOutput
    upload: _server_program_pb2.ServerProgram
    buffer: BufferReference
    meta_data: _struct_pb2.Struct
    shots: int
    registers: _containers.RepeatedCompositeFieldContainer[Register]
    point: int
    partial: bool
    provenance: _provenance_pb2.Provenance
    def __init__(self, id: _Optional[int] = ..., job_id: _Optional[int] = ..., program_id: _Optional[int] = ..., result_type: _Optional[_Union[ResultType, str]] = ..., counts_and_probabilities: _Optional[_Union[CountsAndProbabilities, _Mapping]] = ..., statevector: _Optional[_Union[Statevector, _Mapping]] = ..., quasi_distribution: _Optional[_Union[QuasiDistribution, _Mapping]] = ..., expectation_values: _Optional[_Union[ExpectationValues, _Mapping]] = ..., term_values: _Optional[_Union[TermValues, _Mapping]] = ..., compiled_circuit: _Optional[_Union[CompiledCircuit, _Mapping]] = ..., program_output: _Optional[_Union[ProgramOutput, _Mapping]] = ..., upload: _Optional[_Union[_server_program_pb2.ServerProgram, _Mapping]] = ..., buffer: _Optional[_Union[BufferReference, _Mapping]] = ..., meta_data: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., shots: _Optional[int] = ..., registers: _Optional[_Iterable[_Union[Register, _Mapping]]] = ..., point: _Optional[int] = ..., partial: _Optional[bool] = ..., provenance: _Optional[_Union[_provenance_pb2.Provenance, _Mapping]] = ...) -> None: ...
