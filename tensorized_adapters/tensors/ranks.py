"""The ranks that a format can use for the weights of an adapter."""

from collections.abc import Sequence

from ..errors import UsageError
from .formats import FORMATS
from .shapes import Matricization


def largest_rank(projection_type: str, views: Sequence[Matricization]) -> int:
    """Return the largest rank that the format can use in every one of an adapter's weights. It is bounded by the modes
    or bonds, and the factors may not hold more numbers than the matrix."""
    kind, rank = FORMATS[projection_type], 1
    bounds = [(view.shape, kind.usable_rank(view.shape) or view.size, view.size) for view in views]
    while all(rank <= bound and kind.parameter_count(shape, rank) <= size for shape, bound, size in bounds):
        rank += 1
    return rank - 1


def check_rank(projection_type: str, rank: int, views: Sequence[Matricization]) -> None:
    """Refuse a rank that the format cannot use; raise UsageError naming the largest one."""
    largest = largest_rank(projection_type, views)
    if rank > largest:
        view = views[0]
        at_sites = f" at {view.sites} sites" if view.sites else ""
        raise UsageError(
            f"--tensorized_layer_rank {rank} is above what {projection_type} can use for a {view.in_features} x "
            f"{view.out_features} projection{at_sites}; the largest is {largest}"
        )
