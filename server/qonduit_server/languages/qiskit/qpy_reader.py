# SPDX-License-Identifier: Apache-2.0
"""Reader of QPY, Qiskit's file format: checked first, then loaded by Qiskit."""

from __future__ import annotations

import io
import warnings

from qiskit import qpy
from qiskit.circuit import QuantumCircuit

from qonduit_server.errors import ProgramError
from qonduit_server.ir.circuit import Circuit
from qonduit_server.languages.qiskit import circuit_evaluation, qpy_structure
from qonduit_server.languages.qiskit.qiskit_gates import FAULTS
from qonduit_server.languages.signatures import NO_INPUTS, NO_NAMES, Inputs


def read(source: bytes, inputs: Inputs = NO_INPUTS, gate_names: frozenset[str] = NO_NAMES) -> Circuit:
    """Read a QPY file with one circuit; gates of these names that it defines are kept whole.

    Raises:
        ProgramError: the file is damaged, too large, of an unsupported version, or has unsupported content.
    """
    qpy_structure.check(source)
    try:
        return circuit_evaluation.read(_loaded(source), inputs, gate_names)
    except RecursionError:
        raise ProgramError("TOO_LARGE", "an expression or a body is nested too deep") from None
    except SystemError as error:
        raise _unread(error) from error
    except BaseException as error:
        # A panic of Qiskit's Rust code is a BaseException, not an Exception. Some parts are loaded lazily.
        if type(error).__name__ != "PanicException":
            raise
        raise _unread(error) from error


def _unread(error: BaseException) -> ProgramError:
    return ProgramError("SYNTAX_ERROR", f"Qiskit cannot read this QPY file: {str(error)[:200]}")


def _loaded(source: bytes) -> QuantumCircuit:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # for files of a newer Qiskit
            (circuit,) = qpy.load(io.BytesIO(source))
    except FAULTS as error:
        raise _unread(error) from error
    assert isinstance(circuit, QuantumCircuit)
    return circuit
