# SPDX-License-Identifier: Apache-2.0
"""`python -m tests.watchers`: run 10,000 watchers on a real server and print a table of their cost."""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from tests.server_process import serving
from tests.watchers.measure import Size, measure


def main() -> int:
    """Measure; return 1 if a watcher missed an event."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--streams", type=int, default=10_000)
    parser.add_argument("--connections", type=int, default=40)
    size = Size(processes=2, **vars(parser.parse_args()))
    with tempfile.TemporaryDirectory() as folder:
        settings = {"preload": "IBM", "max_streams": str(size.streams + size.mute + size.quiet)}
        with serving(f"sqlite:///{Path(folder) / 'q.sqlite3'}", log=Path(folder) / "log", **settings) as server:
            figures = measure(server, size)
    for name, value in figures.rows:
        print(f"{name:40} {value}")
    print(f"{'streams that saw every event':40} {figures.whole} of {size.streams}; ended with {dict(figures.codes)}")
    for wrong in figures.wrong:
        print(wrong)
    return figures.whole != size.streams or figures.mute_cut != size.mute


if __name__ == "__main__":
    sys.exit(main())
