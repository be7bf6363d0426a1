# SPDX-License-Identifier: Apache-2.0
"""Feed one reader random programs for a while; any outcome but a circuit or a ProgramError is a crash.

`python -m tests.fuzz CIRQ --seconds 60`. Atheris (libFuzzer) changes valid programs step by step and keeps what reaches
new lines of the reader. Findings are written to files named crash-*, timeout-* or oom-*; pass such a file's name
instead of --seconds to reproduce it.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import atheris

from qonduit.v1.provider_pb2 import AssemblerLanguage

with atheris.instrument_imports(include=["qonduit_server"]):
    from qonduit_server.errors import ProgramError
    from qonduit_server.languages.registry import LANGUAGES

    for edges in LANGUAGES.values():
        if edges.reader:
            import_module(f"qonduit_server.languages.{edges.reader}")

from qonduit_server.languages.registry import Languages
from tests import example_programs

#: One program may take this long, in seconds, and this much memory, in MiB.
_SECONDS = 2
_MEMORY = 3000


def main(arguments: Sequence[str] | None = None) -> None:
    """Fuzz until a crash or the time limit; do not return."""
    parser = argparse.ArgumentParser(prog="tests.fuzz", description=__doc__)
    parser.add_argument("language", choices=[_name(each) for each in example_programs.programs()])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("again", nargs="?", help="a file that was found")
    options = parser.parse_args(arguments)
    language = AssemblerLanguage.Value(f"ASSEMBLER_LANGUAGE_{options.language}")
    languages = Languages()
    languages.load()

    def one(data: bytes) -> None:
        text = data.decode(errors="replace")
        try:
            languages.read(language, text, data, {"theta": 0.7})
        except ProgramError:
            return

    source = example_programs.programs()[language]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "example").write_bytes(source.encode() if isinstance(source, str) else source)
        words = Path(folder) / "words"
        words.write_text("".join(f"{json.dumps(word)}\n" for word in _words(source)))
        fuzzing = [options.again] if options.again else [f"-max_total_time={options.seconds}", f"-dict={words}", folder]
        limits = [f"-timeout={_SECONDS}", f"-rss_limit_mb={_MEMORY}", "-max_len=4096", "-len_control=0"]
        atheris.Setup([sys.argv[0], *limits, *fuzzing], one)
        atheris.Fuzz()


def _name(language: AssemblerLanguage) -> str:
    return AssemblerLanguage.Name(language).removeprefix("ASSEMBLER_LANGUAGE_")


def _words(source: str | bytes) -> list[str]:
    """Return the tokens of the example, for libFuzzer's dictionary."""
    return sorted(set(re.findall(r"[A-Za-z_.]{2,30}", source))) if isinstance(source, str) else ["QISKIT"]


if __name__ == "__main__":
    main()
