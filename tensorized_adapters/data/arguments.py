"""Defines the flags that choose the data and how it is tokenised."""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Optional

from ..config import setting
from ..errors import UsageError, did_you_mean, quoted
from .tasks import TASKS

FILE_FLAGS = ("train_file", "validation_file", "test_file")
FILE_ENDINGS = (".csv", ".tsv", ".json", ".jsonl")
SPLIT_FLAGS = ("train_split_name", "validation_split_name", "test_split_name")
# Flags about columns and labels, for data that is not a GLUE task: the columns and labels of GLUE are known.
_OTHER_DATA_FLAGS = ("text_columns", "text_column_delimiter", "label_column", "do_regression", "label_separator")


def words_between_commas(text: str, flag: str, advice: str) -> list[str]:
    """Return the words of a flag's value, without blanks at their ends. A word with a comma stands in double quotes,
    as in CSV. Raise UsageError, with the advice, if a quote is not closed."""
    try:
        return [word.strip() for word in next(csv.reader([text], strict=True, skipinitialspace=True))]
    except csv.Error:
        raise UsageError(f"--{flag} {quoted(text)} cannot be read; {advice}") from None


def ending_of(path: str) -> str:
    """Return the ending that gives the format of a file, in any case. A last ``.gz`` means that it is compressed."""
    return Path(path.lower().removesuffix(".gz")).suffix


@dataclass
class DataTrainingArguments:
    """Choose the data, and how it is tokenised; raise UsageError for flags that contradict each other."""

    _argument_group_name = "data arguments"

    task_name: Optional[str] = setting(None, f"GLUE task: {', '.join(TASKS)}.")
    glue_path: str = setting(
        "nyu-mll/glue", "Hub id of GLUE, or a local folder of its layout or that of GLUE's server."
    )
    dataset_name: Optional[str] = setting(None, "Any other data set: hub id or local folder.")
    dataset_config_name: Optional[str] = setting(None, "Configuration of --dataset_name.")
    max_seq_length: int = setting(128, "Longer inputs are truncated, shorter ones padded to their batch's longest.")
    overwrite_cache: bool = setting(False, "Make the files again that `datasets` has cached. Tokens are never cached.")
    pad_to_max_length: bool = setting(False, "Pad everything to --max_seq_length, as the published code does.")
    max_train_samples: Optional[int] = setting(None, "Train on this many examples, drawn by the seed.")
    shuffle_train_dataset: Optional[bool] = setting(
        None,
        "Shuffle the training set by the seed, before --max_train_samples takes the first rows. On by default "
        "if --max_train_samples is given.",
        nargs="?",  # alone it means True, as for other flags of Hugging Face
        const=True,
    )
    max_eval_samples: Optional[int] = setting(
        None, "Evaluate the first N rows; of --validation_fraction, N that the seed draws."
    )
    max_predict_samples: Optional[int] = setting(None, "Predict the first N rows.")
    train_file: Optional[str] = setting(
        None, "CSV, TSV or JSON lines, also .gz, with the columns of --task_name, or text columns and 'label'."
    )
    validation_file: Optional[str] = setting(None, "The file that --do_eval evaluates, in the same formats.")
    test_file: Optional[str] = setting(
        None, "The file that --do_predict predicts, in the same formats; labels are optional."
    )

    text_columns: Optional[str] = setting(
        None,
        "Columns of a file or of --dataset_name that are the text: A, a pair A,B, or more, which are joined; a "
        "name with a comma is quoted.",
        aliases=["--text_column_names", "--text-column-names"],  # run_classification's name
    )
    text_column_delimiter: Optional[str] = setting(
        None,
        "Join the text columns to one text with this delimiter. Without the flag, two columns are a pair, and three "
        "or more are joined by a space.",
    )
    label_column: Optional[str] = setting(
        None,
        "Column of the labels in a file or in --dataset_name (default: label).",
        aliases=["--label_column_name", "--label-column-name"],
    )
    do_regression: bool = setting(False, "The labels are scores, even if they are integers (not with --task_name).")
    label_separator: Optional[str] = setting(
        None,
        "Separator of a text's labels in CSV and TSV, such as ';', for texts with several labels. Lists in JSON are "
        "read as several labels without the flag.",
    )
    train_split_name: Optional[str] = setting(None, "The split of --dataset_name to train on (default: train).")
    validation_split_name: Optional[str] = setting(None, "The split that --do_eval evaluates (default: validation).")
    test_split_name: Optional[str] = setting(None, "The split that --do_predict predicts (default: test).")
    validation_fraction: Optional[float] = setting(
        None,
        "For data without a development set: evaluate on this part of the training set, which the seed draws, "
        "and train on the rest.",
    )
    preprocessing_num_workers: Optional[int] = setting(None, "Processes that tokenise the data, one by default.")

    @property
    def texts(self) -> Optional[tuple[str, ...]]:
        """Return the names in ``text_columns``. A name with a comma is written in double quotes, as in CSV."""
        if self.text_columns is None:
            return None
        advice = "a name with a comma stands in double quotes, as in '\"A, B\",C'"
        return tuple(words_between_commas(self.text_columns, "text_columns", advice))

    @property
    def files(self) -> dict[str, str]:
        """Return the path of each data file that was given, by its flag."""
        return {flag: path for flag in FILE_FLAGS if (path := getattr(self, flag))}

    @property
    def shuffles(self) -> bool:
        """Return whether the training set is shuffled before it is cut, since a file may be sorted by label."""
        return self.max_train_samples is not None if self.shuffle_train_dataset is None else self.shuffle_train_dataset

    def __post_init__(self) -> None:
        if self.task_name is not None:
            self.task_name = self.task_name.lower()
            if self.task_name not in TASKS:
                known = "; ".join(filter(None, [", ".join(TASKS), did_you_mean(self.task_name, TASKS)]))
                raise UsageError(f"--task_name {self.task_name!r} is unknown; the tasks are {known}")
        for flag in _OTHER_DATA_FLAGS:
            if self.task_name and getattr(self, flag) not in (None, False):
                columns = ", ".join(TASKS[self.task_name].texts)
                raise UsageError(f"--{flag} excludes --task_name, whose columns are {columns} and label")
        for flag in SPLIT_FLAGS:
            if getattr(self, flag) is not None and not self.dataset_name:
                raise UsageError(f"--{flag} names a split of --dataset_name; give both or neither")
        if self.label_column is not None and not self.label_column.strip():
            raise UsageError("--label_column is empty; name a column or leave it out")
        texts = self.texts or ()
        if not (all(texts) and len(set(texts)) == len(texts)):
            raise UsageError(
                f"--text_columns must be columns of different names, A or A,B or more, got {quoted(self.text_columns)}"
            )
        if {"label", self.label_column} & set(texts):
            raise UsageError(f"--text_columns {self.text_columns} holds the label's column; name texts only")
