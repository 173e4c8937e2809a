"""Classifies a file with the task API, window by window.

    python examples/classify_file.py --model yamnet.onnx clip.wav

The clip must have the model's rate and channels; what is left at its end is followed by silence.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import soundfile

from auricle.task import audio, core, processor

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line a window and head."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", required=True, metavar="FILE", help="a bundle, e.g. an imported YAMNet")
    parser.add_argument("--max-results", type=int, default=5)
    parser.add_argument("--score-threshold", type=float, default=0.0)
    parser.add_argument("clip", metavar="CLIP")
    asked = parser.parse_args(arguments)

    base_options = core.BaseOptions(file_name=asked.model, num_threads=4)
    classification_options = processor.ClassificationOptions(
        max_results=asked.max_results, score_threshold=asked.score_threshold
    )
    options = audio.AudioClassifierOptions(base_options=base_options, classification_options=classification_options)
    classifier = audio.AudioClassifier.create_from_options(options)

    window = classifier.required_input_buffer_size
    for start in range(0, soundfile.info(asked.clip).frames, window):
        tensor = audio.TensorAudio.create_from_wav_file(asked.clip, window, offset=start)
        result = classifier.classify(tensor)
        for head in result.classifications:
            found = ", ".join(f"{category.category_name} {category.score:.2f}" for category in head.categories)
            print(f"{start / tensor.format.sample_rate:8.2f} s  {head.head_name}: {found or '-'}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError, RuntimeError) as error:
        sys.exit(f"classify_file: {error}")
