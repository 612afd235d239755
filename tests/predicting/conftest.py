"""Runs of three kinds, whose evaluations the predictions are compared with."""

import pytest
from helpers import argv, pairs, save_base, tiny_config, write_rows

from run_glue_tensorized import main as run_glue


@pytest.fixture(scope="package")
def folders(tmp_path_factory):
    """Make a folder with a base model that may be moved, and with runs of three kinds on 40 rows."""
    root = tmp_path_factory.mktemp("predict")
    # Wide enough that the outputs differ from text to text.
    base = save_base(root / "base", config=tiny_config(initializer_range=0.5))
    rows = pairs(40, 5)
    flags = {"model_name_or_path": base, "do_train": True, "do_eval": True, "num_train_epochs": 1, "cpu_threads": 1}
    flags |= {"per_device_train_batch_size": 8, "disable_tqdm": True, "learning_rate": 0.02, "max_seq_length": 9}
    bottleneck = {"adapter_projection_type": "cp", "tensorized_layer_rank": 2, "adapter_size": 8}
    header, scores = ("sentence1", "sentence2", "label", "idx"), [(a, b, n / 7, n) for a, b, _, n in rows]
    words = [(i, a, ("no", "yes, surely")[label]) for a, _, label, i in rows]
    kinds = {
        "pairs": (rows, header, bottleneck),
        "single": (words, ("idx", "text", "label"), {"method": "lora", "lora_r": 2}),
        "scores": (scores, header, {"method": "diff_pruning", "diff_sparsity": 0.01}),
    }
    for name, (data, columns, method) in kinds.items():
        file = write_rows(root / f"{name}.csv", data, columns)
        given = {"train_file": file, "validation_file": file, "output_dir": root / name}
        assert run_glue(argv(flags | method | given)) == 0
    return root
