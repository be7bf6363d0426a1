from google.protobuf import struct_pb2 as _struct_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import noise_pb2 as _noise_pb2
from qonduit.v1 import simulation_pb2 as _simulation_pb2
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobSpec(_message.Message):
    __slots__ = ("shots", "type", "seed", "inputs", "include_statevector", "inputs_reference", "simulation", "noise_model", "noise_model_reference", "device_choice")
    SHOTS_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    INPUTS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_STATEVECTOR_FIELD_NUMBER: _ClassVar[int]
    INPUTS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    SIMULATION_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_FIELD_NUMBER: _ClassVar[int]
    NOISE_MODEL_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    DEVICE_CHOICE_FIELD_NUMBER: _ClassVar[int]
    shots: int
    type: _job_pb2.JobType
    seed: int
    inputs: _struct_pb2.Struct
    include_statevector: bool
    inputs_reference: _job_pb2.OptionReference
    simulation: _simulation_pb2.SimulationOptions
    noise_model: _noise_pb2.NoiseModel
    noise_model_reference: _job_pb2.OptionReference
    device_choice: _job_pb2.DeviceChoice
    def __init__(self, shots: _Optional[int] = ..., type: _Optional[_Union[_job_pb2.JobType, str]] = ..., seed: _Optional[int] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., include_statevector: _Optional[bool] = ..., inputs_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., simulation: _Optional[_Union[_simulation_pb2.SimulationOptions, _Mapping]] = ..., noise_model: _Optional[_Union[_noise_pb2.NoiseModel, _Mapping]] = ..., noise_model_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., device_choice: _Optional[_Union[_job_pb2.DeviceChoice, _Mapping]] = ...) -> None: ...
