# SPDX-License-Identifier: Apache-2.0
"""The terms of a vendor: how the server calls it, with defaults for what a provider does not state."""

from __future__ import annotations

from typing import Final

from qonduit.execution.v1.vendor_pb2 import Idempotency, VendorTerms

#: The careful choice for a vendor about which nothing is known.
_DEFAULTS: Final = VendorTerms(
    idempotency=Idempotency.IDEMPOTENCY_NOTHING,
    submit_seconds=120.0,
    call_seconds=60.0,
    grace_seconds=30.0,
    recovery_seconds=600.0,
    poll_seconds=2.0,
    max_poll_seconds=60.0,
    poll_batch=50,
    calls=4,
)


def with_defaults(stated: VendorTerms) -> VendorTerms:
    """Return the terms of a vendor, with a default for each field that is 0."""
    terms = VendorTerms()
    terms.CopyFrom(_DEFAULTS)
    terms.MergeFrom(stated)
    return terms
