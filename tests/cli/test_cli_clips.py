"""``embed``, ``classify``, ``compare`` and ``verify``: files in, lines or tables out."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest


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


def test_the_name_by_which_a_category_is_kept_stands_in_the_table(run: Any, both: Path, clips: list[Path]) -> None:
    flags = ["--model", "scenes", "--head", "scene", "--score-threshold", "-1", "--models", both]
    german = run("classify", clips[0], *flags, "--locale", "de").out
    assert all(each in german for each in ("dog (Hund)", "cat (Katze)", "bird (Vogel)", "rain (Regen)"))
    assert "dog\n" in re.sub(r" +\n", "\n", run("classify", clips[0], *flags).out)
    kept = run("classify", clips[0], *flags, "--locale", "de", "--allow", "dog")
    assert kept.code == 0
    assert "dog (Hund)" in kept.out
    assert "Katze" not in kept.out


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
