"""Copies the runtime of a snapshot: every copy becomes the first process of a sandbox of its own.

`snapshot_hook/sitecustomize.py` loads this into the runtime, at `restore_next`. There the process
stays as long as the snapshot exists, and answers the emulator's packets from `snapshot.py`:

    restore MEMORY_MB TMP_BYTES, with the descriptors of a control socket, of an output pipe and, if
    memory is limited by the kernel, of the cgroup's `cgroup.procs`

A copy is made by the system call itself. `os.fork` would run Python's hooks, which reseed `random`:
a snapshot does not. So a copy has the memory of the snapshot, but only this thread of it, and it
has none of the other processes. What leads out of the process is made new or cut off: it has an own
/tmp with the same files, own output, and its sockets are closed at the other end.
"""

# ruff: noqa: PTH101, PTH102, PTH103, PTH110, PTH112, PTH115, PTH120, PTH123, PTH208, PTH211
# Without pathlib, which would be a trace of this in a runtime that has not imported it.

from __future__ import annotations

import contextlib
import ctypes
import fcntl
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
_CONTROL, _OUTPUT, _ERRORS = 0, 1, 2
_CANNOT_START = 127
_FAILED = "the snapshot cannot be restored"
#: The number of clone3 is the same on all architectures.
_SYS_CLONE3 = 435
_NAMESPACES = 0x00020000 | 0x08000000 | 0x10000000 | 0x20000000  # mounts, IPC, users, processes
#: Wait for children that send no signal at their end: waitpid(2).
_WCLONE = -0x80000000  # as a signed number
_MS_NOSUID, _MS_NODEV, _MS_NOEXEC = 2, 4, 8
_MS_BIND, _MS_REC, _MS_PRIVATE = 4096, 16384, 1 << 18
_CAPABILITY_VERSION_3 = 0x20080522
#: With these `tempfile` makes a file; they would not open one again.
_TO_MAKE = os.O_TMPFILE | os.O_NOFOLLOW
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
    """Leads a copy that becomes the runtime back to `restore_next`."""


def wait_for_restore(control: int) -> str:
    """Let this process be copied until the emulator ends it; returns in each restored runtime.

    Returns:
        The address of the restored environment's own Runtime API.
    """
    ids = os.getpid(), os.getuid(), os.getgid()
    snapshot = socket.socket(fileno=control)
    init = _load_init()
    snapshot.send(b"ready")
    copies: dict[int, int] = {}
    while True:
        _wait_for_packet(control, copies)
        packet, descriptors, *_ = socket.recv_fds(snapshot, 4096, 3)
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
        return _restore(init, ids, descriptors, memory_mb, tmp_bytes)


def _restore(
    init: ModuleType,
    ids: tuple[int, int, int],
    descriptors: list[int],
    memory_mb: int,
    tmp_bytes: int,
) -> str:
    """Isolate this copy, which is the first process of its namespace, and run the sandbox.

    `ids` are those of process, user and group that the snapshot has.
    """
    pid, user, group = ids
    cgroup = descriptors[2] if len(descriptors) > 2 else -1  # noqa: PLR2004 - the third, if any
    try:
        _separate(descriptors)
        _isolate(user, group, tmp_bytes)
        _reopen_files(cgroup)
        os.setsid()
        _mount("proc", "/proc", "proc", _MS_NOSUID | _MS_NODEV | _MS_NOEXEC)
        _tell_restored()
        collects = gc.isenabled()
        # Here it would only touch, and so copy, the runtime's memory.
        gc.disable()
        # As in the snapshot of a whole machine, every runtime has the same process id.
        init.main(memory_mb, cgroup, _become, lambda: _fork(pid=pid))
    except Exception as e:  # noqa: BLE001 - the first process must not go on as a runtime
        os.write(_ERRORS, f"{_FAILED}: {e}\n".encode())
        os._exit(_CANNOT_START)
    except _Restored as restored:
        if collects:
            gc.enable()
        _drop_capabilities()
        _reseed_openssl()
        return str(restored.args[0])
    os._exit(0)


def _tell_restored() -> None:
    """Give the emulator a descriptor of this process, by which it notices its end."""
    this = os.pidfd_open(os.getpid())
    with socket.socket(fileno=os.dup(_CONTROL)) as control:
        socket.send_fds(control, [b"restored"], [this])
    os.close(this)


def _become(variables: dict[str, str]) -> None:
    os.environ.update(variables)
    raise _Restored(variables["AWS_LAMBDA_RUNTIME_API"])


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


def _isolate(user: int, group: int, tmp_bytes: int) -> None:
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
    _copy(former, _TMP, os.fstat(former).st_dev)
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
    """What is mounted below /tmp: the image's writable folders."""
    with open("/proc/self/mountinfo") as mounts:
        for line in mounts:
            path = line.split()[4]
            if path.startswith(f"{_TMP}/"):
                yield path


