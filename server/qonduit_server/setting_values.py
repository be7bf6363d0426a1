# SPDX-License-Identifier: Apache-2.0
"""The values of settings: from the text of an option or a variable, from a TOML value, and as text again."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import Field, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args, get_origin, get_type_hints
from urllib.parse import urlsplit

from qonduit_server.settings import Settings

_NAMES: Final = tuple[str, ...]
_PAIRS: Final = Mapping[str, str]
_SWITCH: Final = {True: "on", False: "off"}


@functools.cache
def settings_by_name() -> Mapping[str, Field[Any]]:
    """Return the declarations of all settings by their names."""
    return {setting.name: setting for setting in fields(Settings)}


@functools.cache
def _annotations() -> Mapping[str, Any]:
    return get_type_hints(Settings)


def changes(old: Settings, new: Settings) -> dict[str, Any]:
    """Return the new values of the settings that differ."""
    return {name: getattr(new, name) for name in settings_by_name() if getattr(new, name) != getattr(old, name)}


def adoptable(old: Settings, changed: Mapping[str, Any]) -> dict[str, Any]:
    """Return the changes that a running program can adopt."""
    return {name: value for name, value in changed.items() if _is_adoptable(name, getattr(old, name), value)}


def _is_adoptable(name: str, old: Any, new: Any) -> bool:
    match settings_by_name()[name].metadata.get("reload"):
        case "yes":
            return True
        case "while set":
            return bool(old) and bool(new)
        case "user and password":
            # An open connection stays with its broker, so another address could divide those of one program.
            return bool(old) and _address(old) == _address(new)
    return False


def _address(url: str) -> tuple[str, str, str, str]:
    """Return the parts of a URL without user and password."""
    parts = urlsplit(url)
    return parts.scheme, parts.netloc.rpartition("@")[2], parts.path, parts.query


def choices(setting: Field[Any]) -> tuple[str, ...]:
    """Return the allowed values of a setting; empty if they are not enumerated."""
    annotation = _annotations()[setting.name]
    return get_args(annotation) if get_origin(annotation) is Literal else ()


def form(setting: Field[Any]) -> str:
    """Return the form of a setting's text, for the help of the command line."""
    forms = {int: "INTEGER", float: "NUMBER", _NAMES: "NAME,...", _PAIRS: "NAME=VALUE,..."}
    return forms.get(_annotations()[setting.name]) or (
        f"[{'|'.join(named)}]" if (named := choices(setting)) else "TEXT"
    )


def from_text(setting: Field[Any], text: str) -> Any:
    """Return the value of a text. Raises ValueError, whose message contains what is allowed and the text."""
    annotation = _annotations()[setting.name]
    if annotation == _NAMES:
        return tuple(part.strip() for part in text.split(",") if part.strip())
    if annotation == _PAIRS:
        pairs = [part.partition("=") for part in text.split(",") if part.strip()]
        if not all(name.strip() and value.strip() for name, _, value in pairs):
            raise ValueError(f"must be NAME=VALUE,NAME=VALUE, got {text!r:.100}")
        return {name.strip(): value.strip() for name, _, value in pairs}
    if annotation in (int, float):
        try:
            return _checked(setting, annotation(text))
        except (ValueError, OverflowError):
            raise ValueError(f"must be {_number(setting)}, got {text!r:.100}") from None
    return _checked(setting, text)


def from_toml(setting: Field[Any], value: object, folder: Path) -> Any:
    """Return the value that a TOML value stands for.

    Args:
        setting: the setting.
        value: of the file.
        folder: the folder of the file, in which relative paths begin.

    Raises:
        ValueError: the type or the value is not allowed; the message contains what is allowed and the value.
    """
    annotation = _annotations()[setting.name]
    relocate = setting.metadata.get("relocate", lambda text, folder: text)
    if annotation == _NAMES:
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise ValueError(f'must be a list of strings such as ["NAME", "NAME"], got {_described(value)}')
        return tuple(value)
    if annotation == _PAIRS:
        if setting.metadata.get("tables") and isinstance(value, dict):
            value = {name: _joined(each) for name, each in value.items()}
        if not isinstance(value, dict) or not all(_is_pair_value(each) for each in value.values()):
            raise ValueError(f'must be a table of strings such as {{NAME = "VALUE"}}, got {_described(value)}')
        return {name: relocate(str(each), folder) for name, each in value.items()}
    if annotation in (int, float):
        if isinstance(value, bool) or not isinstance(value, (int, annotation)):
            raise ValueError(f"must be {_number(setting)}, got {_described(value)}")
        try:
            return _checked(setting, annotation(value))
        except OverflowError:
            raise ValueError(f"must be {_number(setting)}, got more than a number can be") from None
    if isinstance(value, bool) and set(choices(setting)) == set(_SWITCH.values()):
        return _SWITCH[value]
    if not isinstance(value, str):
        raise ValueError(f"must be a string, got {_described(value)}")
    return _checked(setting, relocate(value, folder))


def as_text(setting: Field[Any], value: Any) -> str:
    """Return the text of a value, without secrets; `from_text` reads it if it contains none."""
    if isinstance(value, tuple):
        return ",".join(value)
    if isinstance(value, Mapping):
        return ",".join(f"{name}={each}" for name, each in value.items())
    return redacted(setting, f"{value:g}" if isinstance(value, float) and value < 1e6 else str(value))


def redacted(setting: Field[Any], value: str) -> str:
    """Return the text of a value without the secret that it may contain."""
    redact = setting.metadata.get("redact")
    return redact(value) if redact else value


def _checked(setting: Field[Any], value: Any) -> Any:
    least = setting.metadata.get("least")
    if isinstance(value, int | float):
        if not math.isfinite(value) or (least is not None and value < least):
            raise ValueError(f"must be {_number(setting)}, got {value}")
    elif (allowed := choices(setting)) and value not in allowed:
        raise ValueError(f"must be one of {', '.join(allowed)}, got {value!r:.100}")
    if check := setting.metadata.get("check"):
        check(value)
    return value


def _number(setting: Field[Any]) -> str:
    kind = "an integer" if _annotations()[setting.name] is int else "a number"
    least = setting.metadata.get("least")
    return kind if least is None else f"{kind} of at least {least}"


def _is_pair_value(value: object) -> bool:
    return isinstance(value, str | int) and not isinstance(value, bool) and value != ""


def _joined(value: object) -> object:
    """Return a table of strings and numbers as one string; other values as they are."""
    if not isinstance(value, dict) or not all(type(each) in (str, int, float) for each in value.values()):
        return value
    return "; ".join(f"{name}={each}" for name, each in value.items())


def _described(value: object) -> str:
    names = {dict: "a table", list: "a list", bool: str(value).lower()}
    return names.get(type(value)) or f"{value!r:.100}"
