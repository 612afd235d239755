"""Shares an adapter on the hub: uploads the adapter's own files as one commit, and no others in its folder."""

import tempfile
from pathlib import Path
from typing import Optional

from huggingface_hub import HfApi

from . import ADAPTER_FILES, BESIDE_PEFT_FILE, CARD_FILE
from .hub import adapter_folder, hub_errors
from .manifest import read_adapter
from .model_card import FOLDER_PLACEHOLDER


def push_adapter(
    folder: str | Path,
    repo_id: str,
    *,
    revision: Optional[str] = None,
    private: Optional[bool] = None,
    token: Optional[str] = None,
) -> str:
    """Upload a saved adapter to the Hugging Face hub.

    Weights, config and model card are uploaded; checkpoints, records, predictions and other files in or around the
    folder are not. The repository is made if it does not exist. A damaged adapter is not uploaded.

    Args:
        folder: a folder that :func:`save_adapter` wrote, or a run's folder.
        repo_id: "owner/name", or a name alone, which then belongs to the token's owner.
        revision: the branch to upload to, made if it does not exist; by default "main".
        private: whether a repository that is made is private; by default as the owner's settings say.
        token: with the right to write, if it is not the one of ``hf auth login`` or ``HF_TOKEN``.

    Returns:
        "owner/name@COMMIT", as :func:`load_adapter` takes it.

    Raises:
        UsageError: if the folder holds no complete adapter, or the hub refuses or cannot be reached.
    """
    read_adapter(folder)
    folder, repository = adapter_folder(folder).resolve(), ready_repository(repo_id, private, token)
    with tempfile.TemporaryDirectory() as upload:
        for path in (folder / name for name in ADAPTER_FILES if (folder / name).is_file()):
            if path.name == CARD_FILE:  # the card names the repository instead of a folder
                text = path.read_text(encoding="utf-8").replace(FOLDER_PLACEHOLDER, repository)
                (Path(upload) / CARD_FILE).write_text(text, encoding="utf-8")
            else:
                (Path(upload) / path.name).symlink_to(path)
        with hub_errors(repository, "uploaded to"):
            api = HfApi(token=token)
            if revision is not None and revision != "main":
                api.create_branch(repository, branch=revision, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository,
                folder_path=upload,
                revision=revision,
                delete_patterns=BESIDE_PEFT_FILE,  # an older adapter may have left it, and it would be read first
                commit_message="Upload adapter",
            )
    return f"{repository}@{commit.oid}"


def ready_repository(repo_id: str, private: Optional[bool], token: Optional[str]) -> str:
    """Return the full name of the repository, which is made if it does not exist. Raise UsageError if the hub cannot
    be reached or refuses, for example because the token may not write."""
    with hub_errors(repo_id, "uploaded to"):
        return HfApi(token=token).create_repo(repo_id, private=private, exist_ok=True).repo_id
