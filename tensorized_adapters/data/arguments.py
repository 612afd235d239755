"""The flags that say which data, and how it is tokenised."""

import difflib
from dataclasses import dataclass, field
from typing import Optional

from ..errors import UsageError
from .tasks import TASKS

FILE_FLAGS = ("train_file", "validation_file", "test_file")


@dataclass
class DataTrainingArguments:
    """Which data, and how it is tokenised.

    Raises:
        UsageError: for a task that is none of the nine, whose names may be in capitals.
    """

    _argument_group_name = "data arguments"

    task_name: Optional[str] = field(default=None, metadata={"help": f"GLUE task: {', '.join(TASKS)}."})
    glue_path: str = field(
        default="nyu-mll/glue", metadata={"help": "Hub id of GLUE, or a local folder of the same layout."}
    )
    dataset_name: Optional[str] = field(default=None, metadata={"help": "Any other data set: hub id or local folder."})
    dataset_config_name: Optional[str] = field(default=None, metadata={"help": "Configuration of --dataset_name."})
    max_seq_length: int = field(
        default=128, metadata={"help": "Longer inputs are truncated, shorter ones padded to their batch's longest."}
    )
    overwrite_cache: bool = field(
        default=False,
        metadata={"help": "Make the files that `datasets` has cached of the data anew; tokens always are."},
    )
    pad_to_max_length: bool = field(
        default=False, metadata={"help": "Pad everything to --max_seq_length, as the published code does."}
    )
    max_train_samples: Optional[int] = field(default=None, metadata={"help": "Truncate the training set."})
    max_eval_samples: Optional[int] = field(default=None, metadata={"help": "Truncate the evaluation set."})
    max_predict_samples: Optional[int] = field(default=None, metadata={"help": "Truncate the prediction set."})
    train_file: Optional[str] = field(
        default=None,
        metadata={"help": "CSV, TSV or JSON lines with the columns of --task_name, or text columns and 'label'."},
    )
    validation_file: Optional[str] = field(default=None, metadata={"help": "Likewise, for --do_eval."})
    test_file: Optional[str] = field(default=None, metadata={"help": "Likewise, for --do_predict; labels optional."})

    def __post_init__(self) -> None:
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in TASKS:
                near = difflib.get_close_matches(self.task_name, TASKS, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"--task_name {self.task_name!r} is unknown; the tasks are {', '.join(TASKS)}{hint}")
