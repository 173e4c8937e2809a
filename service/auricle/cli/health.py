"""``health``: whether a server, or one of its models, serves; for people and for probes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import click

from auricle.cli.connect import connected
from auricle.cli.exits import UNAVAILABLE
from auricle.cli.output import print_json
from auricle.cli.settings import Connection, connection_options, json_option

__all__ = ["health"]

_USUAL_SERVER = "127.0.0.1:50051"
_SERVING = "SERVING"


@click.command()
@click.option("--model", metavar="NAME", help="Ask about this model (default: the server).")
@json_option
@connection_options
def health(model: str | None, as_json: bool, **flags: Any) -> int:
    """Asks a server whether it serves: exit code 0 if so, 5 if not, 4 where it has no such model.

    It is 127.0.0.1:50051 where --server names none.

    \b
      auricle health
      auricle health --server 10.0.0.7:50051 --model voice --timeout-s 2
    """
    server = flags["server"] or _USUAL_SERVER
    connection = replace(Connection.take(flags), server=server)
    with connected(connection) as client:
        status = client.health(f"auricle.model/{model}" if model else "")
    if as_json:
        print_json({"server": connection.server, "model": model, "status": status})
    else:
        click.echo(status)
    return 0 if status == _SERVING else UNAVAILABLE
