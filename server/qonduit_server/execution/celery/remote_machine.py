# SPDX-License-Identifier: Apache-2.0
"""One worker machine, as a server knows it from its messages, and the tasks that are sent to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from google.protobuf.duration_pb2 import Duration

from qonduit.execution.v1.machine_pb2 import DescribeProvider, MachineRequest
from qonduit.execution.v1.task_pb2 import Task
from qonduit.execution.v1.worker_pb2 import ProviderDescription
from qonduit.v1.system_service_pb2 import Worker
from qonduit_server.execution.celery.messages import (
    VERSION,
    Outgoing,
    is_interactive_lane,
    keys_of,
    lane_of,
    provider_of,
)
from qonduit_server.execution.celery.worker_ends import MachineEnds
from qonduit_server.execution.executor import Key
from qonduit_server.version_requirements import environments_of


@dataclass(eq=False)
class RemoteMachine:
    """One start of a worker machine, as its messages describe it."""

    id: str
    request_queue: str
    task_queue: str
    host: str
    heard_at: int
    session: int
    ends: MachineEnds
    #: Whether it has sent a message through the present connection to the broker.
    heard: bool = True
    #: Whether the broker has no queue of the machine.
    gone: bool = False
    stopping: bool = False
    acknowledged: int = 0
    repeat: bool = False
    #: The parts so far of a message, and whether it is too large and its further parts are dropped.
    parts: bytearray = field(default_factory=bytearray)
    too_large: bool = False
    #: By lane: the tasks that it accepts in total, and those that were sent.
    limits: dict[str, int] = field(default_factory=dict)
    sent: dict[str, int] = field(default_factory=dict)
    descriptions: dict[str, ProviderDescription] = field(default_factory=dict)
    workers: Sequence[Worker] = ()
    #: The release of Qonduit; empty if it is one that does not report it.
    release: str = ""
    #: The number of states that arrived.
    states: int = 0
    tasks: dict[Key, SentTask] = field(default_factory=dict)
    #: The largest task that it runs, and the memory of all running tasks, in bytes; 0 means no limit.
    task_memory_bytes: int = 0
    memory_bytes: int = 0
    cancels: set[Key] = field(default_factory=set)
    requests: list[DescribeProvider] = field(default_factory=list)
    preload: list[str] = field(default_factory=list)
    #: Whether a request is due before the next tick.
    due: bool = True

    def room(self, lane: str) -> int:
        """Return the number of further tasks that it accepts in a lane."""
        if self.gone or self.stopping or provider_of(lane) not in {"", *self.descriptions}:
            return 0
        return max(0, self.limits.get(lane, 0) - self.sent.get(lane, 0))

    def lacks_sdk(self, lane: str) -> bool:
        """Return whether its tasks in a lane fail, because it lacks the SDK."""
        return bool(provider_of(lane)) and bool(self.descriptions[provider_of(lane)].unavailable)

    def accepts(self, task: Task) -> bool:
        """Return whether it runs a task like this one: it has the device, or needs none."""
        lane = lane_of(task)
        if is_interactive_lane(lane) and lane not in self.limits:
            return False  # without an SDK that reads programs, or of an earlier release
        return self.offers(task.provider, task.device) if task.provider else not (self.gone or self.stopping)

    def offers(self, provider: str, device: str) -> bool:
        """Return whether it has a device that runs."""
        description = self.descriptions.get(provider)
        if self.gone or self.stopping or description is None or description.unavailable:
            return False
        return any(each.name == device and each.available for each in description.devices)

    def versions(self, provider: str) -> Mapping[str, str]:
        """Return the versions of packages in the environment of a provider; none if it has no working one."""
        description = self.descriptions.get(provider)
        if self.gone or self.stopping or description is None or description.unavailable:
            return {}
        return description.versions

    def fits(self, need: int) -> bool:
        """Return whether a task with this need of memory can run here."""
        return not self.task_memory_bytes or need <= self.task_memory_bytes

    def has_memory_for(self, sent: SentTask) -> bool:
        """Return whether the memory of a task is free here, as far as this server knows."""
        if sent.interactive or not sent.need or not self.memory_bytes:
            return True
        used = sum(each.need for each in self.tasks.values() if each is not sent and not each.interactive)
        return not used or used + sent.need <= self.memory_bytes

    def request(self, server: str, patience: Duration) -> Outgoing:
        """Return the next request to it."""
        request = MachineRequest(
            version=VERSION,
            server=server,
            acknowledged=self.acknowledged,
            repeat=self.repeat,
            describe_all=not self.descriptions,
            cancels=keys_of(self.cancels),
            describe=self.requests.pop(0) if self.requests else None,
            preload=self.preload,
            patience=patience,
            session=self.session,
        )
        self.preload = []
        # Further messages of the machine show whether some are still missing.
        self.repeat = False
        return Outgoing(self.request_queue, request.SerializeToString(), peer=self.id)


@dataclass(eq=False)
class SentTask:
    """A task of the executor that has not ended."""

    task: Task
    machine: RemoteMachine | None = None
    message_id: str = ""
    sent_at: int = 0
    #: How often it was sent to this machine.
    sends: int = 0
    accepted: bool = False
    #: The memory that a worker estimated, in bytes; 0: not known.
    need: int = 0
    #: The machines that have returned it: they would not run the same attempt again.
    refused: set[str] = field(default_factory=set)
    #: Whether its machine is asked to return it, and whether its further events there are dropped.
    moving: bool = False
    cancelled: bool = False
    dropped: bool = False
    #: The tick from which on it waits.
    waits_since: int = 0
    #: The versions that it requires, in canonical form.
    requirements: tuple[str, ...] = ()

    @property
    def key(self) -> Key:
        """The job and the attempt."""
        return self.task.job_id, self.task.attempt

    @property
    def lane(self) -> str:
        """The lane."""
        return lane_of(self.task)

    @property
    def interactive(self) -> bool:
        """Whether a caller waits for it. Its memory is not that of the tasks of jobs."""
        return is_interactive_lane(self.lane)


def merged(first: ProviderDescription, second: ProviderDescription) -> ProviderDescription:
    """Return the description of a provider with the devices of both; of a device at both, the wider one."""
    if first.unavailable or second.unavailable:
        return second if first.unavailable else first
    merged = ProviderDescription()
    merged.CopyFrom(first)
    known = {device.name: device for device in merged.devices}
    for device in second.devices:
        if (mine := known.get(device.name)) is None:
            merged.devices.append(device)
        elif (device.available, device.num_qubits) > (mine.available, mine.num_qubits):
            mine.CopyFrom(device)
    calibrated = {each.device for each in first.calibrations}
    merged.ClearField("versions")
    merged.ClearField("environments")
    merged.environments.extend(environments_of(first, second))
    merged.calibrations.extend(each for each in second.calibrations if each.device not in calibrated)
    return merged
