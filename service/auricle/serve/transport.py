"""gRPC's transport as a server of sound wants it: how much is read at a time, who is still there, where it listens."""

from __future__ import annotations

import grpc

from auricle.config import ServerSettings, TlsSettings

__all__ = ["bind", "options"]

ENVELOPE_BYTES = 1024 * 1024
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
    """Adds the port, in TLS where that is set, and gives its number. RuntimeError where it cannot be had."""
    if tls is None:
        return server.add_insecure_port(listen)
    authority = tls.client_ca.read_bytes() if tls.client_ca else None
    pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
    credentials = grpc.ssl_server_credentials(
        [pair], root_certificates=authority, require_client_auth=authority is not None
    )
    return server.add_secure_port(listen, credentials)
