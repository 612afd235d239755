"""The adapter folder: the names of its files. manifest.py describes them."""

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"
BESIDE_PEFT_FILE = "tensorized_adapters.json"  # our config, if CONFIG_FILE is peft's
ADAPTER_FILES = {CONFIG_FILE, BESIDE_PEFT_FILE, WEIGHTS_FILE, CARD_FILE}
