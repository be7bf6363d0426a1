# SPDX-License-Identifier: Apache-2.0
"""Programs of vendors' machines that apply gates to fresh qubits, and measure each qubit once at the end."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from qonduit_server.errors import DeviceError

if TYPE_CHECKING:
    from qonduit_server.ir.visitor import GateStep, Plain


def measured_last(steps: Sequence[Plain], where: str) -> tuple[list[GateStep], dict[int, int]]:
    """Return the gates, and the measured qubit of each classical bit.

    Raises:
        DeviceError: the machine measures all qubits at the end, and the program needs more.
    """
    from qonduit_server.ir.visitor import BarrierStep, DelayStep, GateStep, MeasureStep, ResetStep

    gates: list[GateStep] = []
    measured: dict[int, int] = {}
    touched: set[int] = set()
    #: Also those whose bit another measurement overwrites: what follows would depend on their measurement.
    ended: set[int] = set()
    for step in steps:
        if isinstance(step, MeasureStep):
            measured[step.clbit] = step.qubit
            ended.add(step.qubit)
        elif isinstance(step, GateStep):
            if late := ended.intersection(step.qubits):
                raise refused(where, f"gates after a measurement (qubit {min(late)})")
            touched.update(step.qubits)
            if step.name != "id":
                gates.append(step)
        elif isinstance(step, ResetStep):
            if step.qubit in touched or step.qubit in ended:
                raise refused(where, f"resets within a circuit (qubit {step.qubit})")
        elif not isinstance(step, BarrierStep | DelayStep):
            raise refused(where, "operations that depend on measured bits")
    if not measured:
        raise nothing_measured(where)
    return gates, measured


def refused(where: str, what: str) -> DeviceError:
    """Return the error of a program that needs more than measurements at the end."""
    return DeviceError("UNSUPPORTED_CONSTRUCT", f"{where} does not run {what}: it measures all qubits once, at the end")


def nothing_measured(where: str) -> DeviceError:
    """Return the error of a program without measurements, which would cost and give nothing."""
    return DeviceError(
        "UNSUPPORTED_CONSTRUCT",
        f"the program measures nothing, and {where} would charge for it: add measurements",
    )


def omitted(steps: Sequence[Plain], without: str) -> Iterator[str]:
    """Yield the warnings of steps that a vendor does not have; `without` is its name and a verb, as "IonQ has"."""
    from qonduit_server.ir.visitor import BarrierStep, DelayStep

    for kind, what in ((BarrierStep, "barriers"), (DelayStep, "delays")):
        if any(isinstance(step, kind) for step in steps):
            yield f"{what} are left out: {without} none"
