"""Settings and their order, ``serve``, and what every command has."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from math import nan
from pathlib import Path
from typing import Any

import click
import pytest
from click.types import FloatParamType

from auricle.cli.group import auricle
from auricle.cli.serve import _GROUPS, _HELP, settings_from
from auricle.config import ServerSettings
from auricle.engine.plan import LONGEST_S
from command import spawn


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


def test_a_directory_or_a_file_on_the_command_line_stands_over_a_server_elsewhere(
    run: Any, tmp_path: Path, embedders: Path, clips: list[Path], address: str
) -> None:
    config = tmp_path / "auricle.toml"
    config.write_text('[common]\nserver = "127.0.0.1:1"\n')
    nowhere = {"AURICLE_SERVER": "127.0.0.1:1"}
    for flags, env in (([], nowhere), (["--config", config], {})):
        assert run(*flags, "embed", clips[0], "--models", embedders, env=env).code == 0
        assert run(*flags, "models", "show", embedders / "tones" / "1.onnx", env=env).code == 0
        assert run(*flags, "embed", clips[0], env={**env, "AURICLE_MODELS": str(embedders)}).code == 5
        # Both on the command line: the server, which alone has two models.
        ran = run(*flags, "embed", clips[0], "--models", embedders, "--server", address, env=env)
        assert "scenes" in ran.err
    assert run("health", "--models", embedders, env={"AURICLE_SERVER": address}).code == 0


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
        ("[common]\nmodels = 5\n", "[common] models is 5, but must be a path in quotes"),
        ("[embed]\nhop_s = 1979-05-27\n", "[embed] hop_s is 1979-05-27, but must be a number"),
        ("[embed]\njson = 5\n", "[embed] json is 5, but must be true or false"),
        ("[embed]\nhop-s = true\n", "[embed] hop_s is True, but must be a number"),
        ("[embed]\nhop_s = [1]\n", "[embed] hop_s is [1], but must be a number"),
        ("[embed]\nhead = ['a', {}]\n", "[embed] head is {}, but must be a number, or a text in quotes"),
        ("[embed]\nhop_s = nan\n", "'nan' is not a number"),
        ("[serve]\nport_file = 5\n", "[serve] port_file is 5, but must be a path in quotes"),
        ("[train]\nreport = 5\n", "[train] report is 5, but must be a path in quotes"),
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


def test_a_value_of_the_configuration_is_read_as_a_flags(
    run: Any, tmp_path: Path, both: Path, clips: list[Path]
) -> None:
    config = tmp_path / "auricle.toml"
    flags = ["--config", config, "classify", clips[0], "--model", "scenes", "--models", both, "--json"]
    # One that may be repeated can stand alone; a version is a text, and need not be quoted.
    config.write_text('[classify]\nallow = "dog"\nhead = ["scene", "mood"]\nversion = 1\nscore_threshold = -1\n')
    (line,) = run(*flags).lines
    found = [[category["category_name"] for category in each["categories"]] for each in line["classifications"]]
    assert found == [["dog"], []]
    config.write_text("[classify]\nmax_results = 2.5\n")
    assert "'2.5' is not a valid integer" in run(*flags).err


def options_of(group: click.Group, *place: str) -> Iterator[tuple[str, click.Option]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from options_of(command, *place, name)
        elif command is not None:
            each = [option for option in command.params if isinstance(option, click.Option)]
            yield from ((" ".join((*place, name, option.opts[0])), option) for option in each)


def test_not_a_number_is_no_value_of_any_option() -> None:
    numbers = {name: option for name, option in options_of(auricle) if isinstance(option.type, FloatParamType)}
    assert {"verify --threshold", "classify --score-threshold", "serve --grace-s", "train --test-share"} <= set(numbers)
    for name, option in numbers.items():
        for text in ("nan", "-NaN", nan):
            with pytest.raises(click.BadParameter, match="is not a number"):
                pytest.fail(f"{name} took {option.type.convert(text, option, None)}")


def test_an_empty_path_is_not_the_current_folder() -> None:
    paths = {name: option for name, option in options_of(auricle) if isinstance(option.type, click.Path)}
    assert {"serve --models", "train --out", "train --report", "bench --sound", "stream --tls-ca"} <= set(paths)
    for name, option in paths.items():
        with pytest.raises(click.BadParameter, match="the path is empty"):
            pytest.fail(f"{name} took {option.type.convert('', option, None)!r}")


@pytest.mark.parametrize(
    ("words", "fragment"),
    [
        (["classify", "x", "--max-results", "99999999999999999999"], "-1<=x<=2147483647"),
        (["stream", "x", "--max-results", "99999999999999999999"], "-1<=x<=2147483647"),
        (["embed", "x", "--hop-s", "1e300"], f"0<x<={LONGEST_S}"),
        (["embed", "x", "--segment-length-s", "inf"], f"0<x<={LONGEST_S}"),
        (["train", "x", "--out", "x.onnx", "--seed", "-1"], "0<=x<=4294967295"),
        (["train", "x", "--out", "x.onnx", "--seed", "5000000000"], "0<=x<=4294967295"),
        (["verify", "x", "y", "--threshold", "nan"], "'nan' is not a number"),
    ],
)
def test_a_number_out_of_range_is_refused_with_the_range(run: Any, words: list[str], fragment: str) -> None:
    ran = run(*words)
    assert (ran.code, ran.out) == (2, "")
    assert fragment in ran.err


def test_a_configuration_without_a_name_is_refused(run: Any) -> None:
    ran = run("--config", "", "models", "list")
    assert (ran.code, ran.out) == (2, "")
    assert "'--config': the path is empty; name one (. is the current folder), or leave it out" in ran.err


def test_a_place_for_the_port_that_is_not_there_is_refused_before_models_are_loaded(
    run: Any, monkeypatch: Any, tmp_path: Path
) -> None:
    monkeypatch.setattr("auricle.serve.lifecycle.run", lambda settings: pytest.fail("it loads"))
    ran = run("serve", "--models", tmp_path, "--port-file", tmp_path / "absent" / "port")
    assert (ran.code, ran.out) == (2, "")
    assert f"'--port-file': there is no folder {tmp_path / 'absent'}; make it first" in ran.err


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
        *([each] for each in ("serve", "embed", "classify", "compare", "verify", "stream", "models", "health")),
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


def test_health_tells_of_a_server_and_of_a_model(run: Any, address: str) -> None:
    assert (run("health", "--server", address).out, run("health", "--server", address).code) == ("SERVING\n", 0)
    (line,) = run("health", "--model", "tones", "--json", env={"AURICLE_SERVER": address}).lines
    assert line == {"server": address, "model": "tones", "status": "SERVING"}
    ran = run("health", "--server", address, "--model", "nobody")
    assert (ran.code, ran.out) == (4, "")


def options(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Option]]:
    if isinstance(command, click.Group):
        for name in command.list_commands(click.Context(command)):
            inner = command.get_command(click.Context(command), name)
            assert inner is not None
            yield from options(inner, (*path, name))
    yield from ((path, each) for each in command.params if isinstance(each, click.Option))


def test_the_help_of_an_option_tells_its_default_once() -> None:
    context = click.Context(auricle)
    told = {
        (*path, option.name): (option.get_help_record(context) or ("", ""))[1].lower().count("default:")
        for path, option in options(auricle)
    }
    assert told["serve", "bundled"] == told["serve", "grace_s"] == told["embed", "pooling"] == 1
    assert {place: count for place, count in told.items() if count > 1} == {}
