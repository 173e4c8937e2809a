"""Settings of the server and its parts, as frozen values that constructors take."""

from __future__ import annotations

import numbers
from collections.abc import Collection
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, get_args, get_type_hints

from auricle.errors import OptionError

__all__ = ["AdmissionSettings", "BatchSettings", "Limits", "ServerSettings", "SessionSettings", "TlsSettings"]

MIB = 1024 * 1024
UNTRIED_SEGMENTS = 16
# gRPC takes sizes, and times in milliseconds, as C's int; a message may be so much larger than its sound.
LARGEST = 2**31 - 1
ENVELOPE_BYTES = MIB
LONGEST_S = LARGEST // 1000
# More would take the machine from everyone else on it, and be no faster.
MOST_THREADS = 1024
KINDS: dict[type, type] = {int: numbers.Integral, float: numbers.Real}
KIND_NAMES = {int: "a whole number", float: "a number", str: "text", Path: "a path", bool: "true or false"}


def _check(owner: Any, *, may_be_0: Collection[str] = (), **most: int) -> None:
    """Raises OptionError for a field of another type than it is declared, or for a number outside its range.

    Numbers are above 0, and seconds at most ``LONGEST_S``; ``most`` has other bounds by name.
    """
    hints = get_type_hints(type(owner))
    for name in (each.name for each in fields(owner)):
        value, allowed = getattr(owner, name), get_args(hints[name]) or (hints[name],)
        # To Python True is a number, too.
        kinds = [kind for kind in allowed if isinstance(value, KINDS.get(kind, kind))]
        if not kinds or (isinstance(value, bool) and bool not in allowed):
            wanted = " or ".join(KIND_NAMES.get(kind, kind.__name__) for kind in allowed if kind is not type(None))
            raise OptionError(f"{name} must be {wanted}, but is {value!r}", field=name)
        if KINDS.keys() & set(kinds):
            least = "0 or more" if name in may_be_0 else "above 0"
            bound = most.get(name, LONGEST_S if name.endswith("_s") else 2**63 - 1)
            if not ((value > 0 or (value == 0 and name in may_be_0)) and value <= bound):
                raise OptionError(f"{name} must be {least} and at most {bound}, but is {value}", field=name)


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one call may ask for. Over a limit is INVALID_ARGUMENT, before the memory is spent.

    Attributes:
        content_bytes: size of an encoded file or of raw samples in one unary call.
        duration_s: length of the sound in one unary call; a stream's is unlimited.
        decoded_bytes: samples x channels x 4 of one unary call, whatever the file's header says.
        channels: channels of the input.
        min_rate_hz, max_rate_hz: sample rates of the input.
        streams: open streams at once; one more is RESOURCE_EXHAUSTED at its start.
        stream_replies: answers that wait for a slow reader before its stream is slowed.
        idle_s: seconds without a message after which a stream is ended; None waits forever. Five times as long may a
            reply wait to be taken, 15 times as long a unary call's message to come whole.
    """

    content_bytes: int = 64 * MIB
    duration_s: float = 3600.0
    decoded_bytes: int = 1024 * MIB
    channels: int = 8
    min_rate_hz: int = 4000
    max_rate_hz: int = 192_000
    streams: int = 2000
    stream_replies: int = 16
    idle_s: float | None = 60.0

    def __post_init__(self) -> None:
        _check(self, content_bytes=LARGEST - ENVELOPE_BYTES)


@dataclass(frozen=True, kw_only=True)
class AdmissionSettings:
    """How much the server takes on at once. Over a limit is RESOURCE_EXHAUSTED with the time to come back.

    ``Limits.streams`` and ``BatchSettings.max_waiting`` bound streams and each model's queue.

    Attributes:
        calls: unary calls in flight, all clients together; it bounds the memory and the wait under overload.
        client_calls: unary calls in flight of one client; None is no limit.
        client_streams: open streams of one client; None is no limit.
        client_rate_hz: calls and streams that one client may begin a second; None is no limit.
        client_burst: calls that a client who was quiet may begin at once, over its rate.
    """

    calls: int = 128
    client_calls: int | None = None
    client_streams: int | None = None
    client_rate_hz: float | None = None
    client_burst: int = 32

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class BatchSettings:
    """How segments become batches.

    Attributes:
        max_segments: most segments in one run; None lets a server find each model's best as it loads.
        max_elements: most input elements in one run (segments x padded length), the memory bound.
        max_waiting: segments that may wait before a new unary call is refused.
        per_caller: segments that one caller may have waiting; the rest of its sound is cut later.
        max_delay_s: seconds that a batch waits to fill; 0 takes what is there. None is 0 on a CPU, and what a small run
            takes on another device, tried as a server loads the model.
    """

    max_segments: int | None = None
    max_elements: int = 32 * 1024 * 1024
    max_waiting: int = 1024
    per_caller: int = 64
    max_delay_s: float | None = None

    def __post_init__(self) -> None:
        _check(self, may_be_0=["max_delay_s"])

    @property
    def segments(self) -> int:
        """Most segments in one run, where nobody looked for the best too."""
        return self.max_segments or UNTRIED_SEGMENTS


@dataclass(frozen=True, kw_only=True)
class SessionSettings:
    """How onnxruntime runs a model.

    Attributes:
        device: ``cpu``, ``cuda`` or another execution provider's short name; ``auto`` is cuda where it can be used,
            else cpu.
        threads: threads of one operator; None lets every model use all cores but no more.
    """

    device: str = "cpu"
    threads: int | None = None

    def __post_init__(self) -> None:
        _check(self, threads=MOST_THREADS)


@dataclass(frozen=True, kw_only=True)
class TlsSettings:
    """Files for an encrypted listener; ``client_ca`` asks clients for certificates too."""

    certificate: Path
    key: Path
    client_ca: Path | None = None

    def __post_init__(self) -> None:
        _check(self)


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """Everything that ``auricle serve`` takes.

    Attributes:
        models_dir: directory of ``NAME.onnx`` and ``NAME/VERSION.onnx``.
        bundled: serve the models that come with the package too; the command does unless told otherwise.
        listen: ``HOST:PORT`` or ``unix:PATH``; port 0 takes a free one.
        default_model: answers requests that name none.
        grace_s: seconds that work in flight gets after SIGTERM.
        keepalive_s: silence after which a connection is asked whether it is alive; it has a third of that to answer.
        workers: threads that decode and compute features; None is one a core.
        watch: load, swap and drain models as files appear, change and go.
        port_file: written with the bound port once the server is serving.
    """

    models_dir: Path
    bundled: bool = False
    listen: str = "127.0.0.1:50051"
    default_model: str | None = None
    grace_s: float = 30.0
    keepalive_s: float = 60.0
    workers: int | None = None
    watch: bool = True
    port_file: Path | None = None
    tls: TlsSettings | None = None
    limits: Limits = field(default_factory=Limits)
    admission: AdmissionSettings = field(default_factory=AdmissionSettings)
    batch: BatchSettings = field(default_factory=BatchSettings)
    session: SessionSettings = field(default_factory=SessionSettings)

    def __post_init__(self) -> None:
        _check(self, may_be_0=["grace_s"], workers=MOST_THREADS)
        host, _, port = self.listen.rpartition(":")
        # gRPC takes a port over 65535 modulo 65536.
        if not self.listen.startswith("unix:") and not (host and port.isdecimal() and int(port) < 1 << 16):
            raise OptionError(
                f"listen must be HOST:PORT, the port 0 to 65535, or unix:PATH, but is {self.listen!r}", field="listen"
            )
