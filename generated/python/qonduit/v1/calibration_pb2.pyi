import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class QubitCalibration(_message.Message):
    __slots__ = ("qubit", "t1", "t2", "prob_1_given_0", "prob_0_given_1", "readout_duration", "name")
    QUBIT_FIELD_NUMBER: _ClassVar[int]
    T1_FIELD_NUMBER: _ClassVar[int]
    T2_FIELD_NUMBER: _ClassVar[int]
    PROB_1_GIVEN_0_FIELD_NUMBER: _ClassVar[int]
    PROB_0_GIVEN_1_FIELD_NUMBER: _ClassVar[int]
    READOUT_DURATION_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    qubit: int
    t1: float
    t2: float
    prob_1_given_0: float
    prob_0_given_1: float
    readout_duration: float
    name: str
    def __init__(self, qubit: _Optional[int] = ..., t1: _Optional[float] = ..., t2: _Optional[float] = ..., prob_1_given_0: _Optional[float] = ..., prob_0_given_1: _Optional[float] = ..., readout_duration: _Optional[float] = ..., name: _Optional[str] = ...) -> None: ...

class GateCalibration(_message.Message):
    __slots__ = ("gate", "qubits", "error", "duration")
    GATE_FIELD_NUMBER: _ClassVar[int]
    QUBITS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    gate: str
    qubits: _containers.RepeatedScalarFieldContainer[int]
    error: float
    duration: float
    def __init__(self, gate: _Optional[str] = ..., qubits: _Optional[_Iterable[int]] = ..., error: _Optional[float] = ..., duration: _Optional[float] = ...) -> None: ...

class CoupledQubits(_message.Message):
    __slots__ = ("first", "second")
    FIRST_FIELD_NUMBER: _ClassVar[int]
    SECOND_FIELD_NUMBER: _ClassVar[int]
    first: int
    second: int
    def __init__(self, first: _Optional[int] = ..., second: _Optional[int] = ...) -> None: ...

class DeviceCalibration(_message.Message):
    __slots__ = ("calibrated_at", "qubits", "gates", "coupling_map", "dt")
    CALIBRATED_AT_FIELD_NUMBER: _ClassVar[int]
    QUBITS_FIELD_NUMBER: _ClassVar[int]
    GATES_FIELD_NUMBER: _ClassVar[int]
    COUPLING_MAP_FIELD_NUMBER: _ClassVar[int]
    DT_FIELD_NUMBER: _ClassVar[int]
    calibrated_at: _timestamp_pb2.Timestamp
    qubits: _containers.RepeatedCompositeFieldContainer[QubitCalibration]
    gates: _containers.RepeatedCompositeFieldContainer[GateCalibration]
    coupling_map: _containers.RepeatedCompositeFieldContainer[CoupledQubits]
    dt: float
    def __init__(self, calibrated_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., qubits: _Optional[_Iterable[_Union[QubitCalibration, _Mapping]]] = ..., gates: _Optional[_Iterable[_Union[GateCalibration, _Mapping]]] = ..., coupling_map: _Optional[_Iterable[_Union[CoupledQubits, _Mapping]]] = ..., dt: _Optional[float] = ...) -> None: ...
