"""The GE2E bundle against a float64 NumPy twin of torch's LSTM and Linear."""

from __future__ import annotations

import json

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from auricle.errors import BundleError
from auricle.model import ge2e

# Float32 over 3 x 160 recurrent steps against float64; onnxruntime's sigmoid and tanh are rational
# approximations. Measured: 1.3e-7 with these weights, 3.3e-7 with the real ones. A wrong gate order is off
# by more than 0.01.
TOLERANCE = 1e-6


def random_weights(seed: int = 1) -> dict[str, NDArray[np.float32]]:
    """As torch initialises them, but wider, so that the gates leave their linear range."""
    rng = np.random.default_rng(seed)
    weights = {}
    for layer in range(3):
        inputs = 40 if layer == 0 else 256
        for name, shape in (
            (f"lstm.weight_ih_l{layer}", (1024, inputs)),
            (f"lstm.weight_hh_l{layer}", (1024, 256)),
            (f"lstm.bias_ih_l{layer}", (1024,)),
            (f"lstm.bias_hh_l{layer}", (1024,)),
        ):
            weights[name] = rng.uniform(-0.12, 0.12, shape).astype(np.float32)
    weights["linear.weight"] = rng.uniform(-0.12, 0.12, (256, 256)).astype(np.float32)
    weights["linear.bias"] = rng.uniform(-0.12, 0.12, 256).astype(np.float32)
    return weights


