"""The microphone with the real PortAudio: a PulseAudio of the test's own plays a file into it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import models
from auricle.config import ServerSettings
from serving import serving

EXAMPLES = Path(__file__).resolve().parents[1] / "examples"
CLIPS = EXAMPLES / "clips"
RATE_HZ = 22050
CLIP_S = 1.5
ALSA = Path("/usr/share/alsa/alsa.conf")
ALSA_PULSE = "libasound_module_pcm_pulse.so"

# A fresh process each: PortAudio looks for devices once, when it is loaded, by way of the environment.
RECORD = """
import subprocess, sys
import numpy as np
from auricle.task.audio import AudioRecord, AudioFormat, TensorAudio

clip, out, rate = sys.argv[1], sys.argv[2], int(sys.argv[3])
chunks = []
with AudioRecord(1, rate, rate) as record:
    record.start_recording()
    stream = record.chunks(timeout_s=20.0)
    chunks.append(next(stream))
    player = subprocess.Popen(["pacat", "--playback", "--device=speaker", "--raw", "--format=s16le",
                               f"--rate={rate}", "--channels=1", clip])
    tail = 0
    for chunk in stream:
        chunks.append(chunk)
        # What is played arrives late by the server's buffers: as long again as silence says that it is over.
        tail = tail + len(chunk) if player.poll() is not None and not chunk.any() else 0
        if tail > rate // 2:
            break
    record.stop()
    newest = record.read(rate)
    tensor = TensorAudio(AudioFormat(1, rate), rate * 9 // 10)
    tensor.load_from_audio_record(record)
    lost = record.lost_samples
everything = np.concatenate([*chunks, *stream])
np.savez(out, everything=everything, newest=newest, tensor=tensor.buffer, lost=lost, status=player.wait())
"""


@pytest.fixture
def sound_server(tmp_path: Path) -> Iterator[dict[str, str]]:
    """A PulseAudio whose only microphone hears its only speaker; gives the environment that reaches it."""
    for needed in ("pulseaudio", "pacat", "pactl"):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed}: apt-get install pulseaudio")
    if not any(Path("/usr/lib").glob(f"*/alsa-lib/{ALSA_PULSE}")) or not ALSA.is_file():
        pytest.skip("no PulseAudio plugin of ALSA: apt-get install libasound2-plugins")
    try:
        import sounddevice  # noqa: F401
    except (ImportError, OSError) as error:
        pytest.skip(f"no sounddevice with PortAudio: {error}; pip install '.[mic]', apt-get install libportaudio2")
    routes = tmp_path / "asound.conf"
    routes.write_text("pcm.!default { type pulse }\nctl.!default { type pulse }\n")
    socket = tmp_path / "pulse.socket"
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "XDG_RUNTIME_DIR": str(tmp_path),
        "PULSE_SERVER": f"unix:{socket}",
        "ALSA_CONFIG_PATH": f"{ALSA}:{routes}",
    }
    command = ["pulseaudio", "-n", "--daemonize=no", "--use-pid-file=no", "--exit-idle-time=-1", "--disable-shm=yes"]
    command += ["-L", f"module-null-sink sink_name=speaker rate={RATE_HZ} channels=1 format=s16le"]
    command += ["-L", f"module-native-protocol-unix socket={socket} auth-anonymous=1"]
    server_log = tmp_path / "pulseaudio.log"
    with server_log.open("wb") as log, subprocess.Popen(command, env=environment, stderr=log, stdout=log) as server:
        try:
            give_up_s = time.monotonic() + 20
            set_source = ["pactl", "set-default-source", "speaker.monitor"]
            while subprocess.run(set_source, env=environment, capture_output=True, check=False).returncode != 0:
                if server.poll() is not None or time.monotonic() > give_up_s:
                    pytest.skip(f"pulseaudio does not run here: {server_log.read_text()[-500:]}")
            yield environment
        finally:
            server.terminate()


def test_a_real_sound_device_is_recorded_sample_for_sample(sound_server: dict[str, str], tmp_path: Path) -> None:
    played, rate_hz = soundfile.read(min(CLIPS.glob("*.flac")), dtype="int16")
    assert rate_hz == RATE_HZ
    played = played[: int(RATE_HZ * CLIP_S)]
    clip, out = tmp_path / "clip.raw", tmp_path / "recorded.npz"
    played.tofile(clip)
    subprocess.run(
        [sys.executable, "-c", RECORD, str(clip), str(out), str(RATE_HZ)], env=sound_server, check=True, timeout=60
    )
    recorded = np.load(out)
    everything = recorded["everything"]
    assert recorded["status"] == 0
    assert recorded["lost"] == 0
    assert everything.dtype == np.float32
    sound = (everything[:, 0] * 32768).astype(np.int16)
    expected = np.trim_zeros(played)
    first = np.flatnonzero(sound)[0]
    assert np.array_equal(sound[first : first + len(expected)], expected)
    # The ring and the stream are two views of one recording.
    assert np.array_equal(recorded["newest"], everything[-RATE_HZ:])
    assert np.array_equal(recorded["tensor"], everything[-(RATE_HZ * 9 // 10) :])
    assert recorded["tensor"].any()


@contextmanager
def playing(environment: dict[str, str], folder: Path, samples: NDArray[np.int16] | None = None) -> Iterator[None]:
    """Plays a clip over and over inside the block."""
    if samples is None:
        samples, _ = soundfile.read(min(CLIPS.glob("*.flac")), dtype="int16")
    clip = folder / "endless.raw"
    np.tile(samples, 20).tofile(clip)
    command = [
        "pacat",
        "--playback",
        "--device=speaker",
        "--raw",
        "--format=s16le",
        f"--rate={RATE_HZ}",
        "--channels=1",
    ]
    with subprocess.Popen([*command, str(clip)], env=environment) as player:
        try:
            yield
        finally:
            player.terminate()


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "auricle.cli", "stream", "--mic", "--json", *map(str, arguments)]


def test_the_microphone_is_streamed_through_an_engine_in_process(sound_server: dict[str, str], tmp_path: Path) -> None:
    models.write_waveform(tmp_path / "models" / "waveform.onnx")
    with playing(sound_server, tmp_path):
        done = subprocess.run(
            command("--models", tmp_path / "models", "--duration-s", 1.5),
            env=sound_server,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
    assert done.returncode == 0, done.stderr
    ready, *segments, summary = map(json.loads, done.stdout.splitlines())
    assert (ready["event"], ready["file"], ready["sample_rate_hz"]) == ("ready", "microphone", 16000)
    # The model's segments are 1600 samples every 800.
    assert summary["usage"]["samples"] == 24000
    assert [each["embeddings"][0]["start_sample"] for each in segments] == list(range(0, 24000 - 800, 800))
    highest = max(each["embeddings"][0]["vector"][0] for each in segments)
    assert 0.05 < highest <= 1.0


def test_ctrl_c_ends_a_stream_to_a_server_with_its_last_answers(sound_server: dict[str, str], tmp_path: Path) -> None:
    models.write_classifier(tmp_path / "models" / "classifier.onnx")
    settings = ServerSettings(models_dir=tmp_path / "models", listen="127.0.0.1:0", watch=False)
    with serving(settings) as address, playing(sound_server, tmp_path):
        streaming = subprocess.Popen(
            command("--server", address), env=sound_server, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        assert streaming.stdout is not None
        lines = [streaming.stdout.readline() for _ in range(4)]
        streaming.send_signal(signal.SIGINT)
        rest, errors = streaming.communicate(timeout=60)
    assert streaming.returncode == 0, errors
    events = [json.loads(line) for line in [*lines, *rest.splitlines()]]
    assert [each["event"] for each in events] == ["ready", *["segment"] * (len(events) - 2), "summary"]
    assert {one["head"] for one in events[1]["classifications"]} == {"scene", "mood"}
    assert events[-1]["usage"]["segments"] == len(events) - 2 >= 3


def test_the_example_classifies_what_the_microphone_hears(sound_server: dict[str, str], tmp_path: Path) -> None:
    model = models.write_classifier(tmp_path / "classifier.onnx")
    # A constant passes every change of rate: the model's scores, samples of its window, are all the same.
    loud = np.full(RATE_HZ, 16384, np.int16)
    listening = [sys.executable, str(EXAMPLES / "classify_microphone.py"), "--model", str(model)]
    with (
        playing(sound_server, tmp_path, loud),
        subprocess.Popen([*listening, "--score-threshold", "0.4"], env=sound_server, stdout=subprocess.PIPE) as example,
    ):
        assert example.stdout is not None
        heard = (line.decode() for line in example.stdout)
        scene = next(line for line in heard if line.startswith("scene:") and line.count(" 0.50") == 4)
        example.send_signal(signal.SIGINT)
        example.stdout.read()
    assert example.returncode == 0
    assert {each.split()[0] for each in scene.removeprefix("scene: ").split(", ")} == set(models.LABELS)
