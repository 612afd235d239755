"""Runs the tests of peft and of tensorly-torch with our tuner and our classes, and prints counts and failures.

python tests/peers/peft_suite.py [peft] [tensorly-torch]

The tests come from the source distributions of the installed versions, which pip fetches into a temporary folder. The
models of peft's tests are tiny random ones that are built here, so the Hub is not needed. Without network the script
says so and exits with 0. It is not part of the test suite.
"""

import os
import re
import subprocess
import sys
import tarfile
import tempfile
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
MODELS = {"Bert": "bert", "Roberta": "roberta", "DebertaV2": "deberta-v2"}
OURS = """
from tensorized_adapters.adapters import tensorized
from tensorized_adapters.integrations.peft import TensorizedAdapterConfig

start = tensorized.calibrated_start_
tensorized.calibrated_start_ = lambda weight, std, _=1.0: start(weight, std)
OURS = [
    (TensorizedAdapterConfig, {"task_type": "TASK", "adapter_projection_type": "tt", "tensorized_layer_rank": 2,
                               "adapter_size": 8, "adapter_placement": placement})
    for placement in ("sequential", "parallel", "weights")
]
"""
# PEFT's tests pass init_weights=False, so that a new adapter changes the model's outputs. Our configuration has no
# such setting, and the patch above has the same effect. In PEFT's file the first text is replaced by the second.
START = (
    "    if issubclass(config_cls, PromptLearningConfig):\n",
    """\
    if config_cls.__name__ == "TensorizedAdapterConfig":
        return kwargs
    if issubclass(config_cls, PromptLearningConfig):
""",
)
OUR_FORMATS = """
from tensorized_adapters.tensors.formats import FORMATS
OURS = {f"tensorized_adapters_{name}": kind for name, kind in FORMATS.items()}
"""


def fetched(package: str, folder: Path) -> Path | None:
    """The unpacked source distribution of the installed version, or None if pip could not fetch it."""
    command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-build-isolation"]
    command += ["--no-binary", ":all:", "-d", str(folder), f"{package}=={version(package)}"]
    if subprocess.run(command, capture_output=True).returncode:
        return None
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as tar:
        tar.extractall(folder, filter="data")
    return next(path for path in folder.iterdir() if path.is_dir())


def peft_tests(source: Path) -> list[str]:
    """Replace peft's list of configurations by ours; return pytest's arguments."""
    sys.path[:0] = [str(ROOT), str(ROOT / "tests")]
    from helpers import build  # imports torch: only after pip has found the network
    from transformers import AutoModel

    parts = {"test_seq_classifier.py": "SEQ_CLS", "test_feature_extraction_models.py": "FEATURE_EXTRACTION"}
    for part, task in parts.items():
        path = source / "tests" / part
        text = path.read_text().replace('"config_cls,config_kwargs", ALL_CONFIGS', '"config_cls,config_kwargs", OURS')
        path.write_text(text.replace("\nALL_CONFIGS = [", OURS.replace("TASK", task) + "\nALL_CONFIGS = [", 1))
    path = source / "tests" / "testing_utils.py"
    path.write_text(path.read_text().replace(*START))
    (source / "tests" / "__init__.py").touch()  # the archive lacks it, and the tests import each other relatively
    # testing_common.py imports diffusers to recognise its pipelines. These tests use none, so an empty class does.
    (source / "diffusers.py").write_text("class StableDiffusionPipeline:\n    pass\n")
    for name, architecture in MODELS.items():  # a folder in the working directory comes before the Hub
        model = build(architecture)[0]
        folder = source / "peft-internal-testing"
        model.save_pretrained(folder / f"tiny-random-{name}ForSequenceClassification")
        # It has a pooler also where the classifier has none, which would be drawn anew each time.
        AutoModel.from_config(model.config).save_pretrained(folder / f"tiny-random-{name}Model")
    chosen = "TensorizedAdapterConfig and not Llama and not DebertaModel"
    return [*(f"tests/{part}" for part in parts), "-k", chosen]


def tensorly_torch_tests(source: Path) -> list[str]:
    """tensorly-torch's tests after our import, those of factorised tensors with our classes too."""
    tests = source / "peer_tests"
    tests.mkdir()
    (tests / "conftest.py").write_text("import tensorized_adapters.tensors.formats\nimport tltorch\n")
    for path in source.glob("tltorch/*/tests/test_*.py"):
        text = re.sub(r"from \.\.\.(\w)", r"from tltorch.\1", path.read_text())
        text = re.sub(r"from \.\.\. import", "from tltorch import", text)
        text = re.sub(r"from \.\.(\w)", rf"from tltorch.{path.parts[-3]}.\1", text)
        text = re.sub(r"from \.\. import", f"from tltorch.{path.parts[-3]} import", text)
        (tests / f"test_{path.parts[-3]}_{path.name}").write_text(text)
        if path.name == "test_factorizations.py":
            text = text.replace("['CP', 'Tucker', 'TT'])", "[*OURS])", 1)
            text = text.replace("dict(CP=CPTensor, Tucker=TuckerTensor, TT=TTTensor)", "OURS", 1)
            (tests / "test_ours.py").write_text(OUR_FORMATS + text)
    return ["peer_tests"]


PEERS = {"peft": peft_tests, "tensorly-torch": tensorly_torch_tests}


def main(names: list[str]) -> None:
    for name in names or PEERS:
        with tempfile.TemporaryDirectory() as folder:
            source = fetched(name, Path(folder))
            if source is None:
                print(f"{name}: skipped, pip cannot fetch its source distribution (no network?)")
                continue
            command = [
                sys.executable,
                "-m",
                "pytest",
                "-q",
                "-rfE",
                "--tb=no",
                "-p",
                "no:cacheprovider",
                "-W",
                "ignore",
            ]
            command += ["--rootdir", ".", "-c", os.devnull, *PEERS[name](source)]
            environment = os.environ | {"HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
            ran = subprocess.run(command, cwd=source, env=environment, capture_output=True, text=True)
            lines = ran.stdout.strip().splitlines() + ran.stderr.strip().splitlines()[-3:]
            print(f"{name} {version(name)}")
            print("\n".join(line for line in lines if line.startswith(("FAILED", "ERROR")) or " in " in line))


if __name__ == "__main__":
    main(sys.argv[1:])
