"""Factorised residual adapters (CP, Tucker, Tensor-Train, Tensor-Ring) for frozen pre-trained BERT models.

>>> from tensorized_adapters import AdapterConfig, add_adapters, save_adapter, load_adapter
>>> add_adapters(model, AdapterConfig(adapter_projection_type="cp", tensorized_layer_rank=4))
>>> save_adapter(model, "adapter")
"""

from importlib import import_module

__version__ = "0.1.0"
PROGRAM = __name__  # how records and folders say whose they are

# Resolved on first use: `run_glue_tensorized.py --help` must not pay for torch, tltorch or Trainer.
_HOME = {
    "AdapterConfig": "config",
    "Architecture": "backbone.architectures",
    "register_architecture": "backbone.architectures",
    "UsageError": "errors",
    "RunFailed": "errors",
    "add_adapters": "saving.pretrained",
    "remove_adapters": "adaptation.lifecycle",
    "adapters_off": "adaptation.lifecycle",
    "merge_adapters": "adaptation.lifecycle",
    "unmerge_adapters": "adaptation.lifecycle",
    "updates_off": "adaptation.lifecycle",
    "compress_adapter": "compressing.decompose",
    "count_trained": "adaptation.parameters",
    "optimizer_groups": "adaptation.parameters",
    "UnfactoredAdafactor": "training.adafactor",
    "save_adapter": "saving.save",
    "load_adapter": "saving.load",
    "save_adapters": "saving.all_named",
    "load_adapters": "saving.all_named",
    "push_adapter": "saving.push",
    "set_adapter": "adaptation.named",
    "active_adapter": "adaptation.named",
    "adapter_names": "adaptation.named",
    "adapter_summary": "adaptation.summary",
    "delete_adapter": "adaptation.named",
    "load_pipeline": "predicting.pipeline",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
