"""Reads from the system which number formats the processor can compute in."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the first two are flags of Intel and AMD, the last is Arm's


def computes_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16, or True if the system does not list them. Without
    them PyTorch converts every operand to float32 and back, and is several times slower than in float32."""
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        return True
    try:
        lines = _CPUINFO.read_text(errors="replace").splitlines()
    except OSError:
        return True
    flags = [line.partition(":")[2].split() for line in lines if line.lower().startswith(("flags", "features"))]
    return not flags or not _BFLOAT16.isdisjoint(flags[0])
