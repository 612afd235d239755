"""Helpers of the tests of tensorized-adapters report."""

import csv
import json


def put(folder, real, score, seed=1, task="mrpc", method=None, trained=None, metric=None, **arguments):
    """Write a copy of the real record with these changes. Rank and format in ``arguments`` name the method."""
    record = json.loads(json.dumps(real))
    record.pop("one_class", None)  # of the real one's own predictions, which are not these scores
    record.pop("collapsed_at_step", None)
    record.pop("classes", None)
    record["seed"] = record["arguments"]["seed"] = seed
    data = {"train_file": None, "validation_file": None, "input_sha256": {}}  # as if the task's own
    record["arguments"] |= data | {"task_name": task} | arguments
    kind, rank = record["arguments"]["adapter_projection_type"], record["arguments"]["tensorized_layer_rank"]
    record |= {"task": task, "method": method or f"{kind}-{rank}"}
    record["primary_metric"] = metric or {"mrpc": "f1", "rte": "accuracy"}[task]
    key = f"eval_{record['primary_metric']}"
    record["metrics"][key] = score
    record["history"] = [{"epoch": 1.0, "step": 6, key: score + 0.02}, {"epoch": 2.0, "step": 12, key: score}]
    record["parameters"]["trained"] = trained or record["parameters"]["trained"]
    folder.mkdir(parents=True)
    (folder / "run.json").write_text(json.dumps(record))
    return record


def scores(out):
    with open(out / "scores.csv") as file:
        return {(row["method"], row["task"]): row for row in csv.DictReader(file)}
