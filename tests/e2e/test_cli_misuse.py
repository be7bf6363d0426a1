# SPDX-License-Identifier: Apache-2.0
"""The command line with invalid arguments, files and standard input: an error message and a documented exit code."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit_client.cli import commands as cli
from tests.server_process import Server, serving

BELL = 'OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[2];\ncreg c[2];\nh q[0];\ncx q[0], q[1];\nmeasure q -> c;\n'
COMMAND = [sys.executable, "-m", "qonduit_client.cli"]
USAGE, NOT_FOUND, REFUSED, UNAVAILABLE = 2, 3, 4, 5
HUGE = str(2**70)

#: Arguments, and their allowed exit codes. FOLDER stands for a folder with the files of `folder`.
CASES: dict[str, tuple[list[str], set[int]]] = {
    # Commands and options.
    "no such command": (["dance"], {USAGE}),
    "no such option": (["run", "--dance"], {USAGE}),
    "nothing to run": (["run"], {USAGE}),
    "nothing to watch": (["watch"], {USAGE}),
    "an empty command": ([""], {USAGE}),
    "control characters": (["\x1b[31m\x00".replace("\0", "\x01")], {USAGE}),
    # Numbers.
    "shots that are not a number": (["run", "FOLDER/bell.qasm", "--shots", "many"], {USAGE}),
    "shots below nothing": (["run", "FOLDER/bell.qasm", "--shots", "-1"], {USAGE, REFUSED}),
    "shots beyond 64 bits": (["run", "FOLDER/bell.qasm", "--shots", HUGE], {USAGE, REFUSED}),
    "shots beyond the limit": (["run", "FOLDER/bell.qasm", "--shots", str(2**62)], {REFUSED}),
    "a negative seed": (["run", "FOLDER/bell.qasm", "--seed", "-5"], {USAGE, REFUSED}),
    "a seed beyond 64 bits": (["run", "FOLDER/bell.qasm", "--seed", HUGE], {USAGE, REFUSED}),
    "a job id that is not a number": (["job", "one"], {USAGE}),
    "job 0": (["job", "0"], {USAGE, NOT_FOUND, REFUSED}),
    "a negative job id": (["job", "--", "-1"], {USAGE, NOT_FOUND, REFUSED}),
    "a job beyond 64 bits": (["job", HUGE], {USAGE, NOT_FOUND, REFUSED}),
    "no such job": (["job", "999999999"], {NOT_FOUND}),
    "no such job to watch": (["watch", "999999999"], {NOT_FOUND}),
    "no such job to cancel": (["cancel", "999999999"], {NOT_FOUND}),
    "no such job to delete": (["delete", "999999999"], {NOT_FOUND}),
    "no such job to run again": (["rerun", "999999999"], {NOT_FOUND}),
    "no result": (["result", "999999999"], {NOT_FOUND}),
    "watching beyond 64 bits": (["watch", HUGE], {USAGE, NOT_FOUND, REFUSED}),
    "a result beyond 64 bits": (["result", HUGE], {USAGE, NOT_FOUND, REFUSED}),
    "jobs beyond 64 bits": (["jobs", "--limit", HUGE], {USAGE}),
    "jobs beyond 32 bits": (["jobs", "--limit", str(2**40)], {0}),
    "deployments below nothing": (["deployments", "--limit", "-3"], {0, USAGE, REFUSED}),
    "a deployment to run beyond 64 bits": (["run", "--deployment", HUGE], {USAGE}),
    "no such deployment": (["deployments", "show", "999999999"], {NOT_FOUND}),
    "a deployment beyond 64 bits": (["deployments", "delete", HUGE], {USAGE, NOT_FOUND, REFUSED}),
    # Files.
    "no such file": (["run", "FOLDER/nothing.qasm"], {USAGE}),
    "a folder for a file": (["run", "FOLDER"], {USAGE}),
    "an empty file": (["run", "FOLDER/empty.qasm"], {1, USAGE, REFUSED}),
    "bytes for text": (["run", "FOLDER/bytes.qasm"], {1, USAGE, REFUSED}),
    "a file of another language": (["run", "FOLDER/bytes.qpy"], {1, USAGE, REFUSED}),
    "a name without a known extension": (["run", "FOLDER/what.xyz"], {1, USAGE, REFUSED}),
    "invalid JSON": (["run", "FOLDER/broken.json"], {1, USAGE, REFUSED}),
    "a file that is too large": (["run", "FOLDER/large.qasm"], {USAGE, REFUSED}),
    "nothing to store": (["deployments", "create", "FOLDER/empty.qasm"], {USAGE, REFUSED}),
    "bytes to store": (["deployments", "create", "FOLDER/bytes.qasm"], {0, USAGE, REFUSED}),
    "bytes to translate": (["translate", "FOLDER/bytes.qasm", "--to", "QASM3"], {USAGE, REFUSED}),
    "nothing to translate": (["translate", "FOLDER/empty.qasm", "--to", "QASM3"], {USAGE, REFUSED}),
    "no such language": (["translate", "FOLDER/bell.qasm", "--to", "KLINGON"], {USAGE, REFUSED}),
    # Values.
    "an invalid device name": (["run", "FOLDER/bell.qasm", "--device", "///"], {NOT_FOUND, REFUSED, USAGE}),
    "an empty device": (["run", "FOLDER/bell.qasm", "--device", ""], {NOT_FOUND, REFUSED, USAGE}),
    "a device of 64 KiB": (["run", "FOLDER/bell.qasm", "--device", "x" * 65_536], {NOT_FOUND, REFUSED, USAGE}),
    "a name of 64 KiB": (["run", "FOLDER/bell.qasm", "--name", "ü" * 30_000], {REFUSED, USAGE}),
    "a name that is not Unicode": (["run", "FOLDER/bell.qasm", "--name", "\udcff"], {0, REFUSED, USAGE}),
    "a file name that is not Unicode": (["run", "FOLDER/\udcff.qasm"], {USAGE}),
    "a device that is not Unicode": (
        ["run", "FOLDER/bell.qasm", "--device", "IBM/\udcff"],
        {NOT_FOUND, REFUSED, USAGE},
    ),
    "no such state": (["jobs", "--state", "asleep"], {USAGE, REFUSED}),
    # Servers.
    "an unreachable server": (["--server", "127.0.0.1:1", "info"], {UNAVAILABLE}),
    "an invalid server address": (["--server", "::::", "info"], {USAGE, UNAVAILABLE}),
    "a server without a port": (["--server", "127.0.0.1:port", "info"], {USAGE, UNAVAILABLE}),
    "an empty server": (["--server", "", "info"], {USAGE, UNAVAILABLE}),
    "a server that is not Unicode": (["--server", "\udcff:1", "info"], {USAGE, UNAVAILABLE}),
}
#: Standard input of `run -`.
INPUTS: dict[str, bytes] = {
    "nothing": b"",
    "spaces": b" \n\t\n",
    "bytes": bytes(range(256)),
    "NUL": b"OPENQASM 2.0;\0\n",
    "half a program": BELL[:40].encode(),
    "a very long line": b"OPENQASM 2.0;" + b"(" * 100_000,
    "too much": b"OPENQASM 2.0;\n" + b"// much\n" * 200_000,
    "UTF-16": BELL.encode("utf-16"),
}


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with one provider."""
    folder = tmp_path_factory.mktemp("server")
    with serving(f"sqlite:///{folder / 'q.sqlite3'}", providers="IBM", workers="1") as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Valid and invalid files."""
    made = tmp_path_factory.mktemp("files")
    (made / "bell.qasm").write_text(BELL)
    (made / "empty.qasm").write_text("")
    (made / "bytes.qasm").write_bytes(bytes(range(256)) * 4)
    (made / "bytes.qpy").write_bytes(b"QISKIT" + bytes(range(256)))
    (made / "what.xyz").write_text("who knows")
    (made / "broken.json").write_text('{"qubits": [')
    (made / "large.qasm").write_text(BELL + "// much\n" * 200_000)
    return made


@pytest.mark.parametrize("case", CASES)
def test_invalid_arguments_get_a_message(small: Server, folder: Path, case: str) -> None:
    arguments, codes = CASES[case]
    arguments = [each.replace("FOLDER", str(folder)) for each in arguments]
    if arguments[0] != "--server":
        arguments = ["--server", small.target, *arguments]
    done = CliRunner().invoke(cli.qonduit, arguments)
    output = done.stdout + done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in codes, output[-500:]
    assert "Traceback" not in output
    assert done.exit_code == 0 or done.stderr.strip(), "no message was printed"
    assert len(output) < 5_000, output[:300]


@pytest.mark.parametrize("case", INPUTS)
def test_invalid_standard_input_gets_a_message(small: Server, case: str) -> None:
    done = CliRunner().invoke(cli.qonduit, ["--server", small.target, "run", "-", "--shots", "10"], input=INPUTS[case])
    output = done.stdout + done.stderr
    assert done.exception is None or isinstance(done.exception, SystemExit), repr(done.exception)
    assert done.exit_code in (1, USAGE, REFUSED), output[-500:]
    assert "Traceback" not in output
    assert done.stderr.strip()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["run", "-", "--shots", "10"], {USAGE, REFUSED}),
        (["info"], {0}),
        (["job", b"\xff\xfe"], {USAGE}),
        (["run", b"\xff.qasm"], {USAGE}),
    ],
)
def test_a_process_with_closed_input_and_a_plain_locale(
    small: Server, arguments: list[str | bytes], code: set[int]
) -> None:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("LC_")} | {"LANG": "C"}
    done = subprocess.run(
        [*COMMAND, "--server", small.target, *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        timeout=60,
        check=False,
        env=variables,
    )
    assert done.returncode in code, done.stderr
    assert b"Traceback" not in done.stdout + done.stderr


def test_a_reader_that_exits_early_is_no_error_of_the_command(small: Server) -> None:
    """`qonduit devices --json | head -c 0`."""
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as closed:
        done = subprocess.run(
            [*COMMAND, "--server", small.target, "devices", "--json"],
            stdin=subprocess.DEVNULL,
            stdout=closed,
            stderr=subprocess.PIPE,
            timeout=60,
            check=False,
        )
    assert b"Traceback" not in done.stderr, done.stderr.decode()
