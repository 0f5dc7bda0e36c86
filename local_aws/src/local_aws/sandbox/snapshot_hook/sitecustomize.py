"""Runs first in the runtime of a snapshot: lets it be copied where it waits to be restored.

`snapshot.py` puts this folder at the front of `PYTHONPATH` and sets `VARIABLE`. The hook takes both
away again before the image's code can see them. A function waits in `awslambdaric`, which stays as
it is, but for two things:

- its `restore_next` waits in `runtime_copy.py` for the emulator, instead of in a request;
- its native client, which reads the Runtime API's address when it is loaded, is loaded when it is
  first used. That is in a restored environment, and each has its own address.

A MicroVM waits in its hook server, a `socketserver.TCPServer` such as that of `http.server`. One
for the port of the hooks does not listen there: its socket is the hook socket of `hook_socket.py`,
which brings it connections, and the word when it shall wait. Where a MicroVM cannot be copied, that
word never comes. A process that begins anew (`os.execve`) keeps that socket, as it would find its
port free again on AWS.
"""

# ruff: noqa: PTH208
# Without pathlib, which would be a trace of this in a process that has not imported it.

from __future__ import annotations

import os
import sys
import time
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any

#: Descriptors of the socket to the emulator and of the hook socket (-1: there is none), the port of
#: the hooks, and the path of `runtime_copy.py`.
VARIABLE = "LOCAL_AWS_SNAPSHOT"
_NATIVE = "runtime_client"
#: How often, and after which seconds, the threads are counted before there are too many.
_LOOKS, _LOOKS_EVERY_S = 20, 0.05
#: The address from which hooks come; there is no port.
_CLIENT = ("127.0.0.1", 0)


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
    """Changes a module as it is imported, then leaves the import system."""

    name = ""

    def __init__(self, control: int, runtime_copy: str) -> None:
        self._control = control
        self._runtime_copy = runtime_copy

    def find_spec(self, name: str, path: Any, _target: object = None) -> ModuleSpec | None:  # noqa: ANN401 - the import system's
        if name != self.name:
            return None
        sys.meta_path.remove(self)
        if sys.modules[__name__].__file__ == __file__:
            del sys.modules[__name__]
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_change(module: ModuleType) -> None:
                self._prepare()
                execute(module)
                self._change(module, self._load_runtime_copy())

            spec.loader.exec_module = execute_and_change  # type: ignore[method-assign] # of this one loader
        return spec

    def _prepare(self) -> None:
        """Do what comes before the module's code."""

    def _change(self, module: Any, runtime_copy: Any) -> None:  # noqa: ANN401 - modules
        """Let the process wait in `runtime_copy`."""

    def _load_runtime_copy(self) -> ModuleType:
        # Read now, as the file may be out of sight later; it is in no list of modules.
        spec = spec_from_file_location("runtime_copy", self._runtime_copy)
        if spec is None or spec.loader is None:
            raise ImportError(f"{self._runtime_copy} cannot be read")
        runtime_copy = module_from_spec(spec)
        spec.loader.exec_module(runtime_copy)
        return runtime_copy


class _RuntimeClient(_Finder):
    """Changes the client of `awslambdaric`."""

    name = "awslambdaric.lambda_runtime_client"

    def _prepare(self) -> None:
        if PathFinder.find_spec(_NATIVE) is not None:
            sys.modules[_NATIVE] = _Native(_NATIVE)

    def _change(self, module: Any, runtime_copy: Any) -> None:  # noqa: ANN401 - modules
        def restore_next(self: Any) -> None:  # noqa: ANN401 - a client
            runtime_copy.wait_for_restore(control)
            self.lambda_runtime_address = os.environ["AWS_LAMBDA_RUNTIME_API"]

        control = self._control
        module.LambdaRuntimeClient.restore_next = restore_next


