"""The flags that name the pre-trained model."""

from dataclasses import dataclass
from typing import Literal, Optional

from ..config import setting


@dataclass
class ModelArguments:
    """Flags for the pre-trained model, its config and its tokenizer."""

    _argument_group_name = "model arguments"

    model_name_or_path: Optional[str] = setting(
        None, "Folder of a pre-trained model, or its id on the Hugging Face hub."
    )
    config_name: Optional[str] = setting(None, "Config, if it is not the model's own.")
    tokenizer_name: Optional[str] = setting(None, "Tokenizer, if it is not the model's own.")
    cache_dir: Optional[str] = setting(None, "Where downloads are kept.")
    use_fast_tokenizer: bool = setting(True, "Use a Rust tokenizer where there is one.")
    model_revision: str = setting("main", "Branch, tag or commit id of the model.")
    token: Optional[str] = setting(None, "Bearer token for private models on the hub.")
    trust_remote_code: bool = setting(
        False, "Run the model repository's own code. Unsupported architectures stay refused."
    )
    attn_implementation: Optional[Literal["eager", "sdpa", "flash_attention_2"]] = setting(
        None,
        "How attention is computed (default: sdpa where the architecture has it, else eager). "
        "flash_attention_2 needs a GPU, the package flash-attn, and --bf16 or --fp16.",
    )
    ignore_mismatched_sizes: bool = setting(
        False, "As in run_glue. A head for another number of labels is replaced without it too, and a note says so."
    )
