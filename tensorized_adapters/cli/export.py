"""Export a saved adapter for use without this program.

--to dense   ordinary bottleneck adapters of equal output, with LayerNorms and head (safetensors), and some 100 lines
             of code that put them on the plain Transformers model; updates of weights are added to the weights
--to pt2     the complete model as a program of torch.export: torch.export.load("model.pt2").module()
--to onnx    the complete model as ONNX, for onnxruntime and others

The last two take any batch and length, give logits, and lie beside their tokenizer and config. --to onnx with
--quantize int8 stores the weights as 8-bit integers: smaller, faster on CPU, and logits that differ a little.
"""

from pathlib import Path

from tensorized_adapters.cli.parser import ScriptParser, new_folder
from tensorized_adapters.errors import UsageError


def main(argv: list[str]) -> int:
    """Export; raise UsageError if input is refused, before anything is written."""
    parser = ScriptParser(__doc__)
    parser.add_argument("--adapter_path", type=Path, required=True, help="a saved adapter/ folder, or a run's folder")
    parser.add_argument("--output_dir", type=Path, required=True, help="a folder that does not exist yet, or is empty")
    parser.add_argument("--to", choices=("dense", "pt2", "onnx"), required=True, help="the format (see above)")
    parser.add_argument("--quantize", choices=("int8",), help="with --to onnx: weights as 8-bit integers")
    parser.add_argument("--model_name_or_path", help="where the base model is now (default: where it was)")
    arguments = parser.parse_args(argv)
    if arguments.quantize and arguments.to != "onnx":
        raise UsageError(f"--quantize {arguments.quantize} needs --to onnx, got --to {arguments.to}")
    path = str(arguments.output_dir)
    if arguments.to != "dense" and path.encode(errors="ignore").decode() != path:  # torch and onnx would abort
        raise UsageError(
            f"--output_dir {path} is not UTF-8, and --to {arguments.to} writes no other names; name another"
        )
    from tensorized_adapters.saving.manifest import read_config

    with new_folder(arguments.output_dir) as folder:
        read_config(arguments.adapter_path)  # before Transformers' models are imported, which takes seconds
        from tensorized_adapters.adaptation.lifecycle import unmerge_adapters
        from tensorized_adapters.exporting.dense import write_dense
        from tensorized_adapters.exporting.program import check_onnx, write_onnx, write_program
        from tensorized_adapters.predicting.pipeline import load_pipeline

        if arguments.to == "onnx":
            check_onnx()
        pipeline = load_pipeline(arguments.adapter_path, arguments.model_name_or_path, device="cpu")
        if arguments.to == "dense":
            unmerge_adapters(pipeline.model)
            write_dense(pipeline.model, folder)
        elif arguments.to == "pt2":
            write_program(pipeline, folder)
        else:
            write_onnx(pipeline, folder, int8=arguments.quantize == "int8")
    for path in sorted(arguments.output_dir.iterdir()):
        print(f"{path.stat().st_size:>12,} bytes  {path}")
    return 0
