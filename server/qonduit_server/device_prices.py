# SPDX-License-Identifier: Apache-2.0
"""Costs of submissions by the prices of their device: estimated before they are sent, and computed once they ended.

The prices are the vendor's, or those that the operator states in the setting `vendor_prices`: most vendors publish
none, and contracts have their own. Without any, the cost of a job is not known before it is submitted, so that no limit
of costs can hold.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Submission, VendorJob
from qonduit.v1.device_pb2 import DevicePrice
from qonduit.v1.job_pb2 import VendorCost
from qonduit_server.errors import StartError

#: The amounts of an entry of the setting: the field of each, and the factor to its unit.
_AMOUNTS: Final = {
    "job": ("job", 1.0),
    "circuit": ("circuit", 1.0),
    "shot": ("shot", 1.0),
    "second": ("minute", 60.0),
    "max_seconds": ("max_minutes", 1 / 60),
}
_MOST: Final = 1e9
_UNIT_BYTES: Final = 64
_FORM: Final = "unit=EUR; job=0.3; circuit=0; shot=0.01; second=1.6; max_seconds=60"


def add_estimate(submission: Submission, rates: DevicePrice, most_seconds: float | None = None) -> None:
    """Add the estimated cost to a submission, unless its device is charged by time and its longest time is not known.

    Args:
        submission: the submission.
        rates: the prices of its device.
        most_seconds: the time for which the vendor charges at most; by default that of the prices.
    """
    seconds = rates.max_minutes * 60 if most_seconds is None else most_seconds
    if rates.minute and most_seconds is None and not seconds:
        return
    submission.rates.CopyFrom(rates)
    submission.price_seconds = seconds if rates.minute else 0.0
    shots = submission.shots * len(submission.circuits)
    submission.price.CopyFrom(VendorCost(amount=_cost(submission, shots, submission.price_seconds), unit=rates.unit))


def total_cost(submissions: Sequence[Submission]) -> VendorCost | None:
    """Return the sum of estimated costs; None if one is not known, or the units differ."""
    prices = [each.price for each in submissions if each.HasField("price")]
    if len(prices) < len(submissions) or len({price.unit for price in prices}) != 1:
        return None
    return VendorCost(amount=sum(price.amount for price in prices), unit=prices[0].unit)


def add_computed_cost(found: VendorJob, wanted: Submission) -> None:
    """Add the cost of a job that ended, from the rates of its submission and the quantities that the vendor reports.

    Of what the vendor does not report, the estimate counts.
    """
    if wanted.HasField("rates"):
        shots = found.shots if found.HasField("shots") else wanted.shots * len(wanted.circuits)
        seconds = found.seconds if found.HasField("seconds") else wanted.price_seconds
        found.computed_cost = _cost(wanted, shots, seconds)


def _cost(wanted: Submission, shots: int, seconds: float) -> float:
    rates, circuits = wanted.rates, len(wanted.circuits)
    # What opens a batch or a session is no job.
    fixed = rates.job * (not wanted.group_seconds) + rates.circuit * circuits
    return min(_MOST, fixed + rates.shot * shots + rates.minute * max(0.0, seconds) / 60)


def read_setting(vendor_prices: Mapping[str, str]) -> Mapping[str, DevicePrice]:
    """Return the stated prices by "PROVIDER", for all devices of one, or by "PROVIDER/device". Raises StartError."""
    return {name: _price(name, text) for name, text in vendor_prices.items()}


def _price(name: str, text: str) -> DevicePrice:
    provider, slash, device = name.partition("/")
    if not provider or (slash and not device):
        raise StartError(f"vendor_prices must have entries PROVIDER or PROVIDER/device, got {name!r:.100}")
    price = DevicePrice(stated=True)
    for part in filter(None, map(str.strip, text.split(";"))):
        key, separator, value = (each.strip() for each in part.partition("="))
        if key == "unit" and 0 < len(value.encode()) <= _UNIT_BYTES:
            price.unit = value
        elif key in _AMOUNTS and separator:
            field, factor = _AMOUNTS[key]
            setattr(price, field, _amount(name, key, value) * factor)
        else:
            raise StartError(f"vendor_prices: {name} must have the form {_FORM!r}, got {part!r:.100}")
    if not price.unit:
        raise StartError(f"vendor_prices: {name} needs a unit, as in {_FORM!r}, got {text!r:.100}")
    if not (price.job or price.circuit or price.shot or price.minute):
        raise StartError(f"vendor_prices: {name} needs an amount: job, circuit, shot or second, got {text!r:.100}")
    return price


def _amount(name: str, key: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= _MOST:
        raise StartError(f"vendor_prices: {key} of {name} must be a number from 0 to {_MOST:g}, got {text!r:.100}")
    return value
