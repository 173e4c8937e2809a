"""Flags that commands share, and how each is named in the environment."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, TypeVar

import click
from click.core import ParameterSource

from auricle.cli.configuration import config_option
from auricle.cli.paths import NonEmptyPath
from auricle.cli.ranges import NumberRange
from auricle.errors import OptionError

__all__ = [
    "Connection",
    "connection_options",
    "json_option",
    "model_options",
    "models_option",
    "quieten_grpc",
    "setting",
    "typed",
]

F = TypeVar("F", bound=Callable[..., Any])
Decorator = Callable[[F], F]


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Where the engine is: a server, or this process with a directory of models."""

    models: Path | None
    server: str | None
    tls: bool
    tls_ca: Path | None
    tls_certificate: Path | None
    tls_key: Path | None
    tls_name: str | None
    timeout_s: float | None

    @classmethod
    def take(cls, flags: dict[str, Any]) -> Connection:
        """Takes the connection's flags out of a command's.

        A directory on the command line is asked rather than a server that the environment or the file names.
        """
        taken = cls(**{field.name: flags.pop(field.name) for field in fields(cls)})
        return taken.here() if typed("models") and not typed("server") else taken

    def here(self) -> Connection:
        """The same, with the engine in this process."""
        return replace(self, server=None)


def typed(name: str) -> bool:
    """Whether a parameter of the command that runs was given on the command line."""
    return click.get_current_context().get_parameter_source(name) is ParameterSource.COMMANDLINE


def setting(*flags: str, help: str, **attributes: Any) -> Decorator[Any]:  # noqa: A002 - click's name
    """An option that the environment sets too: ``--listen`` is ``AURICLE_LISTEN``; the help says so."""
    variable = "AURICLE_" + flags[0].split("/")[0].lstrip("-").replace("-", "_").upper()
    return click.option(*flags, envvar=variable, help=f"{help}  [{variable}]", **attributes)


def _address(_: click.Context, __: click.Parameter, value: str | None) -> str | None:
    """The address itself. BadParameter where it is none."""
    if value is None:
        return None
    quieten_grpc()
    from auricle.client.transport import check_target

    try:
        return check_target(value)
    except OptionError as error:
        raise click.BadParameter(error.message) from error


def quieten_grpc() -> None:
    """To be called before gRPC is imported: its core tells of each attempt to connect; the error tells of the last."""
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")


def _stacked(*decorators: Callable[[Any], Any]) -> Decorator[Any]:
    def apply(command: F) -> F:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return apply


def models_option(command: F) -> F:
    """Adds ``--models``."""
    from auricle.cli.places import default_models_dir

    decorator: Decorator[F] = setting(
        "--models",
        type=NonEmptyPath(file_okay=False),
        metavar="DIR",
        help=f"Directory of models (default: {default_models_dir()}).",
    )
    return decorator(command)


def connection_options(command: F) -> F:
    """Adds the flags of `Connection`."""
    file = NonEmptyPath(dir_okay=False)
    decorator: Decorator[F] = _stacked(
        setting(
            "--server",
            metavar="HOST:PORT",
            callback=_address,
            help="Use this server instead of an engine in this process.",
        ),
        models_option,
        setting(
            "--timeout-s",
            type=NumberRange(min=0, min_open=True),
            help="Time limit of one call (default: 60 with a server, else none).",
        ),
        setting("--tls", is_flag=True, help="Encrypt the connection to the server."),
        setting("--tls-ca", type=file, metavar="FILE", help="Certificates to trust (PEM); implies --tls."),
        setting("--tls-certificate", type=file, metavar="FILE", help="The client's own certificate (PEM)."),
        setting("--tls-key", type=file, metavar="FILE", help="Its private key (PEM)."),
        setting("--tls-name", metavar="NAME", help="Name in the server's certificate, where it is not the address's."),
        config_option,
    )
    return decorator(command)


def model_options(command: F) -> F:
    """Adds ``--model`` and ``--version``."""
    decorator: Decorator[F] = _stacked(
        setting("--model", metavar="NAME", help="Model (default: the server's default, or the only one)."),
        click.option("--version", metavar="VERSION", help="Its version (default: the newest)."),
    )
    return decorator(command)


def json_option(command: F) -> F:
    """Adds ``--json``."""
    decorator: Decorator[F] = click.option(
        "--json", "as_json", is_flag=True, help="JSON lines on stdout and nothing else there."
    )
    return decorator(command)
