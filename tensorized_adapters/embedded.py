"""``python -m tensorized_adapters.embedded`` prints the folder of the embedded model, for --model_name_or_path."""

import sys

from .backbone.embedded import embedded_model as embedded_model  # for users: the examples import it from here
from .backbone.embedded import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
