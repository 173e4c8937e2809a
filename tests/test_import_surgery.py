"""The cuts, on a small network with YAMNet's frontend inside it, made of plain ONNX operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from auricle import frontend
from auricle.config import SessionSettings
from auricle.engine.session import Session
from auricle.importing import surgery
from auricle.importing.convert import _restore_biases
from auricle.importing.signals import trials

RATE_HZ = 16000
FRAMES, BANDS, HIDDEN, CLASSES = 12, 64, 6, 5
SAMPLES = (FRAMES - 1) * 160 + 400


def mel_weights(*, linear_in_mel: bool = True) -> np.ndarray:
    """f32 (257, 64): YAMNet's triangles, or the same ones linear in Hz."""

    def mel(hz: np.ndarray | float) -> np.ndarray:
        return 1127 * np.log(1 + np.asarray(hz) / 700)

    edges = np.linspace(mel(125), mel(7500), BANDS + 2)
    places = mel(np.arange(257) * RATE_HZ / 512)
    if not linear_in_mel:
        edges, places = 700 * (np.exp(edges / 1127) - 1), np.arange(257) * RATE_HZ / 512
    rise = (places[:, None] - edges[:-2]) / np.diff(edges)[:-1]
    fall = (edges[2:] - places[:, None]) / np.diff(edges)[1:]
    weights = np.maximum(0, np.minimum(rise, fall))
    weights[0] = 0
    return weights.astype(np.float32)


