"""The flags that name the pre-trained model."""

from dataclasses import dataclass, field
from typing import Literal, Optional


@dataclass
class ModelArguments:
    """Flags for the pre-trained model, its config and its tokenizer."""

    _argument_group_name = "model arguments"

    model_name_or_path: Optional[str] = field(
        default=None, metadata={"help": "Folder of a pre-trained model, or its id on the Hugging Face hub."}
    )
    config_name: Optional[str] = field(default=None, metadata={"help": "Config, if it is not the model's own."})
    tokenizer_name: Optional[str] = field(default=None, metadata={"help": "Tokenizer, if it is not the model's own."})
    cache_dir: Optional[str] = field(default=None, metadata={"help": "Where downloads are kept."})
    use_fast_tokenizer: bool = field(default=True, metadata={"help": "Use a Rust tokenizer where there is one."})
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit id of the model."})
    token: Optional[str] = field(default=None, metadata={"help": "Bearer token for private models on the hub."})
    trust_remote_code: bool = field(
        default=False,
        metadata={"help": "Run the model repository's own code. Unsupported architectures stay refused."},
    )
    attn_implementation: Optional[Literal["eager", "sdpa", "flash_attention_2"]] = field(
        default=None,
        metadata={
            "help": "How attention is computed (default: sdpa where the architecture has it, else eager). "
            "flash_attention_2 needs a GPU, the package flash-attn, and --bf16 or --fp16."
        },
    )
    ignore_mismatched_sizes: bool = field(
        default=False, metadata={"help": "Draw a new head where the checkpoint's has another number of labels."}
    )
