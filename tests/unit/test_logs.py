# SPDX-License-Identifier: Apache-2.0
"""The format of the log, and the secrets it never contains."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from qonduit_server import logs


@pytest.fixture(autouse=True)
def _undo() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    yield
    structlog.reset_defaults()
    root.handlers = handlers
    root.setLevel(level)


def test_a_line_is_one_json_object(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger("tests")
    log.info("call", method="JobService/GetJob", job_id=3, name="ü\n")
    log.debug("not important")
    line = json.loads(capsys.readouterr().err)
    assert line["timestamp"].endswith("Z")
    assert {key: line[key] for key in ("event", "level", "method", "job_id", "name")} == {
        "event": "call",
        "level": "info",
        "method": "JobService/GetJob",
        "job_id": 3,
        "name": "ü\n",
    }


def test_the_level_changes_for_loggers_that_exist(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    log = structlog.get_logger("tests")
    foreign = logging.getLogger("tests.foreign")
    for level in ("info", "debug", "error", "warning"):
        logs.set_level(level)  # type: ignore[arg-type]
        for each in ("debug", "info", "warning", "error"):
            getattr(log, each)(f"{each} at {level}")
        foreign.warning(f"foreign at {level}")
        foreign.error(f"foreign error at {level}")
    events = [json.loads(line)["event"] for line in capsys.readouterr().err.splitlines()]
    assert events == [
        *("info at info", "warning at info", "error at info", "foreign at info", "foreign error at info"),
        *("debug at debug", "info at debug", "warning at debug", "error at debug"),
        *("foreign at debug", "foreign error at debug"),
        *("error at error", "foreign error at error"),
        *("warning at warning", "error at warning", "foreign at warning", "foreign error at warning"),
    ]


def test_a_fault_is_logged_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    try:
        raise ValueError("what happened")
    except ValueError as error:
        structlog.get_logger("tests").error("fault", exc_info=error)
    line = json.loads(capsys.readouterr().err)
    assert "what happened" in line["exception"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_programs_and_credentials_are_left_out(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(log_format, "info")  # type: ignore[arg-type]
    structlog.get_logger("tests").info("call", credential="s3cret", quantum_circuit="OPENQASM", job_id=1)
    output = capsys.readouterr().err
    assert "s3cret" not in output
    assert "OPENQASM" not in output
    assert "job_id" in output


def test_libraries_log_in_the_same_form(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("json", "info")
    logging.getLogger("grpc._server").error("a library %s", "complains")
    line = json.loads(capsys.readouterr().err)
    assert (line["event"], line["level"]) == ("a library complains", "error")


def test_a_log_that_cannot_be_written_fails_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full:
        def write(self, _text: str) -> None:
            raise OSError("no space left")

        def isatty(self) -> bool:
            return False

    logs.configure("json", "info")
    monkeypatch.setattr("sys.stderr", Full())
    structlog.get_logger("tests").info("call")
