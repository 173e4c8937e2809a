"""The microphone: PortAudio through sounddevice, into a ring that keeps the newest samples."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from auricle.task.ring import Ring

__all__ = ["AudioRecord"]

INSTALL = "install it with `pip install 'auricle[mic]'`"
INSTALL_LIBRARY = "install the library, e.g. `apt-get install libportaudio2`"


class AudioRecord:
    """Records from a sound card in the background. A context manager: leaving it closes the device.

    Args:
        channels: above 0.
        sampling_rate: Hz, above 0.
        buffer_size: samples of each channel that are kept, above 0.
        device: name or number as ``python -m sounddevice`` lists them; None: the system's default.

    Raises:
        ValueError: an argument is not above 0.
        ImportError: sounddevice is not installed.
        OSError: PortAudio is not there, or it cannot open the device in that format.
    """

    def __init__(self, channels: int, sampling_rate: int, buffer_size: int, *, device: str | int | None = None) -> None:
        for name, value in (("channels", channels), ("sampling_rate", sampling_rate), ("buffer_size", buffer_size)):
            if value <= 0:
                raise ValueError(f"{name} should be positive, but got {value}.")
        self._channels = channels
        self._sampling_rate = sampling_rate
        self._ring = Ring(buffer_size, channels)
        self._sounddevice = _import_sounddevice()
        self.lost_samples = 0
        with self._device_errors():
            self._stream = self._sounddevice.InputStream(
                channels=channels,
                samplerate=sampling_rate,
                dtype="float32",
                device=device,
                callback=self._take,
                finished_callback=self._ring.end,
            )

    def __enter__(self) -> AudioRecord:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def channels(self) -> int:
        """Channels that are recorded."""
        return self._channels

    @property
    def sampling_rate(self) -> int:
        """Samples a second."""
        return self._sampling_rate

    @property
    def buffer_size(self) -> int:
        """Samples of each channel that are kept."""
        return self._ring.size

    def start_recording(self) -> None:
        """Empties the buffer and begins. OSError where the device does not start."""
        self._ring.clear()
        with self._device_errors():
            self._stream.start()

    def stop(self) -> None:
        """Stops; what was recorded can still be read."""
        with self._device_errors():
            self._stream.stop()
        self._ring.end()

    def close(self) -> None:
        """Stops and gives the device back."""
        with self._device_errors():
            self._stream.close()
        self._ring.end()

    def read(self, size: int) -> NDArray[np.float32]:
        """A copy of the newest ``size`` samples, f32 (size, channels), oldest first, without waiting.

        Zeros stand in front where fewer were recorded yet. ValueError where ``size`` is not above 0 or above
        ``buffer_size``.
        """
        if size <= 0:
            raise ValueError(f"size should be positive, but got {size}.")
        if size > self.buffer_size:
            raise ValueError(f"cannot read {size} samples: the buffer holds {self.buffer_size}")
        return self._ring.newest(size)

    def chunks(self, *, timeout_s: float | None = None) -> Iterator[NDArray[np.float32]]:
        """Gives every recorded sample once, f32 (n, channels), as it comes, until ``stop`` or the device's end.

        A reader slower than the buffer is long loses the oldest; ``lost_samples`` counts them.

        Args:
            timeout_s: raises OSError where the device gives nothing for so long; None waits forever.
        """
        count = 0
        while True:
            news = self._ring.since(count, timeout_s)
            if news is None:
                if self._ring.ended:
                    return
                raise OSError(f"the microphone has given no sound for {timeout_s:g} s; is it muted or unplugged?")
            count = news.total
            self.lost_samples += news.lost
            yield news.samples

    def _take(self, samples: NDArray[np.float32], *_: Any) -> None:
        # Called by PortAudio's thread, with memory that it uses again afterwards.
        self._ring.write(samples)

    @contextmanager
    def _device_errors(self) -> Iterator[None]:
        try:
            yield
        except (self._sounddevice.PortAudioError, ValueError) as error:
            # sounddevice says ValueError of a device that it does not find.
            raise OSError(
                f"the microphone cannot be used at {self._sampling_rate} Hz with {self._channels} channels: {error}; "
                "`python -m sounddevice` lists the devices"
            ) from error


def _import_sounddevice() -> Any:
    """The module, imported here and not above, so that only who records needs it."""
    try:
        import sounddevice
    except ImportError as error:
        raise ImportError(f"recording needs sounddevice: {INSTALL}") from error
    except OSError as error:
        raise OSError(f"recording needs PortAudio ({error}): {INSTALL_LIBRARY}") from error
    return sounddevice
