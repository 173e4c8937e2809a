"""The client that a command uses: of a server, or of an engine in this process."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from auricle.cli.exits import report
from auricle.cli.logs import configure_logs
from auricle.cli.places import default_models_dir, model_files
from auricle.cli.settings import Connection, quieten_grpc
from auricle.errors import NotFoundError

if TYPE_CHECKING:
    from auricle.client import Client, TlsOptions

__all__ = ["connected", "local_client"]

_SERVER_TIMEOUT_S = 60.0


@contextmanager
def connected(connection: Connection, *, bundled: bool = True) -> Iterator[Client]:
    """Gives a client; the engine behind it, where it is in this process, ends with the block.

    Args:
        bundled: whether the models that come with auricle answer too, in this process.

    Raises NotFoundError where a directory of models has none, and none that come with auricle may answer.
    """
    if connection.server is None:
        models_dir = connection.models or default_models_dir()
        # A directory that was named and is not there is a slip, not a wish for what comes with auricle.
        bundled = bundled and (connection.models is None or models_dir.is_dir())
        with local_client(models_dir, bundled=bundled, timeout_s=connection.timeout_s) as client:
            yield client
        return
    quieten_grpc()
    from auricle.client import Client

    timeout_s = connection.timeout_s or _SERVER_TIMEOUT_S
    with Client(connection.server, tls=_tls(connection), timeout_s=timeout_s) as client:
        yield client


@contextmanager
def local_client(models_dir: Path, *, bundled: bool = False, timeout_s: float | None = None) -> Iterator[Client]:
    """Gives a client of an engine in this process, with the models of one directory.

    Files there that cannot be served are told of, a line each; BundleError where there is no other model. OptionError
    where the directory cannot be listed.
    """
    if not bundled and not model_files(models_dir):
        raise NotFoundError(
            f"no models in {models_dir}; get one with `auricle models pull voice`, "
            "or name another directory (--models) or a server (--server)"
        )
    from auricle.client import Client
    from auricle.serve.local import LocalTransport

    # What goes wrong is raised, or told of below.
    configure_logs(level="critical")
    with LocalTransport(models_dir=models_dir, bundled=bundled) as transport:
        client = Client(transport=transport, timeout_s=timeout_s, retry=None)
        failures = list(transport.failures.values())
        if failures and not client.models():
            raise failures[0]
        for failure in failures:
            report(failure)
        yield client


def _tls(connection: Connection) -> TlsOptions | None:
    files = (connection.tls_ca, connection.tls_certificate, connection.tls_key)
    if not connection.tls and not any(files) and connection.tls_name is None:
        return None
    from auricle.client import TlsOptions

    return TlsOptions(
        ca_file=connection.tls_ca,
        certificate_file=connection.tls_certificate,
        key_file=connection.tls_key,
        server_name=connection.tls_name,
    )
