# SPDX-License-Identifier: Apache-2.0
"""Options for vendors from Python and from the command line."""

from __future__ import annotations

import pytest

from qonduit.v1.job_pb2 import VendorMode, VendorOptions
from qonduit_client.vendor_options import Vendor, vendor_options_of

SESSION = VendorMode.VENDOR_MODE_SESSION


@pytest.mark.parametrize(
    ("options", "wanted"),
    [
        ("batch", VendorOptions(mode=VendorMode.VENDOR_MODE_BATCH)),
        ("SESSION", VendorOptions(mode=SESSION)),
        ({"mode": "session", "max_seconds": 600}, VendorOptions(mode=SESSION, max_seconds=600)),
        ({"mode": SESSION}, VendorOptions(mode=SESSION)),
        (VendorOptions(max_seconds=5), VendorOptions(max_seconds=5)),
    ],
)
def test_options_are_a_mode_or_fields_by_name(options: Vendor, wanted: VendorOptions) -> None:
    assert vendor_options_of(options) == wanted


@pytest.mark.parametrize("options", ["job", {"mode": "batch", "minutes": 5}, {"max_seconds": "soon"}])
def test_unknown_options_are_refused(options: Vendor) -> None:
    with pytest.raises(ValueError, match="vendor_options: "):
        vendor_options_of(options)
