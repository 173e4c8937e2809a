"""TensorFlow Lite: a serving model as a .tflite file, and what the file says of itself."""

from __future__ import annotations

import contextlib
import io
import tempfile
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from auricle.errors import OptionError
from auricle.metadata import ClassificationTensorMd, GeneralMd, InputAudioTensorMd, LabelFileMd, TensorType
from auricle.metadata.tflitefile import with_metadata
from auricle.metadata.view import ModelMetadata, SubgraphMetadata
from auricle.model.labels import LabelList
from auricle.training.network import need_keras
from auricle.training.quantization import QuantizationConfig

if TYPE_CHECKING:
    import keras

__all__ = ["describe", "tflite_bytes"]

# As TensorFlow Lite Model Maker calls them; files and code that look for these names go on working.
INPUT_NAME, INPUT_DESCRIPTION = "audio_clip", "Input audio clip to be classified."
OUTPUT_NAME, OUTPUT_DESCRIPTION = "probability", "Scores of the labels respectively."
# What the frontend is made of and the network is not.
FRONTEND_OPERATORS = ["PAD", "GATHER", "STRIDED_SLICE", "MUL", "MAXIMUM", "LOG", "MEAN", "SUB", "SQUARED_DIFFERENCE"]
FRONTEND_OPERATORS += ["SQRT", "ADD", "DIV"]


def tflite_bytes(serving: keras.Model, samples: int, config: QuantizationConfig | None) -> bytes:
    """The file without metadata: waveform f32 (1, samples) in, scores f32 (1, classes) out.

    Args:
        serving: takes f32 (n, samples).
        config: None: all in float32. The frontend stays so in any case: eight bits of a decibel plane's deviation
            would be 0 for silence, which it is divided by.

    Raises:
        OptionError: representative sounds of another length than ``samples``.
    """
    keras = need_keras()
    import tensorflow as tf

    waveform = keras.Input(batch_shape=(1, samples), name=INPUT_NAME)
    with _quiet():
        converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(waveform, serving(waveform)))
        if config is None:
            return bytes(converter.convert())
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if config.precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
            return bytes(converter.convert())
        sounds = [_sized(sound, samples) for sound in config.representative]
        converter.representative_dataset = lambda: ([sound[None]] for sound in sounds)
        options = tf.lite.experimental.QuantizationDebugOptions(denylisted_ops=FRONTEND_OPERATORS)
        # Despite its name it is what quantises a part of a model.
        debugger = tf.lite.experimental.QuantizationDebugger(
            converter=converter, debug_dataset=converter.representative_dataset, debug_options=options
        )
        return bytes(debugger.get_nondebug_quantized_model())


def describe(
    model: bytes, general: GeneralMd, sample_rate_hz: int, labels: Sequence[LabelList]
) -> tuple[bytes, ModelMetadata]:
    """The file with metadata and its label files packed, and the metadata."""
    with tempfile.TemporaryDirectory() as folder:
        files = []
        for each in labels:
            path = Path(folder, f"{OUTPUT_NAME}_labels{'_' if each.locale else ''}{each.locale}.txt")
            path.write_text("\n".join(each.names) + "\n", encoding="utf-8")
            files.append(LabelFileMd(path, each.locale or None))
        output = ClassificationTensorMd(OUTPUT_NAME, OUTPUT_DESCRIPTION, files, TensorType.FLOAT32)
        sound = InputAudioTensorMd(INPUT_NAME, INPUT_DESCRIPTION, sample_rate_hz, 1)
        graph = SubgraphMetadata(
            input_tensor_metadata=(sound.create_metadata(),), output_tensor_metadata=(output.create_metadata(),)
        )
        view = ModelMetadata(
            name=general.name or "",
            description=general.description or "",
            version=general.version or "",
            subgraph_metadata=(graph,),
            author=general.author or "",
            license=general.licenses or "",
        )
        packed = {Path(file.file_path).name: Path(file.file_path).read_bytes() for file in files}
        return with_metadata(model, view, packed), view


def _sized(sound: NDArray[np.float32], samples: int) -> NDArray[np.float32]:
    wave = np.asarray(sound, np.float32)
    if wave.shape != (samples,):
        raise OptionError(
            f"a representative sound has the shape {wave.shape}; the model takes ({samples},)",
            field="quantization_config",
        )
    return wave


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keeps the converter's chatter off stdout, and what it warns of that nobody can change."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        # The sound and the scores stay floats, and TensorFlow's own debugger runs its own interpreter.
        warnings.filterwarnings("ignore", "Statistics for quantized inputs were expected")
        warnings.filterwarnings("ignore", r"\s*Warning: tf\.lite\.Interpreter is deprecated")
        yield
