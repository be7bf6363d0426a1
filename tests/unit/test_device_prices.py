# SPDX-License-Identifier: Apache-2.0
"""Costs by the prices of devices, and the setting that states them."""

from __future__ import annotations

import pytest

from qonduit.execution.v1.vendor_pb2 import NativeCircuit, Submission, VendorJob
from qonduit.v1.device_pb2 import DevicePrice
from qonduit_server.device_prices import add_computed_cost, add_estimate, read_setting, total_cost
from qonduit_server.errors import StartError

TEXT = "unit=EUR; job=0.5; circuit=0.25; shot=0.125; second=2; max_seconds=30"


def submission(circuits: int = 2, shots: int = 10, group_seconds: int = 0) -> Submission:
    return Submission(circuits=[NativeCircuit()] * circuits, shots=shots, group_seconds=group_seconds)


def test_a_setting_states_each_kind_of_price() -> None:
    found = read_setting({"IQM": TEXT, "GOOGLE/willow": "unit=IBM seconds;second=1e-3 ; "})
    price = found["IQM"]
    assert (price.unit, price.job, price.circuit, price.shot) == ("EUR", 0.5, 0.25, 0.125)
    assert (price.minute, price.max_minutes, price.stated) == (120, pytest.approx(0.5), True)
    assert (found["GOOGLE/willow"].unit, found["GOOGLE/willow"].minute) == ("IBM seconds", pytest.approx(0.06))


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("IQM/", TEXT, "PROVIDER or PROVIDER/device, got 'IQM/'"),
        ("/garnet", TEXT, "PROVIDER or PROVIDER/device"),
        ("IQM", "job=1", "needs a unit"),
        ("IQM", "unit=EUR; max_seconds=5", "needs an amount"),
        ("IQM", "unit=EUR; job=-1", "job of IQM must be a number from 0 to 1e+09, got '-1'"),
        ("IQM", "unit=EUR; job=nan", "must be a number"),
        ("IQM", "unit=EUR; shots=1", "got 'shots=1'"),
        ("IQM", "unit=EUR; job", "got 'job'"),
        ("IQM", f"unit={'E' * 65}; job=1", "must have the form"),
    ],
)
def test_a_wrong_setting_is_refused(name: str, text: str, why: str) -> None:
    with pytest.raises(StartError) as refused:
        read_setting({name: text})
    assert why in str(refused.value)


def test_an_estimate_contains_the_longest_time_and_the_cost_the_time_that_the_vendor_reports() -> None:
    (price,) = read_setting({"IQM": TEXT}).values()
    wanted = submission()
    add_estimate(wanted, price)
    assert (wanted.price.amount, wanted.price.unit) == (pytest.approx(0.5 + 0.5 + 20 * 0.125 + 60), "EUR")
    for found, amount in (
        (VendorJob(), wanted.price.amount),
        (VendorJob(seconds=3), 0.5 + 0.5 + 2.5 + 6),
        (VendorJob(seconds=40), 0.5 + 0.5 + 2.5 + 80),  # what the vendor reports counts, although it is more
        (VendorJob(seconds=3, shots=4), 0.5 + 0.5 + 0.5 + 6),
    ):
        add_computed_cost(found, wanted)
        assert found.computed_cost == pytest.approx(amount)


def test_the_providers_own_bound_precedes_that_of_the_prices() -> None:
    wanted = submission()
    add_estimate(wanted, DevicePrice(minute=60, unit="EUR"), 7.0)
    assert (wanted.price.amount, wanted.price_seconds) == (7, 7)


def test_what_opens_a_session_costs_its_time_alone() -> None:
    (price,) = read_setting({"IBM": TEXT}).values()
    opening = submission(0, 0, group_seconds=60)
    add_estimate(opening, price, 60.0)
    assert opening.price.amount == 120


def test_a_price_of_time_without_a_bound_gives_no_estimate() -> None:
    wanted = submission()
    add_estimate(wanted, DevicePrice(minute=60, unit="EUR"))
    assert not wanted.HasField("price")
    assert not wanted.HasField("rates")
    add_computed_cost(found := VendorJob(seconds=3), wanted)
    assert not found.HasField("computed_cost")


def test_a_total_needs_the_cost_of_each_in_one_unit() -> None:
    one, other = submission(), submission()
    add_estimate(one, DevicePrice(job=1, unit="EUR"))
    assert total_cost([one, other]) is None
    add_estimate(other, DevicePrice(job=2, unit="USD"))
    assert total_cost([one, other]) is None
    add_estimate(other, DevicePrice(job=2, unit="EUR"))
    total = total_cost([one, other])
    assert total is not None
    assert (total.amount, total.unit) == (3, "EUR")
    assert total_cost([]) is None