class _HookServer(_Finder):
    """Changes the server whose port is that of the hooks."""

    name = "socketserver"

    def __init__(self, control: int, runtime_copy: str, hooks: int, port: int) -> None:
        super().__init__(control, runtime_copy)
        #: The descriptor of the hook socket: from `server_bind` on that of the server.
        self._hooks = hooks
        self._port = port

    def follow(self, folder: str) -> None:
        """Let this hook run first in what this process becomes by `os.execve`, if it is a Python.

        Args:
            folder: That of this file.
        """
        execve, this = os.execve, os.getpid()

        def become(path: Any, argv: Any, env: Any) -> Any:  # noqa: ANN401 - as `os.execve`
            if os.getpid() == this:
                paths = filter(None, (folder, env.get("PYTHONPATH")))
                given = f"{self._control} {self._hooks} {self._port} {self._runtime_copy}"
                env = {**env, "PYTHONPATH": os.pathsep.join(paths), VARIABLE: given}
                os.set_inheritable(self._hooks, True)
            execve(path, argv, env)

        os.execve = become

    def _change(self, module: Any, runtime_copy: Any) -> None:  # noqa: ANN401 - modules
        server, port = module.TCPServer, self._port
        bind, activate, accept = server.server_bind, server.server_activate, server.get_request

        def has_hooks(self: Any) -> bool:  # noqa: ANN401 - a server
            return bool(self.server_address[1:2] == (port,))

        def server_bind(self: Any) -> None:  # noqa: ANN401 - a server
            if has_hooks(self):
                os.dup2(self_._hooks, self.fileno(), inheritable=False)
                os.close(self_._hooks)
                self_._hooks = self.fileno()
            else:
                bind(self)

        def server_activate(self: Any) -> None:  # noqa: ANN401 - a server
            if not has_hooks(self):
                activate(self)

        def get_request(self: Any) -> Any:  # noqa: ANN401 - a server, and what `accept` returns
            if not has_hooks(self):
                return accept(self)
            return self_._next_connection(self.socket, module.socket, runtime_copy), _CLIENT

        self_ = self
        server.server_bind, server.server_activate = server_bind, server_activate
        server.get_request = get_request

    def _next_connection(self, hooks: Any, socket: Any, runtime_copy: Any) -> Any:  # noqa: ANN401 - sockets and modules
        """Wait for a connection, and to be restored if it is time for that."""
        while True:
            packet, descriptors, *_ = socket.recv_fds(hooks, 64, 1)
            if descriptors:
                os.set_inheritable(descriptors[0], False)  # like that of `accept`
                return socket.socket(fileno=descriptors[0])
            if not packet:
                raise OSError("the emulator sends no more hooks")
            if refusal := _refusal():
                os.write(self._control, refusal.encode())
            else:
                runtime_copy.wait_for_restore(self._control, hooks.fileno())


def _refusal() -> str:
    """Why this process is not all there is to copy; empty: it is."""
    # A thread that has been joined may still be about to leave the kernel's list.
    for _ in range(_LOOKS):
        threads = len(os.listdir("/proc/self/task"))
        if threads == 1:
            break
        time.sleep(_LOOKS_EVERY_S)
    if threads > 1:
        return f"its process has {threads} threads when it accepts a connection"
    # Besides this one there is the first process of the sandbox.
    others = [name for name in os.listdir("/proc") if name.isdigit()][2:]
    return f"{len(others) + 1} processes run in it" if others else ""


def _take_over() -> None:
    control, hooks, port, runtime_copy = os.environ.pop(VARIABLE).split(" ", 3)
    folder, _, rest = os.environ.pop("PYTHONPATH").partition(os.pathsep)
    if rest:
        os.environ["PYTHONPATH"] = rest
    sys.path.remove(folder)
    sys.path_importer_cache.pop(folder, None)
    if int(hooks) < 0:
        finder: _Finder = _RuntimeClient(int(control), runtime_copy)
    else:
        finder = hook_server = _HookServer(int(control), runtime_copy, int(hooks), int(port))
        hook_server.follow(folder)
    sys.meta_path.insert(0, finder)
    own = PathFinder.find_spec(__name__)
    if own is not None and own.loader is not None:
        sys.modules[__name__] = module = module_from_spec(own)
        own.loader.exec_module(module)


_take_over()
