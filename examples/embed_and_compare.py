"""Embeds two clips with the task API and compares them: the cosine of each pair of vectors.

    python examples/embed_and_compare.py --model models/voice/1.onnx one.wav other.wav

A clip longer than the model's window is cut to its first one; both clips must have the model's rate and channels.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from auricle.task import audio, core, processor

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> None:
    """Prints one line a head."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", required=True, metavar="FILE", help="a bundle, e.g. models/voice/1.onnx")
    parser.add_argument("--l2-normalize", action="store_true", help="scale the vectors to length 1")
    parser.add_argument("--quantize", action="store_true", help="make the vectors int8")
    parser.add_argument("clips", nargs=2, metavar="CLIP")
    asked = parser.parse_args(arguments)

    base_options = core.BaseOptions(file_name=asked.model)
    embedding_options = processor.EmbeddingOptions(l2_normalize=asked.l2_normalize or None, quantize=asked.quantize)
    options = audio.AudioEmbedderOptions(base_options=base_options, embedding_options=embedding_options)
    embedder = audio.AudioEmbedder.create_from_options(options)

    results = []
    for clip in asked.clips:
        tensor = audio.TensorAudio.create_from_wav_file(clip, embedder.required_input_buffer_size)
        results.append(embedder.embed(tensor))

    one, other = results
    for head in range(embedder.number_of_output_layers):
        similarity = embedder.cosine_similarity(
            one.embeddings[head].feature_vector, other.embeddings[head].feature_vector
        )
        print(f"head {head} ({embedder.get_embedding_dimension(head)} values): cosine {similarity:.4f}")


if __name__ == "__main__":
    try:
        main()
    except (ValueError, OSError) as error:
        sys.exit(f"embed_and_compare: {error}")
