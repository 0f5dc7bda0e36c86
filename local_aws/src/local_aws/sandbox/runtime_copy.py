"""Copies the runtime of a snapshot: every copy becomes the first process of a sandbox of its own.

`snapshot_hook/sitecustomize.py` loads this into the runtime, where the snapshot is taken. There the
process stays as long as the snapshot exists, and answers the emulator's packets from `snapshot.py`:

    restore MEMORY_MB TMP_BYTES, with the descriptors of a control socket, of an output pipe, of the
    hook socket if the snapshot has one and, if memory is limited by the kernel, of the cgroup's
    `cgroup.procs`

A copy is made by the system call itself. `os.fork` would run Python's hooks, which reseed `random`:
a snapshot does not. So a copy has the memory of the snapshot, but only this thread of it, and it
has none of the other processes. What leads out of the process is made new or cut off: it has an own
/tmp with the same files, own output, and its sockets are closed at the other end.
"""

# ruff: noqa: PTH103, PTH110, PTH112, PTH120, PTH123
# Without pathlib, which would be a trace of this in a runtime that has not imported it.

from __future__ import annotations

import ctypes
import gc
import os
import select
import signal
import socket
import stat
import sys
from collections.abc import Iterator
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType

_TMP = "/tmp"  # noqa: S108 - the sandbox's own
_CONTROL, _ERRORS = 0, 2
_CANNOT_START = 127
#: Those of a `restore`.
_MOST_DESCRIPTORS = 4
_FAILED = "the snapshot cannot be restored"
#: The number of clone3 is the same on all architectures.
_SYS_CLONE3 = 435
_NAMESPACES = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000  # mounts, IPC, users, processes
#: Wait for children that send no signal at their end: waitpid(2).
_WCLONE = -0x80000000  # as a signed number
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_CAPABILITY_VERSION_3 = 0x20080522
#: Unlike `CDLL`, it keeps the interpreter's lock, so that a copy has it.
_libc = ctypes.PyDLL(None, use_errno=True)


class _CloneArguments(ctypes.Structure):
    """`struct clone_args` of <linux/sched.h>."""

    _fields_ = [
        (name, ctypes.c_uint64)
        for name in (
            *("flags", "pidfd", "child_tid", "parent_tid", "exit_signal"),
            *("stack", "stack_size", "tls", "set_tid", "set_tid_size", "cgroup"),
        )
    ]


class _Restored(BaseException):
    """Leads a copy that becomes the runtime back to where the snapshot was taken."""


def wait_for_restore(control: int, hooks: int = -1) -> None:
    """Let this process be copied until the emulator ends it; returns in each restored runtime.

    The variables of the restored environment are then in `os.environ`.

    Args:
        control: Descriptor of the socket to the emulator.
        hooks: Descriptor of the hook socket, which every copy gets a new one for; -1: none.
    """
    ids = os.getpid(), os.getuid(), os.getgid()
    snapshot = socket.socket(fileno=control)
    init, files = _load("init"), _load("copied_files")
    snapshot.send(b"ready")
    copies: dict[int, int] = {}
    while True:
        _wait_for_packet(control, copies)
        packet, descriptors, *_ = socket.recv_fds(snapshot, 4096, _MOST_DESCRIPTORS)
        if not packet:
            os._exit(0)
        try:
            copy = _fork(_NAMESPACES, exit_signal=0)
        except OSError as e:
            os.write(descriptors[1], f"{_FAILED}: {e}\n".encode())
            copy = -1
        if copy:
            for descriptor in descriptors:
                os.close(descriptor)
            if copy > 0:
                copies[os.pidfd_open(copy)] = copy
            continue
        snapshot.close()
        for descriptor in copies:
            os.close(descriptor)
        memory_mb, tmp_bytes = map(int, packet.split()[1:])
        _restore(init, files, ids, descriptors, (memory_mb, tmp_bytes, hooks))
        return


def _restore(
    init: ModuleType,
    files: ModuleType,
    ids: tuple[int, int, int],
    descriptors: list[int],
    settings: tuple[int, int, int],
) -> None:
    """Isolate this copy, which is the first process of its namespace, and run the sandbox.

    `ids` are those of process, user and group that the snapshot has, `settings` the limits of the
    memory in megabytes and of /tmp in bytes, and the descriptor of the hook socket or -1.
    """
    pid, user, group = ids
    memory_mb, tmp_bytes, hooks = settings
    optional = descriptors[2:]
    own_hooks = optional.pop(0) if hooks >= 0 else -1
    cgroup = optional.pop() if optional else -1

    def start_runtime() -> int:
        # As in the snapshot of a whole machine, every runtime has the same process id.
        runtime = _fork(pid=pid)
        if runtime and hooks >= 0:
            os.close(hooks)  # so that its other end notices when the runtime closes it
        return runtime

    try:
        files.separate(descriptors)
        if hooks >= 0:
            os.dup2(own_hooks, hooks, inheritable=False)
            os.close(own_hooks)
        _isolate(files, user, group, tmp_bytes)
        files.reopen(cgroup)
        os.setsid()
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        _tell_restored()
        collects = gc.isenabled()
        # Here it would only touch, and so copy, the runtime's memory.
        gc.disable()
        init.main(memory_mb, cgroup, _become, start_runtime)
    except Exception as e:  # noqa: BLE001 - the first process must not go on as a runtime
        os.write(_ERRORS, f"{_FAILED}: {e}\n".encode())
        os._exit(_CANNOT_START)
    except _Restored:
        if collects:
            gc.enable()
        _drop_capabilities()
        _reseed_openssl()
        return
    os._exit(0)


