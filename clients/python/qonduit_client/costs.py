# SPDX-License-Identifier: Apache-2.0
"""The maximum cost of a job at its vendor."""

from __future__ import annotations

import math
from typing import TypeAlias

from qonduit.v1.job_pb2 import VendorCost

#: An amount with its unit: "5 EUR", or (5, "EUR").
Cost: TypeAlias = str | tuple[float, str]


def cost_of(cost: Cost) -> VendorCost:
    """Return the message of a cost. Raises ValueError: it is no amount with a unit."""
    try:
        amount, unit = cost.split(maxsplit=1) if isinstance(cost, str) else cost
        found = VendorCost(amount=float(amount), unit=unit)
    except (ValueError, TypeError):
        found = VendorCost(amount=math.nan)
    if not (found.amount >= 0 and found.unit):
        raise ValueError(f'a cost is an amount of at least 0 and a unit, as "5 EUR", got {cost!r}')
    return found
