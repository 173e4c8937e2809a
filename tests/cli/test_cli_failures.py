"""Failures as users meet them: an exit code, and one line that says what to do."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from models import write_embedder


@pytest.mark.parametrize(
    ("arguments", "code", "fragment"),
    [
        (["embed", "{clip}", "--model", "nobody"], 4, "loaded are"),
        (["embed", "{clip}", "--model", "tones", "--version", "7"], 4, "no version '7'"),
        (["embed", "{clip}", "--head", "x"], 3, "no head 'x'"),
        (["classify", "{clip}", "--model", "tones"], 3, "no classification head"),
        (["embed", "{clip}", "--hop-s", "-1"], 2, "hop"),
        (["embed", "{clip}", "--server", "127.0.0.1:1"], 5, "auricle serve"),
        (["embed", "{clip}", "--server", "127.0.0.1:1", "--tls-key", "x"], 3, "go together"),
        (["embed", "{clip}", "--models", "/nonexistent"], 4, "auricle models pull voice"),
        (["embed", "{clip}", "--timeout-s", "1e-6"], 5, "time limit"),
        (["health", "--server", "127.0.0.1:1"], 5, "auricle serve"),
        (["health", "--server", "localhost"], 2, "give HOST:PORT (an IPv6 address in brackets), not 'localhost'"),
        (["health", "--server", "localhost:http"], 2, "give HOST:PORT"),
        (["embed", "{clip}", "--server", "::1"], 2, "give HOST:PORT"),
        (["health", "--server", "[::1]:1"], 5, "auricle serve"),
        (["health", "--server", "dns:localhost:1"], 5, "auricle serve"),
        (["health", "--server", "unix:/nonexistent"], 5, "auricle serve"),
        (["health", "--server", "ipv4:127.0.0.1:1,127.0.0.2:1"], 5, "auricle serve"),
        (["health", "--server", "localhost:99999"], 2, "must be 1 to 65535"),
        (["health", "--server", "https://localhost:1"], 2, "without https://, not 'https://localhost:1'; TLS"),
        (["embed"], 2, "Missing argument"),
        (["embed", "{clip}", "--pooling", "median"], 2, "median"),
        (["sing"], 2, "No such command"),
        (["models", "show", "nobody"], 4, "loaded are"),
        (["models", "show", "absent.onnx"], 3, "absent.onnx"),
        (["models", "pull", "nobody"], 4, "voice"),
        (["models", "remove", "nobody", "--yes"], 4, "models list"),
        (["stream", "{clip}", "--sample-rate", "8000"], 2, "name - and no other"),
        (["stream", "-", "--channels", "2"], 2, "give their --sample-rate"),
        (["stream", "-", "--sample-rate", "8000", "--realtime"], 2, "--realtime is for files"),
        (["serve", "--listen", "nowhere:x"], 2, "nowhere:x"),
        (["serve", "--listen", "127.0.0.1:65536"], 2, "the port 0 to 65535"),
        (["serve", "--listen", "nowhere.invalid:1"], 5, "nowhere.invalid:1"),
        (["serve", "--grace-s", "-1"], 2, "'--grace-s': grace_s must be"),
        (["serve", "--limit-streams", "0"], 2, "'--limit-streams': streams must be"),
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


def test_a_failure_is_one_line_and_debug_has_the_trace(run: Any, embedders: Path, clips: list[Path]) -> None:
    wanted = ["embed", clips[0], "--model", "nobody", "--models", embedders]
    plain = run(*wanted)
    assert len(plain.err.splitlines()) == 1
    traced = run("--debug", *wanted)
    assert "Traceback" in traced.err
    assert traced.err.splitlines()[-1] == plain.err.splitlines()[-1]
    assert traced.code == plain.code


def test_advice_about_a_file_is_not_of_a_request(run: Any, tmp_path: Path, embedders: Path) -> None:
    (tmp_path / "notes.wav").write_text("no sound at all")
    ran = run("embed", tmp_path / "notes.wav", "--models", embedders, "--json")
    assert ran.code == 3
    for text in (ran.err, ran.lines[0]["error"]["message"]):
        assert "audio.pcm" not in text
        assert text.rstrip().endswith("convert it to one of them, or say what raw samples are, as PCM")


@pytest.mark.parametrize("place", ["/proc/models", "models"])
def test_a_models_directory_that_cannot_be_made_is_told_of_in_a_line(
    run: Any, tmp_path: Path, monkeypatch: Any, place: str
) -> None:
    (tmp_path / "removed").mkdir()
    monkeypatch.chdir(tmp_path / "removed")
    (tmp_path / "removed").rmdir()
    ran = run("models", "import", write_embedder(tmp_path / "tones.onnx"), "--models", place)
    assert (ran.code, ran.out, ran.err) == (3, "", f"auricle: {place}: No such file or directory\n")


def test_a_fault_of_ours_is_code_70(run: Any, monkeypatch: Any, embedders: Path, clips: list[Path]) -> None:
    def broken(*_: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr("auricle.cli.clips.embed_record", broken)
    ran = run("embed", clips[0], "--models", embedders, "--json")
    assert ran.code == 70
    assert "--debug" in ran.err


def test_a_model_that_cannot_be_served_is_told_of_in_a_line(run: Any, tmp_path: Path, clips: list[Path]) -> None:
    (tmp_path / "broken.onnx").write_text("no model")
    alone = run("models", "show", tmp_path / "broken.onnx")
    assert (alone.code, alone.out) == (3, "")
    assert len(alone.err.splitlines()) == 1
    assert alone.err.startswith("auricle: broken.onnx: ")
    write_embedder(tmp_path / "tones.onnx")
    beside = run("embed", clips[0], "--model", "tones", "--models", tmp_path, "--json")
    assert beside.code == 0
    assert [line["model"] for line in beside.lines] == ["tones"]
    assert [line[:23] for line in beside.err.splitlines()] == ["auricle: broken.onnx: o"]


@pytest.mark.parametrize("encoding", ["utf-8:strict", "utf-8:surrogateescape"])
def test_a_name_that_is_no_text_is_written_as_an_escape(tmp_path: Path, encoding: str) -> None:
    name = os.fsdecode(os.fsencode(tmp_path) + b"/\xff.wav")
    command = [sys.executable, "-m", "auricle.cli", "embed", name, "--server", "127.0.0.1:1", "--json"]
    ran = subprocess.run(command, capture_output=True, env={**os.environ, "PYTHONIOENCODING": encoding}, check=False)
    assert ran.returncode == 3
    assert json.loads(ran.stdout)["file"] == name
    assert rf"{tmp_path}/\udcff.wav: No such file" in ran.stderr.decode("utf-8", "strict")


def test_on_a_terminal_a_failure_stands_above_the_progress_bar(tmp_path: Path, clips: list[Path], both: Path) -> None:
    (tmp_path / "empty.wav").touch()
    files = [str(clips[0]), str(tmp_path / "empty.wav"), str(clips[1])]
    command = [sys.executable, "-m", "auricle.cli", "embed", *files, "--model", "tones", "--models", str(both)]
    ours, theirs = os.openpty()
    environment = {**os.environ, "TERM": "xterm", "COLUMNS": "300"}
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=theirs, env=environment) as process:
        os.close(theirs)
        shown = b""
        with contextlib.suppress(OSError):  # the other end is closed
            while part := os.read(ours, 4096):
                shown += part
        os.close(ours)
    assert process.returncode == 3
    lines = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", shown).decode().replace("\r", "\n").split("\n")
    assert any("/3" in line for line in lines)
    assert [line.partition("auricle: ")[0] for line in lines if "auricle: " in line] == [""]


def test_what_the_caller_closed_reads_and_takes_nothing(tmp_path: Path) -> None:
    command = f'exec "$0" -m auricle.cli embed "{tmp_path}/absent.wav" --server 127.0.0.1:1 --json'
    for closed in ("<&-", "2>&-", "<&- 2>&-"):
        ran = subprocess.run(["sh", "-c", f"{command} {closed}", sys.executable], stdout=subprocess.PIPE, check=False)
        assert ran.returncode == 3
        assert json.loads(ran.stdout)["error"]["reason"] == "FILE"
    assert subprocess.run(["sh", "-c", f"{command} >&- 2>&-", sys.executable], check=False).returncode == 3
