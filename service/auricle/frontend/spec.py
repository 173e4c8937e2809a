"""What features are: the frozen ``FeatureSpec``, whose fields vary independently, and its presets by name."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any, Literal, get_args

from auricle.errors import OptionError

__all__ = ["FeatureSpec", "preset", "presets", "resolve"]

Window = Literal["hann", "hamming", "povey", "blackman", "rectangular"]
Padding = Literal["snip", "centre-reflect", "centre-zero", "front-zeros"]
Spectrum = Literal["power", "magnitude"]
Filterbank = Literal["mel", "bins"]
MelScale = Literal["htk", "slaney", "kaldi"]
MelNorm = Literal["none", "slaney"]
Compression = Literal["none", "ln", "log10", "db"]
Normalization = Literal["none", "z-norm", "mean", "fixed", "whisper"]

_CHOICES: dict[str, tuple[str, ...]] = {
    "window": get_args(Window),
    "padding": get_args(Padding),
    "spectrum": get_args(Spectrum),
    "filterbank": get_args(Filterbank),
    "mel_scale": get_args(MelScale),
    "mel_norm": get_args(MelNorm),
    "compression": get_args(Compression),
    "normalization": get_args(Normalization),
}
# Bounds that keep a model file from asking for absurd tables; every known frontend is far inside them.
_MAX_FFT_SIZE = 1 << 16
_MAX_HOP = 1 << 16
_MAX_MEL_BANDS = 1 << 12
_MIN_LOG_INPUT = 1e-37  # below float32's normal range a logarithm's argument would be rounded to zero


@dataclass(frozen=True, kw_only=True)
class FeatureSpec:
    """How a waveform becomes features; ``tests/reference.py`` is the same in float64 NumPy, line for line.

    Attributes:
        sample_rate_hz: rate of the waveform.
        frame_length: samples in a frame, 1 … ``fft_size``.
        hop: samples between the starts of frames.
        fft_size: points of the DFT; a shorter frame is followed by zeros.
        bands: output bands: mel bands, or the first bins of the spectrum.
        window: analysis window; ``povey`` is the symmetric or periodic Hann window to the power 0.85.
        window_periodic: periodic (a full period is ``frame_length``) or symmetric (``frame_length - 1``).
        padding: ``snip`` (only whole frames), ``centre-reflect`` or ``centre-zero`` (``frame_length // 2`` samples
            of mirror image or of zeros at both ends), ``front-zeros`` (``front_zeros`` zeros before the sound).
        front_zeros: samples of zeros in front, for ``front-zeros`` alone.
        input_scale: factor on every sample.
        remove_dc: subtract each frame's mean.
        preemphasis: a in y[n] = x[n] - a·x[n-1] within the frame, with x[-1] = x[0]; after the mean is removed.
        spectrum: ``power`` |X|² or ``magnitude`` |X|.
        filterbank: ``mel`` triangles, or ``bins``: the spectrum's first ``bands`` bins as they are.
        f_min_hz, f_max_hz: outer edges of the mel bands; ``None`` is half the sample rate.
        mel_scale: ``htk`` 2595·log10(1 + f/700) or ``slaney`` (linear to 1 kHz, then logarithmic), both with
            triangles linear in Hz; ``kaldi`` 1127·ln(1 + f/700) with triangles linear in mel.
        mel_norm: ``slaney`` divides each triangle by half its width in Hz.
        compression: ``ln``, ``log10`` or ``db`` (10·log10 of power, 20·log10 of magnitude) of
            max(value, ``floor``) + ``offset``.
        floor, offset: see ``compression``; one of them must be positive there.
        normalization: of a whole segment. ``z-norm`` (v - mean) / (deviation + ``norm_epsilon``) over all of its
            values; ``mean`` subtracts each band's mean over time; ``fixed`` (v - ``norm_mean``) / ``norm_deviation``;
            ``whisper`` (max(v, greatest - 8) + 4) / 4.
        norm_epsilon, norm_mean, norm_deviation: see ``normalization``.
        drop_last_frame: leave out the last frame, as Whisper does.

    Raises:
        OptionError: names the field and its value.
    """

    sample_rate_hz: int
    frame_length: int
    hop: int
    fft_size: int
    bands: int
    window: Window = "hann"
    window_periodic: bool = True
    padding: Padding = "snip"
    front_zeros: int = 0
    input_scale: float = 1.0
    remove_dc: bool = False
    preemphasis: float = 0.0
    spectrum: Spectrum = "power"
    filterbank: Filterbank = "mel"
    f_min_hz: float = 0.0
    f_max_hz: float | None = None
    mel_scale: MelScale = "htk"
    mel_norm: MelNorm = "none"
    compression: Compression = "none"
    floor: float = 0.0
    offset: float = 0.0
    normalization: Normalization = "none"
    norm_epsilon: float = 0.0
    norm_mean: float = 0.0
    norm_deviation: float = 1.0
    drop_last_frame: bool = False

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise _error(name, value, f"use one of: {', '.join(choices)}")
        for name in ("window_periodic", "remove_dc", "drop_last_frame"):
            if not isinstance(getattr(self, name), bool):
                raise _error(name, getattr(self, name), "use true or false")
        self._check_sizes()
        self._check_levels()
        self._check_bands()

    def _check_sizes(self) -> None:
        self._whole("sample_rate_hz", 1, 1 << 24)
        self._whole("fft_size", 2, _MAX_FFT_SIZE)
        self._whole("frame_length", 2, self.fft_size, "is at most fft_size")
        self._whole("hop", 1, _MAX_HOP)
        if self.padding == "front-zeros":
            self._whole("front_zeros", 0, _MAX_HOP)
        elif self.front_zeros != 0:
            raise _error("front_zeros", self.front_zeros, f"goes with padding 'front-zeros', not {self.padding!r}")

    def _check_levels(self) -> None:
        self._real("input_scale", above=0.0)
        self._real("preemphasis", least=0.0, most=1.0)
        for name in ("floor", "offset", "norm_epsilon"):
            self._real(name, least=0.0)
        self._real("norm_mean")
        self._real("norm_deviation", above=0.0)
        if self.compression != "none" and self.floor + self.offset < _MIN_LOG_INPUT:
            raise _error(
                "floor",
                self.floor,
                f"the logarithm of silence is infinite; give a floor or an offset of at least {_MIN_LOG_INPUT:g}",
            )

    def _check_bands(self) -> None:
        bins = self.fft_size // 2 + 1
        if self.filterbank == "bins":
            self._whole("bands", 1, bins, f"an FFT of {self.fft_size} has {bins} bins")
            return
        self._whole("bands", 1, _MAX_MEL_BANDS)
        half = self.sample_rate_hz / 2
        self._real("f_min_hz", least=0.0)
        if self.f_max_hz is not None:
            self._real("f_max_hz", above=self.f_min_hz, most=half)
        elif self.f_min_hz >= half:
            raise _error("f_min_hz", self.f_min_hz, f"is below half the sample rate, {half:g} Hz")

    def _whole(self, name: str, least: int, most: int, hint: str = "") -> None:
        value = getattr(self, name)
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise _error(name, value, f"use a whole number from {least} to {most}" + (f"; {hint}" if hint else ""))

    def _real(self, name: str, *, least: float = -math.inf, above: float = -math.inf, most: float = math.inf) -> None:
        value = getattr(self, name)
        is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not is_number or not math.isfinite(value) or not (least <= value <= most and value > above):
            bounds = [f"at least {least:g}"] * (least > -math.inf) + [f"above {above:g}"] * (above > -math.inf)
            bounds += [f"at most {most:g}"] * (most < math.inf)
            raise _error(name, value, f"use a finite number {' and '.join(bounds)}".rstrip())

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any]) -> FeatureSpec:
        """A spec from a bundle's or a preset's table: ``{"preset": NAME, **overrides}``, or all the fields.

        Raises:
            OptionError: an unknown preset or field, a missing field, or a value out of range.
        """
        given = dict(mapping)
        base = given.pop("preset", None)
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(given) - set(known)):
            raise OptionError(
                f"unknown feature field {unknown[0]!r}; the fields are: preset, {', '.join(known)}", field=unknown[0]
            )
        if base is not None:
            given = {**_table(base), **given}
        required = ("sample_rate_hz", "frame_length", "hop", "fft_size", "bands")
        if missing := [name for name in required if name not in given]:
            raise OptionError(
                f"the features lack {', '.join(missing)}; give a preset or these fields", field=missing[0]
            )
        return cls(**given)

    @property
    def bins(self) -> int:
        """Bins of the spectrum, from 0 Hz to half the sample rate."""
        return self.fft_size // 2 + 1

    @property
    def is_linear(self) -> bool:
        """Whether a gain on the waveform is a gain on the features: no compression, no normalisation."""
        return self.compression == "none" and self.normalization == "none"

    @property
    def front_samples(self) -> int:
        """Samples of padding before the sound."""
        return self.frame_length // 2 if self.padding.startswith("centre") else self.front_zeros

    @property
    def back_samples(self) -> int:
        """Samples of padding after the sound."""
        return self.frame_length // 2 if self.padding.startswith("centre") else 0

    def frames(self, n_samples: int) -> int:
        """How many frames ``features`` gives for ``n_samples`` samples; none for none."""
        if n_samples <= 0:
            return 0
        room = n_samples + self.front_samples + self.back_samples - self.frame_length
        return max(room // self.hop + 1 - self.drop_last_frame, 0) if room >= 0 else 0

    def segment_samples(self, length_frames: int) -> int:
        """Samples that a segment of ``length_frames`` frames stands for.

        Snipped frames need every sample under them; where frames are padded each stands for one hop.
        """
        if length_frames < 1:
            raise _error("length", length_frames, "a segment has at least one frame")
        if self.padding == "snip":
            return (length_frames - 1) * self.hop + self.frame_length
        return length_frames * self.hop


def _error(name: str, value: object, hint: str) -> OptionError:
    return OptionError(f"{name} = {value!r}: {hint}", field=name)


@cache
def _tables() -> dict[str, dict[str, Any]]:
    # A service that names no preset need not pay for the parser.
    import tomllib

    return tomllib.loads(Path(__file__).with_name("presets.toml").read_text(encoding="utf-8"))


def _table(name: object) -> dict[str, Any]:
    tables = _tables()
    if not isinstance(name, str) or name not in tables:
        raise OptionError(f"unknown preset {name!r}; the presets are: {', '.join(tables)}", field="preset")
    return {key: value for key, value in tables[name].items() if key not in ("source", "description")}


@cache
def _preset(name: str) -> FeatureSpec:
    return FeatureSpec(**_table(name))


def preset(name: str) -> FeatureSpec:
    """The preset ``name``.

    Raises:
        OptionError: there is none by that name; the message lists them.
    """
    _table(name)
    return _preset(name)


def presets() -> tuple[str, ...]:
    """The presets' names, in the order of ``presets.toml``."""
    return tuple(_tables())


def resolve(spec: FeatureSpec | str) -> FeatureSpec:
    """``spec`` itself, or the preset of that name."""
    return spec if isinstance(spec, FeatureSpec) else preset(spec)
