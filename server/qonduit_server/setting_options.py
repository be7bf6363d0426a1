# SPDX-License-Identifier: Apache-2.0
"""The settings of a command: options, QONDUIT_* variables, the configuration file and defaults, in this order."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from qonduit_server import config_file
from qonduit_server.errors import StartError
from qonduit_server.setting_values import as_text, choices, form, from_text, settings_by_name
from qonduit_server.settings import Settings

_Command = TypeVar("_Command", bound=Callable[..., Any])
_GIVEN: Final = (ParameterSource.COMMANDLINE, ParameterSource.ENVIRONMENT)
_DEFAULT: Final = "default"


@dataclass(frozen=True)
class Configuration:
    """The settings of a command.

    Attributes:
        settings: their values.
        origins: where each value comes from: an option, a variable, a file with the line, or "default".
        deprecated: the deprecated names that were used, with their replacements.
        path: the configuration file; None without one.
    """

    settings: Settings
    origins: Mapping[str, str]
    deprecated: Mapping[str, str]
    path: Path | None
    _given: Mapping[str, Any]
    _given_origins: Mapping[str, str]

    def reread(self) -> Configuration:
        """Return the configuration with the present content of the file. Raises StartError."""
        file = config_file.read(self.path)
        in_file = {name: f"{file.path}, line {line}" for name, line in file.lines.items()}
        origins = dict.fromkeys(settings_by_name(), _DEFAULT) | in_file | dict(self._given_origins)
        return replace(self, settings=Settings(**{**file.values, **self._given}), origins=origins)

    def given(self, name: str) -> Any:
        """Return the value of a setting; None if it has its default."""
        return None if self.origins[name] == _DEFAULT else getattr(self.settings, name)

    def required(self, name: str) -> Any:
        """Return the value of a setting that the command needs. Raises click.UsageError without one."""
        if not (value := getattr(self.settings, name)):
            raise click.UsageError(
                f"{_option(name)}, {_variable(name)} or {name} in the configuration file is required"
            )
        return value

    def rows(self) -> list[tuple[str, str, str]]:
        """Return name, value and origin of each setting as text, without secrets."""
        return [
            (name, as_text(setting, getattr(self.settings, name)), self.origins[name])
            for name, setting in settings_by_name().items()
        ]


class SettingType(click.ParamType[Any]):
    """The type of an option that is a setting."""

    def __init__(self, setting: Field[Any]) -> None:
        self._setting = setting
        self.name = form(setting)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Read the text of an option or a variable."""
        try:
            return from_text(self._setting, value)
        except ValueError as error:
            self.fail(str(error), param, ctx)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Return the allowed values that begin with a text."""
        return [CompletionItem(each) for each in choices(self._setting) if each.startswith(incomplete)]


def settings_options(*names: str) -> Callable[[_Command], _Command]:
    """Give a command the named settings (all if no name is given) as options, and the option `--config`.

    The command receives the result as the argument `configuration`.
    """
    declared = settings_by_name()
    chosen = [declared[name] for name in names] if names else list(declared.values())
    former = {setting.metadata["formerly"]: setting.name for setting in chosen if "formerly" in setting.metadata}

    def decorate(command: _Command) -> _Command:
        @functools.wraps(command)
        def run(*arguments: Any, config: Path | None, **options: Any) -> Any:
            given = {name: options.pop(name) for name in (*(each.name for each in chosen), *former)}
            return command(*arguments, configuration=_configuration(given, former, config), **options)

        decorated: Any = run
        for setting in reversed(chosen):
            for name in filter(None, (setting.name, setting.metadata.get("formerly"))):
                decorated = click.option(
                    _option(name),
                    type=SettingType(setting),
                    metavar=form(setting),
                    default=None,
                    envvar=_variable(name),
                    show_envvar=bool(names),
                    help=setting.metadata["help"] + _shown(setting.default),
                    hidden=name != setting.name,
                )(decorated)
        result: _Command = _config_option(decorated)
        return result

    return decorate


_config_option: Final = click.option(
    "--config",
    type=click.Path(dir_okay=False, path_type=Path),
    envvar=config_file.VARIABLE,
    show_envvar=True,
    metavar="FILE",
    help="File of settings (TOML).  [~/.config/qonduit/server.toml, else /etc/qonduit/server.toml]",
)


def _configuration(options: Mapping[str, Any], former: Mapping[str, str], config: Path | None) -> Configuration:
    """Return the configuration of the current command. A new name overrides a deprecated one."""
    context = click.get_current_context()
    given, origins, deprecated = {}, {}, {}
    for name in sorted(options, key=lambda each: each not in former):
        source = context.get_parameter_source(name)
        if source in _GIVEN:
            setting = former.get(name, name)
            given[setting] = options[name]
            origins[setting] = _option(name) if source is ParameterSource.COMMANDLINE else _variable(name)
            if name in former:
                deprecated[name] = setting
    path = config if config is not None else config_file.default_path()
    try:
        return Configuration(Settings(), {}, deprecated, path, given, origins).reread()
    except StartError as error:
        raise click.UsageError(str(error)) from None


def _option(name: str) -> str:
    return f"--{name.replace('_', '-')}"


def _variable(name: str) -> str:
    return f"QONDUIT_{name.upper()}"


def _shown(default: object) -> str:
    return f"  [{default}]" if default not in ("", (), MISSING) else ""
