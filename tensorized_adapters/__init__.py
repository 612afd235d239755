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
    "Architecture": "rows",
    "register_architecture": "rows",
    "UsageError": "errors",
    "RunFailed": "errors",
    "add_adapters": "methods.verbs",
    "remove_adapters": "methods.verbs",
    "adapters_off": "methods.verbs",
    "merge_adapters": "methods.merging",
    "unmerge_adapters": "methods.merging",
    "updates_off": "methods.verbs",
    "compress_adapter": "methods.compression",
    "count_trained": "methods.parameters",
    "optimizer_groups": "methods.parameters",
    "save_adapter": "saving.adapter",
    "load_adapter": "saving.adapter",
    "push_adapter": "saving.upload",
    "set_adapter": "methods.named",
    "active_adapter": "methods.named",
    "adapter_names": "methods.named",
    "delete_adapter": "methods.named",
    "load_pipeline": "predicting.pipeline",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_HOME])
