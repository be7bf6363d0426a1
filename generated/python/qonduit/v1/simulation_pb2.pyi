from qonduit._vendor import validate_pb2 as _validate_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SimulationOptions(_message.Message):
    __slots__ = ("method", "floating_point", "max_bond_dimension", "optimization_level", "allow_approximate", "min_fidelity")
    METHOD_FIELD_NUMBER: _ClassVar[int]
    FLOATING_POINT_FIELD_NUMBER: _ClassVar[int]
    MAX_BOND_DIMENSION_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZATION_LEVEL_FIELD_NUMBER: _ClassVar[int]
    ALLOW_APPROXIMATE_FIELD_NUMBER: _ClassVar[int]
    MIN_FIDELITY_FIELD_NUMBER: _ClassVar[int]
    method: str
    floating_point: str
    max_bond_dimension: int
    optimization_level: int
    allow_approximate: bool
    min_fidelity: float
    def __init__(self, method: _Optional[str] = ..., floating_point: _Optional[str] = ..., max_bond_dimension: _Optional[int] = ..., optimization_level: _Optional[int] = ..., allow_approximate: _Optional[bool] = ..., min_fidelity: _Optional[float] = ...) -> None: ...

class SimulationMethod(_message.Message):
    __slots__ = ("name", "max_qubits", "max_memory_bytes", "circuits", "exact", "noise", "clifford_only")
    NAME_FIELD_NUMBER: _ClassVar[int]
    MAX_QUBITS_FIELD_NUMBER: _ClassVar[int]
    MAX_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    EXACT_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    CLIFFORD_ONLY_FIELD_NUMBER: _ClassVar[int]
    name: str
    max_qubits: int
    max_memory_bytes: int
    circuits: str
    exact: bool
    noise: bool
    clifford_only: bool
    def __init__(self, name: _Optional[str] = ..., max_qubits: _Optional[int] = ..., max_memory_bytes: _Optional[int] = ..., circuits: _Optional[str] = ..., exact: _Optional[bool] = ..., noise: _Optional[bool] = ..., clifford_only: _Optional[bool] = ...) -> None: ...
