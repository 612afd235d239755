"""The methods of the peft library with settings for a tiny BERT, and the operations that each must support."""

import copy

import torch
from helpers import logits, tiny_model, trained_a_little
from peft import PeftModel

from tensorized_adapters import (
    AdapterConfig,
    UsageError,
    adapters_off,
    add_adapters,
    load_adapter,
    merge_adapters,
    remove_adapters,
    save_adapter,
)

SETTINGS = {
    "c3a": {"block_size": 8},
    "miss": {"r": 8},
    "road": {"group_size": 8},
    "shira": {"r": 4},
    "trainable_tokens": {"token_indices": [5, 6]},
    "fourierft": {"n_frequency": 50},
    "vblora": {"vector_length": 16, "num_vectors": 8, "topk": 2, "r": 4},
    "waveft": {"n_frequency": 64},
    "osf": {"target_modules": ["query", "value"]},
    "adalora": {"total_step": 10},
}
LORA = {
    "DoRA": {"use_dora": True},
    "rsLoRA": {"use_rslora": True},
    "PiSSA": {"init_lora_weights": "pissa", "r": 4},
    "OLoRA": {"init_lora_weights": "olora", "r": 4},
}


def config_of(kind: str, **settings) -> AdapterConfig:
    return AdapterConfig(method="peft", peft_type=kind, peft_config=SETTINGS.get(kind, {}) | settings)


def is_independent_of_the_batch(model) -> bool:
    """Return whether a text has the same logits by itself and beside other texts, with padding."""
    ids, lengths = torch.randint(5, 20, (3, 9), generator=torch.Generator().manual_seed(4)), (9, 3, 6)
    mask = torch.arange(9) < torch.tensor(lengths)[:, None]
    with torch.no_grad():
        together = model.eval()(input_ids=ids.where(mask, 0), attention_mask=mask.long()).logits
        alone = torch.cat([model(input_ids=row[None, :length]).logits for row, length in zip(ids, lengths)])
    return torch.allclose(together, alone, atol=1e-5)


def life(config: AdapterConfig, folder) -> dict[str, bool]:
    """Train, compute texts together and alone, save, load with this program and with PEFT alone, switch off, merge and
    remove; return which steps worked."""
    model, found = tiny_model(), {}
    plain = copy.deepcopy(model)
    before = logits(model)
    torch.manual_seed(1)
    add_adapters(model, config)
    start = {name: p.detach().clone() for name, p in model.named_parameters() if p.requires_grad}
    trained_a_little(model)
    now = {name: p for name, p in model.named_parameters() if p.requires_grad}
    added = [name for name in now if not name.startswith("classifier")]
    found["trained"] = bool(added) and any(not torch.equal(now[name], start[name]) for name in added)
    after = logits(model)
    found["independent"] = is_independent_of_the_batch(model)
    save_adapter(model, folder)
    torch.manual_seed(2)
    found["loaded"] = torch.equal(logits(load_adapter(copy.deepcopy(plain), folder)), after)
    torch.manual_seed(3)
    try:
        found["peft"] = torch.equal(logits(PeftModel.from_pretrained(copy.deepcopy(plain), str(folder))), after)
    except Exception:  # PEFT refuses some of its own methods
        found["peft"] = False
    with adapters_off(model):
        found["off"] = torch.equal(logits(model), before)
    try:
        merge_adapters(model)
        found["merged"] = torch.allclose(logits(model), after, atol=1e-4)
    except UsageError:
        found["merged"] = False
    remove_adapters(model)
    equal = all(torch.equal(one, other) for one, other in zip(model.parameters(), plain.parameters(), strict=True))
    found["removed"] = equal and torch.equal(logits(model), before)
    return found
