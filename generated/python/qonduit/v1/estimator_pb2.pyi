from qonduit._vendor import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PauliTerms(_message.Message):
    __slots__ = ("coefficients", "x_masks", "z_masks", "num_qubits")
    COEFFICIENTS_FIELD_NUMBER: _ClassVar[int]
    X_MASKS_FIELD_NUMBER: _ClassVar[int]
    Z_MASKS_FIELD_NUMBER: _ClassVar[int]
    NUM_QUBITS_FIELD_NUMBER: _ClassVar[int]
    coefficients: _containers.RepeatedScalarFieldContainer[float]
    x_masks: bytes
    z_masks: bytes
    num_qubits: int
    def __init__(self, coefficients: _Optional[_Iterable[float]] = ..., x_masks: _Optional[bytes] = ..., z_masks: _Optional[bytes] = ..., num_qubits: _Optional[int] = ...) -> None: ...

class Observable(_message.Message):
    __slots__ = ("expression", "terms")
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    expression: str
    terms: PauliTerms
    def __init__(self, expression: _Optional[str] = ..., terms: _Optional[_Union[PauliTerms, _Mapping]] = ...) -> None: ...

class EstimatorOptions(_message.Message):
    __slots__ = ("observables", "precision", "exact", "per_term", "gradient", "confidence_level")
    OBSERVABLES_FIELD_NUMBER: _ClassVar[int]
    PRECISION_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    PER_TERM_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_FIELD_NUMBER: _ClassVar[int]
    CONFIDENCE_LEVEL_FIELD_NUMBER: _ClassVar[int]
    observables: _containers.RepeatedCompositeFieldContainer[Observable]
    precision: float
    exact: bool
    per_term: bool
    gradient: bool
    confidence_level: float
    def __init__(self, observables: _Optional[_Iterable[_Union[Observable, _Mapping]]] = ..., precision: _Optional[float] = ..., exact: _Optional[bool] = ..., per_term: _Optional[bool] = ..., gradient: _Optional[bool] = ..., confidence_level: _Optional[float] = ...) -> None: ...
