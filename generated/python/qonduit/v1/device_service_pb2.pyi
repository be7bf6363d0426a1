import datetime

from qonduit._vendor import validate_pb2 as _validate_pb2
from google.api import field_behavior_pb2 as _field_behavior_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from qonduit.v1 import calibration_pb2 as _calibration_pb2
from qonduit.v1 import deployment_pb2 as _deployment_pb2
from qonduit.v1 import device_pb2 as _device_pb2
from qonduit.v1 import job_pb2 as _job_pb2
from qonduit.v1 import pause_pb2 as _pause_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class GetDeviceRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetDeviceResponse(_message.Message):
    __slots__ = ("device",)
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    device: _device_pb2.Device
    def __init__(self, device: _Optional[_Union[_device_pb2.Device, _Mapping]] = ...) -> None: ...

class ListDevicesRequest(_message.Message):
    __slots__ = ("page_size", "page_token", "filter")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    FILTER_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    filter: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., filter: _Optional[str] = ...) -> None: ...

class ListDevicesResponse(_message.Message):
    __slots__ = ("devices", "next_page_token")
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[_device_pb2.Device]
    next_page_token: str
    def __init__(self, devices: _Optional[_Iterable[_Union[_device_pb2.Device, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetDeviceStatusRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetDeviceStatusResponse(_message.Message):
    __slots__ = ("available", "status_message", "queue_depth", "checked_at", "pause", "running_jobs")
    AVAILABLE_FIELD_NUMBER: _ClassVar[int]
    STATUS_MESSAGE_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    CHECKED_AT_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    RUNNING_JOBS_FIELD_NUMBER: _ClassVar[int]
    available: bool
    status_message: str
    queue_depth: int
    checked_at: _timestamp_pb2.Timestamp
    pause: _pause_pb2.Pause
    running_jobs: int
    def __init__(self, available: _Optional[bool] = ..., status_message: _Optional[str] = ..., queue_depth: _Optional[int] = ..., checked_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., pause: _Optional[_Union[_pause_pb2.Pause, _Mapping]] = ..., running_jobs: _Optional[int] = ...) -> None: ...

class GetDeviceCalibrationRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class GetDeviceCalibrationResponse(_message.Message):
    __slots__ = ("calibration",)
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    calibration: _calibration_pb2.DeviceCalibration
    def __init__(self, calibration: _Optional[_Union[_calibration_pb2.DeviceCalibration, _Mapping]] = ...) -> None: ...

class RefreshDevicesRequest(_message.Message):
    __slots__ = ("provider_id", "credential", "credential_id")
    PROVIDER_ID_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_FIELD_NUMBER: _ClassVar[int]
    CREDENTIAL_ID_FIELD_NUMBER: _ClassVar[int]
    provider_id: int
    credential: str
    credential_id: int
    def __init__(self, provider_id: _Optional[int] = ..., credential: _Optional[str] = ..., credential_id: _Optional[int] = ...) -> None: ...

class RefreshDevicesResponse(_message.Message):
    __slots__ = ("devices",)
    DEVICES_FIELD_NUMBER: _ClassVar[int]
    devices: _containers.RepeatedCompositeFieldContainer[_device_pb2.Device]
    def __init__(self, devices: _Optional[_Iterable[_Union[_device_pb2.Device, _Mapping]]] = ...) -> None: ...

class CompareDevicesRequest(_message.Message):
    __slots__ = ("job", "deployment")
    JOB_FIELD_NUMBER: _ClassVar[int]
    DEPLOYMENT_FIELD_NUMBER: _ClassVar[int]
    job: _job_pb2.Job
    deployment: _deployment_pb2.Deployment
    def __init__(self, job: _Optional[_Union[_job_pb2.Job, _Mapping]] = ..., deployment: _Optional[_Union[_deployment_pb2.Deployment, _Mapping]] = ...) -> None: ...

class DeviceFit(_message.Message):
    __slots__ = ("device_id", "device", "supported", "auto_eligible", "reason", "method", "memory_bytes", "estimated_seconds_p50", "estimated_seconds_p90", "queue_depth")
    DEVICE_ID_FIELD_NUMBER: _ClassVar[int]
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    SUPPORTED_FIELD_NUMBER: _ClassVar[int]
    AUTO_ELIGIBLE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_P50_FIELD_NUMBER: _ClassVar[int]
    ESTIMATED_SECONDS_P90_FIELD_NUMBER: _ClassVar[int]
    QUEUE_DEPTH_FIELD_NUMBER: _ClassVar[int]
    device_id: int
    device: str
    supported: bool
    auto_eligible: bool
    reason: str
    method: str
    memory_bytes: int
    estimated_seconds_p50: float
    estimated_seconds_p90: float
    queue_depth: int
    def __init__(self, device_id: _Optional[int] = ..., device: _Optional[str] = ..., supported: _Optional[bool] = ..., auto_eligible: _Optional[bool] = ..., reason: _Optional[str] = ..., method: _Optional[str] = ..., memory_bytes: _Optional[int] = ..., estimated_seconds_p50: _Optional[float] = ..., estimated_seconds_p90: _Optional[float] = ..., queue_depth: _Optional[int] = ...) -> None: ...

class CompareDevicesResponse(_message.Message):
    __slots__ = ("fits",)
    FITS_FIELD_NUMBER: _ClassVar[int]
    fits: _containers.RepeatedCompositeFieldContainer[DeviceFit]
    def __init__(self, fits: _Optional[_Iterable[_Union[DeviceFit, _Mapping]]] = ...) -> None: ...

class PauseDeviceRequest(_message.Message):
    __slots__ = ("id", "message")
    ID_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    id: int
    message: str
    def __init__(self, id: _Optional[int] = ..., message: _Optional[str] = ...) -> None: ...

class PauseDeviceResponse(_message.Message):
    __slots__ = ("pause",)
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    pause: _pause_pb2.Pause
    def __init__(self, pause: _Optional[_Union[_pause_pb2.Pause, _Mapping]] = ...) -> None: ...

class ResumeDeviceRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: int
    def __init__(self, id: _Optional[int] = ...) -> None: ...

class ResumeDeviceResponse(_message.Message):
    __slots__ = ("device",)
    DEVICE_FIELD_NUMBER: _ClassVar[int]
    device: _device_pb2.Device
    def __init__(self, device: _Optional[_Union[_device_pb2.Device, _Mapping]] = ...) -> None: ...
