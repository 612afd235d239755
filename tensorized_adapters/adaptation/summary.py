"""A table of the adapters on a model."""

from transformers import PreTrainedModel

from .named import active_adapter, adapter_names, adapter_set
from .parameters import adaptation_of, count_trained, unwrapped


def adapter_summary(model: PreTrainedModel) -> str:
    """One line for each adapter: name, method, trained parameters, their percentage of the model, and whether the
    model computes with it. An adapter without a name is called "-".

    Raises:
        UsageError: if the model is not adapted.
    """
    model = unwrapped(model)
    active, names = active_adapter(model), adapter_names(model)
    rows = [("name", "method", "parameters", "percent", "active")]
    for name in names or [None]:
        if not names or name == active:
            rows.append(_row(model, name or "-", "yes"))
        else:
            with adapter_set(model, name):
                rows.append(_row(model, name, "no"))
    widths = [max(map(len, column)) for column in zip(*rows)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)


def _row(model: PreTrainedModel, name: str, active: str) -> tuple[str, ...]:
    method, counts = adaptation_of(model).config.describe(), count_trained(model)
    return name, method, f"{counts['trained']:,}", f"{100 * counts['trained'] / counts['model']:.4f}", active
