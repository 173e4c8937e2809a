"""The command line as its users meet it: output, exit codes, settings and their order."""

from __future__ import annotations

import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from auricle.cli import main
from auricle.cli.live import paced
from auricle.cli.serve import _GROUPS, _HELP, settings_from
from auricle.config import ServerSettings
from models import write_classifier, write_embedder
from serving import serving

RATE_HZ = 16000


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        return [json.loads(line) for line in self.out.splitlines()]


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    for name in [name for name in os.environ if name.startswith("AURICLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    # Wide enough that no cell is folded, whatever runs the tests.
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: object, env: dict[str, str] | None = None) -> Ran:
        for name, value in (env or {}).items():
            monkeypatch.setenv(name, value)
        capfd.readouterr()
        with pytest.raises(SystemExit) as leaving:
            main([str(each) for each in arguments])
        for name in env or {}:
            monkeypatch.delenv(name)
        captured = capfd.readouterr()
        assert isinstance(leaving.value.code, int)
        return Ran(leaving.value.code, captured.out, captured.err)

    return call


@pytest.fixture(scope="module")
def embedders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("embedders")
    write_embedder(folder / "tones" / "1.onnx", heads=[{"pool": "mean", "l2_normalize": True}])
    return folder


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("both")
    write_embedder(folder / "tones" / "1.onnx")
    write_classifier(folder / "scenes.onnx", heads=[{"pool": "mean"}, {"pool": "mean"}, {"pool": "mean"}])
    return folder


@pytest.fixture(scope="module")
def address(both: Path) -> Iterator[str]:
    with serving(ServerSettings(models_dir=both, listen="127.0.0.1:0", watch=False, grace_s=2.0)) as target:
        yield target


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("clips")
    seconds = np.arange(int(1.7 * RATE_HZ)) / RATE_HZ
    paths = []
    for name, hz in (("low", 200), ("low2", 210), ("high", 3000)):
        noise = np.random.default_rng(hz).normal(0, 0.01, seconds.size)
        paths.append(folder / f"{name}.wav")
        soundfile.write(paths[-1], 0.3 * np.sin(2 * np.pi * hz * seconds) + noise, RATE_HZ)
    return paths


def test_embed_prints_a_line_a_file(run: Any, embedders: Path, clips: list[Path]) -> None:
    ran = run("embed", *clips, "--models", embedders, "--json")
    assert ran.code == 0
    assert ran.err == ""
    assert [line["file"] for line in ran.lines] == [str(path) for path in clips]
    (one,) = ran.lines[0]["embeddings"]
    assert (ran.lines[0]["model"], ran.lines[0]["version"], one["head"]) == ("tones", "1", "embedding")
    assert np.linalg.norm(one["vector"]) == pytest.approx(1.0, abs=1e-6)
    assert (one["start_s"], one["end_s"]) == (0.0, 1.7)
    assert ran.lines[0]["usage"]["duration_s"] == 1.7


def test_embed_prints_a_table_for_people(run: Any, embedders: Path, clips: list[Path]) -> None:
    ran = run("embed", clips[0], "--models", embedders)
    assert ran.code == 0
    assert "low.wav" in ran.out
    twice = run("embed", clips[0], clips[0].parent / ".." / clips[0].parent.name / "low.wav", "--models", embedders)
    assert str(clips[0]) in twice.out
    assert "tones/1" in ran.out


def test_a_server_gives_what_this_process_gives(run: Any, address: str, both: Path, clips: list[Path]) -> None:
    here = run("embed", clips[0], "--models", both, "--model", "tones", "--pooling", "none", "--json").lines
    there = run("embed", clips[0], "--server", address, "--model", "tones", "--pooling", "none", "--json").lines
    assert here[0]["embeddings"] == there[0]["embeddings"]
    assert len(there[0]["embeddings"]) > 1


def test_standard_input_is_a_file_too(run: Any, embedders: Path, clips: list[Path], monkeypatch: Any) -> None:
    with clips[0].open("rb") as stream:
        monkeypatch.setattr("sys.stdin", os.fdopen(os.dup(stream.fileno())))
        ran = run("embed", "-", "--models", embedders, "--json")
        sys.stdin.close()
    assert ran.code == 0
    assert ran.lines[0]["file"] == "-"


def test_classify_prints_categories(run: Any, both: Path, clips: list[Path]) -> None:
    wanted = ["--model", "scenes", "--head", "scene", "--max-results", 2, "--locale", "de", "--models", both]
    (line,) = run("classify", clips[0], *wanted, "--json").lines
    (answer,) = line["classifications"]
    assert len(answer["categories"]) == 2
    scores = [each["score"] for each in answer["categories"]]
    assert scores == sorted(scores, reverse=True)
    assert answer["categories"][0]["display_name"] in ("Hund", "Katze", "Vogel", "Regen")
    assert answer["categories"][0]["display_name"] in run("classify", clips[0], *wanted).out


def test_compare_is_a_number_or_a_matrix(run: Any, embedders: Path, clips: list[Path]) -> None:
    pair = run("compare", *clips[:2], "--models", embedders)
    assert re.match(r"0\.9\d{3}  ", pair.out)
    (line,) = run("compare", *clips, "--models", embedders, "--json").lines
    matrix = np.array(line["cosine"])
    assert matrix.shape == (3, 3)
    np.testing.assert_array_equal(matrix, matrix.T)
    np.testing.assert_allclose(np.diag(matrix), 1.0, atol=1e-12)
    assert matrix[0, 1] > matrix[0, 2]
    assert f"{matrix[0, 2]:.4f}" in run("compare", *clips, "--models", embedders).out
    assert run("compare", clips[0], "--models", embedders).code == 2


def test_verify_answers_by_its_exit_code(run: Any, embedders: Path, clips: list[Path]) -> None:
    low, low2, high = clips
    (line,) = run("compare", low, high, "--models", embedders, "--json").lines
    between = (line["cosine"][0][1] + 1) / 2
    yes = run("verify", low, low2, "--threshold", between, "--models", embedders)
    assert (yes.code, yes.out.split(":")[0]) == (0, "same")
    no = run("verify", low, high, "--threshold", between, "--models", embedders, "--json")
    assert (no.code, no.lines[0]["same"]) == (1, False)
    assert run("verify", low, high, "--models", embedders).code == 2
    assert run("verify", low, high, "--threshold", 1.5, "--models", embedders).code == 2


def test_stream_prints_events_as_lines(run: Any, both: Path, clips: list[Path]) -> None:
    lines = run("stream", clips[0], "--model", "tones", "--models", both, "--json").lines
    kinds = [line["event"] for line in lines]
    assert kinds[0] == "ready"
    assert kinds[-1] == "summary"
    assert set(kinds[1:-1]) == {"segment"}
    unary = run("embed", clips[0], "--model", "tones", "--models", both, "--pooling", "none", "--json").lines
    assert [line["embeddings"][0] for line in lines[1:-1]] == unary[0]["embeddings"]
    people = run("stream", clips[0], "--model", "tones", "--models", both).out
    assert "to the one before" in people
    assert "1.70 s of sound" in people


def test_stream_asks_for_what_the_model_is_for(run: Any, address: str, clips: list[Path]) -> None:
    lines = run("stream", clips[0], "--model", "scenes", "--server", address, "--json").lines
    assert len(lines[1]["classifications"]) == 2
    assert lines[1]["embeddings"] == []
    lines = run("stream", clips[0], "--model", "scenes", "--as", "embed", "--server", address, "--json").lines
    assert len(lines[1]["embeddings"]) == 1


def test_stream_in_real_time_gives_the_same(run: Any, address: str, tmp_path: Path) -> None:
    path = tmp_path / "short.wav"
    soundfile.write(path, np.random.default_rng(4).normal(0, 0.1, (RATE_HZ // 4, 2)), RATE_HZ)
    wanted = ["--model", "scenes", "--server", address, "--json"]
    begun = time.monotonic()
    live = run("stream", path, "--realtime", *wanted).lines
    assert time.monotonic() - begun >= 0.25
    fast = run("stream", path, *wanted).lines
    assert [line.get("classifications") for line in live] == [line.get("classifications") for line in fast]


def test_pacing_waits_until_the_sound_would_have_been_recorded() -> None:
    now, waits = [100.0], []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        now[0] += seconds

    pieces = list(paced([bytes(250), bytes(50)], 1000.0, clock=lambda: now[0], sleep=sleep))
    assert [len(piece) for piece in pieces] == [100, 100, 50, 50]
    assert np.allclose(waits, [0.1, 0.1, 0.05, 0.05])
    assert now[0] == pytest.approx(100.3)


def test_a_bad_file_does_not_stop_the_others(run: Any, embedders: Path, clips: list[Path], tmp_path: Path) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no sound at all, whoever reads this")
    ran = run("embed", tmp_path / "absent.wav", clips[0], text, "--models", embedders, "--json")
    assert ran.code == 3
    assert ["error" in line for line in ran.lines] == [True, False, True]
    assert ran.lines[2]["error"]["reason"] == "AUDIO_UNDECODABLE"
    told = ran.err.splitlines()
    assert len(told) == 2
    assert told[0] == f"auricle: {tmp_path / 'absent.wav'}: No such file or directory"
    assert told[1].startswith(f"auricle: {text}: ")


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (["embed", "{clip}", "--model", "nobody"], 4, "loaded are"),
        (["embed", "{clip}", "--model", "tones", "--version", "7"], 4, "no version '7'"),
        (["embed", "{clip}", "--head", "x"], 3, "no head 'x'"),
        (["classify", "{clip}", "--model", "tones"], 3, "no classification head"),
        (["embed", "{clip}", "--hop-s", "-1"], 3, "hop"),
        (["embed", "{clip}", "--server", "127.0.0.1:1"], 5, "auricle serve"),
        (["embed", "{clip}", "--server", "127.0.0.1:1", "--tls-key", "x"], 3, "go together"),
        (["embed", "{clip}", "--models", "/nonexistent"], 4, "auricle models pull voice"),
        (["embed", "{clip}", "--timeout-s", "1e-6"], 5, "time limit"),
        (["embed"], 2, "Missing argument"),
        (["embed", "{clip}", "--pooling", "median"], 2, "median"),
        (["sing"], 2, "No such command"),
        (["models", "show", "nobody"], 4, "loaded are"),
        (["models", "show", "absent.onnx"], 3, "absent.onnx"),
        (["models", "pull", "nobody"], 4, "voice"),
        (["models", "remove", "nobody", "--yes"], 4, "models list"),
        (["serve", "--listen", "nowhere:x"], 5, "nowhere:x"),
        (["serve", "--grace-s", "-1"], 3, "grace_s"),
        (["serve", "--tls-key", "x"], 2, "go together"),
    ],
)
def test_exit_codes_say_what_kind_of_failure(
    run: Any, embedders: Path, clips: list[Path], arguments: list[str], code: int, fragment: str
) -> None:
    words = [word.replace("{clip}", str(clips[0])) for word in arguments]
    ran = run(*words, env={"AURICLE_MODELS": str(embedders), "AURICLE_LOG_LEVEL": "error"})
    assert (ran.code, ran.out) == (code, "")
    assert fragment in ran.err
    assert "Traceback" not in ran.err


def test_a_bad_file_among_streamed_ones_is_told_of_on_stderr(
    run: Any, embedders: Path, clips: list[Path], tmp_path: Path
) -> None:
    ran = run("stream", tmp_path / "absent.wav", clips[0], "--models", embedders)
    assert ran.code == 3
    assert "absent" not in ran.out
    assert "1.70 s of sound" in ran.out
    assert len(ran.err.splitlines()) == 1


def test_a_failure_is_one_line_and_debug_has_the_trace(run: Any, embedders: Path, clips: list[Path]) -> None:
    wanted = ["embed", clips[0], "--model", "nobody", "--models", embedders]
    plain = run(*wanted)
    assert len(plain.err.splitlines()) == 1
    traced = run("--debug", *wanted)
    assert "Traceback" in traced.err
    assert traced.err.splitlines()[-1] == plain.err.splitlines()[-1]
    assert traced.code == plain.code


def test_a_fault_of_ours_is_code_70(run: Any, monkeypatch: Any, embedders: Path, clips: list[Path]) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("auricle.cli.clips.embed_record", broken)
    ran = run("embed", clips[0], "--models", embedders, "--json")
    assert ran.code == 70
    assert "--debug" in ran.err


def test_flags_stand_over_the_environment_over_the_file(
    run: Any, tmp_path: Path, embedders: Path, both: Path, clips: list[Path]
) -> None:
    config = tmp_path / "auricle.toml"
    config.write_text(f'[common]\nmodels = "{embedders}"\n[embed]\npooling = "none"\njson = true\n')

    def answers(*flags: object, **env: str) -> tuple[int, int]:
        (line,) = run("--config", config, "embed", clips[0], *flags, env=env).lines
        return len(line["embeddings"]), len(line["embeddings"][0]["vector"])

    in_file, pooled = answers(), answers("--pooling", "mean")
    assert in_file[0] > 1
    assert pooled[0] == 1
    # The environment's directory has two models, so that a name is needed: the file's was passed over.
    ran = run("--config", config, "embed", clips[0], env={"AURICLE_MODELS": str(both)})
    assert ran.code == 3
    assert "scenes" in ran.err
    assert (
        run("--config", config, "embed", clips[0], "--models", embedders, env={"AURICLE_MODELS": str(both)}).code == 0
    )
    # The command's own --config, and the variable, do as the root's.
    assert len(run("embed", clips[0], "--config", config).lines[0]["embeddings"]) == in_file[0]
    assert len(run("embed", clips[0], env={"AURICLE_CONFIG": str(config)}).lines[0]["embeddings"]) == in_file[0]


@pytest.mark.parametrize(
    ("text", "fragment"),
    [
        ("[embed]\npoling = 'mean'\n", "poling"),
        ("[sing]\n", "sing"),
        ("[common]\nnobody = 1\n", "nobody"),
        ("embed = 3\n", "[embed]"),
        ("[models.dance]\n", "dance"),
        ("[embed\n", "not valid TOML"),
        ("[embed]\npooling = 'median'\n", "median"),
    ],
)
def test_a_wrong_configuration_is_refused(
    run: Any, tmp_path: Path, clips: list[Path], text: str, fragment: str
) -> None:
    config = tmp_path / "auricle.toml"
    config.write_text(text)
    ran = run("--config", config, "embed", clips[0])
    assert ran.code == 2
    assert fragment in ran.err


def test_models_are_listed_shown_and_removed(run: Any, tmp_path: Path) -> None:
    for version in ("1", "2"):
        write_embedder(tmp_path / "tones" / f"{version}.onnx", version=version)
    flat = write_classifier(tmp_path / "scenes.onnx", name="scenes")
    lines = run("models", "list", "--models", tmp_path, "--json").lines
    # What comes with auricle is listed too: it answers.
    assert [(each["name"], each["version"], each["newest"]) for each in lines] == [
        ("digits", "1", True),
        ("scenes", "1", True),
        ("tones", "2", True),
        ("tones", "1", False),
    ]
    assert "2 (older)" not in run("models", "list", "--models", tmp_path).out

    (line,) = run("models", "show", "scenes", "--models", tmp_path, "--json").lines
    assert line["label_lists"]["scene"]["de"][0] == "Hund"
    people = run("models", "show", flat).out
    assert re.search(r"segment +0\.100 s, every 0\.050 s", people)
    assert re.search(r"head +scene: classification, 4, 4 labels", people)

    asked = run("models", "remove", "tones", "--models", tmp_path)
    assert asked.code == 130
    assert (tmp_path / "tones" / "1.onnx").exists()
    run("models", "remove", "tones", "--version", "1", "--yes", "--models", tmp_path)
    assert [path.name for path in (tmp_path / "tones").iterdir()] == ["2.onnx"]
    (line,) = run("models", "remove", "tones", "--yes", "--models", tmp_path, "--json").lines
    assert len(line["removed"]) == 1
    assert not (tmp_path / "tones").exists()
    assert flat.exists()


@pytest.mark.parametrize("name", ["../outside", "..", ".", "/etc", "*", "tones/../../outside"])
def test_remove_stays_in_its_directory(run: Any, tmp_path: Path, name: str) -> None:
    inside = tmp_path / "models"
    kept = [write_embedder(inside / "tones" / "1.onnx"), write_embedder(tmp_path / "outside.onnx")]
    assert run("models", "remove", name, "--yes", "--models", inside).code == 4
    assert all(path.exists() for path in kept)


def test_pull_tells_what_there_is(run: Any) -> None:
    lines = run("models", "pull", "--json").lines
    assert "voice" in [line["name"] for line in lines]
    assert "voice" in run("models", "pull").out


def test_pull_tells_whether_it_fetched(run: Any, voice_models: Path) -> None:
    (line,) = run("models", "pull", "voice", "--models", voice_models, "--json").lines
    assert line["fetched"] is False
    assert Path(line["path"]).is_file()


def test_every_setting_of_the_server_is_a_flag() -> None:
    named = {prefix + field.name for prefix, group in _GROUPS.items() for field in fields(group)}
    assert named - set(_HELP) == {"models_dir", "limits", "admission", "batch", "session", "tls"}
    assert set(_HELP) <= named


def test_flags_become_settings(run: Any, monkeypatch: Any, tmp_path: Path) -> None:
    taken: list[ServerSettings] = []
    monkeypatch.setattr("auricle.serve.lifecycle.run", taken.append)
    config = tmp_path / "auricle.toml"
    config.write_text(
        '[serve]\nlisten = "127.0.0.1:7"\nlimit-content-bytes = 77\nbatch_max_delay_s = 0.5\nwatch = false\n'
    )
    assert run("serve", "--models", tmp_path).code == 0
    assert taken.pop() == ServerSettings(models_dir=tmp_path, bundled=True)
    flags = ["--config", config, "--models", tmp_path, "--limit-idle-s", "none", "--session-threads", 2]
    assert run("serve", *flags, env={"AURICLE_LISTEN": "127.0.0.1:8"}).code == 0
    (got,) = taken
    assert got.listen == "127.0.0.1:8"
    assert got.watch is False
    assert (got.limits.content_bytes, got.limits.idle_s) == (77, None)
    assert (got.batch.max_delay_s, got.session.threads) == (0.5, 2)
    assert settings_from({"models": None}).models_dir.parts[-2:] == ("auricle", "models")


def test_every_command_has_help_with_an_example(run: Any) -> None:
    for words in (
        [],
        *([each] for each in ("serve", "embed", "classify", "compare", "verify", "stream", "models")),
        *(["models", each] for each in ("list", "show", "pull", "remove")),
    ):
        ran = run(*words, "--help")
        assert ran.code == 0
        if words != ["models"]:
            assert f"  auricle {' '.join(words)}" in ran.out
        assert "Exit codes" in ran.out or words
    assert run("--version").out.startswith("auricle ")


def test_the_command_line_is_light_to_import() -> None:
    code = (
        "import sys\nfrom auricle.cli import main\ntry: main(['--help'])\nexcept SystemExit: pass\n"
        "heavy = {'numpy', 'grpc', 'onnxruntime', 'onnx', 'soundfile', 'rich', 'structlog', 'google.protobuf'}\n"
        "print(sorted(heavy & set(sys.modules)), file=sys.stderr)"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stderr.strip() == "[]"


def spawn(*arguments: object, **kwargs: Any) -> subprocess.Popen[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("AURICLE_")}
    return subprocess.Popen(
        [sys.executable, "-m", "auricle.cli", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
        **kwargs,
    )


@pytest.fixture(scope="module")
def long_clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.random.default_rng(6).normal(0, 0.1, 60 * RATE_HZ), RATE_HZ)
    return path


@pytest.mark.parametrize("where", ["server", "here"])
def test_a_reader_that_goes_leaves_no_trace(address: str, both: Path, long_clip: Path, where: str) -> None:
    place = ["--server", address] if where == "server" else ["--models", both]
    process = spawn("stream", long_clip, "--model", "scenes", "--json", *place)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["event"] == "ready"
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait(30) == 141


@pytest.mark.parametrize("where", ["server", "here"])
def test_an_interrupt_ends_with_130_and_no_trace(address: str, both: Path, long_clip: Path, where: str) -> None:
    place = ["--server", address] if where == "server" else ["--models", both]
    process = spawn("stream", long_clip, "--realtime", "--model", "scenes", "--json", *place)
    assert process.stdout is not None
    for _ in range(2):
        process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=30)
    assert process.returncode == 130, err
    assert err.strip() == "interrupted", err


def test_serve_serves_and_drains_at_sigterm(embedders: Path, clips: list[Path], tmp_path: Path, run: Any) -> None:
    port_file = tmp_path / "port"
    process = spawn("serve", "--models", embedders, "--listen", "127.0.0.1:0", "--port-file", port_file)
    assert process.stderr is not None
    try:
        event: dict[str, Any] = {}
        while event.get("event") != "serving":
            event = json.loads(process.stderr.readline())
        assert run("embed", clips[0], "--server", event["address"], "--json").code == 0
        assert event["address"].endswith(f":{port_file.read_text().strip()}")
        process.terminate()
        out, err = process.communicate(timeout=30)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert [json.loads(line)["event"] for line in err.splitlines()][-1] == "stopped"


def test_help_takes_a_moment_only() -> None:
    command = [sys.executable, "-m", "auricle.cli", "--help"]
    bare = [sys.executable, "-c", "import click"]

    def median_s(words: list[str]) -> float:
        times = []
        for _ in range(5):
            begun = time.perf_counter()
            subprocess.run(words, capture_output=True, check=True)
            times.append(time.perf_counter() - begun)
        return statistics.median(times)

    # A ratio: the machine's speed and load take part on both sides. Measured: 1.6.
    assert median_s(command) < 3.0 * median_s(bare)
