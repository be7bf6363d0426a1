# SPDX-License-Identifier: Apache-2.0
"""The options of a job for the vendor of its device."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeAlias

from google.protobuf.json_format import ParseDict, ParseError

from qonduit.v1.job_pb2 import VendorMode, VendorOptions

#: A mode: "batch" or "session"; or the options by name: {"mode": "session", "max_seconds": 600}; or the message.
Vendor: TypeAlias = str | Mapping[str, object] | VendorOptions


def vendor_options_of(options: Vendor) -> VendorOptions:
    """Return the message of options. Raises ValueError: a field is unknown or has an unsupported value."""
    if isinstance(options, VendorOptions):
        return options
    fields: dict[str, Any] = {"mode": options} if isinstance(options, str) else dict(options)
    mode = fields.get("mode")
    if isinstance(mode, str):
        modes = {name.removeprefix("VENDOR_MODE_").lower(): value for name, value in VendorMode.items() if value}
        if mode.lower() not in modes:
            raise ValueError(f"vendor_options: mode must be one of {', '.join(modes)}, got {mode!r}")
        fields["mode"] = modes[mode.lower()]
    try:
        return ParseDict(fields, VendorOptions())
    except (ParseError, TypeError, ValueError) as error:
        raise ValueError(f"vendor_options: {error}") from None
