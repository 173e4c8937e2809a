"""The writer: metadata in the terms of TensorFlow Lite into the one ONNX file that a bundle is."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from os import PathLike
from typing import Any, ClassVar, Self

from msgspec import structs

from auricle.errors import BundleError
from auricle.metadata.bundling import bundle_of, heads_of, view_of
from auricle.metadata.files import read_files
from auricle.metadata.keys import check_keys
from auricle.metadata.metadata_info import GeneralMd, InputAudioTensorMd, OutputMd
from auricle.metadata.onnxfile import VIEW_KEY, OnnxFile
from auricle.metadata.view import ModelMetadata, SubgraphMetadata, TensorMetadata, dump_view, pack_view, parse_view
from auricle.model.bundle import METADATA_KEY, parse_bundle

__all__ = ["BaseWriter"]

ViewSource = str | bytes | bytearray | Mapping[str, Any]
FilePath = str | PathLike[str]

INPUT_NAME = "audio_clip"
# What a bundle may say; outside of it the metadata is written as it is, and refused when the model is loaded.
SERVED_RATES_HZ = range(4000, 192_001)


class BaseWriter(ABC):
    """Writes metadata into an ONNX model.

    ``populate`` gives a bundle: the model with its description under ``auricle.bundle``, and beside it the view,
    whose descriptions, file names and ranges have no place in a bundle. A model that is a bundle already keeps
    what the new metadata does not speak of.

    Args:
        model_buffer: the ONNX file.
        metadata_buffer: the JSON view, or the dict that it is; None: the one in the file, or what its bundle says.
        associated_files: paths of the label and calibration files that the metadata names.
        bundle: fields of the bundle that the view has no place for: ``features``, ``segment``, ``input``, ``task``
            and ``heads`` (see docs/bundle.md). None is right for a model that takes the waveform.

    Raises ValueError: no ONNX model, more inputs than one, metadata that does not follow the schema or fit the
    model, a key in ``bundle`` that a bundle does not have, or two files of one name that are not the same. Where it is
    about a file, the message names it.
    """

    default_kind: ClassVar[str] = "classification"
    model_name: ClassVar[str] = "AudioClassifier"
    model_description: ClassVar[str] = (
        "Identify the most prominent type in the audio clip from a known set of categories."
    )
    input_description: ClassVar[str] = "Input audio clip to be classified."

    def __init__(
        self,
        model_buffer: bytes | bytearray,
        metadata_buffer: ViewSource | None = None,
        associated_files: Sequence[FilePath] | None = None,
        *,
        bundle: Mapping[str, Any] | None = None,
        head_kinds: Mapping[str, str] | None = None,
    ) -> None:
        self._model = OnnxFile(model_buffer)
        if len(self._model.inputs) != 1:
            names = [tensor.name for tensor in self._model.inputs]
            raise ValueError(f"the model takes {names}; a bundle has exactly one input")
        self._files = read_files(associated_files or ())
        self._kinds = dict(head_kinds or {})
        there = self._model.property(METADATA_KEY)
        old: Mapping[str, Any] = {} if there is None else json.loads(there)
        check_keys(bundle or {})
        self._base = {**old, **(bundle or {})}
        self._view = self._fitting(self._choose_view(metadata_buffer, old))

    @classmethod
    def create_from_metadata_info(
        cls,
        model_buffer: bytes | bytearray,
        general_md: GeneralMd | None = None,
        input_md: InputAudioTensorMd | None = None,
        output_md: OutputMd | None = None,
        *,
        bundle: Mapping[str, Any] | None = None,
    ) -> Self:
        """A writer for a model of one output; what is left out gets this class's names and descriptions."""
        outputs = OnnxFile(model_buffer).outputs
        if len(outputs) != 1:
            raise ValueError(
                f"the model has {len(outputs)} outputs, not one; use create_from_metadata_info_for_multihead"
            )
        return cls._from_info(model_buffer, general_md, input_md, [output_md or cls._default_output()], bundle)

    @classmethod
    def create_from_metadata_info_for_multihead(
        cls,
        model_buffer: bytes | bytearray,
        general_md: GeneralMd | None = None,
        input_md: InputAudioTensorMd | None = None,
        output_md_list: Sequence[OutputMd] | None = None,
        *,
        bundle: Mapping[str, Any] | None = None,
    ) -> Self:
        """A writer for a model of several outputs.

        Args:
            output_md_list: one an output, in the model's order, or in any order where each has its ``tensor_name``.
                None: the outputs' names in the graph.

        Raises ValueError: another number of them than outputs, or names that are not the outputs' names.
        """
        outputs = [tensor.name for tensor in OnnxFile(model_buffer).outputs]
        ordered = None if output_md_list is None else _in_order(outputs, output_md_list)
        return cls._from_info(model_buffer, general_md, input_md, ordered, bundle)

    @classmethod
    def create_from_metadata(
        cls,
        model_buffer: bytes | bytearray,
        model_metadata: Mapping[str, Any] | None = None,
        input_metadata: Sequence[Mapping[str, Any]] | None = None,
        output_metadata: Sequence[Mapping[str, Any]] | None = None,
        associated_files: Sequence[FilePath] | None = None,
        input_process_units: Sequence[Mapping[str, Any]] | None = None,
        output_process_units: Sequence[Mapping[str, Any]] | None = None,
        *,
        bundle: Mapping[str, Any] | None = None,
    ) -> Self:
        """A writer from dicts of the JSON view.

        Args:
            model_metadata: the whole model's fields: name, description, version, author, license.
            input_metadata, output_metadata: one dict a tensor, in the model's order.
            associated_files: paths of the files that they name.
            input_process_units, output_process_units: steps of the graph as a whole.
        """
        graph = {
            "input_tensor_metadata": input_metadata,
            "output_tensor_metadata": output_metadata,
            "input_process_units": input_process_units,
            "output_process_units": output_process_units,
        }
        said = {key: list(value) for key, value in graph.items() if value is not None}
        view = {**(model_metadata or {}), "subgraph_metadata": [said]}
        return cls(model_buffer, view, associated_files, bundle=bundle)

    def get_metadata_json(self) -> str:
        """The view as JSON text."""
        return dump_view(self._view)

    def get_populated_metadata_json(self) -> str:
        """The view as it stands in the model that `populate` gives. ValueError as there."""
        text = OnnxFile(self.populate()).property(VIEW_KEY)
        return dump_view(parse_view(text or "{}"))

    def populate(self) -> bytearray:
        """The model with its metadata; the same however often it is called, and on its own result.

        ValueError: a file that the metadata names was not given, or a count, a layout or a field that does not fit.
        A rate or a channel count that cannot be served is written as it is, and refused when the model is loaded.
        """
        bundle = bundle_of(self._view, self._heads(), tensor=self._model.inputs[0], base=self._base)
        audio = bundle["audio"]
        if audio.get("sample_rate_hz") in SERVED_RATES_HZ and audio.get("channels", 1) == 1:
            try:
                parse_bundle(json.dumps(bundle), where="the metadata")
            except BundleError as error:
                raise ValueError(error.message) from error
        return bytearray(self._model.with_metadata(json.dumps(bundle, ensure_ascii=False), pack_view(self._view)))

    @classmethod
    @abstractmethod
    def _default_output(cls) -> OutputMd:
        """The output that a model is described with where nothing says more."""

    @classmethod
    def _from_info(
        cls,
        model_buffer: bytes | bytearray,
        general_md: GeneralMd | None,
        input_md: InputAudioTensorMd | None,
        output_mds: Sequence[OutputMd] | None,
        bundle: Mapping[str, Any] | None,
    ) -> Self:
        general = general_md or GeneralMd(name=cls.model_name, description=cls.model_description)
        sound = input_md or InputAudioTensorMd(name=INPUT_NAME, description=cls.input_description)
        names = [tensor.name for tensor in OnnxFile(model_buffer).outputs]
        outputs = [md.create_metadata() for md in output_mds or ()] or [TensorMetadata(name=name) for name in names]
        view = ModelMetadata(
            name=general.name or "",
            description=general.description or "",
            version=general.version or "",
            subgraph_metadata=(
                SubgraphMetadata(
                    input_tensor_metadata=(sound.create_metadata(),), output_tensor_metadata=tuple(outputs)
                ),
            ),
            author=general.author or "",
            license=general.licenses or "",
        )
        paths = [file.file_path for md in output_mds or () for file in md.file_mds()]
        kinds = {name: md.head_kind for name, md in zip(names, output_mds or (), strict=False)}
        known = {name: kind for name, kind in kinds.items() if kind is not None}
        writer = cls(model_buffer, json.loads(dump_view(view)), paths, bundle=bundle, head_kinds=known)
        # Files that do not fit the outputs are told of now, while who gave them is near.
        writer._heads()
        return writer

    def _heads(self) -> list[dict[str, Any]]:
        return heads_of(
            self._view,
            self._files,
            outputs=self._model.outputs,
            kinds=self._kinds,
            default_kind=self.default_kind,
            base=self._base,
        )

    def _choose_view(self, given: ViewSource | None, old: Mapping[str, Any]) -> ModelMetadata:
        if given is not None:
            return parse_view(given)
        stored = self._model.property(VIEW_KEY)
        derived = view_of(old, self._model.outputs) if old else ModelMetadata()
        if stored is None:
            return derived
        view = parse_view(stored)
        # An import brings an embedding out, in front of the outputs that its original speaks of.
        more = len(derived.outputs) - len(view.outputs)
        if more <= 0:
            return view
        return _with_tensors(view, output_tensor_metadata=derived.outputs[:more] + view.outputs)

    def _fitting(self, view: ModelMetadata) -> ModelMetadata:
        """The view with one entry for each of the model's tensors. ValueError where it has another number of them."""
        outputs = view.outputs or tuple(TensorMetadata(name=tensor.name) for tensor in self._model.outputs)
        inputs = view.inputs or (TensorMetadata(name=self._model.inputs[0].name),)
        for what, entries, tensors in (
            ("input", inputs, self._model.inputs),
            ("output", outputs, self._model.outputs),
        ):
            if len(entries) != len(tensors):
                raise ValueError(
                    f"the metadata describes {len(entries)} {what} tensors, but the model has {len(tensors)}: "
                    f"{[tensor.name for tensor in tensors]}"
                )
        return _with_tensors(view, input_tensor_metadata=inputs, output_tensor_metadata=outputs)


def _with_tensors(view: ModelMetadata, **tensors: tuple[TensorMetadata, ...]) -> ModelMetadata:
    """The view with other entries in its first graph."""
    graphs = view.subgraph_metadata or (SubgraphMetadata(),)
    return structs.replace(view, subgraph_metadata=(structs.replace(graphs[0], **tensors), *graphs[1:]))


def _in_order(outputs: Sequence[str], output_mds: Sequence[OutputMd]) -> list[OutputMd]:
    """The descriptions in the model's order."""
    if len(output_mds) != len(outputs):
        raise ValueError(f"{len(output_mds)} output metadata were given, but the model has {len(outputs)}: {outputs}")
    names = [md.tensor_name for md in output_mds]
    if not any(names):
        return list(output_mds)
    if sorted(name or "" for name in names) != sorted(outputs):
        raise ValueError(f"the tensor names {names} of the output metadata should be those of the model: {outputs}")
    return sorted(output_mds, key=lambda md: outputs.index(md.tensor_name or ""))
