"""Reads from the system which number formats the processor can compute in."""

import platform
from pathlib import Path

_CPUINFO = Path("/proc/cpuinfo")
_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the first two are flags of Intel and AMD, the last is Arm's


def computes_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16, or True if the system does not list them. Without
    them PyTorch converts every operand to float32 and back, and is several times slower than in float32."""
    features = _features()
    return not features or not _BFLOAT16.isdisjoint(features)


def multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies matrices of bfloat16 in one instruction (Intel's AMX), in which training
    is faster than in float32."""
    return "amx_bf16" in _features()


def _features() -> set[str]:
    """Return the features that Linux lists for the processor; none on other systems and architectures."""
    if platform.machine().lower() not in ("x86_64", "amd64", "aarch64", "arm64"):
        return set()
    try:
        with _CPUINFO.open(errors="replace") as lines:  # the first core's entry is enough
            listed = (line for line in lines if line.lower().startswith(("flags", "features")))
            return set(next(listed, "").partition(":")[2].split())
    except OSError:
        return set()
