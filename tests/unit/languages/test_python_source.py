# SPDX-License-Identifier: Apache-2.0
"""Python source: only circuits leave the sandbox, and everything else in it becomes a clear error.

Each attack runs twice: in plain Python, where it must succeed (else it proves nothing), and in the sandbox.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from qonduit_server.errors import LimitError, ProgramError, RunError
from qonduit_server.languages.python import source_runner
from qonduit_server.languages.python.source_runner import Built, Memory, MemoryNotGranted, PythonSource, is_source
from tests.sandbox_attacks import ATTACKS, ESCAPED, PRELUDE, Prey, exposed

SANDBOX = PythonSource(dict.fromkeys(("QISKIT", "CIRQ", "BRAKET", "PYTHON"), sys.executable))


def build(source: str, language: str = "PYTHON", **inputs: object) -> Built:
    return SANDBOX.build(language, source, inputs)


def refused(source: str, language: str = "PYTHON", **inputs: object) -> RunError:
    with pytest.raises(RunError) as caught:
        build(source, language, **inputs)
    return caught.value


@pytest.fixture(scope="module")
def prey(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prey]:
    with exposed(tmp_path_factory.mktemp("prey")) as found:
        yield found


@pytest.mark.parametrize(
    "attack",
    [pytest.param(attack, id=name) for name, attack in ATTACKS.items()],
)
def test_it_works_outside_and_not_inside(attack: str, prey: Prey) -> None:
    passed = json.dumps(prey.inputs())
    code = f"{PRELUDE}\nESCAPED = {ESCAPED!r}\n{attack}\nraise RuntimeError(ESCAPED)"
    outside = subprocess.run(
        [sys.executable, "-c", f"import json\ninputs = json.loads({passed!r})\n{code}"],
        capture_output=True,
        text=True,
        close_fds=False,
        timeout=100,
        check=False,
    )
    assert ESCAPED in outside.stderr + outside.stdout, outside.stderr
    prey.restore()
    before = prey.state()
    error = refused(code, **prey.inputs())
    assert ESCAPED not in error.message
    assert isinstance(error, ProgramError)
    assert error.reason in ("PYTHON_ERROR", "SANDBOX_DIED")
    assert prey.state() == before
    assert prey.victim.poll() is None


def test_the_sandbox_lets_the_prelude_run() -> None:
    """The sandbox refuses the attacks; the prelude alone runs in it."""
    passed = dict.fromkeys(("folder", "secret", "link", "port", "parent", "victim", "address", "kept"), 1)
    error = refused(f"{PRELUDE}\nraise RuntimeError({ESCAPED!r})", **passed)
    assert ESCAPED in error.message


def test_only_three_pipes_are_open() -> None:
    error = refused("import os\nopen_ = []\nfor n in range(256):\n  try: os.fstat(n); open_.append(n)\n"
                    "  except OSError: pass\nraise ValueError(open_)")  # fmt: skip
    assert "[0, 1, 2, 3]" in error.message  # the fourth is a duplicate of the response pipe


class TestCrashes:
    """Sources that crash their process or try to exhaust the machine."""

    def test_an_endless_loop_ends(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source_runner, "RUN_SECONDS", 0.5)
        error = refused("while True: pass")
        assert (type(error), error.reason) == (LimitError, "SANDBOX_TIME")

    def test_sleeping_and_not_listening_ends_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source_runner, "RUN_SECONDS", 0.5)
        source = "import os, signal, time\nfor n in range(1, 32):\n  try: signal.signal(n, signal.SIG_IGN)\n"
        error = refused(source + "  except OSError: pass\nfor n in (0, 1, 2, 3): os.close(n)\ntime.sleep(1000)")
        assert error.reason == "SANDBOX_TIME"

    def test_cpu_time_is_bounded_by_itself(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(source_runner, "CPU_SECONDS", 0)
        began = time.monotonic()
        assert (
            refused("import signal; signal.signal(signal.SIGXCPU, signal.SIG_IGN)\nwhile 1: 1").reason == "SANDBOX_TIME"
        )
        assert time.monotonic() - began < 10

    @pytest.mark.parametrize("source", ["bytearray(3 << 30)", "x = []\nwhile True: x.append(bytes(1 << 20))"])
    def test_memory_is_bounded(self, source: str) -> None:
        error = refused(source)
        assert (type(error), error.reason) == (LimitError, "SANDBOX_MEMORY")

    def test_the_limit_is_that_of_the_task(self) -> None:
        source = "import qiskit\ntaken = bytearray(700 << 20)\ncircuit = qiskit.QuantumCircuit(1)"
        with pytest.raises(LimitError, match="512 MiB") as caught:
            SANDBOX.build("PYTHON", source, {}, Memory(limit_bytes=512 << 20))
        assert caught.value.reason == "SANDBOX_MEMORY"
        assert SANDBOX.build("PYTHON", source, {}, Memory(limit_bytes=1024 << 20)).language == "QISKIT"

    def test_nothing_is_started_before_its_memory_is_granted(self) -> None:
        nowhere = PythonSource({"PYTHON": "/nowhere/python"})
        with pytest.raises(MemoryNotGranted) as caught:
            nowhere.build("PYTHON", "x = 1", {}, Memory(limit_bytes=512 << 20, granted_bytes=128 << 20))
        assert caught.value.memory_bytes == 512 << 20
        with pytest.raises(ProgramError) as started:
            nowhere.build("PYTHON", "x = 1", {}, Memory(limit_bytes=512 << 20, granted_bytes=512 << 20))
        assert started.value.reason == "PYTHON_SOURCE_UNAVAILABLE"

    def test_output_is_bounded(self) -> None:
        error = refused("while True: print('x' * 1000)")
        assert (type(error), error.reason) == (LimitError, "SANDBOX_OUTPUT")

    def test_an_answer_without_end_is_bounded(self) -> None:
        source = 'import os\nos.write(3, b\'{"language": "CIRQ", "size": 33554432}\\n\')'
        assert refused(f"{source}\nos._exit(0)").reason == "SANDBOX_DIED"
        assert refused(source.replace("432", "433")).reason == "TOO_LARGE"
        assert refused("import os\nwhile True: os.write(3, bytes(1 << 20))").reason == "PYTHON_ERROR"

    def test_a_segmentation_fault_is_reported(self) -> None:
        assert "SIGSEGV" in refused("import ctypes; ctypes.string_at(0)").message

    def test_an_abort_is_reported(self) -> None:
        assert "SIGABRT" in refused("import os; os.abort()").message

    def test_an_exit_is_reported(self) -> None:
        error = refused("import os; os._exit(7)")
        assert error.reason == "SANDBOX_DIED"
        assert "7" in error.message

    def test_a_foreign_kind_of_system_call_kills(self) -> None:
        """On x86_64 the x32 ABI has the same calls under other numbers, which no list contains."""
        numbers = "0x40000000 + 39, 172" if os.uname().machine == "x86_64" else "9999, 9999"
        assert refused(f"import ctypes, os\nif ctypes.CDLL(None).syscall({numbers}) < 0: os.abort()").reason in (
            "SANDBOX_DIED",
        )

    def test_recursion_is_an_error_of_the_source(self) -> None:
        error = refused("def f():\n  f()\nf()")
        assert (error.reason, error.line) == ("PYTHON_ERROR", 2)
        assert "RecursionError" in error.message

    def test_exit_handlers_do_not_run(self) -> None:
        began = time.monotonic()
        built = build(f"{CIRCUIT}\nimport atexit, time\natexit.register(time.sleep, 1000)", "QISKIT")
        assert built.language == "QISKIT"
        assert time.monotonic() - began < 15


CIRCUIT = "from qiskit import QuantumCircuit, qpy\ncircuit = QuantumCircuit(1)\ncircuit.h(0)"


class TestForgedAnswers:
    """Responses are as untrusted as requests: a forged response harms only its own source."""

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            ("[]", "PYTHON_ERROR"),
            ("nonsense", "PYTHON_ERROR"),
            ("[" * 50_000, "PYTHON_ERROR"),
            ('{"language": "PYTHON", "size": 3}', "PYTHON_ERROR"),
            ('{"language": ["CIRQ"], "size": 3}', "PYTHON_ERROR"),
            ('{"language": "CIRQ", "size": -1}', "TOO_LARGE"),
            ('{"language": "CIRQ", "size": "3"}', "TOO_LARGE"),
            ('{"reason": "PYTHON_SOURCE_UNAVAILABLE", "message": {"a": 1}, "line": "x", "column": -4}', "PYTHON_ERROR"),
            ('{"reason": "INTERNAL", "message": "\\ud800", "line": true}', "PYTHON_ERROR"),
            ('{"reason": "INTERNAL", "message": 5, "line": 1e400}', "PYTHON_ERROR"),
        ],
    )
    def test_a_forged_line_is_an_error_of_the_source(self, answer: str, reason: str) -> None:
        error = refused(f"import os\nos.write(3, {answer!r}.encode() + b'\\nxxx')\nos._exit(0)")
        assert error.reason == reason
        assert len(error.message.encode()) < 2500
        assert error.line == 0

    def test_a_forged_circuit_is_read_like_any_other(self) -> None:
        built = build('import os\nos.write(3, b\'{"language": "CIRQ", "size": 4}\\nevil\')\nos._exit(0)')
        assert (built.language, built.program) == ("CIRQ", "evil")

    def test_printed_text_is_not_a_response(self) -> None:
        built = build(f'{CIRCUIT}\nprint(\'{{"language": "QASM3", "size": 4}}\\nevil\')', "QISKIT")
        assert built.language == "QISKIT"
        assert "evil" in built.printed

    def test_a_serializer_that_was_replaced_gives_data_all_the_same(self) -> None:
        built = build(f"{CIRCUIT}\nqpy.dump = lambda _, out, version: out.write(b'import os')", "QISKIT")
        assert (built.language, built.program) == ("QISKIT", b"import os")

    def test_methods_of_a_malicious_circuit_run_inside(self, tmp_path: Path) -> None:
        source = f"""{CIRCUIT}
