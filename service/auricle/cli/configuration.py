"""The TOML file: defaults for flags, below the environment."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from auricle.cli.paths import NonEmptyPath

__all__ = ["COMMON", "config_option", "flag_key", "read_defaults"]

COMMON = "common"

F = TypeVar("F", bound=Callable[..., Any])


def config_option(command: F) -> F:
    """Adds ``--config`` to a command; it takes effect before the other options are read."""
    return click.option(
        "--config",
        type=NonEmptyPath(dir_okay=False),
        envvar="AURICLE_CONFIG",
        is_eager=True,
        expose_value=False,
        callback=_load,
        help="TOML file with defaults.  [AURICLE_CONFIG]",
    )(command)


def read_defaults(path: Path, root: click.Group, ctx: click.Context) -> dict[str, Any]:
    """Reads the file into click's form: values by parameter, nested by command.

    Raises UsageError for a file that cannot be read, and for a table or key that nobody knows.
    """
    import tomllib

    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise click.UsageError(f"{path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{path}: not valid TOML: {error}") from error
    common = tables.pop(COMMON, {})
    _expect_table(path, COMMON, common)
    unused = dict(common)
    defaults = _group_defaults(path, root, ctx, tables, common, unused, place="")
    if unused:
        raise click.UsageError(f"{path}: [{COMMON}] has {_listed(unused)}, which no command knows")
    return defaults


def flag_key(option: click.Option) -> str:
    """Gives an option's key in the file: its longest flag, without dashes in front."""
    return max(option.opts, key=len).lstrip("-").replace("-", "_")


def _load(ctx: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is None:
        return
    root = ctx.find_root()
    assert isinstance(root.command, click.Group)
    defaults = read_defaults(path, root.command, root)
    # A command's own --config sits below the root: walk down to the place that it fills.
    for name in _names_below_root(ctx):
        defaults = defaults.get(name, {})
    ctx.default_map = defaults


def _names_below_root(ctx: click.Context) -> Iterator[str]:
    if ctx.parent is not None:
        yield from _names_below_root(ctx.parent)
        yield ctx.info_name or ""


def _group_defaults(
    path: Path,
    group: click.Group,
    ctx: click.Context,
    tables: dict[str, Any],
    common: dict[str, Any],
    unused: dict[str, Any],
    place: str,
) -> dict[str, Any]:
    names = group.list_commands(ctx)
    strangers = [key for key in tables if key not in names]
    if strangers:
        where, tables_there = (f"[{place}]", names) if place else ("the top level", [*names, COMMON])
        raise click.UsageError(f"{path}: {where} has {_listed(strangers)}; tables there are {_listed(tables_there)}")
    defaults: dict[str, Any] = {}
    for name in names:
        command = group.get_command(ctx, name)
        at = f"{place}.{name}" if place else name
        table = tables.get(name, {})
        _expect_table(path, at, table)
        if isinstance(command, click.Group):
            defaults[name] = _group_defaults(path, command, ctx, table, common, unused, at)
        elif command is not None:
            defaults[name] = _command_defaults(path, command, table, common, unused, at)
    return defaults


def _command_defaults(
    path: Path,
    command: click.Command,
    table: dict[str, Any],
    common: dict[str, Any],
    unused: dict[str, Any],
    place: str,
) -> dict[str, Any]:
    options = {
        flag_key(each): each
        for each in command.params
        if isinstance(each, click.Option) and each.expose_value and each.name is not None
    }
    own = {key.replace("-", "_"): value for key, value in table.items()}
    strangers = [key for key in own if key not in options]
    if strangers:
        raise click.UsageError(f"{path}: [{place}] has {_listed(strangers)}; known are {_listed(sorted(options))}")
    shared = {key.replace("-", "_"): (key, value) for key, value in common.items()}
    defaults: dict[str, Any] = {}
    for key, (spelled, value) in shared.items():
        if key in options:
            unused.pop(spelled, None)
            defaults[options[key].name or ""] = _value(f"{path}: [{COMMON}] {spelled}", options[key], value)
    for key, value in own.items():
        defaults[options[key].name or ""] = _value(f"{path}: [{place}] {key}", options[key], value)
    return defaults


def _value(at: str, option: click.Option, value: object) -> object:
    """The value as its flag has it, a list where that may be repeated. UsageError: it is of another type."""
    if not option.multiple:
        return _single(at, option, value)
    return [_single(at, option, each) for each in (value if isinstance(value, list) else [value])]


def _single(at: str, option: click.Option, value: object) -> object:
    kinds: tuple[type, ...]
    if option.is_flag:
        wanted, kinds = "true or false", (bool,)
    elif isinstance(option.type, click.Path):
        wanted, kinds = "a path in quotes", (str,)
    else:
        wanted, kinds = "a number, or a text in quotes", (str, int, float)
    # For Python true is a number, too.
    if not isinstance(value, kinds) or isinstance(value, bool) is not option.is_flag:
        raise click.UsageError(f"{at} is {value}, but must be {wanted}")
    return value if option.is_flag else str(value)


def _expect_table(path: Path, place: str, value: object) -> None:
    if not isinstance(value, dict):
        raise click.UsageError(f"{path}: {place} is {value!r}, but it names a table: write [{place}]")


def _listed(names: Any) -> str:
    return ", ".join(map(str, names))
