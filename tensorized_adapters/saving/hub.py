"""Adapters on the Hugging Face hub: "owner/name" or "owner/name@revision" works wherever a folder can be named.

A name without a commit is resolved once, where it enters the program (:func:`resolved_revision`), and a line says
which commit it is. From then on the adapter is "owner/name@COMMIT", which is read from Hugging Face's cache without a
request.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from huggingface_hub import errors, is_offline_mode, snapshot_download
from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

from ..errors import UsageError, one_line, quoted, reason_of
from . import ADAPTER_FILES, CONFIG_FILE

_NAME = re.compile(r"(?P<repository>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
_SIGN_IN = "sign in with `hf auth login` or set HF_TOKEN"


def resolved_revision(adapter: str | Path, revision: Optional[str] = None, token: Optional[str] = None) -> str | Path:
    """Download an adapter of the hub and return "owner/name@COMMIT"; a local folder is returned as it is.

    Args:
        adapter: a folder, or "owner/name" or "owner/name@revision". A folder of that name is preferred, if there is
            one. A Path is always local.
        revision: branch, tag or commit, instead of one after an ``@``; "main" if neither is given.
        token: for a private repository, if it is not the one of ``hf auth login`` or ``HF_TOKEN``.

    Raises:
        UsageError: if there is no such repository, revision or adapter, it may not be read, or there is no network.
    """
    named = _of_hub(adapter)
    if named is None:
        if revision is not None:
            raise UsageError(f"revision {quoted(revision)} is one of the hub's, and {adapter} is a folder's path")
        return adapter
    repository, given = named
    if revision is not None and given is not None and revision != given:
        raise UsageError(f"{adapter} says its revision, and {quoted(revision)} is another; leave one of them out")
    wanted = revision or given or "main"
    commit = _downloaded(repository, wanted, token).name
    if commit != wanted:
        where = " from the cache (HF_HUB_OFFLINE)" if is_offline_mode() else ""
        always = f"{repository}@{commit} always names this version"
        print(f"note: {repository} is read{where} at commit {commit}; {always}", file=sys.stderr)
    return f"{repository}@{commit}"


def adapter_folder(adapter: str | Path) -> Path:
    """Return ``adapter`` itself, or the ``adapter/`` in it if the config is there, as in run folders and checkpoints.
    For a repository of the hub, return its folder in the local cache. Raises as :func:`resolved_revision`."""
    local = _of_hub(adapter) is None
    folder = Path(adapter) if local else _downloaded(*str(resolved_revision(adapter)).split("@"))
    return folder / "adapter" if os.path.isfile(folder / "adapter" / CONFIG_FILE) else folder


@contextlib.contextmanager
def hub_errors(repository: str, doing: str) -> Iterator[None]:
    """Hide progress bars within the block, and turn an error of huggingface_hub into one line, a UsageError."""
    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except (errors.HTTPError, errors.HFValidationError, OSError) as error:
        # snapshot_download reports a missing local copy, and keeps as the cause why it could not ask the hub.
        cause = error.__cause__ if isinstance(error, errors.LocalEntryNotFoundError) else None
        raise UsageError(f"{repository} cannot be {doing}: {_reason(cause or error)}") from None
    finally:
        if bars:
            enable_progress_bars()


def _reason(error: BaseException) -> str:
    """Return why a request to the hub failed, and what helps."""
    text = reason_of(error, 200)
    code = error.response.status_code if isinstance(error, errors.HfHubHTTPError) else None
    match error:
        case errors.OfflineModeIsEnabled():
            return "HF_HUB_OFFLINE is set; unset it"
        case errors.GatedRepoError():
            return "its owner grants access on request; ask for it on its page on the hub"
        case errors.RevisionNotFoundError():
            return "it has no such revision; name a branch, a tag or a commit of it"
        case errors.RepositoryNotFoundError():  # also for 401: the hub does not tell private and missing ones apart
            return f"the hub has no such repository, or it is private; check the name, or {_SIGN_IN}"
        case errors.HFValidationError():
            return one_line(error)
        case errors.HfHubHTTPError() if code in (401, 403):
            return f"the hub does not allow it ({code}); {_SIGN_IN}, with the right to do so"
        case errors.HfHubHTTPError():
            return f"the hub answered {code}: {text}"
    return f"no connection to the hub, or it broke off ({text}); try again"


def _of_hub(adapter: str | Path) -> Optional[tuple[str, Optional[str]]]:
    """Return repository and revision if ``adapter`` names one on the hub, or None if it is a local path."""
    found = None if isinstance(adapter, Path) else _NAME.fullmatch(adapter)
    return None if found is None or os.path.lexists(adapter) else (found["repository"], found["revision"])


def _downloaded(repository: str, revision: str, token: Optional[str] = None) -> Path:
    """Download an adapter, and return its folder in the cache, whose name is the commit. A commit that is there in
    full is not requested again."""
    adapter = repository if revision == "main" else f"{repository}@{revision}"
    with hub_errors(f"{adapter} is no folder here, and on the hub it", "read"):
        folder = snapshot_download(repository, revision=revision, token=token, allow_patterns=sorted(ADAPTER_FILES))
    if not (Path(folder) / CONFIG_FILE).is_file():
        raise UsageError(f"{adapter} on the hub is no adapter: it has no {CONFIG_FILE}")
    return Path(folder)