def _tell_restored() -> None:
    """Give the emulator a descriptor of this process, by which it notices its end."""
    this = os.pidfd_open(os.getpid())
    with socket.socket(fileno=os.dup(_CONTROL)) as control:
        socket.send_fds(control, [b"restored"], [this])
    os.close(this)


def _become(variables: dict[str, str]) -> None:
    os.environ.update(variables)
    raise _Restored


def _fork(namespaces: int = 0, *, pid: int = 0, exit_signal: int = signal.SIGCHLD) -> int:
    """Copy this process, into new namespaces, and with this id there if it is not 0."""
    wanted = (ctypes.c_int * 1)(pid)
    arguments = _CloneArguments(flags=namespaces, exit_signal=exit_signal)
    if pid:
        arguments.set_tid, arguments.set_tid_size = ctypes.addressof(wanted), 1
    size = ctypes.sizeof(arguments)
    return _checked(_libc.syscall(_SYS_CLONE3, ctypes.byref(arguments), size), "clone3")


def _wait_for_packet(control: int, copies: dict[int, int]) -> None:
    """Wait until the emulator says something, and collect the copies that end meanwhile.

    `copies` has the process ids by the descriptors of the processes.
    """
    poll = select.poll()
    for descriptor in (control, *copies):
        poll.register(descriptor, select.POLLIN)
    while True:
        ready = {descriptor for descriptor, _ in poll.poll()}
        for descriptor in ready & copies.keys():
            os.waitpid(copies.pop(descriptor), _WCLONE)
            poll.unregister(descriptor)
            os.close(descriptor)
        if control in ready:
            return


def _isolate(files: ModuleType, user: int, group: int, tmp_bytes: int) -> None:
    """Become the same user in the new namespaces, with a copy of /tmp as large as `tmp_bytes`."""
    former = os.open(_TMP, os.O_RDONLY | os.O_DIRECTORY)
    for name, content in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        _write(f"/proc/self/{name}", content)
    # Before they are covered, but in the namespace in which they are mounted again.
    mounted = [(path, os.open(path, os.O_PATH)) for path in _mounts_in_tmp()]
    _mount("", "/", "", _MS_REC | _MS_PRIVATE)
    mode = stat.S_IMODE(os.fstat(former).st_mode)
    _mount("tmpfs", _TMP, "tmpfs", _MS_NOSUID | _MS_NODEV, f"size={tmp_bytes},mode={mode:o}")
    files.copy_folder(former, _TMP, os.fstat(former).st_dev)
    for path, descriptor in mounted:
        source = f"/proc/self/fd/{descriptor}"
        if os.path.isdir(source):
            os.makedirs(path, exist_ok=True)
        else:
            os.close(os.open(path, os.O_CREAT | os.O_WRONLY))
        _mount(source, path, "", _MS_BIND | _MS_REC)
        os.close(descriptor)
    os.close(former)


def _mounts_in_tmp() -> Iterator[str]:
    """What is mounted below /tmp: the image's writable folders.

    The kernel also lists what is mounted below the machine's /tmp, which the sandbox's covers.
    """
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            path = line.split()[4]
            if path.startswith(f"{_TMP}/") and os.path.exists(path):
                yield path


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _reseed_openssl() -> None:
    """Do what the OpenSSL of AWS's base images does by itself after a restore."""
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(32), 32.0)


def _load(name: str) -> ModuleType:
    """Read a module of this folder, without a trace in the list of modules."""
    path = f"{os.path.dirname(__file__)}/{name}.py"
    spec = spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read")
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _mount(source: str, target: str, kind: str, flags: int, options: str = "") -> None:
    texts = [text.encode() or None for text in (source, target, kind)]
    done = _libc.mount(*texts, ctypes.c_ulong(flags), options.encode() or None)
    _checked(done, f"mount {kind or source} at {target}")


def _write(path: str, content: str) -> None:
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.write(descriptor, content.encode())
    finally:
        os.close(descriptor)


def _checked(result: int, what: str) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return result
