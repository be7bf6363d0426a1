# SPDX-License-Identifier: Apache-2.0
"""Completion in a real bash: commands, options, names from the server, files; no output without a server."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from qonduit_client.cli.commands import qonduit
from tests.unit.client.peer import Peer

#: Calls the completion as bash does, with words split as by bash, and prints the replies.
DRIVER = r"""
compopt() { echo "compopt $*"; }
eval "$SCRIPT"
try() {
    COMP_LINE="$1" COMP_POINT=${#1} COMPREPLY=()
    shift
    COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
    "$(complete -p qonduit | sed -E 's/.*-F ([^ ]+).*/\1/')" qonduit
    printf '%s ' "${COMPREPLY[@]}"
    echo
}
"""


@pytest.fixture(scope="module")
def script() -> str:
    """Return the output of `qonduit completion bash`."""
    done = CliRunner().invoke(qonduit, ["completion", "bash"])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder whose `qonduit` is the one under test."""
    command = tmp_path / "qonduit"
    command.write_text(f'#!/bin/sh\nexec {sys.executable} -m qonduit_client.cli "$@"\n')
    command.chmod(0o755)
    return tmp_path


def bash(script: str, folder: Path, server: str, *tries: str) -> list[str]:
    """Return the replies for each line; `|` separates its words, and the last word is being completed."""
    lines = "\n".join(
        f"try '{line.replace('|', '')}' {' '.join(repr(word.strip()) for word in line.split('|'))}" for line in tries
    )
    done = subprocess.run(
        ["bash", "--norc", "-c", DRIVER + lines],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env={**os.environ, "SCRIPT": script, "PATH": f"{folder}:{os.environ['PATH']}", "QONDUIT_SERVER": server},
    )
    assert done.stderr == ""
    return [line.rstrip() for line in done.stdout.splitlines()]


def test_bash_completes_commands_and_options_without_a_server(script: str, folder: Path) -> None:
    replies = bash(
        script,
        folder,
        "127.0.0.1:1",
        "qonduit |wat",
        "qonduit |watch |--outp",
        "qonduit |jobs |--output |c",
        "qonduit |run |--language |QU",
        "qonduit |run |prog",
    )
    assert replies == ["watch", "--output", "csv", "QUIL", "compopt -o default", ""]


def test_bash_completes_names_from_the_server(script: str, folder: Path, peer: Peer) -> None:
    host, _, port = peer.target.partition(":")
    replies = bash(
        script,
        folder,
        "127.0.0.1:1",
        f"qonduit |--server |{host}|:|{port} |run |--device |I",
        f"qonduit |--server |{host}|:|{port} |run |--device|=|IB",
        f"qonduit |--server |{host}|:|{port} |result |",
    )
    assert replies == ["IBM/aer_simulator", "IBM/aer_simulator", "7"]


def test_bash_completes_names_of_servers(
    script: str, folder: Path, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = folder / "config.toml"
    monkeypatch.setenv("QONDUIT_CONFIG", str(config))
    config.write_text(
        f'[servers.lab]\ntarget = "{peer.target}"\n[servers.late]\ntarget = "192.0.2.1:1"\n'
        '[servers.late.oidc]\nissuer = "https://id.example.org"\nclient_id = "c"\n'
    )
    replies = bash(
        script,
        folder,
        "127.0.0.1:1",
        "qonduit |--server |l",
        "qonduit |jobs |--server |la",
        "qonduit |login |lat",
        "qonduit |config |use |lab",
        "qonduit |--server |lab |run |--device |I",
        "qonduit |--server |late |run |--device |I",
    )
    assert replies == ["lab late", "lab late", "late", "lab", "IBM/aer_simulator", ""]
    config.write_text("not valid")
    assert bash(script, folder, "127.0.0.1:1", "qonduit |--server |l") == [""]


def test_completion_does_not_wait_for_an_unreachable_server(monkeypatch: pytest.MonkeyPatch) -> None:
    from click.shell_completion import ShellComplete

    from qonduit_client.cli import completion

    # An address that drops packets takes the longest to time out.
    monkeypatch.setenv("QONDUIT_SERVER", "192.0.2.1:50051")
    begun = time.monotonic()
    completes: ShellComplete = completion.WholeLine(qonduit, {}, "qonduit", "_QONDUIT_COMPLETE")
    assert completes.get_completions(["run", "--device"], "I") == []
    assert completes.get_completions(["watch"], "") == []
    assert time.monotonic() - begun < 10 * completion.TIMEOUT


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_other_shells_have_their_scripts(shell: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(qonduit, ["completion", shell])
    assert done.exit_code == 0
    assert f"_QONDUIT_COMPLETE={shell}_complete" in done.stdout
    if found := shutil.which(shell):
        path = tmp_path / "script"
        path.write_text(done.stdout)
        subprocess.run([found, "--no-execute", str(path)], check=True, timeout=60)


def test_a_shell_that_is_not_known() -> None:
    done = CliRunner().invoke(qonduit, ["completion", "tcsh"])
    assert done.exit_code == 2
    assert "bash" in done.stderr
