"""Makes the builder with which `datasets` reads a data set, so that columns of CSV are strings, as in our reader."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Optional

import pandas as pd
import pyarrow
from datasets import ClassLabel, DatasetBuilder, load_dataset_builder
from datasets.builder import Key
from datasets.packaged_modules.csv.csv import Csv
from huggingface_hub import metadata_load

from ..errors import UsageError
from .tables import WORDS_FOR_MISSING


def builder_of(
    name: str, config: Optional[str], cache_dir: Optional[str] = None, data_files: Optional[dict[str, list]] = None
) -> DatasetBuilder:
    """Return the builder for a folder or hub id. It reads the files of a CSV data set with :func:`_csv_tables`.

    By itself pandas reads the text 007 as the number 7 and NA as a missing value. Predictions read what is written.
    """
    try:
        # The CSV builder alone takes ``converters``. The empty value only changes the key of the cache, so that no
        # table is used that `datasets` has cached with the types of pandas.
        builder = load_dataset_builder(name, config, data_files=data_files, cache_dir=cache_dir, converters={})
    except (TypeError, ValueError):
        return load_dataset_builder(name, config, data_files=data_files, cache_dir=cache_dir)
    if isinstance(builder, Csv):
        builder.config.converters = None
        by_card = any("keep_default_na" in entry for entry in _configs_of(Path(name)))
        builder.words_for_missing_by_card = by_card or builder.config.na_values is not None
        builder._generate_tables = partial(_csv_tables, builder)
    return builder


def names_files(folder: Path) -> bool:
    """Return whether the card of a folder (README.md) says which files its splits have."""
    return any("data_files" in entry or "data_dir" in entry for entry in _configs_of(folder))


def _configs_of(folder: Path) -> list[dict[str, Any]]:
    path = folder / "README.md"
    configs = (metadata_load(path) or {}).get("configs") if path.is_file() else None
    return configs if isinstance(configs, list) else []


def _csv_tables(builder: Csv, base_files: Any, files_iterables: list) -> Iterator[tuple[Key, pyarrow.Table]]:
    """Yield the tables of CSV files as ``Csv._generate_tables`` does, but of strings unless the card has types.

    In a column of texts an empty cell is an empty text. In a column of classes or numbers it is a missing value, and
    so is a word such as NA among numbers. The card may name other words for missing values.
    """
    options, types = builder.config.pd_read_csv_kwargs, builder.info.features or {}
    if types and options["header"] is None:
        options.setdefault("names", [*types])
    classes = {name for name, feature in types.items() if isinstance(feature, ClassLabel)}
    texts = {name for name, feature in types.items() if "string" in str(getattr(feature, "dtype", ""))}
    options["dtype"] = dict.fromkeys(texts | classes, str) if types else str
    if not builder.words_for_missing_by_card:
        numbers = dict.fromkeys(types.keys() - texts - classes, [*WORDS_FOR_MISSING])
        options |= {"keep_default_na": False, "na_values": numbers | dict.fromkeys(classes, [""])}
    for shard, files in enumerate(files_iterables):
        batches = (batch for file in files for batch in pd.read_csv(file, iterator=True, **options))
        for number, batch in enumerate(batches):
            if options["index_col"] is None and not isinstance(batch.index, pd.RangeIndex):
                raise UsageError("its rows have more fields than the header; name every column there")
            yield Key(shard, number), pyarrow.Table.from_pandas(batch)
