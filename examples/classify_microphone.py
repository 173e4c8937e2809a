"""Classifies the microphone with the task API, in a loop, until Ctrl-C.

pip install 'auricle[mic]'
python examples/classify_microphone.py --model yamnet.onnx
"""

from __future__ import annotations

import argparse
import itertools
import sys
import time
from collections.abc import Callable, Sequence

from auricle.task import audio, core, processor

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None, *, sleep: Callable[[float], None] = time.sleep) -> None:
    """Prints one line a window."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", required=True, metavar="FILE", help="a bundle, e.g. an imported YAMNet")
    parser.add_argument("--max-results", type=int, default=5)
    parser.add_argument("--score-threshold", type=float, default=0.0)
    parser.add_argument("--overlap", type=float, default=0.5, help="part of a window that the next one repeats")
    parser.add_argument("--windows", type=int, help="stop after so many (default: never)")
    asked = parser.parse_args(arguments)
    if not 0.0 <= asked.overlap < 1.0:
        parser.error(f"--overlap must be from 0 to below 1, but is {asked.overlap}")

    base_options = core.BaseOptions(file_name=asked.model, num_threads=4)
    classification_options = processor.ClassificationOptions(
        max_results=asked.max_results, score_threshold=asked.score_threshold
    )
    options = audio.AudioClassifierOptions(base_options=base_options, classification_options=classification_options)
    classifier = audio.AudioClassifier.create_from_options(options)

    audio_record = classifier.create_audio_record()
    tensor_audio = classifier.create_input_tensor_audio()
    window_s = len(tensor_audio.buffer) / tensor_audio.format.sample_rate
    step_s = window_s * (1 - asked.overlap)

    audio_record.start_recording()
    sleep(window_s)
    for _ in itertools.repeat(None) if asked.windows is None else range(asked.windows):
        begun_s = time.monotonic()
        tensor_audio.load_from_audio_record(audio_record)
        result = classifier.classify(tensor_audio)
        for head in result.classifications:
            found = ", ".join(f"{category.category_name} {category.score:.2f}" for category in head.categories)
            print(f"{head.head_name}: {found or '-'}", flush=True)
        sleep(max(0.0, step_s - (time.monotonic() - begun_s)))
    audio_record.stop()


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        pass
    except (ValueError, ImportError, OSError) as error:
        sys.exit(f"classify_microphone: {error}")
