# SPDX-License-Identifier: Apache-2.0
"""Writer of Amazon Braket's dialect of OpenQASM 3."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from qonduit_server.ir.braket_names import BRAKET_NAMES
from qonduit_server.ir.circuit import Circuit
from qonduit_server.ir.visitor import (
    BarrierStep,
    BranchStep,
    ChannelStep,
    DelayStep,
    GateStep,
    LoopStep,
    MeasureStep,
    Plain,
    ResetStep,
    every,
    walk,
)
from qonduit_server.languages.writing import braket_noise
from qonduit_server.languages.writing.qasm3_writer import DISCARDED, REGISTERS, Dialect, write_steps
from qonduit_server.languages.writing.register_layout import lay_out, refuse
from qonduit_server.languages.writing.terminal_measurement import at_the_end
from qonduit_server.languages.writing.write_result import WriteResult

_DIALECT: Final = Dialect(
    "Braket's OpenQASM",
    ("OPENQASM 3.0;",),
    BRAKET_NAMES,
    delays=False,
    compares=False,
    touch="i",
    reader="Braket's local simulator",
    unread=frozenset((DISCARDED, REGISTERS)),
    noise=braket_noise.pragma,
)


def write(circuit: Circuit) -> WriteResult:
    """Write a program for Braket.

    Raises:
        ProgramError: UNSUPPORTED_CONSTRUCT, a gate without a definition, or a register without bits.
    """
    steps = walk(circuit.quantum, _DIALECT.title, BRAKET_NAMES, noise=True)
    warnings: tuple[str, ...] = ()
    layout = lay_out(circuit, steps, keep_unread=True)
    # If no measurement writes a bit of the result, Braket returns all measured qubits; conditional measurements may not
    # run at all.
    silent = not any(isinstance(step, MeasureStep) and step.clbit in layout.homes for step in steps)
    if silent and not circuit.registers:
        raise refuse(_DIALECT.title, "program without a result: it measures all qubits then", "QASM3")
    loops = any(isinstance(step, LoopStep) for step in every(steps))
    if silent or (not loops and not layout.plain):
        circuit = at_the_end(circuit, _DIALECT.title, BRAKET_NAMES, noise=True)
        warnings = circuit.warnings[-1:]
        steps = walk(circuit.quantum, _DIALECT.title, BRAKET_NAMES, noise=True)
    if not _ends_measured(steps):
        warnings = (
            "Braket's local simulator and many of its devices support no mid-circuit measurement, reset or condition",
        )
    written = write_steps(circuit, steps, _DIALECT)
    return WriteResult(written.source, (*written.warnings, *warnings))


def _ends_measured(steps: Sequence[Plain]) -> bool:
    """Return whether there are only gates and final measurements."""
    measured: set[int] = set()
    for step in steps:
        if isinstance(step, BranchStep | LoopStep | ResetStep):
            return False
        if isinstance(step, GateStep | ChannelStep) and measured.intersection(step.qubits):
            return False
        if isinstance(step, MeasureStep):
            if step.qubit in measured:
                return False
            measured.add(step.qubit)
        elif not isinstance(step, GateStep | ChannelStep | BarrierStep | DelayStep):
            return False
    return True
