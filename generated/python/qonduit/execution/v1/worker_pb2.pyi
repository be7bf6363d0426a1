from qonduit.execution.v1 import task_pb2 as _task_pb2
from qonduit.execution.v1 import vendor_pb2 as _vendor_pb2
from qonduit.v1 import calibration_pb2 as _calibration_pb2
from qonduit.v1 import device_pb2 as _device_pb2
from qonduit.v1 import provider_pb2 as _provider_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class CalibratedDevice(_message.Message):
    __slots__ = ("device", "calibration")
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    device: str
    calibration: _calibration_pb2.DeviceCalibration
    def __init__(self, device: _Optional[str] = ..., calibration: _Optional[_Union[_calibration_pb2.DeviceCalibration, _Mapping]] = ...) -> None: ...

class ProviderDescription(_message.Message):
    __slots__ = ("provider", "devices", "unavailable", "calibrations", "versions", "vendor", "environments")
    class VersionsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    UNAVAILABLE_FIELD_NUMBER: _ClassVar[int]
    CALIBRATIONS_FIELD_NUMBER: _ClassVar[int]
    VERSIONS_FIELD_NUMBER: _ClassVar[int]
    VENDOR_FIELD_NUMBER: _ClassVar[int]
    ENVIRONMENTS_FIELD_NUMBER: _ClassVar[int]
    provider: _provider_pb2.Provider
    devices: _containers.RepeatedCompositeFieldContainer[_device_pb2.Device]
    unavailable: str
    calibrations: _containers.RepeatedCompositeFieldContainer[CalibratedDevice]
    versions: _containers.ScalarMap[str, str]
    vendor: _vendor_pb2.VendorTerms
    environments: _containers.RepeatedCompositeFieldContainer[_provider_pb2.Environment]
    def __init__(self, provider: _Optional[_Union[_provider_pb2.Provider, _Mapping]] = ..., devices: _Optional[_Iterable[_Union[_device_pb2.Device, _Mapping]]] = ..., unavailable: _Optional[str] = ..., calibrations: _Optional[_Iterable[_Union[CalibratedDevice, _Mapping]]] = ..., versions: _Optional[_Mapping[str, str]] = ..., vendor: _Optional[_Union[_vendor_pb2.VendorTerms, _Mapping]] = ..., environments: _Optional[_Iterable[_Union[_provider_pb2.Environment, _Mapping]]] = ...) -> None: ...

class Preload(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Fork(_message.Message):
    __slots__ = ("worker_id", "memory_limit_bytes")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    MEMORY_LIMIT_BYTES_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    memory_limit_bytes: int
    def __init__(self, worker_id: _Optional[int] = ..., memory_limit_bytes: _Optional[int] = ...) -> None: ...

class ForkServerRequest(_message.Message):
    __slots__ = ("preload", "fork")
    PRELOAD_FIELD_NUMBER: _ClassVar[int]
    FORK_FIELD_NUMBER: _ClassVar[int]
    preload: Preload
    fork: Fork
    def __init__(self, preload: _Optional[_Union[Preload, _Mapping]] = ..., fork: _Optional[_Union[Fork, _Mapping]] = ...) -> None: ...

class Loaded(_message.Message):
    __slots__ = ("seconds", "error")
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    seconds: float
    error: str
    def __init__(self, seconds: _Optional[float] = ..., error: _Optional[str] = ...) -> None: ...

class Forked(_message.Message):
    __slots__ = ("worker_id", "pid")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    PID_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    pid: int
    def __init__(self, worker_id: _Optional[int] = ..., pid: _Optional[int] = ...) -> None: ...

class Exited(_message.Message):
    __slots__ = ("worker_id", "exit_code")
    WORKER_ID_FIELD_NUMBER: _ClassVar[int]
    EXIT_CODE_FIELD_NUMBER: _ClassVar[int]
    worker_id: int
    exit_code: int
    def __init__(self, worker_id: _Optional[int] = ..., exit_code: _Optional[int] = ...) -> None: ...

class ForkServerReply(_message.Message):
    __slots__ = ("description", "loaded", "forked", "exited")
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    LOADED_FIELD_NUMBER: _ClassVar[int]
    FORKED_FIELD_NUMBER: _ClassVar[int]
    EXITED_FIELD_NUMBER: _ClassVar[int]
    description: ProviderDescription
    loaded: Loaded
    forked: Forked
    exited: Exited
    def __init__(self, description: _Optional[_Union[ProviderDescription, _Mapping]] = ..., loaded: _Optional[_Union[Loaded, _Mapping]] = ..., forked: _Optional[_Union[Forked, _Mapping]] = ..., exited: _Optional[_Union[Exited, _Mapping]] = ...) -> None: ...

class WorkerRequest(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _task_pb2.TaskBatch
    def __init__(self, run: _Optional[_Union[_task_pb2.TaskBatch, _Mapping]] = ...) -> None: ...

class WorkerReply(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _task_pb2.TaskEventBatch
    def __init__(self, events: _Optional[_Union[_task_pb2.TaskEventBatch, _Mapping]] = ...) -> None: ...
