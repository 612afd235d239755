"""Tells which number formats the processor can compute in."""

from torch.cpu import get_capabilities

_BFLOAT16 = {"avx512_bf16", "amx_bf16", "bf16"}  # the first two are flags of Intel and AMD, the last is Arm's


def computes_bfloat16() -> bool:
    """Return whether the processor has instructions for bfloat16, or True if PyTorch does not know. Without them
    PyTorch converts every operand to float32 and back, and is several times slower than in float32."""
    known = [has for name, has in get_capabilities().items() if name in _BFLOAT16]
    return not known or any(known)


def multiplies_bfloat16() -> bool:
    """Return whether the processor multiplies matrices of bfloat16 (Intel's AMX), which trains faster than float32."""
    return get_capabilities().get("amx_bf16", False)
