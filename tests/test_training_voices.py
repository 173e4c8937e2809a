"""Synthetic voices: every language and variant is there, takes are trimmed, a seed gives the same files."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from auricle.errors import OptionError
from auricle.training import digits
from auricle.training.clips import Clip
from auricle.training.sounds import read
from auricle.training.vocabulary import scripts, variants
from auricle.training.voices import GROUP, speak, trimmed

RATE_HZ = 8000
BACKGROUND = digits.LABELS[digits.BACKGROUND]


def few(folder: Path, *, seed: int = 1) -> list[Clip]:
    """Two takes of each digit and three of other words."""
    pytest.importorskip("espeakng_loader")
    spoken = scripts(BACKGROUND)
    takes = {label: 3 if label == BACKGROUND else 2 for label in spoken}
    return speak(folder, spoken, takes, variants=variants(), rates_hz=(RATE_HZ,), seed=seed)


def test_each_digit_has_one_word_in_each_language_and_others_are_no_digits() -> None:
    spoken = scripts(BACKGROUND)
    assert list(spoken) == list(digits.LABELS)
    for digit in range(10):
        assert spoken[str(digit)]["en-us"] == (digits.WORDS[digit],)
        assert spoken[str(digit)].keys() == spoken["0"].keys()
    for texts in spoken[BACKGROUND].values():
        assert not set(digits.WORDS[:10]) & {word for text in texts for word in text.split()}


def test_the_synthesizer_has_every_language_and_every_variant() -> None:
    pytest.importorskip("espeakng_loader")
    from auricle.training.synthesizer import Synthesizer

    synthesizer = Synthesizer(seed=1)
    voices = [*(f"{language}+f1" for language in scripts(BACKGROUND)["0"]), *(f"en-us+{name}" for name in variants())]
    for voice in voices:
        assert np.abs(synthesizer.say("one", voice)).max() > 0.05, voice
    for wrong in ("en-us+nobody", "nowhere"):
        with pytest.raises(OptionError, match=f"no voice '{re.escape(wrong)}'"):
            synthesizer.say("one", wrong)


def test_tempo_is_obeyed() -> None:
    pytest.importorskip("espeakng_loader")
    from auricle.training.synthesizer import Synthesizer

    synthesizer = Synthesizer(seed=1)
    slow, fast = (synthesizer.say("seven", "en-us", words_per_minute=tempo).size for tempo in (100, 300))
    assert slow > 1.3 * fast


def test_takes_are_labelled_and_trimmed(tmp_path: Path) -> None:
    clips = few(tmp_path)
    assert [clip.label for clip in clips] == [*(str(digit) for digit in range(10) for _ in range(2)), *[BACKGROUND] * 3]
    assert {clip.group for clip in clips} == {GROUP}
    for clip in clips:
        wave, rate_hz = read(clip.path)
        assert rate_hz == RATE_HZ
        assert 0.1 < wave.size / rate_hz < 2.5
        assert np.abs(wave).max() == pytest.approx(0.5, abs=1e-3)


def test_a_seed_gives_the_same_files_in_a_new_process(tmp_path: Path) -> None:
    pytest.importorskip("espeakng_loader")
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[1]);"
        "from test_training_voices import few; few(Path(sys.argv[2]))"
    )
    contents = []
    for name in ("once", "again"):
        folder = tmp_path / name
        folder.mkdir()
        subprocess.run([sys.executable, "-c", program, str(Path(__file__).parent), str(folder)], check=True)
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
