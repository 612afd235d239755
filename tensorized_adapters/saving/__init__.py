"""The adapter folder. Its files stand in format.py; here are their names."""

CONFIG_FILE = "adapter_config.json"
WEIGHTS_FILE = "adapter_model.safetensors"
CARD_FILE = "README.md"
BESIDE_PEFT_FILE = "tensorized_adapters.json"  # the config, where CONFIG_FILE is peft's
ADAPTER_FILES = {CONFIG_FILE, BESIDE_PEFT_FILE, WEIGHTS_FILE, CARD_FILE}
