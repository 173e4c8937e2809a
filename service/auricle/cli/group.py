"""The root command; each command's module is imported when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from typing import Any

import click

from auricle.cli.configuration import config_option
from auricle.cli.exits import PipeClosedError

__all__ = ["COMMANDS", "LazyGroup", "auricle"]

COMMANDS = {
    "serve": ("auricle.cli.serve", "Serve the models of a directory."),
    "embed": ("auricle.cli.clips", "Vectors of clips."),
    "classify": ("auricle.cli.clips", "Labels and scores of clips."),
    "compare": ("auricle.cli.likeness", "How alike clips are: a cosine, or a matrix."),
    "verify": ("auricle.cli.likeness", "Whether two clips are of the same voice."),
    "stream": ("auricle.cli.live", "Answers segment by segment, as fast as possible or in real time."),
    "models": ("auricle.cli.models", "List, show, pull, import or remove models."),
    "health": ("auricle.cli.health", "Whether a server, or one of its models, serves."),
    "bench": ("auricle.cli.bench", "The batch size and threads that serve a model fastest."),
    "train": ("auricle.cli.train", "Make a classifier of a folder of sounds."),
}


class LazyGroup(click.Group):
    """Knows its commands by name, module and a word on each, so that its help imports none of them."""

    def make_context(self, *args: Any, **kwargs: Any) -> click.Context:
        """Reads the command line; what ``--help`` and ``--version`` print is printed here."""
        with _closed_pipe_told():
            return super().make_context(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command that was asked for."""
        with _closed_pipe_told():
            return super().invoke(ctx)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of the table, which is the order of use."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Imports the command, or gives None where there is none of that name."""
        if cmd_name not in COMMANDS:
            return None
        command = getattr(import_module(COMMANDS[cmd_name][0]), cmd_name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Writes the list of commands."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, about) for name, (_, about) in COMMANDS.items()])


@contextmanager
def _closed_pipe_told() -> Iterator[None]:
    # Before click sees it, which would make exit code 1 of it.
    try:
        yield
    except BrokenPipeError as error:
        raise PipeClosedError from error


def _print_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from importlib.metadata import version

        click.echo(f"auricle {version('auricle')}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@config_option
@click.option("--debug", is_flag=True, envvar="AURICLE_DEBUG", help="Show the trace of an error.  [AURICLE_DEBUG]")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_print_version, help="Show the version."
)
def auricle(debug: bool) -> None:
    """Audio in, vectors or labels out: from a server, or from an engine in this process.

    Commands on files use the models of a directory (--models) in this process, or a server's (--server).

    \b
      auricle models pull voice
      auricle compare ann.wav ben.flac
      auricle serve --listen 0.0.0.0:50051
      auricle embed talk.mp3 --server 127.0.0.1:50051 --json

    \b
    Settings come from, the first that has one:
      1. flags
      2. the environment: AURICLE_ and the flag's name, e.g. AURICLE_SERVER for --server
      3. the TOML file of --config or AURICLE_CONFIG: a table a command, [common] for all,
         keys as the flags: models = "/srv/models", listen = "0.0.0.0:50051"
      4. defaults

    \b
    Exit codes:
      0    done
      1    verify: not the same
      2    the command line or the configuration is wrong
      3    bad input: audio, an option, a file, a head of the wrong kind
      4    no such model
      5    the server is absent or busy, or a time limit has passed
      70   a fault in auricle
      130  interrupted
      141  whoever read the output has gone
    With several files the rest goes on, and the first failure gives the code.
    """
