"""``serve``: every setting of the server as a flag."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields
from pathlib import Path
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeVar, Union, get_args, get_origin, get_type_hints

import click

from auricle.cli.configuration import config_option
from auricle.cli.logs import FORMATS, LEVELS, configure_logs
from auricle.cli.paths import NonEmptyPath
from auricle.cli.places import default_models_dir
from auricle.cli.ranges import Number
from auricle.cli.settings import models_option, setting
from auricle.config import AdmissionSettings, BatchSettings, Limits, ServerSettings, SessionSettings, TlsSettings
from auricle.errors import OptionError

__all__ = ["serve"]

F = TypeVar("F", bound=Callable[..., Any])

# Flags are the fields with their group's prefix, so that a new field is a new flag.
_GROUPS: Mapping[str, type[Any]] = {
    "": ServerSettings,
    "limit_": Limits,
    "admit_": AdmissionSettings,
    "batch_": BatchSettings,
    "session_": SessionSettings,
    "tls_": TlsSettings,
}
_HELP: Mapping[str, str] = {
    "listen": "HOST:PORT or unix:PATH; port 0 takes a free one.",
    "bundled": "Serve the models that come with auricle too (default: yes).",
    "default_model": "Model that answers requests that name none.",
    "grace_s": "Seconds that calls in flight get after SIGTERM.",
    "keepalive_s": "Silence after which a connection is asked whether it is alive.",
    "workers": "Threads that decode and compute features (default: one a core).",
    "watch": "Load, swap and drain models as files come, change and go (default: yes).",
    "port_file": "File that gets the bound port once the server serves.",
    "limit_content_bytes": "Size of one unary call's audio.",
    "limit_duration_s": "Length of one unary call's sound.",
    "limit_decoded_bytes": "Samples x channels x 4 of one unary call.",
    "limit_channels": "Channels of the input.",
    "limit_min_rate_hz": "Least sample rate of the input.",
    "limit_max_rate_hz": "Greatest sample rate of the input.",
    "limit_streams": "Streams open at once.",
    "limit_stream_replies": "Answers that wait for a slow reader before its stream is slowed.",
    "limit_idle_s": "Silence after which a stream is ended; none: never.",
    "admit_calls": "Unary calls in flight; one more is told when to come back.",
    "admit_client_calls": "Unary calls in flight of one client (default: no limit).",
    "admit_client_streams": "Open streams of one client (default: no limit).",
    "admit_client_rate_hz": "Calls that one client may begin a second (default: no limit).",
    "admit_client_burst": "Calls that a quiet client may begin at once, over its rate.",
    "batch_max_segments": "Segments in one run (default: each model's best, tried as it loads).",
    "batch_max_elements": "Input elements in one run, the bound on memory.",
    "batch_max_waiting": "Segments that may wait before a unary call is refused.",
    "batch_per_caller": "Segments that one caller may have waiting.",
    "batch_max_delay_s": "Seconds that a batch waits to fill (default: 0 on a CPU, else what a small run takes).",
    "session_device": "cpu, cuda or another of onnxruntime's execution providers; auto: cuda if it is there.",
    "session_threads": "Threads of one operator.",
    "tls_certificate": "The server's certificate chain (PEM); with --tls-key it encrypts.",
    "tls_key": "Its private key (PEM).",
    "tls_client_ca": "Ask clients for certificates of these authorities (PEM).",
}

# Not every flag says its group.
_SHORT: Mapping[str, str] = {"session_device": "--device"}

if TYPE_CHECKING:
    Kind = click.ParamType[Any, Any]
else:
    # Generic since click 8.2 only.
    Kind = click.ParamType


class _OrNone(Kind):
    """A type, or the word ``none``."""

    def __init__(self, inner: Kind) -> None:
        self.inner = inner
        self.name = f"{inner.name}|none"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if isinstance(value, str) and value.lower() == "none":
            return _NONE
        return self.inner.convert(value, param, ctx)


# None itself would mean that the flag was not given.
_NONE = object()


def _settings_flags(command: F) -> F:
    for prefix, group in reversed(list(_GROUPS.items())):
        types = get_type_hints(group)
        for field in reversed(fields(group)):
            if prefix + field.name in _HELP:
                command = _flag(prefix, field, types[field.name])(command)
    return command


def _flag(prefix: str, field: Field[Any], declared: Any) -> Callable[[F], F]:
    name = prefix + field.name
    flag = _SHORT.get(name, "--" + name.replace("_", "-"))
    text = _HELP[name]
    if declared is bool:
        return setting(f"{flag}/--no-{flag[2:]}", default=None, help=text)
    if field.default not in (None, MISSING):
        text = f"{text[:-1]} (default: {field.default})."
    inner, optional = _unwrapped(declared)
    kinds: Mapping[Any, Kind] = {
        int: click.INT,
        float: Number(),
        str: click.STRING,
        Path: NonEmptyPath(dir_okay=False),
    }
    kind = kinds[inner]
    # Only where the default is a value does "none" say anything that leaving the flag out does not.
    nullable = optional and field.default not in (None, MISSING)
    return setting(flag, name, type=_OrNone(kind) if nullable else kind, default=None, help=text)


def _unwrapped(declared: Any) -> tuple[Any, bool]:
    choices = get_args(declared) if get_origin(declared) is Union or hasattr(declared, "__args__") else (declared,)
    return next(each for each in choices if each is not NoneType), NoneType in choices


def settings_from(flags: Mapping[str, Any]) -> ServerSettings:
    """Builds the settings from the flags that were given; None stands for one that was not.

    Raises UsageError that names the flag: a value out of range, a file in a folder that is not there, or half of a pair
    of TLS files.
    """
    given = {name: value for name, value in flags.items() if value is not None}

    def of(prefix: str) -> dict[str, Any]:
        names = [field.name for field in fields(_GROUPS[prefix])]
        taken = {name: given[prefix + name] for name in names if prefix + name in given}
        return {name: None if value is _NONE else value for name, value in taken.items()}

    def made(prefix: str, **more: Any) -> Any:
        try:
            return _GROUPS[prefix](**{**more, **of(prefix)})
        except OptionError as error:
            flag = f"--{prefix}{error.field}".replace("_", "-")
            raise click.BadParameter(error.message, param_hint=repr(flag)) from error

    port_file = given.get("port_file")
    if port_file is not None and not port_file.parent.is_dir():
        # All models would be loaded before it is written.
        raise click.BadParameter(f"there is no folder {port_file.parent}; make it first", param_hint="'--port-file'")
    tls = of("tls_")
    if tls and not {"certificate", "key"} <= tls.keys():
        raise click.UsageError("--tls-certificate and --tls-key go together; one of them is missing")
    settings: ServerSettings = made(
        "",
        models_dir=flags["models"] or default_models_dir(),
        bundled=True,
        tls=made("tls_") if tls else None,
        limits=made("limit_"),
        admission=made("admit_"),
        batch=made("batch_"),
        session=made("session_"),
    )
    return settings


@click.command()
@models_option
@_settings_flags
@setting("--log-level", type=click.Choice(LEVELS), default="info", show_default=True, help="Least that is logged.")
@setting(
    "--log-format", type=click.Choice(FORMATS), default="auto", show_default=True, help="auto: human on a terminal."
)
@config_option
def serve(log_level: str, log_format: str, **flags: Any) -> None:
    """Serves the models of a directory over gRPC until SIGTERM or Ctrl-C, then drains; a second one ends that too.

    Logs go to stderr.

    \b
      auricle serve --models ./models --listen 0.0.0.0:50051
      auricle serve --config auricle.toml

    \b
    auricle.toml:
      [serve]
      models = "/srv/auricle/models"
      listen = "0.0.0.0:50051"
      limit_content_bytes = 16777216
    """
    settings = settings_from(flags)
    configure_logs(level=log_level, form=log_format)
    from auricle.serve.lifecycle import run

    run(settings)
