"""Where a model lies that is not here: ``hf:OWNER/REPO[@REV][/FILE]`` or ``https://...``."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urldefrag, urlsplit

from auricle.errors import AuricleError, NotFoundError, OptionError, UnavailableError
from auricle.importing.download import Checksum, Remote

__all__ = ["is_remote", "locate"]

INSTALL = "pip install 'auricle[hub]'"
SUFFIXES = (".onnx", ".tflite")
# A revision may be a branch, a tag or a commit; a slash in it would be the file's.
HUB_SOURCE = re.compile(r"hf:(?P<repo>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?(?:/(?P<file>.+))?")
LOOPBACK = ("127.0.0.1", "::1", "localhost")


def is_remote(text: str) -> bool:
    """Whether it is meant as a place, and not as the name of a model."""
    return text.startswith("hf:") or "://" in text


def locate(source: str, *, sha256: str | None = None, endpoint: str | None = None) -> Remote:
    """Finds the file. Of a repository it is asked what there is, in its own protocol; of a URL nothing yet.

    Args:
        source: see the module. A URL may end in ``#sha256=HEX``.
        sha256: what the file must add up to; a repository says so itself.
        endpoint: of the hub; None: the public one, or what HF_ENDPOINT says.

    Raises:
        OptionError: it is written in another way, or no file was named and there is more than one model.
        NotFoundError: no such repository, revision or file, or none that the user may see.
        UnavailableError: the hub cannot be reached, or the extra [hub] is not installed.
    """
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", sha256):
        raise OptionError(f"sha256 must be 64 hexadecimal digits, but is {sha256!r}", field="sha256")
    given = Checksum(algorithm="sha256", hexadecimal=sha256) if sha256 else None
    if source.startswith("hf:"):
        return _in_repository(source, given, endpoint)
    return _at_url(source, given)


def _at_url(source: str, given: Checksum | None) -> Remote:
    url, fragment = urldefrag(source)
    parts = urlsplit(url)
    name = PurePosixPath(unquote(parts.path)).name
    if parts.scheme != "https" and not (parts.scheme == "http" and parts.hostname in LOOPBACK):
        raise OptionError(f"{source}: models come over https://, or from hf:OWNER/REPO", field="source")
    if not name.endswith(SUFFIXES):
        raise OptionError(f"{source}: the path ends in {name!r}, not in .onnx or .tflite", field="source")
    if fragment and given is None:
        key, _, value = fragment.partition("=")
        if key != "sha256" or not re.fullmatch("[0-9a-f]{64}", value):
            raise OptionError(f"{source}: after the # comes sha256= and 64 hexadecimal digits", field="source")
        given = Checksum(algorithm="sha256", hexadecimal=value)
    return Remote(source=source, url=url, name=name, model=PurePosixPath(name).stem, checksum=given)


def _in_repository(source: str, given: Checksum | None, endpoint: str | None) -> Remote:
    matched = HUB_SOURCE.fullmatch(source)
    if matched is None:
        raise OptionError(f"{source!r} is not written as hf:OWNER/REPO[@REV][/FILE]", field="source")
    try:
        import huggingface_hub as hub
    except ImportError as error:
        raise UnavailableError(
            f"{source}: hf: sources need huggingface_hub, not installed here: {INSTALL}", reason="EXTRA_MISSING"
        ) from error
    repo, revision, name = matched["repo"], matched["revision"], matched["file"]
    if name and not name.endswith(SUFFIXES):
        raise OptionError(f"{source}: the file is no .onnx and no .tflite file", field="source")
    try:
        # The commit that the revision is now: what is listed and what is fetched are of one state.
        info = hub.HfApi(endpoint=endpoint).model_info(repo, revision=revision)
        name = name or _only_model(source, info)
        url = hub.hf_hub_url(repo, name, revision=info.sha or revision, endpoint=endpoint)
        metadata = hub.get_hf_file_metadata(url, endpoint=endpoint)
    except AuricleError:
        raise
    except Exception as error:  # the hub's, its HTTP client's and the system's errors share no narrower base
        raise _failure(source, error) from error
    # The hub's own token must not travel on to where the file is stored.
    token = hub.get_token() if urlsplit(metadata.location).netloc == urlsplit(url).netloc else None
    return Remote(
        source=source,
        url=metadata.location,
        headers={"Authorization": f"Bearer {token}"} if token else {},
        name=PurePosixPath(name).name,
        model=repo.partition("/")[2],
        size=metadata.size,
        checksum=given or _checksum(metadata.etag),
        license=str(getattr(info.card_data, "license", None) or ""),
    )


def _only_model(source: str, info: Any) -> str:
    names = [each.rfilename for each in info.siblings or () if each.rfilename.endswith(SUFFIXES)]
    if not names:
        raise NotFoundError(f"{source}: the repository has no .onnx and no .tflite file")
    if len(names) > 1:
        raise OptionError(f"{source}: which file? add one of /{', /'.join(sorted(names))}", field="source")
    return str(names[0])


def _checksum(etag: str | None) -> Checksum | None:
    """The hub's tag of a large file is its SHA-256, of a small one the name that git has for it."""
    if etag is not None and re.fullmatch("[0-9a-f]{64}", etag):
        return Checksum(algorithm="sha256", hexadecimal=etag)
    if etag is not None and re.fullmatch("[0-9a-f]{40}", etag):
        return Checksum(algorithm="git", hexadecimal=etag)
    return None


def _failure(source: str, error: Exception) -> AuricleError:
    from huggingface_hub import errors

    told = {
        errors.GatedRepoError: "the repository asks for its terms to be accepted: do that on its page, then log in "
        "(hf auth login)",
        errors.RepositoryNotFoundError: "no such repository, or a private one (hf auth login)",
        errors.RevisionNotFoundError: "the repository has no such revision",
        errors.EntryNotFoundError: "the repository has no such file",
    }
    for kind, text in told.items():
        if isinstance(error, kind):
            return NotFoundError(f"{source}: {text}")
    said = " ".join(str(error).split()) or type(error).__name__
    return UnavailableError(f"{source}: the hub cannot be asked: {said}", reason="SOURCE_UNREACHABLE")
