"""Which shapes a weight is factorised in, and which ranks its format can use there."""

import math
from typing import Optional

from ..errors import UsageError
from .formats import FORMATS

MAX_SPLIT_RATIO = 8


def balanced_split(size: int) -> tuple[int, int]:
    """The factor pair of ``size`` nearest its square root, smaller first: 768 -> (24, 32), as published.

    Raises:
        UsageError: if the pair is so uneven (a prime, twice a prime) that factorising would save next to nothing.
    """
    if size < 1:
        raise UsageError(f"hidden size {size} is not a size")
    small = next(n for n in range(math.isqrt(size), 0, -1) if size % n == 0)
    if small == 1 or size // small > MAX_SPLIT_RATIO * small:
        raise UsageError(
            f"hidden size {size} has no useful split into two modes (the most even is {small} x {size // small}); "
            "use --adapter_projection_type matrix, or a model whose hidden size splits evenly"
        )
    return small, size // small


def weight_shapes(
    projection_type: str, hidden_size: int, bottleneck: Optional[int]
) -> list[tuple[tuple[int, ...], int]]:
    """(shape, cut) of each weight of an adapter: [down, up], or the one square matrix where ``bottleneck`` is None."""
    hidden = (hidden_size,) if projection_type == "matrix" else balanced_split(hidden_size)
    if bottleneck is None:
        return [((*hidden, *hidden), len(hidden))]
    return [((*hidden, bottleneck), len(hidden)), ((bottleneck, *hidden), 1)]


def max_rank(projection_type: str, shape: tuple[int, ...], cut: int) -> int:
    """The largest rank the format can use: within its modes or bonds, and storing no more than the matrix itself."""
    kind, size = FORMATS[projection_type], math.prod(shape)
    bound = kind.usable_rank(shape) or size
    rank = 0
    while rank < bound and kind.parameter_count(shape, rank + 1) <= size:
        rank += 1
    return rank


def largest_rank(projection_type: str, hidden_size: int, bottleneck: Optional[int]) -> int:
    """The largest rank that the format can use in every weight of an adapter."""
    shapes = weight_shapes(projection_type, hidden_size, bottleneck)
    return min(max_rank(projection_type, shape, cut) for shape, cut in shapes)


def check_rank(projection_type: str, rank: int, hidden_size: int, bottleneck: Optional[int]) -> None:
    """Refuse a rank that the format cannot use.

    Raises:
        UsageError: naming the largest allowed rank; also for a hidden size without a useful split.
    """
    largest = largest_rank(projection_type, hidden_size, bottleneck)
    if rank > largest:
        n_out = bottleneck or hidden_size
        raise UsageError(
            f"--tensorized_layer_rank {rank} is above what {projection_type} can use for a {hidden_size} x {n_out} "
            f"projection; the largest is {largest}"
        )
