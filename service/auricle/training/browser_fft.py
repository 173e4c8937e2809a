"""BrowserFftSpec: speech commands the way of TensorFlow Lite's Model Maker, on this project's own frontend."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from auricle import frontend
from auricle.errors import OptionError
from auricle.metadata import GeneralMd, MetadataWriter
from auricle.metadata.view import dump_view
from auricle.model.bundle import Bundle
from auricle.model.bundled import bundled_dir
from auricle.model.heads import HeadSpec
from auricle.model.scratch import scratch_directory
from auricle.training.export import Labels, check_target, label_lists, load_network, onnx_bytes, read_recipe, served_as
from auricle.training.network import build, need_keras, read_network
from auricle.training.quantization import QuantizationConfig, quantize
from auricle.training.tflite import describe, tflite_bytes

if TYPE_CHECKING:
    import keras

__all__ = ["BrowserFftSpec"]

Floats = NDArray[np.float32]

EMBEDDING = HeadSpec(name="embedding", tensor="embedding", kind="embedding")
NOISE = 1e-5
BATCH = 32


class BrowserFftSpec:
    """What trains a classifier of sounds of about a second.

    Args:
        model_dir: a bundle of this network, whose layers are the base and whose features are taken; None: the one that
            comes with auricle.
        strategy: a ``tf.distribute.Strategy`` in whose scope models are made; None: none.
    """

    EXPECTED_WAVEFORM_LENGTH = 44032

    def __init__(self, model_dir: Path | str | None = None, strategy: Any = None) -> None:
        need_keras()
        self._base = Path(model_dir) if model_dir is not None else bundled_dir() / "digits.onnx"
        self._strategy = strategy
        recipe = read_recipe(self._base)
        assert recipe.features is not None
        self._bundle, self._features = recipe.bundle, recipe.features

    @property
    def target_sample_rate(self) -> int:
        """The rate in Hz of the waveforms that it takes."""
        return self._features.sample_rate_hz

    def create_model(self, num_classes: int, train_whole_model: bool = False) -> keras.Model:
        """The network for so many classes: f32 (n, 43, 232, 1) -> scores; all but the last layer are the frozen base's
        unless the whole model is trained. InvalidArgumentError: fewer than 2 classes."""
        frozen = None if train_whole_model else load_network(self._base)
        if self._strategy is None:
            return build(num_classes, frozen=frozen)
        with self._strategy.scope():
            return build(num_classes, frozen=frozen)

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
        # A data set's own order is kept in any case; Keras warns where it is not told so.
        kwargs.setdefault("shuffle", False)
        return model.fit(train_ds.batch(batch), epochs=epochs, validation_data=validation, **kwargs)

    def create_serving_model(self, training_model: keras.Model) -> keras.Model:
        """The waveform f32 (n, 44032) in, scores out: the frontend as TensorFlow computes it, then the network."""
        keras = need_keras()
        import tensorflow as tf

        spec = self._features
        steps = np.arange(spec.frame_length) * 2 * np.pi / spec.frame_length
        blackman = 0.42 - 0.5 * np.cos(steps) + 0.08 * np.cos(2 * steps)
        # Decibels over the floor: the normalisation takes any offset away, and silence is 0 however it is rounded.
        window = (blackman * spec.input_scale / spec.floor).astype(np.float32)

        def spectrum(wave: Any) -> Any:
            padded = tf.pad(wave, ((0, 0), (spec.front_zeros, 0)))
            frames = tf.signal.frame(padded, spec.frame_length, spec.hop)
            magnitude = tf.abs(tf.signal.rfft(frames * window))[:, :, : spec.bands]
            db = 20.0 / np.log(10.0) * tf.math.log(tf.maximum(magnitude, 1.0))
            mean = tf.reduce_mean(db, (1, 2), keepdims=True)
            deviation = tf.math.reduce_std(db, (1, 2), keepdims=True)
            return ((db - mean) / (deviation + spec.norm_epsilon))[..., None]

        wave = keras.Input((self.EXPECTED_WAVEFORM_LENGTH,), name="waveform")
        rows = keras.layers.Lambda(spectrum, output_shape=(43, 232, 1), name="frontend")(wave)
        return keras.Model(wave, training_model(rows), name="serving")

    def export(
        self,
        model: keras.Model,
        path: Path | str,
        labels: Labels,
        quantization_config: QuantizationConfig | None = None,
        **metadata: str,
    ) -> Path:
        """Writes the bundle of a trained model.

        Args:
            labels: names of the classes, or lists of them by locale, of which the first gives the categories' names.
            quantization_config: None: float32.
            metadata: may give name, version, author, license and description; else the path gives the first two, as a
                server reads it.

        Raises:
            OptionError: not as many labels as classes; the name does not end with .onnx, or NAME.json or the same model
                in the other form (NAME.onnx and NAME/VERSION.onnx) is there.
        """
        scores = HeadSpec(
            name="scores", tensor="scores", kind="classification", labels=label_lists(labels, model.output_shape[-1])
        )
        target = Path(path)
        check_target(target)
        _, name, version = served_as(target)
        own: dict[str, Any] = {"name": name, "version": version, "author": "", "license": "", "description": ""}
        own |= metadata
        bundle: Bundle = msgspec.structs.replace(self._bundle, heads=(EMBEDDING, scores), **own)
        with scratch_directory(target.parent) as scratch:
            made = scratch / target.name
            made.write_bytes(onnx_bytes(read_network(model), bundle))
            if quantization_config is not None:
                segments = [self.features(wave)[..., 0] for wave in quantization_config.representative]
                made.write_bytes(quantize(made, quantization_config.precision, segments))
            made.replace(target)
        return target

    def export_tflite(
        self,
        model: keras.Model,
        tflite_filepath: Path | str,
        with_metadata: bool = True,
        export_metadata_json_file: bool = True,
        index_to_label: Labels | None = None,
        quantization_config: QuantizationConfig | None = None,
    ) -> None:
        """Writes a trained model as a .tflite file: waveform f32 (1, 44032) in, the frontend inside, scores out.

        The folder is made where it is missing.

        Args:
            with_metadata: says inside the file what it takes and gives, and packs the label files.
            export_metadata_json_file: writes that as NAME.json beside it, too.
            index_to_label: as ``labels`` of ``export``; needed for metadata.
            quantization_config: None: float32.

        Raises:
            OptionError: no labels, or not as many as classes; the JSON file would become a bundle's metadata.
        """
        target = Path(tflite_filepath)
        labels = label_lists(index_to_label or (), model.output_shape[-1]) if with_metadata else ()
        json_file = target.with_suffix(".json") if with_metadata and export_metadata_json_file else None
        if json_file is not None and target.with_suffix(".onnx").exists():
            raise OptionError(
                f"{json_file.name} would be taken for the metadata of {target.stem}.onnx beside it; export to another "
                "folder, or without export_metadata_json_file",
                field="export_metadata_json_file",
            )
        # Made beforehand, so that a place that cannot be written is known before the conversion.
        with scratch_directory(target.parent) as scratch:
            serving = self.create_serving_model(model)
            content = tflite_bytes(serving, self.EXPECTED_WAVEFORM_LENGTH, quantization_config)
            if with_metadata:
                general = GeneralMd(MetadataWriter.model_name, "v1", MetadataWriter.model_description)
                content, view = describe(content, general, self.target_sample_rate, labels)
                if json_file is not None:
                    (scratch / json_file.name).write_text(dump_view(view), encoding="utf-8")
                    (scratch / json_file.name).replace(json_file)
            (scratch / target.name).write_bytes(content)
            (scratch / target.name).replace(target)

    def get_default_quantization_config(self) -> QuantizationConfig | None:
        """None: all in float32."""
        return None
