"""Augmentation settings: how far, and how often, a spectrum is made another."""

from __future__ import annotations

from dataclasses import dataclass, fields

from auricle.errors import OptionError

__all__ = ["STILL", "Augmentation", "Range"]

Range = tuple[float, float]

_CHANCES = ("blending", "mixing", "served", "echoing", "hissing", "murmuring", "noisy", "fill", "narrow")
_PARTS = (*_CHANCES, "blend", "rubato", "crop", "overhang")
_FACTORS = ("tempo", "formants", "pitch")


@dataclass(frozen=True, kw_only=True, slots=True)
class Augmentation:
    """Ranges that are drawn from, evenly, and chances from 0 to 1.

    Attributes:
        blending: chance that a sound is blended with another of its label; ``blend``: the other's greatest share.
        mixing: chance that an example is mixed with any other, its label too, as the last step of all.
        tempo: factor on the speed at which frames pass, pitch unchanged.
        formants: factor on the frequencies of the envelope: the length of a vocal tract.
        pitch: factor on the frequencies of the fine structure.
        bend: most bands that a formant between the ends of the spectrum is moved by: mouths differ in shape too.
        rubato: most change of the tempo within a sound, as a share of it: no two people hold a vowel as long.
        crop: most of a sound that may be missing at its beginning, and at its end: clips are often cut too short.
        trim_db: what lies further below the loudest frame than this is cut off both ends, as recordings often are.
        served: chance that a sound stays at the segment's start, where a served clip's is.
        overhang: part of a shifted sound that may lie outside of the segment.
        echoing: chance of a room's echoes; ``echo_db``: their power over the sound's; ``decay_db``: in each frame.
        hissing: chance of noise that was recorded with the sound, below its edge, and ends where it ends;
            ``hiss_snr_db``: power of the sound's frames over the noise's.
        murmuring: share of such noise that has the sound's own mean spectrum, as a crowd or a large room gives.
        noisy: chance of noise around the sound, over the whole segment; ``snr_db``: as above.
        response_db: largest swing of each term of a random microphone's response.
        tilt_db: rise or fall from the lowest to the highest band.
        peak_db: level of the strongest band of all, as features have it; None: as it was recorded.
        fill: chance that bands above what the recording's sample rate held get a mirror of those below, weaker by
            ``fill_db``: real wideband sound is not empty there.
        narrow: chance that all above a random band is empty, as over a telephone.
        masks: most stripes of bands, and of frames, that are blanked.
        mask_bands, mask_frames: the widest of them.

    Raises:
        OptionError: a chance or a share outside of 0 to 1, a range whose ends are swapped, a factor of 0 or less, or
            another number below 0.
    """

    blending: float = 0.5
    blend: float = 0.5
    mixing: float = 0.5
    tempo: Range = (0.7, 1.45)
    formants: Range = (0.88, 1.13)
    pitch: Range = (0.7, 1.45)
    bend: float = 5.0
    rubato: float = 0.35
    crop: float = 0.15
    trim_db: Range = (15.0, 50.0)
    served: float = 0.5
    overhang: float = 0.1
    echoing: float = 0.2
    echo_db: Range = (-25.0, 0.0)
    decay_db: Range = (2.0, 12.0)
    hissing: float = 0.6
    hiss_snr_db: Range = (3.0, 38.0)
    murmuring: float = 0.4
    noisy: float = 0.5
    snr_db: Range = (2.0, 40.0)
    response_db: float = 3.0
    tilt_db: float = 10.0
    peak_db: Range | None = (-50.0, -20.0)
    fill: float = 0.4
    fill_db: Range = (0.0, 30.0)
    narrow: float = 0.0
    masks: int = 1
    mask_bands: int = 20
    mask_frames: int = 3

    def __post_init__(self) -> None:
        for each in fields(self):
            name, value = each.name, getattr(self, each.name)
            if isinstance(value, tuple):
                low, high = value
                if not low <= high:
                    raise OptionError(f"{name} must go from low to high, but is {low:g} to {high:g}", field=name)
                if name in _FACTORS and not low > 0:
                    raise OptionError(f"{name} must be above 0, but begins at {low:g}", field=name)
            elif name in _PARTS and not 0 <= value <= 1:
                raise OptionError(f"{name} must be 0 to 1, but is {value:g}", field=name)
            elif value is not None and not value >= 0:
                raise OptionError(f"{name} must be 0 or more, but is {value:g}", field=name)


# Draws nothing: every example is as it was recorded.
STILL = Augmentation(
    blending=0.0,
    mixing=0.0,
    tempo=(1.0, 1.0),
    formants=(1.0, 1.0),
    pitch=(1.0, 1.0),
    bend=0.0,
    rubato=0.0,
    crop=0.0,
    trim_db=(200.0, 200.0),
    served=1.0,
    echoing=0.0,
    hissing=0.0,
    noisy=0.0,
    response_db=0.0,
    tilt_db=0.0,
    peak_db=None,
    fill=0.0,
    narrow=0.0,
    masks=0,
)