def network(*, linear_in_mel: bool = True, waveform_again: bool = False) -> onnx.ModelProto:
    """Waveform [samples] -> frames -> |DFT| -> mel -> ln -> one row -> Conv -> mean -> dense -> sigmoid [1, 5]."""
    generator = np.random.default_rng(0)
    starts = np.arange(FRAMES)[:, None] * 160 + np.arange(400)
    window = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(400) / 400)
    turn = 2 * np.pi * np.outer(np.arange(400), np.arange(257)) / 512
    constants = {
        "starts": starts.astype(np.int64),
        "window": window.astype(np.float32),
        "cosines": np.cos(turn).astype(np.float32),
        "sines": np.sin(turn).astype(np.float32),
        "mel": mel_weights(linear_in_mel=linear_in_mel),
        "offset": np.float32(0.001),
        "to_row": np.array([1, FRAMES, BANDS, 1], np.int64),
        "to_channel": np.array([1, 1, FRAMES, BANDS], np.int64),
        "kernel": generator.normal(0, 0.3, (HIDDEN, 1, 3, 3)).astype(np.float32),
        "to_vector": np.array([-1, HIDDEN], np.int64),
        "dense": generator.normal(0, 0.5, (HIDDEN, CLASSES)).astype(np.float32),
        "bias": generator.normal(0, 0.5, CLASSES).astype(np.float32),
    }
    nodes = [
        helper.make_node("Gather", ["waveform", "starts"], ["cut"]),
        helper.make_node("Mul", ["cut", "window"], ["frames"]),
        helper.make_node("MatMul", ["frames", "cosines"], ["real"]),
        helper.make_node("MatMul", ["frames", "sines"], ["imaginary"]),
        helper.make_node("Mul", ["real", "real"], ["real2"]),
        helper.make_node("Mul", ["imaginary", "imaginary"], ["imaginary2"]),
        helper.make_node("Add", ["real2", "imaginary2"], ["power"]),
        helper.make_node("Sqrt", ["power"], ["magnitude"]),
        helper.make_node("MatMul", ["magnitude", "mel"], ["bands"]),
        helper.make_node("Add", ["bands", "offset"], ["lifted"]),
        helper.make_node("Log", ["lifted"], ["log_mel"]),
        helper.make_node("Reshape", ["log_mel", "to_row"], ["row"]),
        helper.make_node("Split", ["row"], ["part"], axis=0, num_outputs=1),
        helper.make_node("Reshape", ["part", "to_channel"], ["image"]),
        helper.make_node("Conv", ["image", "kernel"], ["seen"], strides=[2, 2]),
        helper.make_node("Relu", ["seen"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Reshape", ["pooled", "to_vector"], ["vector"]),
        helper.make_node("MatMul", ["vector", "dense"], ["product"]),
        helper.make_node("Add", ["product", "bias"], ["logits"]),
        helper.make_node("Sigmoid", ["logits"], ["sure"]),
    ]
    if waveform_again:
        nodes += [
            helper.make_node("ReduceMax", ["waveform"], ["loudest"], keepdims=0),
            helper.make_node("Mul", ["sure", "loudest"], ["scores"]),
        ]
    else:
        nodes.append(helper.make_node("Identity", ["sure"], ["scores"]))
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "small",
            [helper.make_tensor_value_info("waveform", TensorProto.FLOAT, [SAMPLES])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, CLASSES])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    onnx.checker.check_model(model)
    return model


def run(model: onnx.ModelProto, path: Path, value: np.ndarray) -> dict[str, np.ndarray]:
    onnx.checker.check_model(model)
    onnx.save(model, str(path))
    session = Session(path, SessionSettings(threads=1))
    return session.run([each.name for each in session.outputs], {session.inputs[0].name: value})


@pytest.fixture
def sounds() -> list[np.ndarray]:
    return [sound for name, sound in trials(RATE_HZ, SAMPLES) if "noise" in name]


def test_the_frontend_is_found_by_what_it_computes(tmp_path: Path) -> None:
    found = surgery.find_frontend(network(), sample_rate_hz=RATE_HZ, scratch=tmp_path)
    assert found is not None
    assert (found.preset, found.tensor, found.frames) == ("yamnet-64", "log_mel", FRAMES)


def test_a_frontend_of_other_triangles_or_another_rate_is_not_taken_for_it(tmp_path: Path) -> None:
    other = network(linear_in_mel=False)
    assert surgery.find_frontend(other, sample_rate_hz=RATE_HZ, scratch=tmp_path) is None
    assert surgery.find_frontend(network(), sample_rate_hz=8000, scratch=tmp_path) is None


def test_the_tower_takes_any_batch_and_answers_as_the_whole_graph(tmp_path: Path, sounds: list[np.ndarray]) -> None:
    whole = network()
    expected = [run(whole, tmp_path / "whole.onnx", sound)["scores"][0] for sound in sounds]
    found = surgery.find_frontend(whole, sample_rate_hz=RATE_HZ, scratch=tmp_path)
    assert found is not None
    fixed = surgery.cut_frontend(whole, found)
    patches = np.stack([frontend.features(sound, found.spec) for sound in sounds])
    alone = run(fixed, tmp_path / "fixed.onnx", patches[:1])["scores"]
    tower = surgery.free_batch(fixed)
    # Of three nodes that fix the batch one is left.
    assert [node.op_type for node in tower.graph.node][:2] == ["Reshape", "Conv"]
    scores = run(tower, tmp_path / "tower.onnx", patches)["scores"]
    assert scores.shape == (len(sounds), CLASSES)
    np.testing.assert_allclose(alone[0], expected[0], atol=1e-5)  # float32 log-mel two ways
    np.testing.assert_allclose(scores, expected, atol=1e-5)


def test_a_graph_that_needs_its_waveform_behind_the_features_is_not_cut(tmp_path: Path) -> None:
    whole = network(waveform_again=True)
    found = surgery.find_frontend(whole, sample_rate_hz=RATE_HZ, scratch=tmp_path)
    assert found is not None
    assert surgery.cut_frontend(whole, found) is None


def test_the_embedding_is_what_the_last_dense_layer_takes(tmp_path: Path, sounds: list[np.ndarray]) -> None:
    whole = network()
    assert surgery.add_embedding(whole, "scores") == HIDDEN
    answers = run(whole, tmp_path / "whole.onnx", sounds[0])
    weights = {each.name: numpy_helper.to_array(each) for each in whole.graph.initializer}
    again = 1 / (1 + np.exp(-(answers["embedding"] @ weights["dense"] + weights["bias"])))
    np.testing.assert_allclose(again, answers["scores"], atol=1e-6)


def test_scores_that_do_not_come_from_a_dense_layer_have_no_embedding() -> None:
    whole = network(waveform_again=True)
    before = whole.SerializeToString()
    assert surgery.add_embedding(whole, "scores") is None
    assert whole.SerializeToString() == before


def test_an_8_bit_output_is_widened_and_a_float_one_left(tmp_path: Path) -> None:
    constants = {"scale": np.float32(1 / 256), "zero": np.uint8(3)}
    model = helper.make_model(
        helper.make_graph(
            [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["scores"])],
            "quantised",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
            [helper.make_tensor_value_info("scores", TensorProto.UINT8, [1, 4])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    x = np.array([[0.0, 0.25, 0.5, 0.75]], np.float32)
    surgery.widen_output(model, "scores", scale=1 / 256, zero_point=3)
    answers = run(model, tmp_path / "wide.onnx", x)
    assert answers["scores"].dtype == np.float32
    np.testing.assert_array_equal(answers["scores"], x)
    once = model.SerializeToString()
    surgery.widen_output(model, "scores", scale=1 / 256, zero_point=3)
    assert model.SerializeToString() == once


def test_a_bias_lost_in_conversion_is_put_back_once(tmp_path: Path, sounds: list[np.ndarray]) -> None:
    whole = network()
    expected = run(whole, tmp_path / "whole.onnx", sounds[0])["scores"]
    bias = numpy_helper.to_array(next(each for each in whole.graph.initializer if each.name == "bias"))
    add = next(node for node in whole.graph.node if node.op_type == "Add" and node.input[1] == "bias")
    sigmoid = next(node for node in whole.graph.node if node.op_type == "Sigmoid")
    whole.graph.node.remove(add)
    sigmoid.input[0] = "product"
    without = run(whole, tmp_path / "without.onnx", sounds[0])["scores"]
    assert np.abs(without - expected).max() > 0.05
    for _ in range(2):  # a graph that has its bias is left as it is
        _restore_biases(whole, {"product": bias}, where="small.tflite")
        np.testing.assert_array_equal(run(whole, tmp_path / "again.onnx", sounds[0])["scores"], expected)
    assert sum(node.op_type == "Add" for node in whole.graph.node) == 3


def test_an_8_bit_layer_gets_its_bias_in_integers_and_any_batch(tmp_path: Path) -> None:
    """8-bit patches -> one dense layer of 8-bit weights, whose bias of 32-bit integers joins the sum."""
    generator = np.random.default_rng(3)
    weights = generator.integers(-127, 128, (8, 3)).astype(np.int8)
    in_scale, weight_scale, out_scale = np.float32(1 / 64), np.float32(1 / 32), np.float32(1 / 16)
    bias = generator.integers(-4000, 4000, 3).astype(np.float32) * in_scale * weight_scale
    constants = {
        "in_scale": in_scale,
        "weight_scale": weight_scale,
        "out_scale": out_scale,
        "zero": np.int8(0),
        "to_row": np.array([1, 8], np.int64),
        "stored": weights,
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["patches", "in_scale", "zero"], ["q"]),
        helper.make_node("Reshape", ["q", "to_row"], ["row"]),
        helper.make_node("DequantizeLinear", ["row", "in_scale", "zero"], ["wide"]),
        helper.make_node("DequantizeLinear", ["stored", "weight_scale", "zero"], ["weights"]),
        helper.make_node("MatMul", ["wide", "weights"], ["dense_prequant"]),
        helper.make_node("QuantizeLinear", ["dense_prequant", "out_scale", "zero"], ["dense"]),
        helper.make_node("DequantizeLinear", ["dense", "out_scale", "zero"], ["scores"]),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "quantised",
            [helper.make_tensor_value_info("patches", TensorProto.FLOAT, [1, 2, 4])],
            [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
            [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    _restore_biases(model, {"dense": bias}, where="small.tflite")
    assert [node.op_type for node in model.graph.node if node.op_type in ("MatMul", "Gemm", "Add")] == ["Gemm"]
    assert surgery.add_embedding(model, "scores") == 8
    freed = surgery.free_batch(model)
    assert [node.op_type for node in freed.graph.node][:3] == ["Reshape", "QuantizeLinear", "DequantizeLinear"]
    patches = generator.normal(0, 0.5, (3, 2, 4)).astype(np.float32)
    answers = run(freed, tmp_path / "freed.onnx", patches)
    rounded = np.clip(np.rint(patches.reshape(3, 8) / in_scale), -128, 127)
    sums = rounded @ weights.astype(np.float64) + np.rint(bias / (in_scale * weight_scale))
    expected = np.clip(np.rint(sums * float(in_scale * weight_scale / out_scale)), -128, 127) * out_scale
    # Powers of two and integers: nothing is left to rounding but halves, which both round to even.
    np.testing.assert_array_equal(answers["scores"], expected.astype(np.float32))
    np.testing.assert_array_equal(answers["embedding"], patches.reshape(3, 8))
