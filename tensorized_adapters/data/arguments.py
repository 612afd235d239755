"""The flags that say which data, and how it is tokenised."""

import csv
import difflib
from dataclasses import dataclass, field
from typing import Optional

from ..errors import UsageError, quoted
from .tasks import TASKS

FILE_FLAGS = ("train_file", "validation_file", "test_file")


@dataclass
class DataTrainingArguments:
    """Which data, and how it is tokenised.

    Raises:
        UsageError: for a task that is none of the nine, whose names may be in capitals, and for columns that cannot
            be.
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
    max_train_samples: Optional[int] = field(
        default=None, metadata={"help": "Train on so many examples, which the seed draws."}
    )
    shuffle_train_dataset: Optional[bool] = field(
        default=None,
        metadata={
            "help": "Shuffle the training set by the seed, before --max_train_samples takes the first rows. On by "
            "default if --max_train_samples is given.",
            "nargs": "?",  # alone it means True, as for other flags of Hugging Face
            "const": True,
        },
    )
    max_eval_samples: Optional[int] = field(default=None, metadata={"help": "Truncate the evaluation set."})
    max_predict_samples: Optional[int] = field(default=None, metadata={"help": "Truncate the prediction set."})
    train_file: Optional[str] = field(
        default=None,
        metadata={"help": "CSV, TSV or JSON lines with the columns of --task_name, or text columns and 'label'."},
    )
    validation_file: Optional[str] = field(default=None, metadata={"help": "Likewise, for --do_eval."})
    test_file: Optional[str] = field(default=None, metadata={"help": "Likewise, for --do_predict; labels optional."})

    text_columns: Optional[str] = field(
        default=None,
        metadata={
            "help": "One or two columns of a file or of --dataset_name that are the text: A or A,B; "
            "a name with a comma is quoted."
        },
    )
    label_column: Optional[str] = field(
        default=None, metadata={"help": "The column of the labels there, 'label' by default."}
    )

    @property
    def texts(self) -> Optional[tuple[str, ...]]:
        """The names in ``text_columns``, where a name with a comma stands in double quotes, as in CSV.

        Raises:
            UsageError: for a quote that is not closed.
        """
        if self.text_columns is None:
            return None
        try:
            names = next(csv.reader([self.text_columns], strict=True, skipinitialspace=True), [""])
        except csv.Error:
            raise UsageError(
                f"--text_columns {self.text_columns} cannot be read; a name with a comma stands in double quotes, as "
                "in '\"A, B\",C'"
            ) from None
        return tuple(name.strip() for name in names)

    @property
    def shuffles(self) -> bool:
        """Whether the training set is shuffled: the first rows of a file that is sorted by label are no sample."""
        return self.max_train_samples is not None if self.shuffle_train_dataset is None else self.shuffle_train_dataset

    def __post_init__(self) -> None:
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in TASKS:
                near = difflib.get_close_matches(self.task_name, TASKS, 1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise UsageError(f"--task_name {self.task_name!r} is unknown; the tasks are {', '.join(TASKS)}{hint}")
        self._check_columns()

    def _check_columns(self) -> None:
        for flag in ("text_columns", "label_column"):
            if getattr(self, flag) is not None and self.task_name:
                columns = ", ".join(TASKS[self.task_name].texts)
                raise UsageError(f"--{flag} excludes --task_name, whose columns are {columns} and label")
        if self.label_column is not None and not self.label_column.strip():
            raise UsageError("--label_column is empty; name a column or leave it out")
        if self.texts is None:
            return
        if not (all(self.texts) and len(set(self.texts)) == len(self.texts) <= 2):
            hint = "; a name with a comma stands in double quotes" if all(self.texts) and len(self.texts) > 2 else ""
            raise UsageError(
                f"--text_columns must be one or two columns, A or A,B, got {quoted(self.text_columns)}{hint}"
            )
        if {"label", self.label_column} & set(self.texts):
            raise UsageError(f"--text_columns {self.text_columns} holds the label's column; name texts only")
