"""Trains a tiny model by the main job, and prints the resident memory every 200 steps and its slope.

The first half of the readings is left out of the slope: allocators and caches fill up there.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("HF_HUB_OFFLINE", "1")

import numpy as np
from transformers import AutoTokenizer, BertConfig, BertModel, TrainerCallback, trainer

from run_glue_tensorized import main as run_main
from tensorized_adapters.cli.parser import ScriptParser
from tensorized_adapters.embedded import embedded_model
from tensorized_adapters.errors import UsageError
from tensorized_adapters.runtime.exits import run_program

DATA = Path(__file__).resolve().parents[2] / "data" / "paraphrases"


class Readings(TrainerCallback):
    """The process's resident memory in MB, at every ``every``-th step."""

    every, taken = 200, []  # of the class, since the Trainer makes the object

    def on_step_end(self, args, state, control, **kwargs) -> None:
        if state.global_step % self.every == 0:
            pages = int(Path("/proc/self/statm").read_text().split()[1])
            self.taken.append((state.global_step, pages * os.sysconf("SC_PAGE_SIZE") / 1e6))


def main(argv: list[str]) -> int:
    parser = ScriptParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--method", default="tensorized", help="as of the main job; its other flags are the defaults")
    arguments = parser.parse_args(argv)
    if arguments.steps < 4 * Readings.every:
        raise UsageError(f"--steps must be at least {4 * Readings.every} for a slope, got {arguments.steps}")
    base = embedded_model()
    trainer.DEFAULT_CALLBACKS.append(Readings)
    with tempfile.TemporaryDirectory() as folder:
        tokenizer = AutoTokenizer.from_pretrained(base)
        tokenizer.save_pretrained(f"{folder}/model")
        sizes = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        BertModel(BertConfig(vocab_size=len(tokenizer), **sizes)).save_pretrained(f"{folder}/model")
        every = arguments.steps // 4  # evaluations and checkpoints, whose memory is to be given back too
        words = f"""--model_name_or_path {folder}/model --output_dir {folder}/run --method {arguments.method}
            --train_file {DATA / "train.csv"} --validation_file {DATA / "validation.csv"} --do_train --do_eval
            --max_steps {arguments.steps} --per_device_train_batch_size 8 --max_eval_samples 256 --disable_tqdm True
            --eval_strategy steps --eval_steps {every} --save_strategy steps --save_steps {every}"""
        if arguments.method == "tensorized":
            words += " --adapter_projection_type cp --tensorized_layer_rank 4"
        if code := run_main(words.split()):
            return code
    steps, resident = np.array(Readings.taken).T
    for step, value in Readings.taken:
        print(f"step {step:>6}: {value:8.1f} MB resident")
    half = len(steps) // 2
    slope = np.polyfit(steps[half:], resident[half:], 1)[0]
    print(f"slope of the second half: {1000 * slope:+.2f} MB per 1,000 steps")
    return 0


if __name__ == "__main__":
    run_program(main)
