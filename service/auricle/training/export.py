"""Export: the browser-FFT network's weights and a bundle's metadata as one ONNX file, and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle.engine.directory import version_key
from auricle.errors import BundleError, OptionError
from auricle.metadata.onnxfile import OnnxFile
from auricle.model.bundle import METADATA_KEY, Bundle, parse_bundle
from auricle.model.labels import LabelList
from auricle.model.place import Place
from auricle.training.architecture import BANDS, FRAMES, Architecture, Convolution, layer_names
from auricle.training.network import Network
from auricle.training.quantization import HALF
from auricle.training.sounds import Recipe

__all__ = [
    "Labels",
    "check_target",
    "label_lists",
    "load_network",
    "onnx_bytes",
    "read_recipe",
    "served_as",
    "with_bundle",
]

Labels = Sequence[str] | Mapping[str, Sequence[str]]

# The oldest that say all that is needed here, so that any supported onnxruntime reads the file.
_IR_VERSION = 8
_OPSET = 17


def onnx_bytes(network: Network, bundle: Bundle) -> bytes:
    """The bundle file: input ``features`` f32 [batch, 1, 43, 232], outputs ``embedding`` and ``scores``.

    The same network and metadata give the same bytes.
    """
    from onnx import TensorProto, helper, numpy_helper

    weights, architecture = network.weights, network.architecture
    *convolutions, embedding, last = architecture.layers
    initializers, nodes, tensor = [], [], "features"
    size: tuple[int, ...] = (FRAMES, BANDS)
    for number, (name, settings) in enumerate(zip(convolutions, architecture.convolutions, strict=True), 1):
        # Keras: height, width, in, out; ONNX: out, in, height, width.
        initializers.append(
            numpy_helper.from_array(_dense(weights[f"{name}.kernel"].transpose(3, 2, 0, 1)), f"{name}.kernel")
        )
        initializers.append(numpy_helper.from_array(_dense(weights[f"{name}.bias"]), f"{name}.bias"))
        before, after = _paddings(settings, size)
        nodes += [
            helper.make_node(
                "Conv",
                [tensor, f"{name}.kernel", f"{name}.bias"],
                [f"{name}.sum"],
                strides=settings.strides,
                pads=[*before, *after],
            ),
            helper.make_node("Relu", [f"{name}.sum"], [f"{name}.out"]),
            helper.make_node(
                "MaxPool",
                [f"{name}.out"],
                [f"pool_{number}"],
                kernel_shape=settings.pool,
                strides=settings.pool_strides,
            ),
        ]
        tensor, size = f"pool_{number}", _sizes(settings, size)
    for name in (embedding, last):
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


def served_as(out: Path) -> tuple[Path, str, str]:
    """The directory of models that a bundle at ``out`` lies in, and its name and version there."""
    folder, numbers = out.parent, version_key(out.stem)
    # A version here is all numbers, since what has letters too is as well a name.
    if folder.name in ("", "..") or folder.name.startswith(".") or len(numbers) < 2 or min(numbers)[0] < 0:
        return folder, out.stem, "1"
    return folder.parent, folder.name, out.stem


def check_target(path: Path) -> None:
    """Raises OptionError: a file there would not be loaded, or not with its own metadata, or would not answer."""
    if path.suffix != ".onnx":
        raise OptionError(f"{path} is no place for a model: its name must end with .onnx", field="out")
    if path.name.startswith("."):
        raise OptionError(f"{path} begins with a dot, and a server passes hidden files over; rename it", field="out")
    folder, name, version = served_as(path)
    place = Place(models_dir=folder, name=name, version=version if folder != path.parent else None)
    place.check_free(mend="move it away, or name the model otherwise")


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


def load_network(path: Path) -> Network:
    """The network of a file that ``onnx_bytes`` made; float16 weights are widened.

    Raises BundleError where the file holds another network.
    """
    import onnx
    from onnx import helper, numpy_helper

    graph: Any = onnx.load(path).graph
    found = {each.name.removesuffix(HALF): numpy_helper.to_array(each) for each in graph.initializer}
    conv, pool = (
        [
            {each.name: helper.get_attribute_value(each) for each in node.attribute}
            for node in graph.node
            if node.op_type == kind
        ]
        for kind in ("Conv", "MaxPool")
    )
    layers = layer_names(len(conv))
    wanted = [f"{layer}.{part}" for layer in layers for part in ("kernel", "bias")]
    if (missing := [name for name in wanted if name not in found]) or len(conv) != len(pool):
        lack = f"lacks {missing[0]!r}" if missing else "does not pool after each convolution"
        raise BundleError(f"{path.name} is no float browser-FFT network of this project: it {lack}")
    weights = {name: _keras_order(np.asarray(found[name], np.float32)) for name in wanted}
    convolutions = tuple(
        Convolution(
            filters=weights[f"{layer}.bias"].size,
            kernel=weights[f"{layer}.kernel"].shape[:2],
            strides=tuple(each.get("strides", (1, 1))),
            padded=any(each.get("pads", ())),
            pool=tuple(after["kernel_shape"]),
            pool_strides=tuple(after["strides"]),
        )
        for layer, each, after in zip(layers, conv, pool, strict=False)
    )
    architecture = Architecture(convolutions=convolutions, dense_units=weights["embedding.bias"].size)
    return Network(architecture=architecture, weights=weights)


def read_recipe(path: Path) -> Recipe:
    """The metadata of such a file, and its features. BundleError: it has none, or takes no features."""
    raw = OnnxFile(path.read_bytes()).property(METADATA_KEY)
    if raw is None:
        raise BundleError(f"{path.name}: it has no metadata ({METADATA_KEY})")
    bundle, features, _ = parse_bundle(raw, where=path.name)
    if features is None or features.bands != BANDS:
        raise BundleError(f"{path.name} is no browser-FFT network of this project: it does not take {BANDS} bands")
    return Recipe(bundle, features)


def _paddings(settings: Convolution, size: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Zeros before and after the frames and the bands, as TensorFlow lays them: the odd one is after."""
    if not settings.padded:
        return (0, 0), (0, 0)
    needed = [
        max(0, (-(-values // stride) - 1) * stride + kernel - values)
        for values, stride, kernel in zip(size, settings.strides, settings.kernel, strict=True)
    ]
    return tuple(zeros // 2 for zeros in needed), tuple(zeros - zeros // 2 for zeros in needed)


def _sizes(settings: Convolution, size: tuple[int, ...]) -> tuple[int, ...]:
    """Frames and bands after a convolution and its pooling."""
    padded = [values + before + after for values, before, after in zip(size, *_paddings(settings, size), strict=True)]
    for kernel, strides in ((settings.kernel, settings.strides), (settings.pool, settings.pool_strides)):
        padded = [1 + (values - part) // step for values, part, step in zip(padded, kernel, strides, strict=True)]
    return tuple(padded)


def _keras_order(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return _dense(array.transpose(2, 3, 1, 0)) if array.ndim == 4 else array


def _dense(array: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.ascontiguousarray(array, np.float32)