def _copy(source: int, target: str, device: int) -> None:
    """Copy a folder's files, folders and links, but no other file systems, sockets and pipes."""
    for entry in os.scandir(source):
        name, status = f"{target}/{entry.name}", entry.stat(follow_symlinks=False)
        if status.st_dev != device:
            continue
        if entry.is_symlink():
            os.symlink(os.readlink(entry.name, dir_fd=source), name)
            continue
        if entry.is_dir():
            os.mkdir(name)
            inner = os.open(entry.name, os.O_RDONLY | os.O_DIRECTORY, dir_fd=source)
            _copy(inner, name, device)
            os.close(inner)
        elif entry.is_file():
            reading = os.open(entry.name, os.O_RDONLY, dir_fd=source)
            writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
            while os.sendfile(writing, reading, None, 1 << 30):
                pass
            os.close(reading)
            os.close(writing)
        else:
            continue
        os.chmod(name, stat.S_IMODE(status.st_mode))
        os.utime(name, ns=(status.st_atime_ns, status.st_mtime_ns))


def _separate(descriptors: list[int]) -> None:
    """Give this copy its own output and control, and cut what leads to other processes."""
    former_output = os.readlink(f"/proc/self/fd/{_OUTPUT}")
    here = {number: path for number, path in _open_files() if number not in descriptors}
    for number, path in here.items():
        if path == former_output:
            _replace(number, os.dup(descriptors[1]))
        elif path.startswith("socket:"):
            mine, other = socket.socketpair()
            other.close()
            _replace(number, mine.detach())
    os.dup2(descriptors[0], _CONTROL, inheritable=False)
    os.close(descriptors[0])
    os.close(descriptors[1])
    pipes = {path for path in here.values() if path.startswith("pipe:")} - {former_output}
    for pipe in pipes:
        # Like the former one it is whole, or has nobody at the other end.
        ends = os.pipe()
        for number, path in here.items():
            if path == pipe:
                mode = fcntl.fcntl(number, fcntl.F_GETFL) & os.O_ACCMODE
                _replace(number, os.dup(ends[mode == os.O_WRONLY]))
        for end in ends:
            os.close(end)


def _reopen_files(cgroup: int) -> None:
    """Open the files again: in this copy's /tmp, and with a position of their own."""
    nameless: dict[tuple[int, int], int] = {}
    for number, path in _open_files():
        status = os.fstat(number)
        if number == cgroup or not stat.S_ISREG(status.st_mode):
            continue
        own = path if os.path.exists(path) else f"/proc/self/fd/{number}"
        if not status.st_nlink:
            file = status.st_dev, status.st_ino
            if file not in nameless:
                nameless[file] = _copy_nameless(number)
            own = f"/proc/self/fd/{nameless[file]}"
        position = os.lseek(number, 0, os.SEEK_CUR)
        again = os.open(own, fcntl.fcntl(number, fcntl.F_GETFL) & ~_TO_MAKE)
        os.lseek(again, position, os.SEEK_SET)
        _replace(number, again)
    for copy in nameless.values():
        os.close(copy)


def _copy_nameless(number: int) -> int:
    """Copy a file that no folder has, a deleted one or one of memory, into one of memory."""
    # The descriptor itself may be for writing only.
    reading = os.open(f"/proc/self/fd/{number}", os.O_RDONLY)
    copy = os.memfd_create("copy", os.MFD_CLOEXEC)
    while os.sendfile(copy, reading, None, 1 << 30):
        pass
    os.close(reading)
    return copy


def _open_files() -> list[tuple[int, str]]:
    """The descriptors of this process and where they lead, as the kernel describes it."""
    found = []
    for name in os.listdir("/proc/self/fd"):
        with contextlib.suppress(OSError):  # the listing's own descriptor is closed by now
            found.append((int(name), os.readlink(f"/proc/self/fd/{name}")))
    return found


def _replace(number: int, by: int) -> None:
    os.dup2(by, number, os.get_inheritable(number))
    os.close(by)


def _drop_capabilities() -> None:
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    _checked(_libc.capset(header, (ctypes.c_uint32 * 6)()), "capset")


def _reseed_openssl() -> None:
    """Do what the OpenSSL of AWS's base images does by itself after a restore."""
    if "_ssl" in sys.modules:
        sys.modules["_ssl"].RAND_add(os.urandom(32), 32.0)


def _load_init() -> ModuleType:
    path = f"{os.path.dirname(__file__)}/init.py"
    spec = spec_from_file_location("init", path)
    if spec is None or spec.loader is None:
        raise ImportError(f"{path} cannot be read")
    init = module_from_spec(spec)
    spec.loader.exec_module(init)
    return init


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
