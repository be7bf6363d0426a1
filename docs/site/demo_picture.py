# SPDX-License-Identifier: Apache-2.0
"""Record docs/demo.svg: run `qonduit demo` in a terminal and draw its last screen (`make demo-picture`)."""

from __future__ import annotations

import io
import os
import pty
import re
import struct
import sys
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ
from typing import Final

from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

PICTURE: Final = Path(__file__).resolve().parents[1] / "demo.svg"
_COMMAND: Final = "make demo"
_FONTS: Final = "ui-monospace, Menlo, Consolas, DejaVu Sans Mono, monospace"
#: The fonts of the template come from another site, which pictures in a document cannot load.
_TEMPLATE: Final = re.sub(r"@font-face \{\{.*?\}\}\s*", "", CONSOLE_SVG_FORMAT, flags=re.DOTALL).replace(
    "Fira Code, monospace", _FONTS
)
_COLUMNS, _ROWS = 100, 40
#: The control sequences that a live display of rich writes, and colours, which are kept.
_CONTROL: Final = re.compile(
    r"\x1b\[(?P<count>\d*)(?P<up>A)|(?P<erase>\r|\x1b\[2K)|(?P<ignored>\x1b\[\?25[lh])|(?P<newline>\n)"
)


def main() -> None:
    """Record the picture."""
    lines = screen_of(_output([str(Path(sys.executable).parent / "qonduit"), "demo"]))
    width = max(Text.from_ansi(line).cell_len for line in lines)
    console = Console(record=True, width=width, file=io.StringIO())
    console.print(Text(f"$ {_COMMAND}", style="bold"))
    for line in lines:
        console.print(Text.from_ansi(line), no_wrap=True)
    PICTURE.write_text(console.export_svg(title="", code_format=_TEMPLATE))


def _output(command: list[str]) -> str:
    """Run a command in a terminal of its own and return everything that it wrote."""
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLUMNS=str(_COLUMNS))
        os.execv(command[0], command)
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", _ROWS, _COLUMNS, 0, 0))
    written = bytearray()
    while True:
        try:
            read = os.read(terminal, 65536)
        except OSError:  # Linux reports the end of a terminal's last process as an error
            break
        if not read:
            break
        written += read
    _, status = os.waitpid(child, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed:\n{written.decode()}")
    return written.decode()


def screen_of(output: str) -> list[str]:
    """Return the lines that a terminal shows after it received `output`, colours included.

    A live display moves up and writes whole lines again, so a line is what was written to it since it was last erased.
    """
    lines, row, position = [""], 0, 0
    for control in _CONTROL.finditer(output):
        lines[row] += output[position : control.start()]
        position = control.end()
        if control["up"]:
            row = max(0, row - int(control["count"] or 1))
        elif control["erase"]:
            if not output.startswith("\r\n", control.start()):
                lines[row] = ""
        elif control["newline"]:
            row += 1
            if row == len(lines):
                lines.append("")
    lines[row] += output[position:]
    return [line.rstrip() for line in lines]


if __name__ == "__main__":
    main()
