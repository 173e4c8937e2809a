"""Export: the browser-FFT network's weights and a bundle's metadata as one ONNX file, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.errors import BundleError, OptionError
from auricle.metadata.onnxfile import OnnxFile
from auricle.model.bundle import METADATA_KEY, Bundle, parse_bundle
from auricle.model.labels import LabelList
from auricle.training.network import BANDS, FRAMES, LAYERS
from auricle.training.quantization import HALF
from auricle.training.sounds import Recipe

__all__ = ["Labels", "check_target", "label_lists", "onnx_bytes", "read_layers", "read_recipe", "with_bundle"]

Weights = Mapping[str, NDArray[np.float32]]
Labels = Sequence[str] | Mapping[str, Sequence[str]]

# The oldest that say all that is needed here, so that any supported onnxruntime reads the file.
_IR_VERSION = 8
_OPSET = 17
# Kernel and strides of the pooling after each convolution.
_POOLS = (((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (2, 2)), ((2, 2), (1, 2)))


def onnx_bytes(weights: Weights, bundle: Bundle) -> bytes:
    """The bundle file: input ``features`` f32 [batch, 1, 43, 232], outputs ``embedding`` and ``scores``.

    The same weights and metadata give the same bytes.

    Args:
        weights: ``LAYER.kernel`` and ``LAYER.bias`` as Keras has them (``network.read_weights``).
    """
    from onnx import TensorProto, helper, numpy_helper

    initializers, nodes, tensor = [], [], "features"
    for number, (kernel, strides) in enumerate(_POOLS, 1):
        name = f"conv_{number}"
        # Keras: height, width, in, out; ONNX: out, in, height, width.
        initializers.append(
            numpy_helper.from_array(_dense(weights[f"{name}.kernel"].transpose(3, 2, 0, 1)), f"{name}.kernel")
        )
        initializers.append(numpy_helper.from_array(_dense(weights[f"{name}.bias"]), f"{name}.bias"))
        nodes += [
            helper.make_node("Conv", [tensor, f"{name}.kernel", f"{name}.bias"], [f"{name}.sum"]),
            helper.make_node("Relu", [f"{name}.sum"], [f"{name}.out"]),
            helper.make_node("MaxPool", [f"{name}.out"], [f"pool_{number}"], kernel_shape=kernel, strides=strides),
        ]
        tensor = f"pool_{number}"
    for name in LAYERS[len(_POOLS) :]:
        initializers.append(numpy_helper.from_array(_dense(weights[f"{name}.kernel"]), f"{name}.kernel"))
        initializers.append(numpy_helper.from_array(_dense(weights[f"{name}.bias"]), f"{name}.bias"))
    nodes += [
        # Keras flattens with the channels last.
        helper.make_node("Transpose", [tensor], ["channels_last"], perm=[0, 2, 3, 1]),
        helper.make_node("Flatten", ["channels_last"], ["flat"]),
        helper.make_node("Gemm", ["flat", "embedding.kernel", "embedding.bias"], ["embedding.sum"]),
        helper.make_node("Relu", ["embedding.sum"], ["embedding"]),
        helper.make_node("Gemm", ["embedding", "classes.kernel", "classes.bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["scores"], axis=1),
    ]
    shapes = {"embedding": weights["embedding.bias"].size, "scores": weights["classes.bias"].size}
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "browser_fft",
            [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", 1, FRAMES, BANDS])],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", size]) for name, size in shapes.items()],
            initializers,
        ),
        ir_version=_IR_VERSION,
        opset_imports=[helper.make_opsetid("", _OPSET)],
        producer_name="auricle",
    )
    helper.set_model_props(model, {METADATA_KEY: msgspec.json.encode(bundle).decode()})
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def with_bundle(data: bytes, bundle: Bundle) -> bytes:
    """The same file with other metadata."""
    import onnx
    from onnx import helper

    model: Any = onnx.load_model_from_string(data)
    kept = {each.key: each.value for each in model.metadata_props}
    helper.set_model_props(model, {**kept, METADATA_KEY: msgspec.json.encode(bundle).decode()})
    serialized: bytes = model.SerializeToString(deterministic=True)
    return serialized


def check_target(path: Path) -> None:
    """Raises OptionError: a file of that name would not be loaded, or not with its own metadata."""
    if path.suffix != ".onnx":
        raise OptionError(f"{path} is no place for a model: its name must end with .onnx", field="out")
    if (sidecar := path.with_suffix(".json")).exists():
        raise OptionError(
            f"{sidecar} would be read in place of the model's own metadata; move it away, or name the model otherwise",
            field="out",
        )


def label_lists(labels: Labels, classes: int) -> tuple[LabelList, ...]:
    """Names of the classes, or lists of them by locale, as a bundle has them.

    Raises OptionError: a list of another length than there are classes.
    """
    lists = labels if isinstance(labels, Mapping) else {"": labels}
    for locale, names in lists.items():
        if len(names) != classes:
            where = f" for locale {locale!r}" if locale else ""
            raise OptionError(
                f"the model has {classes} classes, but there are {len(names)} labels{where}", field="labels"
            )
    return tuple(LabelList(locale=locale, names=tuple(names)) for locale, names in lists.items())


def read_layers(path: Path) -> dict[str, NDArray[np.float32]]:
    """The weights of a file that ``onnx_bytes`` made, in Keras's order of axes; float16 ones are widened.

    Raises BundleError where the file holds another network.
    """
    import onnx
    from onnx import numpy_helper

    model: Any = onnx.load(path)
    found = {each.name.removesuffix(HALF): numpy_helper.to_array(each) for each in model.graph.initializer}
    wanted = [f"{layer}.{part}" for layer in LAYERS for part in ("kernel", "bias")]
    if missing := [name for name in wanted if name not in found]:
        raise BundleError(f"{path.name} is no float browser-FFT network of this project: it lacks {missing[0]!r}")
    return {name: _keras_order(np.asarray(found[name], np.float32)) for name in wanted}


def read_recipe(path: Path) -> Recipe:
    """The metadata of such a file, and its features. BundleError: it has none, or takes no features."""
    raw = OnnxFile(path.read_bytes()).property(METADATA_KEY)
    if raw is None:
        raise BundleError(f"{path.name}: it has no metadata ({METADATA_KEY})")
    bundle, features, _ = parse_bundle(raw, where=path.name)
    if features is None or features.bands != BANDS:
        raise BundleError(f"{path.name} is no browser-FFT network of this project: it does not take {BANDS} bands")
    return Recipe(bundle, features)


def _keras_order(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return _dense(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array


def _dense(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)
