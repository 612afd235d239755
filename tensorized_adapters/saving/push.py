"""Sharing an adapter: the files of its folder, and nothing else that lies there, as one commit on the hub."""

from pathlib import Path
from typing import Optional

from . import ADAPTER_FILES, BESIDE_PEFT_FILE, CARD_FILE
from .format import adapter_folder, read_adapter
from .hub import hub_errors
from .model_card import PLACE_IN_CARD


def push_adapter(
    folder: str | Path,
    repo_id: str,
    *,
    revision: Optional[str] = None,
    private: Optional[bool] = None,
    token: Optional[str] = None,
) -> str:
    """Upload a saved adapter to the Hugging Face hub.

    Weights, config and model card are uploaded; checkpoints, records, predictions or whatever else lies in or around
    the folder are not. The repository is made if it is not there. Nothing is uploaded of an adapter that is not whole.

    Args:
        folder: what :func:`save_adapter` wrote, or a run's folder.
        repo_id: "owner/name", or a name alone of the token's owner.
        revision: the branch to upload to, made if it is not there; by default "main".
        private: whether a repository that is made is private; by default as the owner's settings say.
        token: with the right to write, if it is not the one of ``hf auth login`` or ``HF_TOKEN``.

    Returns:
        "owner/name@COMMIT", as :func:`load_adapter` takes it.

    Raises:
        UsageError: if the folder holds no whole adapter, or the hub refuses or cannot be reached.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi

    read_adapter(folder)
    folder, repository = adapter_folder(folder), ready_repository(repo_id, private, token)
    contents = {name: (folder / name).read_bytes() for name in sorted(ADAPTER_FILES) if (folder / name).is_file()}
    if CARD_FILE in contents:
        contents[CARD_FILE] = contents[CARD_FILE].replace(PLACE_IN_CARD.encode(), repository.encode())
    operations = [CommitOperationAdd(name, content) for name, content in contents.items()]
    with hub_errors(repository, "uploaded to"):
        api = HfApi(token=token)
        if revision is not None and revision != "main":
            api.create_branch(repository, branch=revision, exist_ok=True)
        there = {file.rfilename for file in api.model_info(repository, revision=revision).siblings or ()}
        if BESIDE_PEFT_FILE in there - contents.keys():  # of another method's adapter; it would be read first
            operations.append(CommitOperationDelete(BESIDE_PEFT_FILE))
        commit = api.create_commit(repository, operations, commit_message="Upload adapter", revision=revision)
    return f"{repository}@{commit.oid}"


def ready_repository(repo_id: str, private: Optional[bool] = None, token: Optional[str] = None) -> str:
    """Make the repository if it is not there, which also tells whether the token may; its full name.

    Raises:
        UsageError: if the hub refuses or cannot be reached.
    """
    from huggingface_hub import HfApi

    with hub_errors(repo_id, "uploaded to"):
        return HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True).repo_id
