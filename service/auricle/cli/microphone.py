"""The microphone as a source of chunks: at the model's rate where the device has it, until Ctrl-C."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from auricle.cli.exits import tell
from auricle.cli.interrupts import ctrl_c_stops

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from auricle.task.record import AudioRecord

__all__ = ["Microphone", "microphone"]

_BUFFER_S = 10
_COMMON_RATES_HZ = (48_000, 44_100)
# Longer than any device takes between two blocks; one that is silent still gives zeros.
_DEVICE_TIMEOUT_S = 10.0


@dataclass(frozen=True, kw_only=True)
class Microphone:
    """A microphone that records; ``chunks`` are f32 (n, 1), each given once."""

    sample_rate_hz: int
    chunks: Iterator[NDArray[Any]]


@contextmanager
def microphone(rate_hz: int, *, device: str | None, duration_s: float | None) -> Iterator[Microphone]:
    """Records inside the block. Ctrl-C ends the chunks, so that what waits is still answered; again, it ends all.

    Args:
        rate_hz: the rate to record at; a device without it records at one of the common ones.
        device: name or number; None: the default.
        duration_s: the chunks end after so long; None: only with Ctrl-C.

    Raises OSError where there is no microphone, or nothing to record with.
    """
    with _open(rate_hz, device) as record:
        with ctrl_c_stops(record.stop):
            record.start_recording()
            yield Microphone(sample_rate_hz=record.sampling_rate, chunks=_chunks(record, duration_s))
            record.stop()
        if record.lost_samples:
            lost_s = record.lost_samples / record.sampling_rate
            tell(f"{lost_s:.1f} s of sound were lost: the server is too slow")


def _open(rate_hz: int, device: str | None) -> AudioRecord:
    from auricle.task.record import AudioRecord

    chosen = int(device) if device is not None and device.isdecimal() else device
    failure: OSError | None = None
    for rate in dict.fromkeys((rate_hz, *_COMMON_RATES_HZ)):
        try:
            return AudioRecord(1, rate, rate * _BUFFER_S, device=chosen)
        except ImportError as error:
            raise OSError(str(error)) from error
        except OSError as error:
            failure = failure or error
    assert failure is not None
    raise failure


def _chunks(record: AudioRecord, duration_s: float | None) -> Iterator[NDArray[Any]]:
    left = None if duration_s is None else max(1, round(duration_s * record.sampling_rate))
    for chunk in record.chunks(timeout_s=_DEVICE_TIMEOUT_S):
        if left is not None:
            chunk = chunk[:left]
            left -= len(chunk)
        yield chunk
        if left == 0:
            return
