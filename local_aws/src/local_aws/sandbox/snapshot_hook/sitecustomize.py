"""Runs first in the runtime of a snapshot: lets `awslambdaric` be copied at `restore_next`.

`snapshot.py` puts this folder at the front of `PYTHONPATH` and sets `VARIABLE`. The hook takes both
away again before the image's code can see them. `awslambdaric` stays as it is, but for two things:

- its `restore_next` waits in `runtime_copy.py` for the emulator, instead of in a request;
- its native client, which reads the Runtime API's address when it is loaded, is loaded when it is
  first used. That is in a restored environment, and each has its own address.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

#: Descriptor of the socket to the emulator, then the path of `runtime_copy.py`.
VARIABLE = "LOCAL_AWS_SNAPSHOT"
_CLIENT = "awslambdaric.lambda_runtime_client"
_NATIVE = "runtime_client"


class _Native(ModuleType):
    """The native client, before it is loaded."""

    def initialize_client(self, *arguments: object) -> None:
        """Remember the arguments for the time when it is loaded."""
        self.__dict__["_arguments"] = arguments

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever the client has
        if name.startswith("__"):
            raise AttributeError(name)
        spec = PathFinder.find_spec(_NATIVE)
        if spec is None or spec.loader is None:
            raise ImportError(f"there is no module {_NATIVE}: install awslambdaric with it")
        loaded = module_from_spec(spec)
        spec.loader.exec_module(loaded)
        loaded.initialize_client(*self.__dict__["_arguments"])
        self.__dict__.update(vars(loaded))
        sys.modules[_NATIVE] = loaded
        return getattr(loaded, name)


class _Finder:
    """Changes the two modules as they are imported, then leaves the import system."""

    def __init__(self, control: int, runtime_copy: str) -> None:
        self._control = control
        self._runtime_copy = runtime_copy

    def find_spec(self, name: str, path: Any, _target: object = None) -> ModuleSpec | None:  # noqa: ANN401 - the import system's
        if name != _CLIENT:
            return None
        sys.meta_path.remove(self)
        if sys.modules[__name__].__file__ == __file__:
            del sys.modules[__name__]
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                if PathFinder.find_spec(_NATIVE) is not None:
                    sys.modules[_NATIVE] = _Native(_NATIVE)
                execute(module)
                self._change(module.LambdaRuntimeClient)

            spec.loader.exec_module = execute_and_change  # type: ignore[method-assign] # of this one loader
        return spec

    def _change(self, client: Any) -> None:  # noqa: ANN401 - a class of awslambdaric
        # Read now, as the file may be out of sight later; it is in no list of modules.
        spec = spec_from_file_location("runtime_copy", self._runtime_copy)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self._runtime_copy} cannot be read")
        runtime_copy = module_from_spec(spec)
        spec.loader.exec_module(runtime_copy)

        def restore_next(self: Any) -> None:  # noqa: ANN401 - an object of that class
            self.lambda_runtime_address = runtime_copy.wait_for_restore(control)

        control = self._control
        client.restore_next = restore_next


def _take_over() -> None:
    control, _, runtime_copy = os.environ.pop(VARIABLE).partition(" ")
    folder, _, rest = os.environ.pop("PYTHONPATH").partition(os.pathsep)
    if rest:
        os.environ["PYTHONPATH"] = rest
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    sys.meta_path.insert(0, _Finder(int(control), runtime_copy))
    own = PathFinder.find_spec(__name__)
    if own is not None and own.loader is not None:
        sys.modules[__name__] = module = module_from_spec(own)
        own.loader.exec_module(module)


_take_over()
