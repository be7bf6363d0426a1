# SPDX-License-Identifier: Apache-2.0
"""The calibrations of devices, apart from the catalogue: they are large, and few calls read them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from qonduit.v1.calibration_pb2 import DeviceCalibration
from qonduit_server.store.database import Database
from qonduit_server.store.schema import device_calibrations

_READ: Final = select(device_calibrations.c.data).where(device_calibrations.c.device_id == bindparam("device"))

_SHA256: Final = select(device_calibrations.c.sha256).where(device_calibrations.c.device_id == bindparam("device"))


def calibration(db: Database, device_id: int) -> DeviceCalibration | None:
    """Return the calibration of a device; None if it has none."""
    with db.read() as connection:
        data = connection.execute(_READ, {"device": device_id}).scalar_one_or_none()
    return None if data is None else DeviceCalibration.FromString(data)


def sha256(connection: Connection, device_id: int) -> str:
    """Return the SHA-256 of a device's calibration in lower-case hexadecimal; "" if it has none."""
    return connection.execute(_SHA256, {"device": device_id}).scalar_one_or_none() or ""


def replace(connection: Connection, wanted: Mapping[int, DeviceCalibration | None]) -> None:
    """Store calibrations, where they differ from the stored ones.

    Args:
        connection: of the transaction of a sync.
        wanted: by device id; None deletes the calibration. Those of other devices are kept.
    """
    table = device_calibrations
    stored = {row.device_id: row.sha256 for row in connection.execute(select(table.c.device_id, table.c.sha256))}
    for device_id, new in wanted.items():
        if new is None:
            if device_id in stored:
                connection.execute(delete(table).where(table.c.device_id == device_id))
            continue
        data = new.SerializeToString(deterministic=True)
        values = {"sha256": hashlib.sha256(data).hexdigest(), "data": data}
        if device_id not in stored:
            connection.execute(insert(table).values(device_id=device_id, **values))
        elif stored[device_id] != values["sha256"]:
            connection.execute(update(table).where(table.c.device_id == device_id).values(values))
