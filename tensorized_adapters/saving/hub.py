"""Adapters on the Hugging Face hub: "owner/name" or "owner/name@revision" stands wherever an adapter's folder does.

What is named without a commit is pinned once, where it comes in (:func:`pinned`), and a line says the commit. From
then on it is "owner/name@COMMIT", whose files lie in Hugging Face's cache: nothing is asked or changes in between.
"""

import contextlib
import os
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Optional

from ..errors import UsageError, one_line, quoted
from . import BESIDE_PEFT_FILE, CONFIG_FILE, WEIGHTS_FILE

_PLACE = re.compile(r"(?P<repository>[A-Za-z0-9_][\w.-]*/[A-Za-z0-9_][\w.-]*)(@(?P<revision>[^@\s]+))?", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SIGN_IN = "sign in with `hf auth login` or set HF_TOKEN"


def pinned(place: str | Path, revision: Optional[str] = None, token: Optional[str] = None) -> str | Path:
    """A local folder as it is; of a hub repository "owner/name@COMMIT", downloaded.

    Args:
        place: a folder, or "owner/name" or "owner/name@revision"; a folder that is there comes first. A Path is always
            one of this machine.
        revision: branch, tag or commit, instead of one behind an ``@``; "main" if neither is given.
        token: for a private repository, if it is not the one of ``hf auth login`` or ``HF_TOKEN``.

    Raises:
        UsageError: if there is no such repository, revision or adapter, it may not be read, or there is no network.
    """
    named = _of_hub(place)
    if named is None:
        if revision is not None:
            raise UsageError(f"revision {quoted(revision)} is one of the hub's, and {place} is a folder's path")
        return place
    repository, said = named
    if revision is not None and said is not None and revision != said:
        raise UsageError(f"{place} says its revision, and {quoted(revision)} is another; leave one of them out")
    wanted = revision or said or "main"
    if _COMMIT.fullmatch(wanted) and _cached(repository, wanted):
        return f"{repository}@{wanted}"
    commit, where = _downloaded(repository, wanted, token)
    if commit != wanted:
        print(f"note: {repository} is taken{where} at commit {commit}; {repository}@{commit} pins it", file=sys.stderr)
    return f"{repository}@{commit}"


def local_folder(place: str | Path) -> Path:
    """Where the files of a folder or of a hub repository lie on this machine; raises UsageError as :func:`pinned`."""
    if _of_hub(place) is None:
        return Path(place)
    repository, commit = str(pinned(place)).split("@")
    return _cached(repository, commit)


@contextlib.contextmanager
def hub_errors(repository: str, doing: str) -> Iterator[None]:
    """Without progress bars, and what the hub or the way to it raises as one line each: UsageError."""
    from huggingface_hub import errors
    from huggingface_hub.utils import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    def refused(why: str) -> UsageError:
        return UsageError(f"{repository} cannot be {doing}: {why}")

    bars = not are_progress_bars_disabled()
    disable_progress_bars()
    try:
        yield
    except UsageError:
        raise
    except errors.OfflineModeIsEnabled:
        raise refused("HF_HUB_OFFLINE is set; unset it") from None
    except errors.GatedRepoError:
        raise refused("its owner grants access on request; ask for it on its page on the hub") from None
    except errors.RevisionNotFoundError:
        raise refused("it has no such revision; name a branch, a tag or a commit of it") from None
    except errors.RepositoryNotFoundError:  # also 401: the hub does not tell what is private from what is not there
        raise refused(f"the hub has no such repository, or it is private; check the name, or {_SIGN_IN}") from None
    except errors.HFValidationError as error:
        raise refused(one_line(error)) from None
    except errors.HfHubHTTPError as error:
        code = error.response.status_code
        if code in (401, 403):
            raise refused(f"the hub does not allow it ({code}); {_SIGN_IN}, with the right to do so") from None
        raise refused(f"the hub answered {code}: {one_line(error)[:200]}") from None
    except errors.LocalTokenNotFoundError:
        raise refused(f"there is no token; {_SIGN_IN}") from None
    except (errors.HTTPError, OSError) as error:
        told = one_line(error)[:200] or type(error).__name__
        raise refused(f"no connection to the hub, or it broke off ({told}); try again") from None
    finally:
        if bars:
            enable_progress_bars()


def _of_hub(place: str | Path) -> Optional[tuple[str, Optional[str]]]:
    """Repository and revision, if ``place`` is of the hub rather than of this machine."""
    found = None if isinstance(place, Path) else _PLACE.fullmatch(place)
    return None if found is None or os.path.lexists(place) else (found["repository"], found["revision"])


def _cached(repository: str, revision: str) -> Optional[Path]:
    """The snapshot that holds an adapter's files; the config is downloaded last, so that it has the others beside."""
    from huggingface_hub import try_to_load_from_cache

    found = [try_to_load_from_cache(repository, name, revision=revision) for name in (CONFIG_FILE, WEIGHTS_FILE)]
    return Path(found[0]).parent if all(isinstance(path, str) for path in found) else None


def _downloaded(repository: str, revision: str, token: Optional[str]) -> tuple[str, str]:
    """Get an adapter's files into the cache; the commit, and in words where it was found if not on the hub."""
    from huggingface_hub import HfApi, is_offline_mode

    place = repository if revision == "main" else f"{repository}@{revision}"
    if is_offline_mode():
        if (folder := _cached(repository, revision)) is None:
            raise UsageError(
                f"{place} is no folder here, and HF_HUB_OFFLINE is set: it is not among what was downloaded before; "
                "name a folder, or unset it"
            )
        return folder.name, " from the cache (HF_HUB_OFFLINE)"
    with hub_errors(f"{place} is no folder here, and on the hub it", "read"):
        api = HfApi(token=token)
        info = api.model_info(repository, revision=revision)
        there = {file.rfilename for file in info.siblings or ()}
        if absent := sorted({CONFIG_FILE, WEIGHTS_FILE} - there):
            raise UsageError(f"{place} on the hub is no adapter: it has no {absent[0]}")
        for name in (BESIDE_PEFT_FILE, WEIGHTS_FILE, CONFIG_FILE):
            if name in there:
                api.hf_hub_download(repository, name, revision=info.sha)
        if revision != info.sha:  # so that the cache knows it by this name too, for a day without network
            api.hf_hub_download(repository, CONFIG_FILE, revision=revision)
    return info.sha, ""
