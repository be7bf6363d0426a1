# SPDX-License-Identifier: Apache-2.0
"""Choose the device of a request that names "AUTO" or "PROVIDER/AUTO", by the order of `device_fit`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from qonduit.v1.device_pb2 import Device
from qonduit.v1.job_pb2 import DeviceChoice
from qonduit_server.device_fit import Fit
from qonduit_server.errors import FailedPrecondition, NotFound
from qonduit_server.process.memory import format_bytes
from qonduit_server.store import catalogue
from qonduit_server.store.database import Database
from qonduit_server.store.jobs.job_rows import NewJob

AUTO: Final = "AUTO"
#: Messages name at most this many devices.
_MAX_LISTED: Final = 10
#: Of the reason of one device.
_REASON_CHARACTERS: Final = 140


def is_automatic(device: str) -> bool:
    """Return whether a request leaves the choice of the device to the server."""
    return device == AUTO or device.endswith(f"/{AUTO}")


def check_provider(db: Database, requested: str) -> None:
    """Check the provider of "PROVIDER/AUTO". Raises NotFound, which names the providers of this server."""
    provider, slash, _ = requested.rpartition("/")
    known = sorted({name.partition("/")[0] for name in catalogue.devices_by_name(db)})
    if slash and provider not in known:
        raise NotFound("provider", provider[:200], f"; providers of this server: {', '.join(known) or 'none'}")


def choose(requested: str, fits: Sequence[Fit], check: Callable[[Device], NewJob]) -> NewJob:
    """Return the job on the first device that can run it, with `device_choice` in its spec.

    Args:
        requested: "AUTO" or "PROVIDER/AUTO".
        fits: all devices, in the order of preference.
        check: applies the checks of a submission to a device.

    Raises:
        InvalidArgument: the request is invalid on all devices.
        FailedPrecondition: no device can run the job; the message contains the reason of each.
    """
    provider = requested.removesuffix(AUTO)
    considered = [each for each in fits if each.candidate.name.startswith(provider)]
    eligible = [each for each in considered if each.eligible]
    reasons = {each.candidate.name: each.obstacle or each.exclusion for each in considered}
    for place, each in enumerate(eligible):
        try:
            new = check(each.candidate.device)
        except FailedPrecondition as error:
            reasons[each.candidate.name] = str(error)
            continue
        new.spec.device_choice.CopyFrom(_choice(requested, each, eligible[place + 1 :]))
        return new
    # Universal devices first: the reasons of shaped ones are many and alike.
    considered.sort(key=lambda each: (each.candidate.device.capabilities.coupling_map, each.candidate.device.id))
    listed = [f"{each.candidate.name}: {_shortened(reasons[each.candidate.name])}" for each in considered[:_MAX_LISTED]]
    raise FailedPrecondition(
        f"device: {requested} finds no device for this job: {'; '.join(listed) or 'this server has no device'}",
        subject="device",
        kind="AUTO",
        reason="UNSUPPORTED_BY_DEVICE",
    )


def _choice(requested: str, chosen: Fit, others: Sequence[Fit]) -> DeviceChoice:
    number = 1 + sum(each.exact for each in others)
    reason = f"{chosen.candidate.name} comes first of {number} exact simulators that can run the job"
    if not chosen.exact:
        reason = f"{chosen.candidate.name} runs the job by an approximate method, and no exact method can"
    if not chosen.methods:
        reason += "; the server did not read the programs in time, and only the options of the job were compared"
    reason += f": {_cost(chosen)}"
    if others:
        reason += f"; next is {others[0].candidate.name}: {_cost(others[0])}"
    choice = DeviceChoice(
        requested=requested, reason=reason, method=", ".join(chosen.methods), memory_bytes=chosen.memory_bytes
    )
    if chosen.estimate is not None:
        choice.estimated_seconds_p50, choice.estimated_seconds_p90 = chosen.estimate
    return choice


def _cost(each: Fit) -> str:
    parts = []
    if each.methods:
        parts.append(f"{' and '.join(each.methods)}, {format_bytes(each.memory_bytes)}")
        parts.append(
            f"estimated {each.estimate.p50:.2g} s (p90 {each.estimate.p90:.2g} s)"
            if each.estimate is not None
            else f"time unknown, assumed {each.seconds:.2g} s"
        )
    parts.append(f"{each.candidate.queue_depth} in its queue")
    if each.candidate.device.HasField("pause"):
        parts.append("paused")
    return ", ".join(parts)


def _shortened(text: str) -> str:
    return text if len(text) <= _REASON_CHARACTERS else text[:_REASON_CHARACTERS] + "..."
