# SPDX-License-Identifier: Apache-2.0
"""What answers of vendors over HTTP mean."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from qonduit_server.providers.vendors.http_answers import retry_after


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"Retry-After": "7"}, 7.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"Retry-After": "-3"}, 0.0),
        ({"Retry-After": "soon"}, 0.0),
        ({}, 0.0),
        # By the vendor's clock, whatever the time is here.
        ({"Retry-After": "Mon, 01 Jan 2001 00:01:00 GMT", "Date": "Mon, 01 Jan 2001 00:00:00 GMT"}, 60.0),
        ({"Retry-After": "Mon, 01 Jan 2001 00:00:00 GMT", "date": "Mon, 01 Jan 2001 00:01:00 GMT"}, 0.0),
    ],
)
def test_the_time_for_which_a_vendor_asks_to_wait(headers: Mapping[str, str], seconds: float) -> None:
    assert retry_after(headers) == seconds


@pytest.mark.parametrize("date", ["", "yesterday"])
def test_a_date_without_the_vendors_time_is_one_of_this_machine(date: str) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    assert retry_after({"Retry-After": format_datetime(later, usegmt=True), "Date": date}) == pytest.approx(
        3600, abs=60
    )
