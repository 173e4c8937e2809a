"""The task API: classes of the shape of the TensorFlow Lite Task Library, over auricle's pipeline.

Code that says ``from tflite_support.task import audio, core, processor`` says ``from auricle.task import ...`` instead.
"""

from auricle.task import audio, core, processor

__all__ = ["audio", "core", "processor"]
