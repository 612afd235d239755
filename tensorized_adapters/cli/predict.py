"""Label texts with a saved adapter: a file or standard input in, one line for each row out, in the same order.

The base model, the text columns, the names of the labels and the length come from the adapter's folder. Input of any
length is read, computed and written in windows of 50 batches. TSV or JSON lines go to --output, TSV to standard
output; messages go to standard error.
"""

import argparse
import contextlib
import sys
from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, positive_integer
from tensorized_adapters.errors import RunFailed
from tensorized_adapters.predicting import FORMATS


def main(argv: list[str]) -> int:
    """Predict; raise what :func:`predict` does, except BrokenPipeError."""
    parser = ScriptParser(__doc__)
    places = "a saved adapter/ folder, a run's folder, or owner/name[@revision] on the Hugging Face hub"
    parser.add_argument("--adapter_path", required=True, help=places)
    parser.add_argument("--input", type=Path, default=Path("-"), help="CSV, TSV, JSON lines or text (default: stdin)")
    parser.add_argument("--output", type=Path, help="write to this file, .tsv or .jsonl, instead of standard output")
    parser.add_argument("--overwrite", action="store_true", help="replace an existing --output")
    guess = "by the file's ending; of standard input by its first line"
    text = "text has the columns between tabs, without a header"
    parser.add_argument("--format", choices=FORMATS, help=f"format of the input ({guess}); {text}")
    parser.add_argument("--text_columns", metavar="A[,B]", help="the input's text columns (default: as in training)")
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    parser.add_argument("--tokenizer_name", help="its tokenizer, if not the model's own (default: as in training)")
    cut = "longer inputs are truncated (default: as in training)"
    parser.add_argument("--max_seq_length", type=positive_integer, help=cut)
    parser.add_argument("--batch_size", type=positive_integer, default=64, help="rows at a time (default: 64)")
    arguments = parser.parse_args(argv)
    with (
        contextlib.redirect_stdout(sys.stderr),  # standard output is for predictions
        contextlib.suppress(BrokenPipeError),  # the reader has ended, as in `| head`
    ):
        predict(arguments)
    return 0


def predict(arguments: argparse.Namespace) -> None:
    """Check everything that needs no model, then load the model and predict the input. Predictions before a refused
    line stay on standard output. Raise BrokenPipeError if its reader has ended."""
    path = None if str(arguments.input) == "-" else arguments.input
    if arguments.output:
        from tensorized_adapters.predicting.output import check_destination

        check_destination(arguments.output, arguments.overwrite, path)
    # Imported step by step, so that a wrong folder or file is refused before Transformers' models are imported.
    from tensorized_adapters.predicting.rows import text_columns, text_rows
    from tensorized_adapters.saving.hub import resolved_revision
    from tensorized_adapters.saving.manifest import read_config

    adapter = resolved_revision(arguments.adapter_path)
    config = read_config(adapter)
    columns = text_columns(config, arguments.text_columns, adapter)
    task = str(config.get("notes", {}).get("task"))
    rows = text_rows(path, arguments.format, columns.texts, columns.delimiter, task)

    from tqdm import tqdm

    from tensorized_adapters.predicting.batches import predicted
    from tensorized_adapters.predicting.output import open_output
    from tensorized_adapters.predicting.pipeline import load_pipeline
    from tensorized_adapters.runs.failures import is_out_of_memory

    pipeline = load_pipeline(adapter, arguments.model_name_or_path, arguments.tokenizer_name, arguments.max_seq_length)
    try:
        with (
            open_output(arguments.output, pipeline.model.config, pipeline.label_separator) as output,
            tqdm(unit=" rows", disable=None) as bar,  # on a terminal alone
        ):
            for values in predicted(pipeline, rows, arguments.batch_size, bar.update):
                output.write(values)
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        raise RunFailed("out of memory: try a smaller --batch_size or --max_seq_length") from error
    if arguments.output:
        print(f"{output.count:,} predictions: {arguments.output}")
