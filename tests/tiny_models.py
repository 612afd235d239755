"""A tiny model of each architecture and a configuration of each method, and which of them fit each other."""

import torch
import transformers

from tensorized_adapters import AdapterConfig

TINY = {
    "vocab_size": 40,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
}


DEBERTA_V3 = {
    "relative_attention": True,
    "position_buckets": 16,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
}


MODERNBERT = {"cls_token_id": 1, "sep_token_id": 2, "bos_token_id": 1, "eos_token_id": 2, "num_hidden_layers": 2}
MODERNBERT |= {"global_attn_every_n_layers": 2, "local_attention": 8}


GPT2 = {"bos_token_id": 1, "eos_token_id": 2}


# Architecture -> (config class, changes, LayerNorms of the base model).
MODELS = {
    "bert": (transformers.BertConfig, {}, 5),
    "roberta": (transformers.RobertaConfig, {}, 5),
    "xlm-roberta": (transformers.XLMRobertaConfig, {}, 5),
    "camembert": (transformers.CamembertConfig, {}, 5),
    "electra": (transformers.ElectraConfig, {"embedding_size": 16}, 5),
    "ernie": (transformers.ErnieConfig, {}, 5),
    "deberta": (transformers.DebertaConfig, {"relative_attention": True, "pos_att_type": ["c2p", "p2c"]}, 5),
    "deberta-v2": (transformers.DebertaV2Config, DEBERTA_V3, 6),
    "distilbert": (transformers.DistilBertConfig, {"hidden_dim": 64}, 5),
    "albert": (transformers.AlbertConfig, {"embedding_size": 16, "num_hidden_groups": 2, "num_hidden_layers": 4}, 5),
    "mpnet": (transformers.MPNetConfig, {}, 5),
    "modernbert": (transformers.ModernBertConfig, MODERNBERT, 5),
    "gpt2": (transformers.GPT2Config, GPT2, 5),
    "llama": (transformers.LlamaConfig, GPT2, 5),
    "qwen2": (transformers.Qwen2Config, GPT2 | {"num_key_value_heads": 1}, 5),
    "qwen3": (transformers.Qwen3Config, GPT2 | {"num_key_value_heads": 1, "head_dim": 16}, 9),
}


def build(name):
    kind, changes, norms = MODELS[name]
    torch.manual_seed(0)
    config = kind(**(TINY | changes), num_labels=3)
    return transformers.AutoModelForSequenceClassification.from_config(config).eval(), norms


CONFIGS = {
    "tensorized": AdapterConfig(adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8),
    "interleaved": AdapterConfig(
        adapter_projection_type="tr", tensorized_layer_rank=2, adapter_size=8, tensor_split="interleaved"
    ),
    "joint": AdapterConfig(
        adapter_projection_type="tt", tensorized_layer_rank=2, adapter_size=8, tensor_scope="model"
    ),
    "parallel": AdapterConfig(
        adapter_projection_type="cp", tensorized_layer_rank=2, adapter_size=8, adapter_placement="parallel"
    ),
    "weights": AdapterConfig(
        adapter_projection_type="tt", tensorized_layer_rank=2, adapter_placement="weights", lora_targets=None
    ),
    "weights, joint": AdapterConfig(
        adapter_projection_type="cp", tensorized_layer_rank=2, adapter_placement="weights", tensor_scope="model"
    ),
    "dense": AdapterConfig(method="dense", adapter_size=8),
    "compacter": AdapterConfig(method="compacter", adapter_size=8),
    "compacter++": AdapterConfig(method="compacter", adapter_size=8, adapter_sites="ffn", phm_dim=2),
    "bitfit": AdapterConfig(method="bitfit"),
    "bitfit, two terms": AdapterConfig(method="bitfit", bitfit_terms="query_and_intermediate"),
    "layer_norm": AdapterConfig(method="layer_norm"),
    "head": AdapterConfig(method="head"),
    "lora": AdapterConfig(method="lora", lora_r=2),
    "ia3": AdapterConfig(method="ia3"),
    "peft": AdapterConfig(method="peft", peft_type="vera", peft_config={"r": 4}),
    "diff_pruning": AdapterConfig(method="diff_pruning", diff_sparsity=0.01),
    "diff_pruning, unstructured": AdapterConfig(method="diff_pruning", diff_sparsity=0.01, diff_structured=False),
    "full": AdapterConfig(method="full"),
}


# ModernBERT, Llama and Qwen3 have no biases; ModernBERT, DeBERTa and GPT-2 one layer for queries, keys and values.
REFUSED = [(name, key) for name in ("modernbert", "llama", "qwen3") for key in ("bitfit", "bitfit, two terms")]
REFUSED += [(name, "ia3") for name in ("modernbert", "deberta", "gpt2")]
COMBINATIONS = [(name, key) for name in MODELS for key in CONFIGS if (name, key) not in REFUSED]
