import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import pause_pb2 as _pause_pb2
from qonduit.v1 import simulation_pb2 as _simulation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class DeviceCapabilities(_message.Message):
    __slots__ = ("mid_circuit_measurement", "reset", "conditionals", "parameters", "noise", "loops", "job_types", "statevector", "methods", "coupling_map", "floating_point", "vendor_modes", "vendor_estimator")
    MID_CIRCUIT_MEASUREMENT_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CONDITIONALS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    LOOPS_FIELD_NUMBER: _ClassVar[int]
    JOB_TYPES_FIELD_NUMBER: _ClassVar[int]
    STATEVECTOR_FIELD_NUMBER: _ClassVar[int]
    METHODS_FIELD_NUMBER: _ClassVar[int]
    COUPLING_MAP_FIELD_NUMBER: _ClassVar[int]
    FLOATING_POINT_FIELD_NUMBER: _ClassVar[int]
    VENDOR_MODES_FIELD_NUMBER: _ClassVar[int]
    VENDOR_ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    mid_circuit_measurement: bool
    reset: bool
    conditionals: bool
    parameters: bool
    noise: bool
    loops: bool
    job_types: _containers.RepeatedScalarFieldContainer[_job_pb2.JobType]
    statevector: bool
    methods: _containers.RepeatedCompositeFieldContainer[_simulation_pb2.SimulationMethod]
    coupling_map: bool
    floating_point: _containers.RepeatedScalarFieldContainer[str]
    vendor_modes: _containers.RepeatedScalarFieldContainer[_job_pb2.VendorMode]
    vendor_estimator: bool
    def __init__(self, mid_circuit_measurement: _Optional[bool] = ..., reset: _Optional[bool] = ..., conditionals: _Optional[bool] = ..., parameters: _Optional[bool] = ..., noise: _Optional[bool] = ..., loops: _Optional[bool] = ..., job_types: _Optional[_Iterable[_Union[_job_pb2.JobType, str]]] = ..., statevector: _Optional[bool] = ..., methods: _Optional[_Iterable[_Union[_simulation_pb2.SimulationMethod, _Mapping]]] = ..., coupling_map: _Optional[bool] = ..., floating_point: _Optional[_Iterable[str]] = ..., vendor_modes: _Optional[_Iterable[_Union[_job_pb2.VendorMode, str]]] = ..., vendor_estimator: _Optional[bool] = ...) -> None: ...

class VendorJobLimits(_message.Message):
    __slots__ = ("circuits", "shots", "min_shots")
    CIRCUITS_FIELD_NUMBER: _ClassVar[int]
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    MIN_SHOTS_FIELD_NUMBER: _ClassVar[int]
    circuits: int
    shots: int
    min_shots: int
    def __init__(self, circuits: _Optional[int] = ..., shots: _Optional[int] = ..., min_shots: _Optional[int] = ...) -> None: ...

class DevicePrice(_message.Message):
    __slots__ = ("job", "shot", "unit", "minute", "max_minutes", "circuit", "stated")
    JOB_FIELD_NUMBER: _ClassVar[int]
    SHOT_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    MINUTE_FIELD_NUMBER: _ClassVar[int]
    MAX_MINUTES_FIELD_NUMBER: _ClassVar[int]
    CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    STATED_FIELD_NUMBER: _ClassVar[int]
    job: float
    shot: float
    unit: str
    minute: float
    max_minutes: float
    circuit: float
    stated: bool
    def __init__(self, job: _Optional[float] = ..., shot: _Optional[float] = ..., unit: _Optional[str] = ..., minute: _Optional[float] = ..., max_minutes: _Optional[float] = ..., circuit: _Optional[float] = ..., stated: _Optional[bool] = ...) -> None: ...

class Device(_message.Message):
    __slots__ = ("id", "name", "num_qubits", "is_simulator", "is_local", "provider_id", "available", "status_message", "queue_depth", "max_shots", "capabilities", "basis_gates", "pause", "with_token", "listed_at", "verified_at", "price", "vendor_job")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    NUM_QUBITS_FIELD_NUMBER: _ClassVar[int]
    IS_SIMULATOR_FIELD_NUMBER: _ClassVar[int]
    IS_LOCAL_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    MAX_SHOTS_FIELD_NUMBER: _ClassVar[int]
    CAPABILITIES_FIELD_NUMBER: _ClassVar[int]
    BASIS_GATES_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    WITH_TOKEN_FIELD_NUMBER: _ClassVar[int]
    LISTED_AT_FIELD_NUMBER: _ClassVar[int]
    VERIFIED_AT_FIELD_NUMBER: _ClassVar[int]
    PRICE_FIELD_NUMBER: _ClassVar[int]
    VENDOR_JOB_FIELD_NUMBER: _ClassVar[int]
    id: int
    name: str
    num_qubits: int
    is_simulator: bool
    is_local: bool
    provider_id: int
    available: bool
    status_message: str
    queue_depth: int
    max_shots: int
    capabilities: DeviceCapabilities
    basis_gates: _containers.RepeatedScalarFieldContainer[str]
    pause: _pause_pb2.Pause
    with_token: bool
    listed_at: _timestamp_pb2.Timestamp
    verified_at: _timestamp_pb2.Timestamp
    price: DevicePrice
    vendor_job: VendorJobLimits
    def __init__(self, id: _Optional[int] = ..., name: _Optional[str] = ..., num_qubits: _Optional[int] = ..., is_simulator: _Optional[bool] = ..., is_local: _Optional[bool] = ..., provider_id: _Optional[int] = ..., available: _Optional[bool] = ..., status_message: _Optional[str] = ..., queue_depth: _Optional[int] = ..., max_shots: _Optional[int] = ..., capabilities: _Optional[_Union[DeviceCapabilities, _Mapping]] = ..., basis_gates: _Optional[_Iterable[str]] = ..., pause: _Optional[_Union[_pause_pb2.Pause, _Mapping]] = ..., with_token: _Optional[bool] = ..., listed_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., verified_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., price: _Optional[_Union[DevicePrice, _Mapping]] = ..., vendor_job: _Optional[_Union[VendorJobLimits, _Mapping]] = ...) -> None: ...
