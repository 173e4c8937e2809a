"""BrowserFftSpec: speech commands the way of TensorFlow Lite's Model Maker, on this project's own frontend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.errors import OptionError
from auricle.model.bundle import Bundle
from auricle.model.bundled import bundled_dir
from auricle.model.heads import HeadSpec
from auricle.model.labels import LabelList
from auricle.training import digits
from auricle.training.export import onnx_bytes, read_layers
from auricle.training.network import build, need_keras, read_weights

if TYPE_CHECKING:
    import keras

__all__ = ["BrowserFftSpec"]

Floats = NDArray[np.float32]

NOISE = 1e-5
BATCH = 32
# Of a network trained whole; a frozen base brings its own.
WHOLE_DENSE_UNITS = 2000


class BrowserFftSpec:
    """What trains a classifier of sounds of about a second.

    Args:
        model_dir: a bundle of this network whose layers are the base; None: the one that comes with auricle.
        strategy: a ``tf.distribute.Strategy`` in whose scope models are made; None: none.
    """

    EXPECTED_WAVEFORM_LENGTH = 44032

    def __init__(self, model_dir: Path | str | None = None, strategy: Any = None) -> None:
        need_keras()
        self._base = Path(model_dir) if model_dir is not None else bundled_dir() / "digits.onnx"
        self._strategy = strategy
        features = digits.recipe().features
        assert features is not None
        self._features = features

    @property
    def target_sample_rate(self) -> int:
        """The rate in Hz of the waveforms that it takes."""
        return self._features.sample_rate_hz

    def create_model(self, num_classes: int, train_whole_model: bool = False) -> keras.Model:
        """The network for so many classes: f32 (n, 43, 232, 1) -> scores; all but the last layer are the frozen base's
        unless the whole model is trained. InvalidArgumentError: fewer than 2 classes."""
        frozen = None if train_whole_model else read_layers(self._base)
        units = frozen["embedding.bias"].size if frozen is not None else WHOLE_DENSE_UNITS
        if self._strategy is None:
            return build(num_classes, dense_units=units, frozen=frozen)
        with self._strategy.scope():
            return build(num_classes, dense_units=units, frozen=frozen)

    def preprocess_ds(self, ds: Any, is_training: bool = False, cache_fn: Callable[[Any], Any] | None = None) -> Any:
        """A ``tf.data.Dataset`` of (waveform f32 (n,), label) as one of (features (43, 232, 1), label).

        Shorter waveforms than ``EXPECTED_WAVEFORM_LENGTH`` and ones that are not finite are dropped, longer ones are
        split. In training a faint noise is added after the cache, so that it differs from epoch to epoch.
        """
        import tensorflow as tf

        length = self.EXPECTED_WAVEFORM_LENGTH

        def cuts(wave: Any, label: Any) -> Any:
            count = tf.shape(wave)[0] // length
            pieces = tf.reshape(wave[: count * length], (-1, length))
            return tf.data.Dataset.from_tensor_slices((pieces, tf.repeat(label, count)))

        def noisy(wave: Any, label: Any) -> tuple[Any, Any]:
            return wave + NOISE * tf.random.normal(tf.shape(wave)), label

        def features(wave: Any, label: Any) -> tuple[Any, Any]:
            rows = tf.numpy_function(self.features, [wave], tf.float32)
            return tf.ensure_shape(rows, (43, 232, 1)), label

        ds = ds.flat_map(cuts).filter(lambda wave, label: tf.reduce_all(tf.math.is_finite(wave)))
        if cache_fn is not None:
            ds = cache_fn(ds)
        return (ds.map(noisy) if is_training else ds).map(features)

    def features(self, wave: Floats) -> Floats:
        """What the network sees of f32 (44032,): (43, 232, 1), the same bits as a server computes."""
        return frontend.features(np.ascontiguousarray(wave, np.float32), self._features)[..., None]

    def run_classifier(self, model: keras.Model, epochs: int, train_ds: Any, validation_ds: Any, **kwargs: Any) -> Any:
        """Trains with Adam on the cross-entropy, in batches of 32 (``batch_size``); gives Keras's history."""
        keras = need_keras()
        batch = kwargs.pop("batch_size", BATCH)
        model.compile(optimizer=keras.optimizers.Adam(), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
        validation = validation_ds.batch(batch) if validation_ds is not None else None
        return model.fit(train_ds.batch(batch), epochs=epochs, validation_data=validation, **kwargs)

    def create_serving_model(self, training_model: keras.Model) -> keras.Model:
        """The waveform f32 (n, 44032) in, scores out: the frontend as TensorFlow computes it, then the network."""
        keras = need_keras()
        import tensorflow as tf

        spec = self._features
        steps = np.arange(spec.frame_length) * 2 * np.pi / spec.frame_length
        blackman = (0.42 - 0.5 * np.cos(steps) + 0.08 * np.cos(2 * steps)).astype(np.float32) * spec.input_scale

        def spectrum(wave: Any) -> Any:
            padded = tf.pad(wave, ((0, 0), (spec.front_zeros, 0)))
            frames = tf.signal.frame(padded, spec.frame_length, spec.hop)
            magnitude = tf.abs(tf.signal.rfft(frames * blackman))[:, :, : spec.bands]
            db = 20.0 / np.log(10.0) * tf.math.log(tf.maximum(magnitude, spec.floor))
            mean = tf.reduce_mean(db, (1, 2), keepdims=True)
            deviation = tf.math.reduce_std(db, (1, 2), keepdims=True)
            return ((db - mean) / (deviation + spec.norm_epsilon))[..., None]

        wave = keras.Input((self.EXPECTED_WAVEFORM_LENGTH,), name="waveform")
        rows = keras.layers.Lambda(spectrum, output_shape=(43, 232, 1), name="frontend")(wave)
        return keras.Model(wave, training_model(rows), name="serving")

    def export(self, model: keras.Model, path: Path | str, labels: Sequence[str], **metadata: str) -> Path:
        """Writes the bundle of a trained model; ``metadata`` may give name, author, license and description.

        OptionError: as many labels as classes are needed.
        """
        classes = int(model.output_shape[-1])
        if len(labels) != classes:
            raise OptionError(f"the model has {classes} classes, but there are {len(labels)} labels", field="labels")
        target = Path(path)
        base = digits.bundle()
        scores = HeadSpec(
            name="scores", tensor="scores", kind="classification", labels=(LabelList(names=tuple(labels)),)
        )
        own: dict[str, Any] = {"name": target.stem, "author": "", "license": "", "description": ""} | metadata
        bundle: Bundle = msgspec.structs.replace(base, heads=(base.heads[0], scores), **own)
        target.write_bytes(onnx_bytes(read_weights(model), bundle))
        return target
