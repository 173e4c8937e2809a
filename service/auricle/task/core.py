"""Options that every task has: where the model is and how many threads run it."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["BaseOptions"]


# Not frozen, as the other options of this package: code that moves here assigns to their fields.
@dataclass
class BaseOptions:
    """The model of a task.

    Attributes:
        file_name: path of a bundle, an ``.onnx`` file with its metadata (or with its sidecar ``.json``).
        file_content: the bytes of such a file; they win over ``file_name``.
        num_threads: threads of one operator; -1 leaves it to the machine, else above 0.
        use_coral: there is no Edge TPU here; True is a ValueError when the task is created.
    """

    file_name: str | None = None
    file_content: bytes | None = None
    num_threads: int = -1
    use_coral: bool | None = None
