# SPDX-License-Identifier: Apache-2.0
"""Settings: what stands in the guide is what there is, and a wrong value is told by name."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from click.testing import CliRunner
from pydantic import ValidationError

from qonduit_server import cli
from qonduit_server.settings import Settings

GUIDE = Path(__file__).resolve().parents[2] / "docs" / "operating.md"


def test_the_guide_lists_every_setting_and_no_other() -> None:
    listed = re.findall(r"^\| `(\w+)` \|", GUIDE.read_text(), re.MULTILINE)
    assert listed == list(Settings.model_fields)


def test_the_environment_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QONDUIT_WORKERS", "7")
    monkeypatch.setenv("QONDUIT_PROVIDER_PYTHON", '{"AWS": "/opt/python"}')
    settings = Settings()
    assert settings.workers == 7
    assert settings.provider_python == {"AWS": "/opt/python"}


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError):
        Settings().workers = 3  # type: ignore[misc]


def test_a_wrong_setting_is_a_usage_error_that_names_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QONDUIT_MAX_SHOTS", "many")
    done = CliRunner().invoke(cli.main, ["migrate", "--database", "sqlite://"])
    assert done.exit_code == cli.EXIT_USAGE
    assert "max_shots" in done.output
