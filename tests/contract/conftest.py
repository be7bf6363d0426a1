# SPDX-License-Identifier: Apache-2.0
"""What contract suites share: the long form of the corpus runs only when it is asked for, with `-m corpus_full`."""

from __future__ import annotations

import pytest


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "corpus_full: every program of the corpus on every provider; takes minutes")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if "corpus_full" in str(config.option.markexpr):
        return
    long = [item for item in items if item.get_closest_marker("corpus_full")]
    if long:
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
