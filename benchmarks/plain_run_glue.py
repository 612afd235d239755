"""The baseline of benchmarks/end_to_end.py: a task trained with the Trainer's defaults, as run_glue trains it.

Full fine-tuning or PEFT's LoRA, every example padded to --max_seq_length, batches in random order, no checkpoints.
It prints the evaluation's metrics as one line of JSON.
"""

import argparse
import json
import os
import sys

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import torch
from datasets import load_dataset
from peft import LoraConfig, TaskType, get_peft_model
from transformers import (
    AutoModelForSequenceClassification,
    AutoTokenizer,
    Trainer,
    TrainingArguments,
    default_data_collator,
    set_seed,
)

from tensorized_adapters.data.metrics import GlueMetric, predictions_of
from tensorized_adapters.data.tasks import TASKS

LEARNING_RATES = {"full": 5e-5, "lora": 1e-3}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--method", choices=tuple(LEARNING_RATES), required=True)
    parser.add_argument("--model_name_or_path", required=True)
    parser.add_argument("--glue_path", required=True, help="a folder of parquet files, laid out like the hub's")
    parser.add_argument("--task_name", required=True)
    parser.add_argument("--output_dir", required=True)
    parser.add_argument("--max_seq_length", type=int, default=128)
    parser.add_argument("--max_train_samples", type=int)
    parser.add_argument("--num_train_epochs", type=float, default=1.0)
    parser.add_argument("--per_device_train_batch_size", type=int, default=8)
    parser.add_argument("--cpu_threads", type=int)
    arguments = parser.parse_args()
    if arguments.cpu_threads:
        torch.set_num_threads(arguments.cpu_threads)
    set_seed(42)

    task = TASKS[arguments.task_name]
    folder = f"{arguments.glue_path}/{arguments.task_name}"
    data = load_dataset(
        "parquet", data_files={split: f"{folder}/{split}-*.parquet" for split in ("train", "validation")}
    )
    if arguments.max_train_samples:
        data["train"] = data["train"].select(range(min(arguments.max_train_samples, len(data["train"]))))
    tokenizer = AutoTokenizer.from_pretrained(arguments.model_name_or_path)
    model = AutoModelForSequenceClassification.from_pretrained(
        arguments.model_name_or_path, num_labels=1 if task.labels is None else len(task.labels)
    )
    if arguments.method == "lora":
        model = get_peft_model(model, LoraConfig(task_type=TaskType.SEQ_CLS, r=8, lora_alpha=16))

    def encode(examples):
        texts = [examples[column] for column in task.texts]
        return tokenizer(*texts, padding="max_length", max_length=arguments.max_seq_length, truncation=True)

    data = data.map(encode, batched=True)
    metric = GlueMetric(task)

    def compute(output):
        logits = output.predictions[0] if isinstance(output.predictions, tuple) else output.predictions
        return metric.compute(predictions=predictions_of(logits, task), references=output.label_ids)

    trainer = Trainer(
        model=model,
        args=TrainingArguments(
            output_dir=arguments.output_dir,
            learning_rate=LEARNING_RATES[arguments.method],
            num_train_epochs=arguments.num_train_epochs,
            per_device_train_batch_size=arguments.per_device_train_batch_size,
            save_strategy="no",
            report_to="none",
            disable_tqdm=True,
        ),
        train_dataset=data["train"],
        eval_dataset=data["validation"],
        compute_metrics=compute,
        data_collator=default_data_collator,
        processing_class=tokenizer,
    )
    trainer.train()
    print(json.dumps(trainer.evaluate()))


if __name__ == "__main__":
    sys.exit(main())
