# SPDX-License-Identifier: Apache-2.0
"""Calls of vendors with the credential of an account that concern no job of this server."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from qonduit.execution.v1.vendor_pb2 import Submission, VendorCall, VendorErrorKind, VendorReply, VendorTerms
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit_server.errors import FailedPrecondition, Unavailable
from qonduit_server.execution.remote.vendor_estimates import add_estimates, is_wanted, why_unknown
from qonduit_server.execution.remote.vendor_processes import Account, VendorProcesses

#: The estimates of a job that is not submitted take the time of this number of calls.
_CALLS: Final = 2


class AccountCalls:
    """Makes the calls. Thread-safe.

    Args:
        processes: make the calls.
        terms: returns the terms of a provider's vendor.
        providers: the names of the remote providers.
    """

    def __init__(
        self, processes: VendorProcesses, terms: Callable[[str], VendorTerms], providers: Collection[str]
    ) -> None:
        self._processes = processes
        self._terms = terms
        self._providers = providers

    def devices(self, provider: str, credential: str) -> ProviderDescription:
        """Return the devices that the vendor of a provider lists for a credential.

        Raises:
            FailedPrecondition: the provider has no vendor, or the vendor refuses the credential or the call.
            Unavailable: the vendor does not answer.
        """
        if provider not in self._providers:
            raise FailedPrecondition(f"{provider} has no devices at a vendor", subject=provider, kind="PROVIDER")
        call = VendorCall(devices=VendorCall.Devices())
        reply = self.call(provider, credential, self._terms(provider).submit_seconds, call)
        if reply.HasField("error"):
            message = f"the vendor of {provider} has not listed its devices: {reply.error.message}"
            match reply.error.kind:
                case VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL:
                    raise _credential_refused(provider, message)
                case VendorErrorKind.VENDOR_ERROR_KIND_REFUSED:
                    raise FailedPrecondition(message, subject=f"providers/{provider}", kind="PROVIDER")
                case _:
                    raise Unavailable(message, reason="PROVIDER_UNAVAILABLE")
        found = ProviderDescription.FromString(reply.devices)
        found.provider.name = provider
        for device in found.devices:
            device.is_local, device.with_token = False, True
            device.listed_at.GetCurrentTime()
        return found

    def estimate(self, provider: str, credential: str, wanted: Sequence[Submission]) -> str:
        """Add the estimates of the vendor to submissions of a job that is not submitted.

        Returns:
            Why a cost is not known although the vendor estimates costs; empty otherwise.

        Raises:
            FailedPrecondition: the vendor refuses the credential.
        """
        terms = self._terms(provider)
        if not is_wanted(terms, wanted):
            return ""
        # A caller waits for all calls. The time in which a process starts is no part of them.
        until = time.monotonic() + _CALLS * terms.call_seconds

        def make(call: VendorCall) -> VendorReply:
            if time.monotonic() > until:
                return VendorReply(error=VendorReply.Error(message="the costs of all parts take too long"))
            return self.call(provider, credential, terms.call_seconds, call)

        error = add_estimates(make, wanted)
        if error is None:
            return ""
        why = why_unknown(provider, error)
        if error.kind == VendorErrorKind.VENDOR_ERROR_KIND_CREDENTIAL:
            raise _credential_refused(provider, f"the cost of the job is not known: {why}")
        return why

    def call(self, provider: str, credential: str, seconds: float, call: VendorCall) -> VendorReply:
        """Make a call within some seconds. Its failure is the error of the reply."""
        return self._processes.call(Account(provider, credential), call, seconds)


def _credential_refused(provider: str, message: str) -> FailedPrecondition:
    return FailedPrecondition(message, subject=f"providers/{provider}", kind="CREDENTIAL", reason="CREDENTIAL_REQUIRED")
