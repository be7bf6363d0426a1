from qonduit._vendor import validate_pb2 as _validate_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NoiseModel(_message.Message):
    __slots__ = ("gate_errors", "readout_errors", "aer_json")
    GATE_ERRORS_FIELD_NUMBER: _ClassVar[int]
    READOUT_ERRORS_FIELD_NUMBER: _ClassVar[int]
    AER_JSON_FIELD_NUMBER: _ClassVar[int]
    gate_errors: _containers.RepeatedCompositeFieldContainer[GateError]
    readout_errors: _containers.RepeatedCompositeFieldContainer[ReadoutError]
    aer_json: str
    def __init__(self, gate_errors: _Optional[_Iterable[_Union[GateError, _Mapping]]] = ..., readout_errors: _Optional[_Iterable[_Union[ReadoutError, _Mapping]]] = ..., aer_json: _Optional[str] = ...) -> None: ...

class GateError(_message.Message):
    __slots__ = ("gates", "qubits", "channel")
    GATES_FIELD_NUMBER: _ClassVar[int]
    QUBITS_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    gates: _containers.RepeatedScalarFieldContainer[str]
    qubits: _containers.RepeatedScalarFieldContainer[int]
    channel: NoiseChannel
    def __init__(self, gates: _Optional[_Iterable[str]] = ..., qubits: _Optional[_Iterable[int]] = ..., channel: _Optional[_Union[NoiseChannel, _Mapping]] = ...) -> None: ...

class NoiseChannel(_message.Message):
    __slots__ = ("depolarizing", "bit_flip", "phase_flip", "amplitude_damping", "phase_damping", "generalized_amplitude_damping", "thermal_relaxation", "pauli", "kraus")
    DEPOLARIZING_FIELD_NUMBER: _ClassVar[int]
    BIT_FLIP_FIELD_NUMBER: _ClassVar[int]
    PHASE_FLIP_FIELD_NUMBER: _ClassVar[int]
    AMPLITUDE_DAMPING_FIELD_NUMBER: _ClassVar[int]
    PHASE_DAMPING_FIELD_NUMBER: _ClassVar[int]
    GENERALIZED_AMPLITUDE_DAMPING_FIELD_NUMBER: _ClassVar[int]
    THERMAL_RELAXATION_FIELD_NUMBER: _ClassVar[int]
    PAULI_FIELD_NUMBER: _ClassVar[int]
    KRAUS_FIELD_NUMBER: _ClassVar[int]
    depolarizing: float
    bit_flip: float
    phase_flip: float
    amplitude_damping: float
    phase_damping: float
    generalized_amplitude_damping: GeneralizedAmplitudeDamping
    thermal_relaxation: ThermalRelaxation
    pauli: PauliChannel
    kraus: KrausChannel
    def __init__(self, depolarizing: _Optional[float] = ..., bit_flip: _Optional[float] = ..., phase_flip: _Optional[float] = ..., amplitude_damping: _Optional[float] = ..., phase_damping: _Optional[float] = ..., generalized_amplitude_damping: _Optional[_Union[GeneralizedAmplitudeDamping, _Mapping]] = ..., thermal_relaxation: _Optional[_Union[ThermalRelaxation, _Mapping]] = ..., pauli: _Optional[_Union[PauliChannel, _Mapping]] = ..., kraus: _Optional[_Union[KrausChannel, _Mapping]] = ...) -> None: ...

class GeneralizedAmplitudeDamping(_message.Message):
    __slots__ = ("probability", "excited")
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    EXCITED_FIELD_NUMBER: _ClassVar[int]
    probability: float
    excited: float
    def __init__(self, probability: _Optional[float] = ..., excited: _Optional[float] = ...) -> None: ...

class ThermalRelaxation(_message.Message):
    __slots__ = ("t1", "t2", "duration")
    T1_FIELD_NUMBER: _ClassVar[int]
    T2_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    t1: float
    t2: float
    duration: float
    def __init__(self, t1: _Optional[float] = ..., t2: _Optional[float] = ..., duration: _Optional[float] = ...) -> None: ...

class PauliChannel(_message.Message):
    __slots__ = ("probabilities",)
    class ProbabilitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    PROBABILITIES_FIELD_NUMBER: _ClassVar[int]
    probabilities: _containers.ScalarMap[str, float]
    def __init__(self, probabilities: _Optional[_Mapping[str, float]] = ...) -> None: ...

class KrausChannel(_message.Message):
    __slots__ = ("operators",)
    OPERATORS_FIELD_NUMBER: _ClassVar[int]
    operators: _containers.RepeatedCompositeFieldContainer[KrausOperator]
    def __init__(self, operators: _Optional[_Iterable[_Union[KrausOperator, _Mapping]]] = ...) -> None: ...

class KrausOperator(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, entries: _Optional[_Iterable[float]] = ...) -> None: ...

class ReadoutError(_message.Message):
    __slots__ = ("qubits", "prob_1_given_0", "prob_0_given_1")
    QUBITS_FIELD_NUMBER: _ClassVar[int]
    PROB_1_GIVEN_0_FIELD_NUMBER: _ClassVar[int]
    PROB_0_GIVEN_1_FIELD_NUMBER: _ClassVar[int]
    qubits: _containers.RepeatedScalarFieldContainer[int]
    prob_1_given_0: float
    prob_0_given_1: float
    def __init__(self, qubits: _Optional[_Iterable[int]] = ..., prob_1_given_0: _Optional[float] = ..., prob_0_given_1: _Optional[float] = ...) -> None: ...
