from qonduit.v1 import simulation_pb2 as _simulation_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Provenance(_message.Message):
    __slots__ = ("program_sha256", "device", "calibration_sha256", "versions", "seed", "simulation", "noise_model_sha256")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROGRAM_SHA256_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_SHA256_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    program_sha256: str
    device: str
    calibration_sha256: str
    versions: _containers.ScalarMap[str, str]
    seed: int
    simulation: _simulation_pb2.SimulationOptions
    noise_model_sha256: str
    def __init__(self, program_sha256: _Optional[str] = ..., device: _Optional[str] = ..., calibration_sha256: _Optional[str] = ..., versions: _Optional[_Mapping[str, str]] = ..., seed: _Optional[int] = ..., simulation: _Optional[_Union[_simulation_pb2.SimulationOptions, _Mapping]] = ..., noise_model_sha256: _Optional[str] = ...) -> None: ...