def final_hidden(weights: dict[str, NDArray[np.float32]], mels: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 (batch, 160, 40) → float64 (batch, 256), step by step as torch documents its LSTM."""

    def sigmoid(x: NDArray[np.float64]) -> NDArray[np.float64]:
        return 1 / (1 + np.exp(-x))

    exact = {name: array.astype(np.float64) for name, array in weights.items()}
    sequence = mels.astype(np.float64)
    for layer in range(3):
        hidden, cell = np.zeros((2, len(mels), 256))
        steps = []
        for frame in np.moveaxis(sequence, 1, 0):
            gates = (
                frame @ exact[f"lstm.weight_ih_l{layer}"].T
                + exact[f"lstm.bias_ih_l{layer}"]
                + hidden @ exact[f"lstm.weight_hh_l{layer}"].T
                + exact[f"lstm.bias_hh_l{layer}"]
            )
            i, f, g, o = np.split(gates, 4, axis=1)
            cell = sigmoid(f) * cell + sigmoid(i) * np.tanh(g)
            hidden = sigmoid(o) * np.tanh(cell)
            steps.append(hidden)
        sequence = np.stack(steps, axis=1)
    return hidden


def twin(weights: dict[str, NDArray[np.float32]], mels: NDArray[np.float32]) -> NDArray[np.float64]:
    """float32 (batch, 160, 40) → float64 (batch, 256): the embedding."""
    hidden = final_hidden(weights, mels)
    projected = np.maximum(hidden @ weights["linear.weight"].astype(np.float64).T + weights["linear.bias"], 0)
    norm = np.linalg.norm(projected, axis=1, keepdims=True)
    return projected / np.where(norm == 0, 1, norm)


def run(bundle: bytes, mels: NDArray[np.float32], threads: int = 0) -> NDArray[np.float32]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(bundle, options, providers=["CPUExecutionProvider"])
    (embedding,) = session.run(["embedding"], {"mels": mels})
    return embedding


@pytest.fixture(scope="module")
def bundle() -> bytes:
    return ge2e.bundle_from_tensors(random_weights())


def random_mels(batch: int, seed: int = 2) -> NDArray[np.float32]:
    return np.random.default_rng(seed).gamma(0.3, 2.0, (batch, 160, 40)).astype(np.float32)


def test_embeddings_are_those_of_the_float64_twin(bundle: bytes) -> None:
    mels = random_mels(3)
    got = run(bundle, mels)
    assert got.dtype == np.float32
    assert got.shape == (3, 256)
    np.testing.assert_allclose(got, twin(random_weights(), mels), rtol=0, atol=TOLERANCE)
    np.testing.assert_allclose(np.linalg.norm(got, axis=1), 1, atol=1e-6)


@pytest.mark.parametrize("threads", [1, 2])
def test_a_row_does_not_depend_on_the_rows_beside_it(bundle: bytes, threads: int) -> None:
    mels = random_mels(19)
    alone = np.concatenate([run(bundle, mels[row : row + 1], threads) for row in range(4)])
    for batch in (2, 3, 4, 7, 8, 16, 19):
        np.testing.assert_array_equal(run(bundle, mels[:batch], threads)[:4], alone[:batch])


def test_a_zero_vector_stays_zero_and_leaves_its_neighbours_alone() -> None:
    weights, mels = random_weights(), random_mels(2)
    dead, live = final_hidden(weights, mels)
    # Every unit looks along the difference of the two and begins half-way: the ReLU cuts the first row off.
    weights["linear.weight"][:] = live - dead
    weights["linear.bias"][:] = -(live - dead) @ (live + dead) / 2
    got = run(ge2e.bundle_from_tensors(weights), mels)
    np.testing.assert_array_equal(got[0], np.zeros(256))
    np.testing.assert_allclose(got[1], np.full(256, 1 / 16), rtol=1e-6)


def test_silence_gives_a_finite_unit_vector(bundle: bytes) -> None:
    got = run(bundle, np.zeros((1, 160, 40), np.float32))
    assert np.isfinite(got).all()
    assert np.linalg.norm(got) == pytest.approx(1, abs=1e-6)


def test_the_file_is_valid_and_old_enough_for_every_supported_onnxruntime(bundle: bytes) -> None:
    model = onnx.load_from_string(bundle)
    onnx.checker.check_model(model, full_check=True)
    # onnxruntime 1.20, the oldest that is supported, reads up to these.
    assert model.ir_version <= 10
    assert [(opset.domain, opset.version <= 21) for opset in model.opset_import] == [("", True)]
    assert [tensor.name for tensor in model.graph.input] == ["mels"]
    shape = model.graph.input[0].type.tensor_type.shape.dim
    assert [dim.dim_param or dim.dim_value for dim in shape] == ["batch", 160, 40]
    assert [tensor.name for tensor in model.graph.output] == ["embedding"]


def test_the_metadata_names_the_tensors_and_the_cut(bundle: bytes) -> None:
    model = onnx.load_from_string(bundle)
    about = json.loads({prop.key: prop.value for prop in model.metadata_props}["auricle.bundle"])
    assert about == ge2e.metadata()
    assert (about["format"], about["name"], about["version"], about["license"]) == (
        1,
        "voice",
        "1",
        "Apache-2.0",
    )
    assert about["input"]["tensor"] == model.graph.input[0].name
    assert about["heads"][0]["tensor"] == model.graph.output[0].name
    assert about["features"] == {"preset": "ge2e-40"}
    assert about["segment"] == {
        "length": 160,
        "hop": 80,
        "unit": "frames",
        "min_coverage": 0.75,
        "raise_to_dbfs": -30.0,
        "stream_length": None,
    }


def test_the_same_weights_give_the_same_bytes(bundle: bytes) -> None:
    assert ge2e.bundle_from_tensors(random_weights()) == bundle


def test_a_missing_weight_is_named() -> None:
    weights = random_weights()
    del weights["lstm.bias_hh_l2"]
    with pytest.raises(BundleError, match=r"lack 'lstm.bias_hh_l2'"):
        ge2e.bundle_from_tensors(weights)


def test_a_weight_of_another_shape_or_type_is_named() -> None:
    weights = random_weights()
    weights["linear.weight"] = weights["linear.weight"][:, :255]
    with pytest.raises(BundleError, match=r"'linear.weight' is float32\[256, 255\] where .* float32\[256, 256\]"):
        ge2e.bundle_from_tensors(weights)
    weights["linear.weight"] = np.zeros((256, 256), np.float64)  # type: ignore[assignment]
    with pytest.raises(BundleError, match=r"'linear.weight' is float64"):
        ge2e.bundle_from_tensors(weights)


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_weight_that_is_not_finite_is_refused(value: float) -> None:
    weights = random_weights()
    weights["lstm.weight_hh_l1"][5, 5] = value
    with pytest.raises(BundleError, match=r"'lstm.weight_hh_l1' has values that are not finite"):
        ge2e.bundle_from_tensors(weights)
