"""gRPC's transport as a server of sound wants it: how much is read at a time, who is still there, where it listens."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from functools import partial
from pathlib import Path

import grpc

from auricle.config import ENVELOPE_BYTES, ServerSettings, TlsSettings
from auricle.errors import OptionError, UnavailableError

__all__ = ["bind", "options"]

UNIX = "unix:"
WINDOW_BYTES = 256 * 1024
# Of one read, and what a connection keeps of it until it closes; without, it follows what came of late, to a megabyte.
READ_BYTES = 128 * 1024


def options(settings: ServerSettings) -> list[tuple[str, int]]:
    """The channel options of a server."""
    silent_ms = round(settings.keepalive_s * 1000)
    return [
        ("grpc.max_receive_message_length", settings.limits.content_bytes + ENVELOPE_BYTES),
        ("grpc.max_send_message_length", -1),
        # Else each chunk of a stream is answered by a ping that measures the link, a quarter of what it costs to come.
        # Windows then do not grow with the link: a larger message takes a round trip or two more.
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", WINDOW_BYTES),
        ("grpc.experimental.tcp_max_read_buffer_size", READ_BYTES),
        # Two servers on one port would share its connections in silence.
        ("grpc.so_reuseport", 0),
        # Half-open connections are found by pings, and clients may ping too.
        ("grpc.keepalive_time_ms", silent_ms),
        ("grpc.keepalive_timeout_ms", silent_ms // 3),
        # Without it a ping has a minute to be answered, whatever the keepalive says.
        ("grpc.http2.ping_timeout_ms", silent_ms // 3),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.min_recv_ping_interval_without_data_ms", 10_000),
    ]


def bind(server: grpc.aio.Server, listen: str, tls: TlsSettings | None) -> int:
    """Adds the port, in TLS where that is set, and gives its number.

    Raises RuntimeError where it cannot be had, UnavailableError where another listens on the same Unix socket, and
    OptionError for a file of ``tls`` that is not what it should be.
    """
    if listen.startswith(UNIX):
        _check_unheard(listen)
    if tls is None:
        return server.add_insecure_port(listen)
    _check_tls(tls)
    authority = tls.client_ca.read_bytes() if tls.client_ca else None
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=authority is not None
    )
    return server.add_secure_port(listen, credentials)


def _check_unheard(listen: str) -> None:
    """gRPC takes a socket file over, whoever listens there, and each of the two servers deletes it as it stops."""
    path = listen.removeprefix(UNIX)
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path.removeprefix("//"))
        except BlockingIOError:
            pass  # somebody listens, and has no time
        except OSError:
            return
    raise UnavailableError(f"cannot listen on {listen}: another server does; stop it, or choose another path")


def _check_tls(tls: TlsSettings) -> None:
    """gRPC would only say that it cannot listen."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # How short a key may be is not for us to judge.
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    _check_file("certificate", tls.certificate, context.load_verify_locations)
    # The key of a certificate may ask for a password; gRPC has none, and neither have we.
    _check_file("key", tls.key, partial(context.load_cert_chain, tls.certificate, password=""))
    if tls.client_ca is not None:
        _check_file("client_ca", tls.client_ca, context.load_verify_locations)


def _check_file(name: str, path: Path, load: Callable[[Path], None]) -> None:
    try:
        load(path)
    except OSError as error:
        why = error.reason if isinstance(error, ssl.SSLError) else error.strerror
        hint = "it is another certificate's" if why == "KEY_VALUES_MISMATCH" else "give a PEM file without a password"
        raise OptionError(f"tls.{name}: {path} cannot be used: {why or error}; {hint}", field=f"tls.{name}") from error
