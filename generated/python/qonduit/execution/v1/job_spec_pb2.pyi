import datetime

from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import estimator_pb2 as _estimator_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import noise_pb2 as _noise_pb2
from qonduit.v1 import provenance_pb2 as _provenance_pb2
from qonduit.v1 import sampler_pb2 as _sampler_pb2
from qonduit.v1 import simulation_pb2 as _simulation_pb2
from qonduit.v1 import sweep_pb2 as _sweep_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class JobSpec(_message.Message):
    __slots__ = ("shots", "type", "seed", "inputs", "include_statevector", "inputs_reference", "simulation", "noise_model", "noise_model_reference", "device_choice", "estimator", "sampler", "parameter_sets", "program_options", "estimator_reference", "parameter_sets_reference", "program_options_reference", "stop_when", "labels", "include_compiled_circuit", "drawn_seed", "required_provenance", "priority", "not_before", "expires_at", "credential_id", "client_data_reference", "client_data", "one_time_credential", "traceparent", "required_versions", "parent_job_id", "max_cost", "vendor_options")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
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
    ESTIMATOR_FIELD_NUMBER: _ClassVar[int]
    SAMPLER_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SETS_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_OPTIONS_FIELD_NUMBER: _ClassVar[int]
    ESTIMATOR_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_SETS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    PROGRAM_OPTIONS_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    STOP_WHEN_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    INCLUDE_COMPILED_CIRCUIT_FIELD_NUMBER: _ClassVar[int]
    DRAWN_SEED_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_DATA_REFERENCE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_DATA_FIELD_NUMBER: _ClassVar[int]
    ONE_TIME_CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    TRACEPARENT_FIELD_NUMBER: _ClassVar[int]
    REQUIRED_VERSIONS_FIELD_NUMBER: _ClassVar[int]
    PARENT_JOB_ID_FIELD_NUMBER: _ClassVar[int]
    MAX_COST_FIELD_NUMBER: _ClassVar[int]
    VENDOR_OPTIONS_FIELD_NUMBER: _ClassVar[int]
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
    estimator: _estimator_pb2.EstimatorOptions
    sampler: _sampler_pb2.SamplerOptions
    parameter_sets: _sweep_pb2.ParameterSets
    program_options: _containers.RepeatedCompositeFieldContainer[_job_pb2.ProgramOptions]
    estimator_reference: _job_pb2.OptionReference
    parameter_sets_reference: _job_pb2.OptionReference
    program_options_reference: _job_pb2.OptionReference
    stop_when: _job_pb2.StopCondition
    labels: _containers.ScalarMap[str, str]
    include_compiled_circuit: bool
    drawn_seed: int
    required_provenance: _provenance_pb2.Provenance
    priority: int
    not_before: _timestamp_pb2.Timestamp
    expires_at: _timestamp_pb2.Timestamp
    credential_id: int
    client_data_reference: _job_pb2.OptionReference
    client_data: bytes
    one_time_credential: bool
    traceparent: str
    required_versions: _job_pb2.RequiredVersions
    parent_job_id: int
    max_cost: _job_pb2.VendorCost
    vendor_options: _job_pb2.VendorOptions
    def __init__(self, shots: _Optional[int] = ..., type: _Optional[_Union[_job_pb2.JobType, str]] = ..., seed: _Optional[int] = ..., inputs: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ..., include_statevector: _Optional[bool] = ..., inputs_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., simulation: _Optional[_Union[_simulation_pb2.SimulationOptions, _Mapping]] = ..., noise_model: _Optional[_Union[_noise_pb2.NoiseModel, _Mapping]] = ..., noise_model_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., device_choice: _Optional[_Union[_job_pb2.DeviceChoice, _Mapping]] = ..., estimator: _Optional[_Union[_estimator_pb2.EstimatorOptions, _Mapping]] = ..., sampler: _Optional[_Union[_sampler_pb2.SamplerOptions, _Mapping]] = ..., parameter_sets: _Optional[_Union[_sweep_pb2.ParameterSets, _Mapping]] = ..., program_options: _Optional[_Iterable[_Union[_job_pb2.ProgramOptions, _Mapping]]] = ..., estimator_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., parameter_sets_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., program_options_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., stop_when: _Optional[_Union[_job_pb2.StopCondition, _Mapping]] = ..., labels: _Optional[_Mapping[str, str]] = ..., include_compiled_circuit: _Optional[bool] = ..., drawn_seed: _Optional[int] = ..., required_provenance: _Optional[_Union[_provenance_pb2.Provenance, _Mapping]] = ..., priority: _Optional[int] = ..., not_before: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., expires_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., credential_id: _Optional[int] = ..., client_data_reference: _Optional[_Union[_job_pb2.OptionReference, _Mapping]] = ..., client_data: _Optional[bytes] = ..., one_time_credential: _Optional[bool] = ..., traceparent: _Optional[str] = ..., required_versions: _Optional[_Union[_job_pb2.RequiredVersions, _Mapping]] = ..., parent_job_id: _Optional[int] = ..., max_cost: _Optional[_Union[_job_pb2.VendorCost, _Mapping]] = ..., vendor_options: _Optional[_Union[_job_pb2.VendorOptions, _Mapping]] = ...) -> None: ...
