"""The contract's comments say what the code does, where a test can tell."""

from __future__ import annotations

import re
from pathlib import Path

import auricle
from auricle import errors

PACKAGE = Path(auricle.__file__).parent
CONTRACT = Path(__file__).resolve().parents[1] / "proto" / "auricle" / "v1" / "auricle.proto"
# Of model files, of a caller who is gone, and of classes that are only raised with a finer reason.
NEVER_SENT = {"BUNDLE_INVALID", "CANCELLED", "INVALID_ARGUMENT", "AUDIO_INVALID"}


def raised() -> set[str]:
    """Reasons that the parts below a call give, and those that the classes have by default."""
    parts = ("serve/*.py", "engine/*.py", "frontend/*.py", "containers.py")
    texts = (path.read_text() for part in parts for path in PACKAGE.glob(part))
    finer = {reason for text in texts for reason in re.findall(r'reason="([A-Z_]+)"', text)}
    tree = [each for each in vars(errors).values() if isinstance(each, type) and issubclass(each, errors.AuricleError)]
    return (finer | {each.default_reason for each in tree}) - NEVER_SENT


def test_the_contract_lists_every_reason_and_no_other() -> None:
    table = re.search(r"Reasons by code:\n//\n((?://   .*\n)+)", CONTRACT.read_text())
    assert table is not None
    told = " ".join(line[len("//   ") :][len("FAILED_PRECONDITION") :] for line in table[1].splitlines())
    assert set(re.findall(r"[A-Z_]{4,}", told)) == raised()
