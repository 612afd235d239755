"""run_glue_tensorized.py without one of its optimisations: python benchmarks/run_without.py NAME FLAGS...

Names are ``cheap_dropout`` (torch draws the dropout of the model) and ``batched_weights`` (each adapter computes its
own matrices, in more and smaller products). Both have no flag, because only a benchmark needs them.
"""

import contextlib
import sys
from unittest import mock

import run_glue_tensorized


@contextlib.contextmanager
def _nothing_batched(self, model):
    yield


WITHOUT = {
    "cheap_dropout": ("tensorized_adapters.training.dropout.use_cheap_dropout", lambda model: None),
    "batched_weights": ("tensorized_adapters.adapters.fast.BatchedWeights.forward_pass", _nothing_batched),
}

if __name__ == "__main__":
    name, *flags = sys.argv[1:]
    target, replacement = WITHOUT[name]
    with mock.patch(target, replacement):
        sys.exit(run_glue_tensorized.main(flags))
