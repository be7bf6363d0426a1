# SPDX-License-Identifier: Apache-2.0
"""A device of a Qonduit server as a device of the Braket SDK."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

from braket.circuits import Circuit
from braket.device_schema.simulators import GateModelSimulatorDeviceCapabilities
from braket.devices import Device
from braket.ir.openqasm import Program

from qonduit.v1.job_pb2 import JobType
from qonduit_client.braket.braket_errors import as_braket_has_it
from qonduit_client.braket.braket_results import task_result
from qonduit_client.braket.capabilities import find, is_exact_estimator, properties_of
from qonduit_client.braket.openqasm_parsing import Plan, Reader
from qonduit_client.braket.program_sets import is_set, programs_of, set_result
from qonduit_client.braket.specifications import is_one, program_of
from qonduit_client.braket.stored_sets import opened_set, stored_set
from qonduit_client.braket.task import QonduitTask, QonduitTaskBatch
from qonduit_client.braket.task_data import StoredTask, order_seed, stored_task
from qonduit_client.braket.task_submission import ProgramOutcome, Run, Running, submit
from qonduit_client.client import Client, connect

#: Options of Braket's simulators and devices that do not change results; ignored.
_IGNORED_OPTIONS: Final = ("batch_size", "poll_interval_seconds", "disable_qubit_rewiring", "max_connections")


#: The id of a task: the server, which is optional, the jobs and the index of the program in the first of them.
_ID: Final = re.compile(r"(?:(.+)/)?jobs/(\d{1,18}(?:,\d{1,18}){0,999})/programs/(\d{1,9})", re.ASCII)


class _Order(NamedTuple):
    """One task: its programs, its shots, and the function that builds its result."""

    plans: list[Plan]
    shots: int
    build_result: Callable[[Sequence[ProgramOutcome], str, str], Any]


class QonduitDevice(Device):  # type: ignore[misc]
    """A device of a Qonduit server, a replacement of Braket's `LocalSimulator`.

    Args:
        device: "PROVIDER/device", for example "IBM/aer_simulator".
        client: the connection, or the server as "HOST:PORT" or by its name; by default that of `qonduit_client.Client`.

    Raises:
        ValueError: the server has no such device; the message lists its devices.
        RuntimeError: the server is unreachable.
    """

    def __init__(self, device: str = "AWS/local_simulator", client: Client | str | None = None) -> None:
        self._client = connect(client)
        super().__init__(name=device, status="")
        self.refresh_metadata()

    def refresh_metadata(self) -> None:
        """Reload the device's status and properties from the server.

        Raises:
            ValueError: the server no longer has the device.
            RuntimeError: the server is unreachable.
        """
        with as_braket_has_it():
            described = find(self._client, self.name)
            self._properties = properties_of(described, self._client.server_limits().max_programs)
        self._status = "AVAILABLE" if described.available else "OFFLINE"
        self._reader = Reader(self.name, self._properties, is_exact_estimator(described))

    @property
    def is_available(self) -> bool:
        """Whether the device was available at the last refresh."""
        return bool(self._status == "AVAILABLE")

    @property
    def properties(self) -> GateModelSimulatorDeviceCapabilities:
        """The capabilities of the device."""
        return self._properties

    def run(
        self,
        task_specification: Any,
        shots: int | None = None,
        inputs: Mapping[str, Any] | None = None,
        *,
        seed: int | None = None,
        poll_timeout_seconds: float | None = None,
        **options: Any,
    ) -> QonduitTask:
        """Submit a task and return immediately.

        Args:
            task_specification: a circuit, an OpenQASM program (object or text), or a set of programs.
            shots: the number of shots; by default 0: exact results from the state, on devices that support it. For a
                set of programs: the total of all programs, by default that of the set.
            inputs: values for free parameters.
            seed: the seed of simulators and of the order of shots.
            poll_timeout_seconds: the timeout of `result`; by default unlimited.
            options: `tags`, a dict, and further arguments of `qonduit_client.Client.run`, for example `name`. Options
                that only affect Braket's own devices are ignored.

        Raises:
            ValueError, TypeError, NameError ...: as Braket's local simulator for the program or shots.
            NotImplementedError: the specification is neither a circuit nor a program.
            RuntimeError: the server rejected the task for now, or is unreachable.
        """
        order = self._order(task_specification, inputs, shots, options)
        return self._submitted([order], seed, poll_timeout_seconds, options)[0]

    def run_batch(
        self,
        task_specifications: Any,
        shots: int | Sequence[int] | None = 0,
        max_parallel: int | None = None,
        inputs: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
        *,
        seed: int | None = None,
        poll_timeout_seconds: float | None = None,
        **options: Any,
    ) -> QonduitTaskBatch:
        """Submit tasks together, in as few jobs as the server's limits allow.

        Args:
            task_specifications: several specifications, or one for several inputs.
            shots: of each task, or a list with a number per task.
            max_parallel: ignored: the server decides.
            inputs: values for the free parameters of all tasks, or a list with values per task.
            seed: as in `run`; the samples of the tasks are independent.
            poll_timeout_seconds: as in `run`.
            options: as in `run`.

        Raises:
            ValueError: the lists differ in length, or parameters have no values; also as in `run`.
        """
        if is_one(task_specifications):
            several = [task_specifications] * (1 if inputs is None or isinstance(inputs, Mapping) else len(inputs))
        else:
            several = list(task_specifications)
        values: list[Any] = [inputs] * len(several) if inputs is None or isinstance(inputs, Mapping) else list(inputs)
        numbers: list[Any] = list(shots) if isinstance(shots, Sequence) else [shots] * len(several)
        if len(values) != len(several):
            raise ValueError("Multiple inputs and task specifications must be equal in number.")
        if len(numbers) != len(several):
            raise ValueError("Multiple shots and task specifications must be equal in number.")
        for each, own in zip(several, values, strict=True):
            unbound = {one.name for one in each.parameters} - set(own or {}) if isinstance(each, Circuit) else set()
            if unbound:
                raise ValueError(f"Cannot execute circuit with unbound parameters: {unbound}")
        orders = [
            self._order(each, own, number or None if is_set(each) else number, options)
            for each, own, number in zip(several, values, numbers, strict=True)
        ]
        return QonduitTaskBatch(self._submitted(orders, seed, poll_timeout_seconds, options))

    def task(self, task_id: str) -> QonduitTask:
        """Return a task that was submitted before, by this process or another one.

        Args:
            task_id: the `id` of the task. The task is read from this device's server, also if its address has changed.

        Raises:
            ValueError: the task does not exist, it ran on another device, its programs are too large to be stored with
                it, or Braket's adapter did not submit it.
            RuntimeError: the server is unreachable.
        """
        found = _ID.fullmatch(task_id)
        if found is None:
            raise ValueError(f"a task's id ends with jobs/NUMBER/programs/NUMBER, got {task_id!r}")
        handles = [self._client.job(int(each)) for each in found[2].split(",")]
        with as_braket_has_it():
            jobs = [handle.job() for handle in handles]
            stored = stored_task(handles, int(found[3]))
        for job in jobs:
            if job.device != self.name:
                raise ValueError(
                    f"task {task_id} ran on {job.device}: open it with QonduitDevice({job.device!r}).task(...)"
                )
        order = self._stored_order(stored, jobs[0].type == JobType.JOB_TYPE_ESTIMATOR)
        runs = [Run(handle, found[1] or self._client.target) for handle in handles]
        running = []
        for place, plan in enumerate(order.plans, stored.place):
            if place not in stored.programs:
                raise ValueError(
                    f"task {task_id} has further jobs: pass its whole id, jobs/NUMBER,NUMBER/programs/NUMBER"
                )
            number, index = stored.programs[place]
            running.append(Running(runs[number], index, plan, order_seed(stored.seed, place)))
        return QonduitTask(running, self.name, order.shots, order.build_result)

    def _order(
        self, specification: Any, inputs: Mapping[str, Any] | None, shots: int | None, options: Mapping[str, Any]
    ) -> _Order:
        if is_set(specification):
            whole, programs, each = programs_of(specification, inputs, None if shots is None else _shots(shots))
            self._check_shots(each)
            return self._set_order(specification, whole, programs, each)
        number = _shots(shots)
        program = program_of(specification, inputs, number)
        self._check_shots(number)
        # The state of a program with a noise model is not pure.
        return self._program_order(program, number, True if options.get("noise_model") else None)

    def _set_order(self, specification: Any, whole: Any, programs: Sequence[Any], shots: int) -> _Order:
        plans = [replace(self._reader.plan(program, shots), stored=None) for program in programs]
        plans[0] = replace(plans[0], stored=stored_set(specification, whole))
        return _Order(
            plans,
            shots * len(plans),
            lambda outcomes, task, device: set_result(outcomes, specification, whole, shots, task, device),
        )

    def _stored_order(self, stored: StoredTask, estimated: bool) -> _Order:
        if isinstance(stored.stored[0], str):
            source, inputs = stored.stored
            return self._program_order(Program(source=source, inputs=inputs), stored.shots, estimated)
        whole, specification = opened_set(stored.stored)
        _, programs, each = programs_of(whole, None, stored.shots * whole.num_executables)
        return self._set_order(specification, whole, programs, each)

    def _program_order(self, program: Program, shots: int, estimated: bool | None) -> _Order:
        return _Order([self._reader.plan(program, shots, estimated)], shots, _only_result)

    def _check_shots(self, shots: int) -> None:
        fewest, most = self._properties.service.shotsRange
        if not shots and fewest:
            raise ValueError(
                f"{self.name} does not return exact states: shots=0 is not supported, pass a number of shots"
            )
        if shots > most:
            raise ValueError(f"{self.name} allows at most {most} shots, got {shots}")

    def _submitted(
        self, orders: Sequence[_Order], seed: int | None, timeout: float | None, options: dict[str, Any]
    ) -> list[QonduitTask]:
        known = {name: value for name, value in options.items() if name not in _IGNORED_OPTIONS}
        tags = known.pop("tags", None) or {}
        if not isinstance(tags, Mapping):
            raise TypeError(f"tags must be a dict of names and values, got {tags!r}")
        with as_braket_has_it():
            plans = [plan for order in orders for plan in order.plans]
            left = iter(submit(self._client, self.name, plans, seed, tags, known))
        tasks: list[QonduitTask] = []
        for order in orders:
            running = [next(left) for _ in order.plans]
            tasks.append(QonduitTask(running, self.name, order.shots, order.build_result, timeout))
        return tasks

    def __repr__(self) -> str:
        return f"QonduitDevice('name':{self.name})"


def _only_result(outcomes: Sequence[ProgramOutcome], task: str, device: str) -> Any:
    return task_result(outcomes[0], task, device)


def _shots(shots: int | None) -> int:
    """Return a number of shots.

    Raises:
        TypeError: it is not an integer.
        ValueError: it is negative.
    """
    number = 0 if shots is None else operator.index(shots)
    if number < 0:
        raise ValueError(f"shots must be at least 0, got {number}")
    return number
