"""Imports tensorly-torch without a change of tensorly's backend, which belongs to the user.

tensorly-torch switches tensorly's backend to PyTorch at its import. A program that imports our package alone must keep
its backend. A program that imports tensorly-torch after us must get the switch. So we import tensorly-torch, restore
the backend, and remove its modules from ``sys.modules``. The first ``import tltorch`` elsewhere restores these modules
and switches the backend.
"""

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import tensorly

_NAME = "tltorch"


class _Later(MetaPathFinder, Loader):
    """Gives ``modules``, tensorly-torch and its submodules by name, to the next import of tensorly-torch."""

    def __init__(self, modules: dict[str, ModuleType]):
        self.modules = modules

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        return ModuleSpec(_NAME, self, is_package=True) if name == _NAME else None

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        self.spec = self.modules[_NAME].__spec__  # importlib will replace it
        return self.modules[_NAME]

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self.spec
        sys.modules.update(self.modules)
        tensorly.set_backend("pytorch")
        sys.meta_path.remove(self)


def import_tltorch() -> ModuleType:
    """Import tensorly-torch. tensorly's backend and ``sys.modules`` stay as they were."""
    if _NAME in sys.modules:  # the user imported it, and may have set another backend
        return sys.modules[_NAME]
    for finder in sys.meta_path:
        if isinstance(finder, _Later):
            return finder.modules[_NAME]
    backend = tensorly.get_backend()
    import tltorch

    tensorly.set_backend(backend)
    modules = {name: module for name, module in sys.modules.items() if name.split(".")[0] == _NAME}
    for name in modules:
        del sys.modules[name]
    sys.meta_path.insert(0, _Later(modules))
    return tltorch
