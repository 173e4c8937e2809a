"""The way to a server: TLS, channel arguments, and the calls by name."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import grpc
from grpc_health.v1 import health_pb2_grpc

from auricle.errors import OptionError
from auricle.v1 import auricle_pb2 as pb
from auricle.v1 import auricle_pb2_grpc

__all__ = ["CHANNEL_OPTIONS", "TlsOptions", "Transport", "check_target", "grpc_calls"]

# gRPC's own schemes: SCHEME:PATH or SCHEME://AUTHORITY/PATH.
_WITH_SCHEME = re.compile(r"(dns|ipv4|ipv6|unix|unix-abstract|vsock|xds|google-c2p):(?://[^/]*/)?(.+)", re.I)
_HOST_PORT = re.compile(r"(?:\[[^]]+\]|[^][:/,\s]+):(-?[0-9]+)")

_AUDIO_CALLS = ("Embed", "Classify", "StreamEmbed", "StreamClassify")
_MODEL_CALLS = ("ListModels", "GetModel")
_HEALTH_CALLS = ("Check",)

CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    # One vector a segment for an hour of voice is over gRPC's 4 MiB.
    ("grpc.max_receive_message_length", -1),
    ("grpc.max_send_message_length", -1),
    # A peer that vanished without a word is noticed within a minute and a half, while a call is open.
    ("grpc.keepalive_time_ms", 60_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    # gRPC's own start of 1 s between connection attempts would outlast the retries of a short call.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    # For all its name it bounds how long an attempt may take: some round trips, with TLS and over a slow line more.
    ("grpc.min_reconnect_backoff_ms", 10_000),
)


class Transport(Protocol):
    """What a `Client` needs below it: these calls, on messages. They raise `AuricleError` or `grpc.RpcError`.

    What streams return may have ``cancel()`` or ``close()``; it is called when the caller stops early.
    """

    def Embed(self, request: pb.EmbedRequest, /, *, timeout: float | None = None) -> pb.EmbedResponse: ...  # noqa: N802

    def Classify(  # noqa: N802
        self, request: pb.ClassifyRequest, /, *, timeout: float | None = None
    ) -> pb.ClassifyResponse: ...

    def ListModels(  # noqa: N802
        self, request: pb.ListModelsRequest, /, *, timeout: float | None = None
    ) -> pb.ListModelsResponse: ...

    def GetModel(  # noqa: N802
        self, request: pb.GetModelRequest, /, *, timeout: float | None = None
    ) -> pb.GetModelResponse: ...

    def StreamEmbed(  # noqa: N802
        self, requests: Iterator[pb.StreamEmbedRequest], /, *, timeout: float | None = None
    ) -> Iterable[pb.StreamEmbedResponse]: ...

    def StreamClassify(  # noqa: N802
        self, requests: Iterator[pb.StreamClassifyRequest], /, *, timeout: float | None = None
    ) -> Iterable[pb.StreamClassifyResponse]: ...


@dataclass(frozen=True, kw_only=True)
class TlsOptions:
    """Files (PEM) for an encrypted connection, read when it is made.

    Args:
        ca_file: certificates to trust; None: those that come with gRPC.
        certificate_file: the client's own chain, for mutual TLS; together with ``key_file``.
        key_file: its private key.
        server_name: name that the server's certificate must bear, where it differs from the address.
    """

    ca_file: Path | None = None
    certificate_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None

    def __post_init__(self) -> None:
        if (self.certificate_file is None) != (self.key_file is None):
            raise OptionError("certificate_file and key_file go together; one of them is missing")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Raises OSError where one cannot be read."""

        def read(path: Path | None) -> bytes | None:
            return None if path is None else Path(path).read_bytes()

        return grpc.ssl_channel_credentials(
            root_certificates=read(self.ca_file),
            private_key=read(self.key_file),
            certificate_chain=read(self.certificate_file),
        )

    @property
    def channel_options(self) -> tuple[tuple[str, str], ...]:
        """Channel arguments beyond the credentials."""
        return (("grpc.ssl_target_name_override", self.server_name),) if self.server_name else ()


def check_target(target: str) -> str:
    """Gives the address itself: HOST:PORT, or a target under one of gRPC's schemes.

    Raises OptionError: gRPC would ask at port 443 where there is none, take one that is none modulo 65536, and look a
    URL up as a name.
    """
    if target.lower().startswith(("http://", "https://")):
        beginning = target[: target.index("//") + 2]
        raise OptionError(
            f"give HOST:PORT without {beginning}, not {target!r}; TLS is asked for by itself (tls=, --tls)",
            field="target",
        )
    found = _WITH_SCHEME.fullmatch(target)
    scheme, path = (found[1].lower(), found[2]) if found else ("", target)
    if scheme not in ("", "dns", "ipv4", "ipv6"):
        return target
    for address in path.split(",") if scheme in ("ipv4", "ipv6") else [path]:
        with_port = _HOST_PORT.fullmatch(address)
        if with_port is None and scheme != "dns":
            raise OptionError(f"give HOST:PORT (an IPv6 address in brackets), not {target!r}", field="target")
        if with_port and not 0 < int(with_port[1]) < 1 << 16:
            raise OptionError(f"the port of {target!r} must be 1 to 65535, but is {with_port[1]}", field="target")
    return target


def grpc_calls(channel: Any) -> Mapping[str, Callable[..., Any]]:
    """Gives the calls of a grpc or grpc.aio channel by name, health's ``Check`` among them."""
    audio = auricle_pb2_grpc.AudioServiceStub(channel)
    model = auricle_pb2_grpc.ModelServiceStub(channel)
    calls: dict[str, Callable[..., Any]] = {name: getattr(audio, name) for name in _AUDIO_CALLS}
    calls.update((name, getattr(model, name)) for name in _MODEL_CALLS)
    health = health_pb2_grpc.HealthStub(channel)
    calls.update((name, getattr(health, name)) for name in _HEALTH_CALLS)
    return calls
