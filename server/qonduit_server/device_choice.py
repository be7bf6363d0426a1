# SPDX-License-Identifier: Apache-2.0
"""The policy by which the server chooses a device for a job that names "AUTO" or "PROVIDER/AUTO".

Candidates are available exact simulators on this server: no device with noise of its own, and none with single
precision unless the job asks for it. Among those that meet the requirements of the job, the one with the lowest cost
comes first: the memory that it moves for one amplitude, times the number of jobs that would be ahead, plus one.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from qonduit.v1.device_pb2 import Device
from qonduit_server.capabilities import Requirements, is_clifford_only, missing_features

AUTO = "AUTO"


@dataclass(frozen=True)
class Candidate:
    """A device that meets all known requirements of a job.

    Args:
        name: "PROVIDER/device".
        device: the device's description.
        waiting: the number of its jobs that wait or run.
        cost: the value by which candidates are ordered.
    """

    name: str
    device: Device
    waiting: int
    cost: float


def is_automatic(device: str) -> bool:
    """Return whether a request leaves the choice of the device to the server."""
    return device == AUTO or device.endswith(f"/{AUTO}")


def rank(
    devices: Mapping[str, Device],
    requested: str,
    requirements: Requirements,
    languages: Mapping[int, Collection[int]],
    needed_languages: Collection[int],
    waiting: Mapping[int, int],
    shots: int = 0,
) -> tuple[list[Candidate], dict[str, str]]:
    """Return the candidates in the order of preference, and the reason for each other device of the choice.

    Args:
        devices: all devices, by "PROVIDER/device".
        requested: "AUTO" or "PROVIDER/AUTO".
        requirements: of the job, as far as known.
        languages: the languages of each provider, by its id.
        needed_languages: the languages of the job's programs.
        waiting: the number of jobs that wait or run, by device id.
        shots: of the job.
    """
    provider = requested.rpartition("/")[0]
    candidates: list[Candidate] = []
    refused: dict[str, str] = {}
    for name, device in devices.items():
        if provider and not name.startswith(f"{provider}/"):
            continue
        reason = next(_obstacles(name, device, requirements, shots), "")
        if not reason and not set(needed_languages) <= set(languages.get(device.provider_id, ())):
            reason = f"{name} does not read the language of a program"
        if reason:
            refused[name] = reason
            continue
        ahead = waiting.get(device.id, 0)
        candidates.append(Candidate(name, device, ahead, _bytes_per_amplitude(device) * (1 + ahead)))
    # Universal devices first: whether a program has Clifford gates only is not known before it is read.
    candidates.sort(key=lambda each: (is_clifford_only(each.device), each.cost, each.name))
    return candidates, refused


def _obstacles(name: str, device: Device, requirements: Requirements, shots: int) -> Iterator[str]:
    if not device.available:
        yield f"{name} is not available"
    if not (device.is_simulator and device.is_local):
        yield f"{name} is not a simulator of this server"
    if device.capabilities.coupling_map:
        yield f"{name} has noise of its own"
    precision = list(device.capabilities.floating_point)
    if precision == ["single"] and requirements.simulation.floating_point != "single":
        yield f"{name} has single precision"
    if 0 < device.max_shots < shots:
        yield f"{name} runs at most {device.max_shots} shots"
    for missing in missing_features(device, name, requirements):
        yield missing.message


def _bytes_per_amplitude(device: Device) -> float:
    """Return the memory of one amplitude of the widest universal method; a state of n qubits has 2^n or 4^n of them."""
    for method in device.capabilities.methods:
        if not method.clifford_only and method.exact:
            return method.max_memory_bytes / 2.0 ** min(method.max_qubits, 1000)
    return 1024.0
