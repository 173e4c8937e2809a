"""Files that the client decodes itself, chunk by chunk: whole ones as at once, broken ones not at all."""

from __future__ import annotations

import os
import re
import threading
from io import BytesIO

import numpy as np
import pytest
import soundfile

from auricle import errors
from auricle.client import UnaryLimits
from auricle.client.audio import open_long
from auricle.client.files import CHUNK_BYTES

PATIENCE_S = 5.0


def noise():
    return np.random.default_rng(2).integers(-9000, 9000, 60_000).astype(np.int16)


def ogg(subtype):
    content = BytesIO()
    soundfile.write(content, noise(), 16000, format="OGG", subtype=subtype)
    return content.getvalue()


def streamed(path):
    return b"".join(open_long(path).chunks())


@pytest.mark.parametrize("rate_hz", [22050, 44100])
def test_an_mp3_is_decoded_in_chunks_as_at_once(tmp_path, rate_hz):
    path = tmp_path / "long.mp3"
    sound = np.random.default_rng(2).normal(0, 0.1, 200_000)
    soundfile.write(path, sound, rate_hz, subtype="MPEG_LAYER_III")
    with soundfile.SoundFile(path) as opened:
        at_once = opened.read(dtype="float32", frames=opened.frames)
    assert len(at_once) * 4 > 2 * CHUNK_BYTES
    np.testing.assert_array_equal(np.frombuffer(streamed(path), "<f4"), at_once)


@pytest.mark.parametrize(
    ("layout", "cut"),
    [
        ({"format": "WAV"}, 2),
        ({"format": "WAV", "endian": "BIG"}, 2),
        ({"format": "RF64", "subtype": "PCM_16"}, 2),
        ({"format": "AIFF"}, 5000),
        ({"format": "FLAC"}, 3000),
    ],
    ids=["riff", "rifx", "rf64", "aiff", "flac"],
)
def test_a_file_that_breaks_off_is_no_clip(tmp_path, layout, cut):
    path = tmp_path / "clip"
    soundfile.write(path, noise(), 16000, **layout)
    assert len(streamed(path)) == 120_000
    path.write_bytes(path.read_bytes()[:-cut])
    with pytest.raises(errors.AudioError) as caught:
        streamed(path)
    assert caught.value.reason in ("AUDIO_TRUNCATED", "AUDIO_UNDECODABLE")


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_an_ogg_that_ends_inside_a_page_is_no_clip(tmp_path, subtype):
    content, path = ogg(subtype), tmp_path / "clip.ogg"
    pages = [match.start() for match in re.finditer(b"OggS", content)]
    # Inside the last page's header, after it, inside its table of sizes, its first and its last byte of sound.
    for end in (pages[-1] + 4, pages[-1] + 26, pages[-1] + 27, pages[-1] + 28, pages[-1] + 60, len(content) - 1):
        path.write_bytes(content[:end])
        with pytest.raises(errors.AudioError, match=f"inside the page that begins at byte {pages[-1]}") as caught:
            streamed(path)
        assert caught.value.reason == "AUDIO_TRUNCATED"


@pytest.mark.parametrize("subtype", ["VORBIS", "OPUS"])
def test_what_follows_the_last_page_of_an_ogg_does_no_harm(tmp_path, subtype):
    path = tmp_path / "clip.ogg"
    path.write_bytes(ogg(subtype) + b"TAG" + bytes(125))
    assert len(streamed(path)) == 4 * 60_000


# The longer is a whole number of blocks, so that no read goes over its end.
@pytest.mark.parametrize("frames", [60_000, 131_072])
def test_a_tag_after_a_flac_does_no_harm(tmp_path, frames):
    path, sound = tmp_path / "clip.flac", np.resize(noise(), frames)
    soundfile.write(path, sound, 16000)
    path.write_bytes(path.read_bytes() + b"TAG" + bytes(125))
    np.testing.assert_array_equal(np.frombuffer(streamed(path), "<i2"), sound)


def test_what_follows_a_flac_and_is_no_tag_is_refused(tmp_path):
    path = tmp_path / "clip.flac"
    soundfile.write(path, noise(), 16000)
    path.write_bytes(path.read_bytes() + b"NOT" + bytes(125))
    with pytest.raises(errors.AudioError):
        streamed(path)


def test_an_ogg_that_goes_on_after_its_end_is_no_clip(tmp_path):
    first, path = ogg("VORBIS"), tmp_path / "chained.ogg"
    path.write_bytes(first + ogg("VORBIS"))
    with pytest.raises(errors.AudioError, match=f"the second from byte {len(first)} on; send each on its own"):
        streamed(path)


def test_a_stream_of_a_file_that_was_cut_off_fails(client, tmp_path):
    path = tmp_path / "clip.ogg"
    path.write_bytes(ogg("VORBIS")[:-1])
    with pytest.raises(errors.AudioError, match="truncated"):
        client.events("stream_embed", path)
    with pytest.raises(errors.AudioError, match="truncated"):
        client.call("embed", path, limits=UnaryLimits(duration_s=0.1))


def test_a_wav_whose_header_was_never_filled_in_is_no_clip(tmp_path):
    path = tmp_path / "clip.wav"
    soundfile.write(path, np.zeros(60_000, np.int16), 16000)
    content = bytearray(path.read_bytes())
    content[4:8], content[40:44] = (36).to_bytes(4, "little"), bytes(4)
    path.write_bytes(content)
    with pytest.raises(errors.AudioError, match="120000 bytes follow"):
        streamed(path)


@pytest.fixture(name="pipe")
def pipe_(tmp_path, wav):
    """A named pipe into which a WAV file is written once."""
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(wav.read_bytes(),), daemon=True)
    writer.start()
    yield path
    writer.join(PATIENCE_S)


# A pipe that is opened twice would wait for a second writer.
@pytest.mark.timeout(2 * PATIENCE_S)
@pytest.mark.parametrize("limits", [UnaryLimits(), UnaryLimits(content_bytes=1000)], ids=["whole", "streamed"])
def test_a_pipe_is_read_as_a_file_is(client, pipe, wav, limits):
    np.testing.assert_array_equal(client.call("embed", pipe, limits=limits).vector, client.call("embed", wav).vector)


@pytest.mark.timeout(2 * PATIENCE_S)
def test_a_pipe_is_streamed_as_a_file_is(client, pipe, samples):
    assert client.events("stream_embed", pipe)[-1].usage.samples == samples.size