class Evil(QuantumCircuit):
    @property
    def data(self): open({str(tmp_path / "a")!r}, "w")
    def __reduce__(self): open({str(tmp_path / "a")!r}, "w")
    __str__ = __repr__ = __reduce__
circuit = Evil.__new__(Evil)"""
        assert refused(source, "QISKIT").reason == "UNSUPPORTED_CONSTRUCT"
        assert not list(tmp_path.iterdir())

    def test_an_error_that_cannot_be_serialized_is_reported(self) -> None:
        error = refused("class E(Exception):\n  def __str__(self): raise KeyboardInterrupt\nraise E()")
        assert error.reason == "PYTHON_ERROR"
        assert error.line == 3


class TestSources:
    """Accepted sources, and the errors of wrong ones."""

    def test_the_only_circuit_is_found_and_inputs_are_there(self) -> None:
        built = build("import cirq\nmine = cirq.Circuit(cirq.rx(inputs['t'])(cirq.LineQubit(0)))", "CIRQ", t=0.25)
        assert json.loads(built.program)["moments"][0]["operations"][0]["gate"] == {"cirq_type": "Rx", "rads": 0.25}
        assert built.takes_inputs

    def test_braket_gives_openqasm(self) -> None:
        built = build("from braket.circuits import Circuit\nc = Circuit().h(0).cnot(0, 1)", "BRAKET")
        assert built.language == "BRAKET"
        assert str(built.program).startswith("OPENQASM 3.0;")

    def test_qiskit_gives_qpy_of_a_version_that_is_read(self) -> None:
        source = (
            "from qiskit import QuantumCircuit, transpile\n"
            "c = QuantumCircuit(2, 2)\nc.h(0)\nc.cx(0, 1)\nc.measure([0, 1], [0, 1])\n"
            "circuit = transpile(c, basis_gates=['rz', 'sx', 'cx'], optimization_level=3)"
        )
        built = build(source, "QISKIT")
        assert built.language == "QISKIT"
        assert bytes(built.program)[:6] == b"QISKIT"  # type: ignore[arg-type]

    @pytest.mark.parametrize(
        ("source", "reason", "line", "words"),
        [
            ("x = (\n", "SYNTAX_ERROR", 1, "never closed"),
            ("x = 1\ndef f():\n  return 1 / 0\nf()", "PYTHON_ERROR", 3, "ZeroDivisionError: division by zero"),
            ("import sys; sys.exit(3)", "PYTHON_ERROR", 1, "sys.exit(3)"),
            ("x = 1\ny = 'a'", "NO_CIRCUIT", 0, "x (int), y (str)"),
            ("circuit = 'H 0'", "NO_CIRCUIT", 0, "builtins.str"),
            ("x\0", "SYNTAX_ERROR", 0, "null"),
            ("import nowhere", "PYTHON_ERROR", 1, "ModuleNotFoundError"),
            ("open('/etc/passwd')", "PYTHON_ERROR", 1, "in a sandbox, without files"),
        ],
    )
    def test_an_error_has_its_line(self, source: str, reason: str, line: int, words: str) -> None:
        error = refused(source)
        assert (error.reason, error.line) == (reason, line)
        assert words in error.message

    def test_several_circuits_are_named(self) -> None:
        error = refused("from qiskit import QuantumCircuit as Q\na = Q()\nb = Q()", "QISKIT")
        assert error.reason == "NO_CIRCUIT"
        assert "(a, b)" in error.message

    def test_the_error_of_a_disabled_language_names_the_alternative(self) -> None:
        with pytest.raises(ProgramError, match=r"QPY.*python_source") as caught:
            PythonSource({}).build("QISKIT", CIRCUIT, {})
        assert caught.value.reason == "PYTHON_SOURCE_DISABLED"

    def test_a_missing_python_is_reported(self) -> None:
        with pytest.raises(ProgramError, match="cannot be started") as caught:
            PythonSource({"PYTHON": "/nowhere/python"}).build("PYTHON", "x = 1", {})
        assert caught.value.reason == "PYTHON_SOURCE_UNAVAILABLE"

    def test_a_missing_sdk_is_reported(self) -> None:
        with pytest.raises(ProgramError, match="qrisp") as caught:
            PythonSource({"QRISP": sys.executable}).build("QRISP", "import qrisp", {})
        assert caught.value.reason == "PYTHON_SOURCE_UNAVAILABLE"

    @pytest.mark.parametrize(
        ("language", "text", "source"),
        [
            ("QISKIT", "x", True),
            ("PYTHON", "", True),
            ("CIRQ", ' \n{"cirq_type": "Circuit"}', False),
            ("CIRQ", "import cirq", True),
            ("BRAKET", "OPENQASM 3.0;\nqubit q;", False),
            ("BRAKET", "// import this\nOPENQASM 3.0;", False),
            ("BRAKET", "qubit q;\nh q;", False),
            ("BRAKET", "# mine\n\nfrom braket.circuits import Circuit", True),
            ("QRISP", "OPENQASM 2.0;", False),
            ("QRISP", '"""Grover."""\nimport qrisp', True),
            ("QASM3", "import qiskit", False),
        ],
    )
    def test_source_and_data_are_distinguished(self, language: str, text: str, source: bool) -> None:
        assert is_source(language, text) is source


#: Fails one system call with ENOSYS, as kernels without it do, then executes the given Python.
WITHOUT = """#!{python}
import ctypes, os, struct, sys
steps = [(0x20, 0, 0, 0), (0x15, 0, 1, {number}), (0x06, 0, 0, 0x00050000 | 38), (0x06, 0, 0, 0x7fff0000)]
class Program(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_char_p)]
program = Program(len(steps), b"".join(struct.pack("=HBBI", *step) for step in steps))
libc = ctypes.CDLL(None)
assert libc.prctl(38, 1, 0, 0, 0) == 0 and libc.prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv({python!r}, [{python!r}, *sys.argv[1:]])
"""


@pytest.mark.parametrize(
    ("number", "name"), [(444, "Landlock"), (317 if os.uname().machine == "x86_64" else 277, "seccomp")]
)
def test_no_source_runs_where_the_kernel_lacks_a_layer(number: int, name: str, tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(WITHOUT.format(python=sys.executable, number=number))
    python.chmod(0o755)
    with pytest.raises(ProgramError, match=name) as caught:
        PythonSource({"PYTHON": str(python)}).build("PYTHON", "raise ValueError('it has run')", {})
    assert caught.value.reason == "PYTHON_SOURCE_UNAVAILABLE"


def test_the_sandbox_holds_where_namespaces_are_forbidden(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text(WITHOUT.format(python=sys.executable, number=272 if os.uname().machine == "x86_64" else 97))
    python.chmod(0o755)
    with pytest.raises(ProgramError, match="Operation not permitted"):
        PythonSource({"PYTHON": str(python)}).build("PYTHON", "import socket; socket.socket()", {})


def test_it_ends_with_its_parent() -> None:
    """A killed worker takes the source it runs with it."""
    code = (
        "import sys\nfrom qonduit_server.languages.python.source_runner import PythonSource\n"
        "PythonSource({'PYTHON': sys.executable}).build('PYTHON', 'import time\\ntime.sleep(1000)', {})"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as worker:
        deadline = time.monotonic() + 100
        while not (children := _children(worker.pid)):
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)
        # Once it sleeps, only the kernel can end it.
        worker.kill()
    while any(Path(f"/proc/{child}/stat").exists() and _state(child) not in "ZX" for child in children):
        assert time.monotonic() < deadline
        threading.Event().wait(0.01)


def _children(pid: int) -> list[int]:
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "X"
