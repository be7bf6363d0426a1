# SPDX-License-Identifier: Apache-2.0
"""DeviceService: list devices, count their waiting jobs, and return their calibrations."""

from __future__ import annotations

from google.protobuf.timestamp_pb2 import Timestamp

from qonduit.v1.device_service_pb2 import (
    GetDeviceCalibrationRequest,
    GetDeviceCalibrationResponse,
    GetDeviceRequest,
    GetDeviceResponse,
    GetDeviceStatusRequest,
    GetDeviceStatusResponse,
    ListDevicesRequest,
    ListDevicesResponse,
)
from qonduit_server.errors import FailedPrecondition
from qonduit_server.rpc.call_context import CallContext
from qonduit_server.store import calibrations, catalogue
from qonduit_server.store.database import Database


class DeviceService:
    """Reads the catalogue and counts the queue. The catalogue's messages are shared, so responses contain copies."""

    def __init__(self, db: Database) -> None:
        self._db = db

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
