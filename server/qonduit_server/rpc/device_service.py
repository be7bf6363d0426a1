# SPDX-License-Identifier: Apache-2.0
"""DeviceService: list, compare and pause devices, return their calibrations, and refresh the catalogue."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.device_service_pb2 import (
    CompareDevicesRequest,
    CompareDevicesResponse,
    DeviceFit,
    GetDeviceCalibrationRequest,
    GetDeviceCalibrationResponse,
    GetDeviceRequest,
    GetDeviceResponse,
    GetDeviceStatusRequest,
    GetDeviceStatusResponse,
    ListDevicesRequest,
    ListDevicesResponse,
    PauseDeviceRequest,
    PauseDeviceResponse,
    RefreshDevicesRequest,
    RefreshDevicesResponse,
    ResumeDeviceRequest,
    ResumeDeviceResponse,
)
from qonduit_server.device_fit import Fit
from qonduit_server.errors import FailedPrecondition
from qonduit_server.rpc import submission_checks
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.rpc.credential_checks import require_token_provider
from qonduit_server.rpc.device_comparison import Caller, DeviceComparison
from qonduit_server.rpc.job_validation import JobValidator
from qonduit_server.rpc.refreshes import Refreshes
from qonduit_server.rpc.server_limits import Limits
from qonduit_server.store import calibrations, catalogue, credentials, pauses
from qonduit_server.store.database import Database
from qonduit_server.store.pauses import Paused

#: Of one response of RefreshDevices or CompareDevices; ListDevices has pages.
_MAX_DEVICES: Final = 500
_REASON_CHARACTERS: Final = 500


class DeviceService:
    """Reads the catalogue and counts the queue. The catalogue's messages are shared, so responses contain copies."""

    def __init__(
        self,
        db: Database,
        limits: Limits,
        comparison: DeviceComparison,
        validator: JobValidator,
        refresh: Callable[[str, str, int], object] | None = None,
    ) -> None:
        self._db = db
        self._limits = limits
        self._comparison = comparison
        #: Comparisons share the limit of concurrent validations: both wait for a worker.
        self._validator = validator
        self._refreshes = Refreshes(refresh) if refresh is not None else None

    def get_device(self, request: GetDeviceRequest, call: CallContext) -> GetDeviceResponse:
        """Return one device."""
        response = GetDeviceResponse(device=catalogue.device(self._db, request.id))
        response.device.queue_depth = catalogue.queue_depth(self._db, request.id)
        return response

    def list_devices(self, request: ListDevicesRequest, call: CallContext) -> ListDevicesResponse:
        """Return a page of devices."""
        page = catalogue.list_devices(self._db, request.page_size, request.page_token, request.filter)
        response = ListDevicesResponse(devices=page.items, next_page_token=page.next_page_token)
        depths = catalogue.queue_depths(self._db)
        for device in response.devices:
            device.queue_depth = depths.get(device.id, 0)
        return response

    def get_device_status(self, request: GetDeviceStatusRequest, call: CallContext) -> GetDeviceStatusResponse:
        """Return whether a device accepts jobs now."""
        device = catalogue.device(self._db, request.id)
        now = Timestamp()
        now.GetCurrentTime()
        return GetDeviceStatusResponse(
            available=device.available,
            status_message=device.status_message,
            queue_depth=catalogue.queue_depth(self._db, request.id),
            checked_at=now,
            pause=device.pause if device.HasField("pause") else None,
            running_jobs=pauses.running_jobs(self._db, request.id),
        )

    def get_device_calibration(
        self, request: GetDeviceCalibrationRequest, call: CallContext
    ) -> GetDeviceCalibrationResponse:
        """Return the measured properties of a device."""
        device = catalogue.device(self._db, request.id)
        found = calibrations.calibration(self._db, device.id)
        if found is None:
            name = catalogue.name_of(self._db, device)
            raise FailedPrecondition(
                f"{name} has no calibration: only devices whose qubits and gates were measured have one",
                subject=name,
                kind="DEVICE",
                reason="UNSUPPORTED_BY_DEVICE",
            )
        return GetDeviceCalibrationResponse(calibration=found)

    def refresh_devices(self, request: RefreshDevicesRequest, call: CallContext) -> RefreshDevicesResponse:
        """Read the description of a provider again, or ask its vendor; return its devices."""
        provider = catalogue.provider(self._db, request.provider_id)
        secret = request.credential
        if request.credential_id:
            owners = frozenset({call.principal.name, *call.memberships.readable})
            secret = credentials.check_usable(self._db, owners, request.credential_id, provider.id, provider.name)
        elif secret:
            require_token_provider(provider, "credential")
        if self._refreshes is not None:
            self._refreshes.refresh(provider.name, secret, request.credential_id)
        found = [
            device
            for device in catalogue.devices_by_name(self._db).values()
            if device.provider_id == request.provider_id
        ]
        found.sort(key=lambda device: device.id)
        return RefreshDevicesResponse(devices=found[:_MAX_DEVICES])

    def pause_device(self, request: PauseDeviceRequest, call: CallContext) -> PauseDeviceResponse:
        """Pause a device."""
        device = catalogue.device(self._db, request.id)
        subject = Paused(device.provider_id, device.id)
        return PauseDeviceResponse(pause=pauses.pause(self._db, subject, request.message, call.principal.name))

    def resume_device(self, request: ResumeDeviceRequest, call: CallContext) -> ResumeDeviceResponse:
        """End the pause of a device."""
        device = catalogue.device(self._db, request.id)
        pauses.resume(self._db, Paused(device.provider_id, device.id))
        return ResumeDeviceResponse(device=catalogue.device(self._db, request.id))

    def compare_devices(self, request: CompareDevicesRequest, call: CallContext) -> CompareDevicesResponse:
        """Return how each device would run a job."""
        job = submission_checks.unplaced_job(self._db, call.memberships, request, self._limits)
        with self._validator.slot(call.principal.name):
            caller = Caller(call.principal.name, call.seconds_left(), call.add_callback)
            fits = self._comparison.compare(job, caller)
        return CompareDevicesResponse(fits=[_message(fit) for fit in fits[:_MAX_DEVICES]])


def _message(fit: Fit) -> DeviceFit:
    message = DeviceFit(
        device_id=fit.candidate.device.id,
        device=fit.candidate.name,
        supported=not fit.obstacle,
        auto_eligible=fit.eligible,
        reason=(fit.obstacle or fit.exclusion)[:_REASON_CHARACTERS],
        method=", ".join(fit.methods),
        memory_bytes=fit.memory_bytes,
        queue_depth=fit.candidate.queue_depth,
    )
    if fit.estimate is not None:
        message.estimated_seconds_p50, message.estimated_seconds_p90 = fit.estimate
    return message
