# SPDX-License-Identifier: Apache-2.0
"""The SDKs that sources use: their imports, their circuit classes, and the export of circuits as data."""

from __future__ import annotations

import contextlib
import io
import re
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final


@dataclass(frozen=True)
class Data:
    """An exported circuit.

    Args:
        language: short name of the program's language.
        body: the program.
    """

    language: str
    body: bytes


@dataclass(frozen=True)
class Sdk:
    """An SDK.

    Args:
        title: its name in messages.
        modules: modules to import in advance.
        circuits: its circuit classes: "module:class".
        write: exports a circuit; the number is the latest supported version of QPY.
        warm: initializes and compiles the parts of the SDK that every program needs, while this is permitted.
    """

    title: str
    modules: tuple[str, ...]
    circuits: tuple[str, ...]
    write: Callable[[Any, int], Data]
    warm: Callable[[], object] = lambda: None

    def is_circuit(self, thing: object) -> bool:
        """Return whether a value is a circuit of this SDK."""
        return isinstance(thing, tuple(_the(each) for each in self.circuits))


class NoCircuit(Exception):
    """The source assigned no circuit; the message lists its variables."""


def _the(path: str) -> Any:
    module, _, name = path.partition(":")
    return getattr(import_module(module), name)


def _qpy(circuit: Any, latest: int) -> Data:
    qpy = import_module("qiskit.qpy")
    out = io.BytesIO()
    qpy.dump(circuit, out, version=min(latest, import_module("qiskit.qpy.common").QPY_VERSION))
    return Data("QISKIT", out.getvalue())


def _cirq_json(circuit: Any, _latest: int) -> Data:
    return Data("CIRQ", import_module("cirq").to_json(circuit).encode())


def _braket_openqasm(circuit: Any, _latest: int) -> Data:
    if hasattr(circuit, "to_ir"):
        circuit = circuit.to_ir(ir_type=_the("braket.circuits.serialization:IRType").OPENQASM)
    return Data("BRAKET", circuit.source.encode())


def _qrisp_openqasm(circuit: Any, _latest: int) -> Data:
    """Return Qrisp's export; a variable's qubits are measured into a register of its name."""
    if isinstance(circuit, _the("qrisp:QuantumVariable")):
        compiled = circuit.qs.compile(intended_measurements=list(circuit.reg))
        # One new bit for each qubit, after the bits that the program measured.
        converted = compiled.to_qiskit()
        register = _the("qiskit:ClassicalRegister")(len(circuit.reg), re.sub(r"\W", "_", circuit.name))
        converted.add_register(register)
        places = [compiled.qubits.index(qubit) for qubit in circuit.reg]
        converted.measure(places, register)
    else:
        if isinstance(circuit, _the("qrisp:QuantumSession")):
            circuit = circuit.compile()
        converted = circuit.to_qiskit()
    return Data("QASM3", import_module("qiskit.qasm3").dumps(converted).encode())


def _warm_qrisp() -> None:
    qrisp = import_module("qrisp")
    variable = qrisp.QuantumFloat(2)
    qrisp.h(variable[0])
    qrisp.cx(variable[0], variable[1])
    _qrisp_openqasm(variable, 0)
    variable.get_measurement()


SDKS: Final[Mapping[str, Sdk]] = {
    "QISKIT": Sdk("Qiskit", ("qiskit", "qiskit.qpy"), ("qiskit:QuantumCircuit",), _qpy),
    "CIRQ": Sdk("Cirq", ("cirq",), ("cirq:AbstractCircuit",), _cirq_json),
    "BRAKET": Sdk(
        "Amazon Braket",
        ("braket.circuits", "braket.circuits.serialization", "braket.ir.openqasm"),
        ("braket.circuits:Circuit", "braket.ir.openqasm:Program"),
        _braket_openqasm,
    ),
    "QRISP": Sdk(
        "Qrisp",
        ("qrisp", "qiskit.qasm3"),
        # A session is a circuit too: export its compiled form.
        ("qrisp:QuantumSession", "qrisp:QuantumVariable", "qrisp:QuantumCircuit"),
        _qrisp_openqasm,
        _warm_qrisp,
    ),
}


def wanted(language: str, source: str) -> list[Sdk]:
    """Import the SDKs that a source needs: its language's SDK; for PYTHON the installed ones that it imports.

    Raises:
        ImportError: the language's SDK is not installed.
    """
    if language in SDKS:
        sdks = [SDKS[language]]
    else:
        imported = set(re.findall(r"^\s*(?:from|import)\s+(\w+)", source, re.MULTILINE))
        roots = {each: sdk.modules[0].partition(".")[0] for each, sdk in SDKS.items()}
        sdks = [sdk for each, sdk in SDKS.items() if roots[each] in imported and find_spec(roots[each])]
    for sdk in sdks:
        for module in sdk.modules:
            import_module(module)
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            sdk.warm()
    if caching := sys.modules.get("numba.core.caching"):
        # Bytecode compiled from now on cannot be cached, and need not be.
        caching.Cache.save_overload = lambda *_: None
    return sdks


def find(left: Mapping[str, object], sdks: list[Sdk]) -> tuple[Any, Sdk]:
    """Return the circuit of a source: the variable `circuit`, else the only circuit.

    Raises:
        NoCircuit: there is no circuit, or more than one.
    """
    titles = " or ".join(sdk.title for sdk in sdks) or " or ".join(sdk.title for sdk in SDKS.values())
    if "circuit" in left:
        for sdk in sdks:
            if sdk.is_circuit(left["circuit"]):
                return left["circuit"], sdk
        kind = type(left["circuit"])
        raise NoCircuit(
            f"the variable `circuit` is a {kind.__module__}.{kind.__qualname__}, not a circuit of {titles}: "
            "assign the circuit to run to it"
        )
    found: dict[int, tuple[str, Any, Sdk]] = {}
    others: list[str] = []
    for name, thing in left.items():
        if name.startswith("_") or name == "inputs":
            continue
        for sdk in sdks:
            if sdk.is_circuit(thing):
                found.setdefault(id(thing), (name, thing, sdk))
                break
        else:
            others.append(f"{name} ({type(thing).__name__})")
    if len(found) == 1:
        ((_, thing, sdk),) = found.values()
        return thing, sdk
    if found:
        names = ", ".join(name for name, _, _ in found.values())
        raise NoCircuit(f"the source assigns several circuits ({names}): assign the one to run to `circuit`")
    leaves = ", ".join(others[:20]) or "no variables"
    raise NoCircuit(f"the source assigns no circuit of {titles}, but {leaves}: assign it to the variable `circuit`")
