# SPDX-License-Identifier: Apache-2.0
"""Translation through a real server, from the client and the command line, and its cost to clients without it."""

from __future__ import annotations

import os
import re
import select
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from qonduit.v1.provider_pb2 import AssemblerLanguage
from qonduit_client import Client, InvalidRequest, LimitExceeded, PreconditionFailed, ServerUnavailable, TimedOut
from tests.e2e.test_cli import objects, process, qonduit
from tests.server_process import Server, serving
from tests.warm_workers import REAL_WORKERS

BELL = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nbit[2] c;\nh q[0];\ncx q[0], q[1];\nc = measure q;\n'
TURN = 'OPENQASM 3.0;\ninclude "stdgates.inc";\ninput float theta;\nqubit q;\nbit c;\nrx(theta) q;\nc = measure q;\n'
WAIT = 100.0


@pytest.fixture(scope="module")
def client(server: Server) -> Iterator[Client]:
    with Client(server.target) as connected:
        yield connected


@pytest.fixture(scope="module")
def own_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server for this file alone, whose processes tests may kill."""
    url = f"sqlite:///{tmp_path_factory.mktemp('own_server')}/q.sqlite3"
    with serving(url, environment=REAL_WORKERS, providers="IBM") as running:
        yield running


def long(number: int, rounds: int = 1200) -> str:
    """Return a program that is read in a millisecond a round, different for each number, so that no cache applies."""
    return f'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit[2] q;\nrx({number}) q[0];\n' + "".join(
        f"rx({k} * pi / 7) q[0]; cz q[0], q[1];\n" for k in range(rounds)
    )


def translators(server: Server) -> list[int]:
    """Return the processes of a server that only translate: their fork server first."""
    found = []
    for pid in server.family():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if b"--provider" in words and not words[words.index(b"--provider") + 1]:
            found.append(pid)
    return found


def test_a_server_without_translations_has_no_process_for_them(own_server: Server) -> None:
    with Client(own_server.target) as client:
        assert client.languages().translations
        assert translators(own_server) == []
        assert client.translate(BELL, to="QASM2").language == "QASM2"
        assert translators(own_server)


def test_a_bell_circuit_in_every_language_gives_the_same_result(client: Client) -> None:
    known = [each for each in client.languages().languages if each.readable and each.writable]
    both = [AssemblerLanguage.Name(each.language).rpartition("_")[2] for each in known]
    translations = [client.translate(BELL, to=each) for each in both]
    assert len(translations) >= 6
    job = client.run([each.message.program for each in translations], shots=500)
    for translation, result in zip(translations, job.results(WAIT), strict=True):
        assert translation.registers == [("c", 2)]
        assert set(result.counts) == {"0x0", "0x3"}, translation.language


def test_inputs_are_given_by_the_request(client: Client) -> None:
    turned = client.translate(TURN, to="QASM2", inputs={"theta": 3.141592653589793})
    assert client.run(turned.message.program, shots=50).result(WAIT).counts == {"0x1": 50}
    assert client.run(TURN, shots=50, inputs={"theta": 3.141592653589793}).result(WAIT).counts == {"0x1": 50}
    with pytest.raises(InvalidRequest, match=r"'theta'.*inputs") as caught:
        client.translate(TURN, to="QASM2")
    assert (caught.value.reason, caught.value.violations[0].field) == ("INVALID_PROGRAM", "inputs")
    assert "job.inputs" not in str(caught.value)


def test_a_mistake_is_reported_with_its_place(client: Client) -> None:
    with pytest.raises(InvalidRequest, match="line 4, column") as caught:
        client.translate('OPENQASM 2.0;\ninclude "qelib1.inc";\nqreg q[1];\nnonsense q[0];\n', to="QASM3")
    assert caught.value.reason == "INVALID_PROGRAM"
    (violation,) = caught.value.violations
    assert violation.field == "program.quantum_circuit"
    assert violation.rule_id.startswith("program.")


def test_a_target_language_that_cannot_express_the_program_is_reported(client: Client) -> None:
    loop = BELL.replace("c = measure q;", "c = measure q;\nwhile (c[0]) { x q[0]; c[0] = measure q[0]; }")
    with pytest.raises(PreconditionFailed, match="IONQ") as caught:
        client.translate(loop, to="IONQ")
    assert caught.value.reason == "UNSUPPORTED_BY_LANGUAGE"
    assert caught.value.violations[0].field == "target_language"


def test_many_at_once(client: Client) -> None:
    with ThreadPoolExecutor(64) as callers:
        answers = list(
            callers.map(
                lambda k: client.translate(BELL.replace("h q[0];", f"rx({k}) q[0];"), to="QASM2").source, range(64)
            )
        )
    angles = [float(re.search(r"rx\(([^)]*)\)", str(answer))[1]) for answer in answers]  # type: ignore[index]
    assert angles == [float(k) for k in range(64)]


def test_a_translation_that_is_too_large_is_refused(client: Client) -> None:
    loop = 'OPENQASM 3.0;\ninclude "stdgates.inc";\nqubit q;\nfor int i in [0:6999] { U(0.1234567, 0.2345678, i) q; }\n'
    with pytest.raises(LimitExceeded, match=r"the translation has \d+ bytes") as caught:
        client.translate(loop, to="CIRQ")
    assert caught.value.retry_after is None


def test_the_callers_deadline_is_kept_and_frees_the_worker(own_server: Server) -> None:
    with Client(own_server.target) as client, Client(own_server.target, timeout=0.3) as hasty:
        client.translate(BELL, to="QASM2")
        for number in range(4):
            with pytest.raises(TimedOut):
                hasty.translate(long(number), to="QASM2")
        assert client.translate(BELL, to="QASM3").language == "QASM3"


def test_a_process_killed_during_a_translation_is_replaced(own_server: Server) -> None:
    with Client(own_server.target) as client, ThreadPoolExecutor(1) as callers:
        client.translate(BELL, to="QASM2")
        forkserver, *workers = translators(own_server)
        before = {pid: _cpu(pid) for pid in workers}
        waiting = callers.submit(client.translate, long(10, 500), to="QASM2")
        while not (busy := [pid for pid in workers if _cpu(pid) > before[pid] + 0.2]):
            assert not waiting.done()
        os.kill(busy[0], signal.SIGKILL)
        assert str(waiting.result(WAIT).source).count("cz q[0], q[1];") == 500
        assert busy[0] not in translators(own_server)
        os.kill(forkserver, signal.SIGKILL)
        assert client.translate(BELL, to="QUIL").language == "QUIL"


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_the_command_line_translates(server: Server, tmp_path: Path) -> None:
    file, cirq = tmp_path / "bell.qasm", tmp_path / "bell.json"
    file.write_text(BELL)
    code, written, errors = process(server, "translate", str(file), "--to", "cirq")
    assert (code, errors) == (0, "")
    cirq.write_text(written)
    assert (
        qonduit(server, "translate", "-", "--to", "QISKIT", "--output", str(tmp_path / "bell.qpy"), text=BELL)[0] == 0
    )
    assert (tmp_path / "bell.qpy").read_bytes().startswith(b"QISKIT")
    code, written, errors = qonduit(server, "run", str(cirq), str(tmp_path / "bell.qpy"), "--json")
    assert code == 0, errors
    for result in objects(written)[-1]["results"]:
        assert set(result["counts_and_probabilities"]["counts"]) == {"0x0", "0x3"}


def test_the_command_line_passes_inputs(server: Server, tmp_path: Path) -> None:
    file = tmp_path / "turn.qasm"
    file.write_text(TURN)
    code, written, _ = qonduit(server, "translate", str(file), "--to", "QASM2", "--input", "theta=0.7")
    assert code == 0
    assert "rx(0.7)" in written
    code, _, errors = qonduit(server, "translate", str(file), "--to", "QASM2")
    assert code == 4
    assert "--input NAME=VALUE" in errors
    code, written, errors = qonduit(server, "run", str(file), "--input", "theta=3.141592653589793", "--shots", "20")
    assert code == 0, errors
    assert "0x1  20" in written


def test_the_command_line_lists_languages(server: Server) -> None:
    code, written, _ = qonduit(server, "languages")
    assert code == 0
    assert written.splitlines()[0].split() == ["LANGUAGE", "FORM", "READ", "WRITE", "PYTHON", "SOURCE", "TITLE"]
    assert {"QASM2", "QASM3", "QISKIT", "CIRQ"} <= {line.split()[0] for line in written.splitlines()}
    (qiskit,) = [e for e in objects(qonduit(server, "languages", "--json")[1]) if e["language"].endswith("QISKIT")]
    assert qiskit["binary"] is True


def test_stopping_ends_all_of_its_processes(tmp_path: Path) -> None:
    with (
        serving(f"sqlite:///{tmp_path}/q.sqlite3", environment=REAL_WORKERS, providers="IBM") as stopping,
        Client(stopping.target) as client,
        Client(stopping.target, timeout=2) as hasty,
        ThreadPoolExecutor(1) as callers,
    ):
        client.translate(BELL, to="QASM2")
        processes = [os.pidfd_open(pid) for pid in translators(stopping)]
        waiting = callers.submit(hasty.translate, long(20), to="QASM2")
        stopping.process.send_signal(signal.SIGTERM)
        assert stopping.process.wait(100) == 0
        assert isinstance(waiting.exception(WAIT), ServerUnavailable | TimedOut)
    assert processes
    for running in processes:
        # They end without a signal once the server has ended: their pidfds become readable.
        assert select.select([running], [], [], WAIT)[0]
        os.close(running)
