"""Fine-tune a frozen pre-trained BERT on a GLUE task with CP, Tucker, Tensor-Train or Tensor-Ring adapters, or with
one of the methods that they are compared with (--method).

Flags are those of Hugging Face's run_glue and TrainingArguments, plus ours. A JSON file of the same names can come
first; flags after it win. Exit codes: 0 done, 2 refused input, 1 failed, 130 and 143 interrupted.
"""

import os
import sys
from pathlib import Path

# Before the libraries that read it. Tokenisation is short; its threads would only make forks warn.
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from tensorized_adapters.errors import RunFailed, Terminated, UsageError  # noqa: E402


def main(argv: list[str]) -> int:
    """Run the job; returns the exit code."""
    try:
        # Imported step by step: a typo in a flag does not wait for Trainer, datasets and evaluate.
        from tensorized_adapters.job.arguments import parse_arguments

        arguments = parse_arguments(argv)
        from tensorized_adapters.job.job import run

        run(arguments, [Path(__file__).name, *argv])
        return 0
    except UsageError as error:
        return _say("error", error, 2)
    except OSError as error:  # of a path that cannot even be looked at; those of a run are RunFailed
        return _say("error", f"{error.filename}: {error.strerror}", 2)
    except RunFailed as error:
        return _say("failed", error, 1)
    except KeyboardInterrupt:
        return _say("interrupted", "the same command goes on from the newest checkpoint, if there is one", 130)
    except Terminated:
        return _say("terminated", "the same command goes on from the newest checkpoint, if there is one", 143)


def _say(what: str, message: object, code: int) -> int:
    print(f"{what}: {' '.join(str(message).split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
