"""What a copy of a runtime has of the snapshot's files, pipes and sockets: all is made its own.

`runtime_copy.py` loads this into the runtime, as it loads `init.py`.
"""

# ruff: noqa: PTH101, PTH102, PTH110, PTH115, PTH208, PTH211
# Without pathlib, as in `runtime_copy.py`.

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import stat

_CONTROL, _OUTPUT = 0, 1
#: With these `tempfile` makes a file; they would not open one again.
_TO_MAKE = os.O_TMPFILE | os.O_NOFOLLOW


def copy_folder(source: int, target: str, device: int) -> None:
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
            copy_folder(inner, name, device)
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


def separate(descriptors: list[int]) -> None:
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


def reopen(cgroup: int) -> None:
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
