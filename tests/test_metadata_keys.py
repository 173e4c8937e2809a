"""What a caller says of a bundle: a key that it does not have is no field left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from auricle.metadata.keys import check_keys
from metadata_cases import writer
from models import classifier_bundle


@pytest.mark.parametrize(
    ("given", "place"),
    [
        ({"segmnet": {}}, "segmnet"),
        ({"segment": {"lenght": 1600}}, "segment.lenght"),
        ({"audio": {"rate": 16000}}, "audio.rate"),
        ({"input": {"tensor": "wave", "axes": "samples"}}, "input.axes"),
        ({"heads": [{"tensor": "a"}, {"tensor": "b", "activaton": "sigmoid"}]}, "heads[1].activaton"),
        ({"heads": ({"labels": [{"name": ["a"]}]},)}, "heads[0].labels[0].name"),
        ({"heads": [{"calibration": {"default": 0.5}}]}, "heads[0].calibration.default"),
        ({"heads": [{"dequantize": {"scale": 1.0, "zero": 0}}]}, "heads[0].dequantize.zero"),
    ],
)
def test_a_misspelt_key_is_named_with_its_place(tmp_path: Path, given: dict[str, Any], place: str) -> None:
    with pytest.raises(ValueError, match="bundle: there is no field") as caught:
        writer(tmp_path, bundle=given)
    assert f"no field {place!r}; those there are: " in str(caught.value)


def test_whole_and_partial_bundles_are_taken() -> None:
    check_keys(classifier_bundle())
    check_keys({"features": {"preset": "voice", "anything": 1}, "segment": {}, "heads": [{"calibration": None}]})
