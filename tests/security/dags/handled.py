"""The attacks of `test_warm_environment.py`: each task is a malicious one, but for `looks`.

A task runs with the handler's user in its execution environment. It knows two processes besides its
own: its parent, the zygote, and the parent of that, the handler.
"""

from __future__ import annotations

import atexit
import builtins
import ctypes
import errno
import json
import os
import re
import resource
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from airflow.sdk import dag, task

#: In the name of everything that an attack leaves behind.
MARK = "evil-86312"
#: The key of its System V objects.
KEY = 0x5EC86312
#: How long a process would sleep that an attack leaves behind, in seconds. A test that looks for
#: such processes on its whole machine gives a number of its own.
NAP = os.environ.get("NAP_OF_ATTACKS", "86312.25")
#: Begins the tokens of the tests: a random part follows.
TOKEN = re.compile(rb"stolen-token-[0-9a-f]{32}")

TEMPORARY = Path(tempfile.gettempdir())
AIRFLOW_HOME = Path(os.environ["AIRFLOW_HOME"])
LIBC = ctypes.CDLL(None, use_errno=True)

PR_SET_DUMPABLE = 4
RLIM_NLIMITS = 16
#: The type of an ELF file that is a core, in its 17th byte.
ET_CORE = b"\x04"
PTRACE_SEIZE = 0x4206
CLONE_PARENT = 0x8000
#: System calls that glibc has no function for.
PIDFD_GETFD = 438
KCMP = {"x86_64": 312, "aarch64": 272}[os.uname().machine]
CLONE = {"x86_64": 56, "aarch64": 220}[os.uname().machine]

#: A module that tells the next workload's process that it was imported there.
CODE = f"import os\nos.environ['{MARK}'] = __file__\n"
PLUGIN = f"""{CODE}
from airflow.plugins_manager import AirflowPlugin
class Evil(AirflowPlugin):
    name = "evil"
"""


def parent_of(pid: int) -> int:
    """The parent of a process."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def watchers() -> tuple[int, int]:
    """Zygote and handler."""
    zygote = os.getppid()
    return zygote, parent_of(zygote)


# ---- what the next workload meets ----


def around() -> dict[str, Any]:
    """Everything in which a workload could find something of an earlier one."""
    status = Path("/proc/self/status").read_text()
    return {
        "variables": {name: plain(value) for name, value in os.environ.items()},
        "import path": [plain(path) for path in sys.path],
        "modules": [name for name in sys.modules if MARK in name],
        "builtins": hasattr(builtins, MARK),
        "hooks at exit": atexit._ncallbacks(),
        "directory": os.getcwd(),  # noqa: PTH109 - it need not exist
        "umask": os.umask(0o022),
        "limits": settings(os.getpid()),
        "signals": re.findall(r"^(?:SigBlk|SigIgn):.*$", status, re.MULTILINE),
        "descriptors": sorted(re.sub(r"\d+", "", plain(path)) for path in descriptors()),
        "files": sorted(plain(path) for path in TEMPORARY.rglob("*")),
        "processes": [
            process.info for process in psutil.process_iter(["cmdline"]) if left(process)
        ],
        "sockets": [
            line for line in Path("/proc/net/unix").read_text().split("\n") if MARK in line
        ],
        "system v": [line for line in system_v() if str(KEY) in line.split()],
        "watchers": [settings(pid) for pid in watchers()],
    }


def plain(path: object) -> str:
    """A path without what differs from process to process and from task to task."""
    text = str(path).replace(str(AIRFLOW_HOME), "<airflow>").replace(os.environ["HOME"], "<home>")
    return re.sub(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", "<task>", text)


def settings(pid: int) -> list[Any]:
    """Limits and priorities of a process."""
    limits = (resource.prlimit(pid, number) for number in range(RLIM_NLIMITS))
    process = psutil.Process(pid)
    return [
        *limits,
        process.nice(),
        process.ionice(),
        sorted(os.sched_getaffinity(pid)),
        os.sched_getscheduler(pid),
        Path(f"/proc/{pid}/oom_score_adj").read_text(),
    ]


def descriptors() -> Iterator[str]:
    """What the open files of this process are."""
    for path in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # The folder's own.
            yield str(path.readlink())


def left(process: psutil.Process) -> bool:
    """Whether an attack left this process behind."""
    return NAP in (process.info["cmdline"] or ())


def system_v() -> Iterator[str]:
    """The System V objects of the kernel, one a line."""
    for kind in ("shm", "sem", "msg"):
        yield from Path("/proc/sysvipc", kind).read_text().splitlines()


# ---- poison ----


def plants_code_in_airflow_home() -> None:
    """Where Airflow imports plugins and settings from, in each task's process."""
    for name in ("plugins", "config"):
        folder = AIRFLOW_HOME / name
        folder.mkdir(exist_ok=True)
        (folder / f"{MARK}.py").write_text(PLUGIN)
        (folder / "airflow_local_settings.py").write_text(CODE)
        (folder / "sitecustomize.py").write_text(CODE)


def plants_code_for_python() -> None:
    """What an interpreter imports by itself at its start."""
    version = f"python{sys.version_info.major}.{sys.version_info.minor}"
    site = Path.home() / ".local/lib" / version / "site-packages"
    for folder in (site, TEMPORARY, Path.home()):
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("sitecustomize.py", "usercustomize.py", "handler.py", "lambda_image.py"):
            (folder / name).write_text(CODE)
        (folder / f"{MARK}.pth").write_text(CODE.replace("\n", ";"))


def plants_settings_of_tools() -> None:
    """Configuration files in the home folder, also where XDG and the AWS SDKs look for them."""
    for name in (".aws/config", ".aws/credentials", ".config/pip/pip.conf", ".netrc", ".bashrc"):
        path = Path.home() / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"[default]\n{MARK} = yes\n")
    (Path.home() / ".gitconfig").write_text("[core]\n\tfsmonitor = evil\n")


def changes_its_process() -> None:
    """Variables, modules, folder, mask, signals, hooks and limits of its own process."""
    os.environ.update({MARK: "1", "PATH": MARK, "PYTHONPATH": MARK, "PYTHONSTARTUP": MARK})
    os.environ.update(LD_PRELOAD=f"/tmp/{MARK}.so", AWS_CONFIG_FILE=MARK, TMPDIR="/")
    sys.path.insert(0, MARK)
    sys.modules[MARK] = sys.modules[__name__]
    setattr(builtins, MARK, True)
    atexit.register(print, MARK)
    os.chdir("/")
    os.umask(0)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGUSR2})
    os.nice(5)
    os.sched_setscheduler(0, os.SCHED_BATCH, os.sched_param(0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.open("/dev/null", os.O_RDONLY)
    socket.setdefaulttimeout(0.001)


def leaves_files_that_resist() -> None:
    """Files that are hard to remove."""
    folder = TEMPORARY / MARK
    folder.mkdir()
    os.mkfifo(folder / "fifo")
    (folder / "line\nfeed \x1b[2J").touch()
    (folder / "loop").symlink_to(folder)
    socket.socket(socket.AF_UNIX).bind(str(folder / "socket"))
    deep = folder
    for _ in range(60):
        deep /= "d" * 30
        deep.mkdir()
    (folder / ("x" * 255)).mkdir(mode=0)
    folder.chmod(0)


def sleeper(**how: Any) -> int:
    """Start a process that stays; returns its process id."""
    return subprocess.Popen(["sleep", NAP], start_new_session=True, **how).pid


def leaves_daemons() -> None:
    """Processes that try to get out of sight: orphans, deaf ones, stopped ones."""
    sleeper()
    subprocess.run(f"(setsid sleep {NAP} &) ; trap '' TERM HUP INT", shell=True, check=True)
    os.kill(sleeper(), signal.SIGSTOP)
    sleeper(preexec_fn=lambda: signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals()))
    with suppress(OSError):  # Where no user namespaces can be made.
        subprocess.Popen(["unshare", "--map-root-user", "--pid", "--fork", "sleep", NAP])


def leaves_a_sibling() -> None:
    """A process that is no child of the task's, but of the zygote."""
    if LIBC.syscall(CLONE, CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0) == 0:
        os.execvp("sleep", ["sleep", NAP])


def leaves_a_daemon_and_kills_the_zygote() -> None:
    """The process that ends what a workload left behind ends first."""
    leaves_daemons()
    os.kill(os.getppid(), signal.SIGKILL)


def leaves_a_daemon_and_stops_the_zygote() -> None:
    """As before, but it stays and does nothing."""
    leaves_daemons()
    os.kill(os.getppid(), signal.SIGSTOP)


def leaves_a_daemon_and_kills_the_handler() -> None:
    """The process that reports the end ends first."""
    leaves_daemons()
    os.kill(watchers()[1], signal.SIGKILL)


def leaves_system_v_objects() -> None:
    """Shared memory, semaphores and a queue that the kernel keeps without any process."""
    made = (
        LIBC.shmget(KEY, 4096, 0o1600),
        LIBC.semget(KEY, 1, 0o1600),
        LIBC.msgget(KEY, 0o1600),
    )
    assert -1 not in made, os.strerror(ctypes.get_errno())


def leaves_system_v_objects_and_kills_the_handler() -> None:
    """The process that would remove them ends first."""
    leaves_system_v_objects()
    os.kill(watchers()[1], signal.SIGKILL)


def leaves_an_abstract_socket() -> None:
    """It has no file. POSIX shared memory is a file, in /dev/shm, where a function cannot write."""
    socket.socket(socket.AF_UNIX).bind(f"\0{MARK}")


def throttles_its_watchers() -> None:
    """Priorities and hard limits of handler and zygote: without privileges, nobody raises them."""
    for pid in watchers():
        os.setpriority(os.PRIO_PROCESS, pid, 19)
        os.sched_setscheduler(pid, os.SCHED_BATCH, os.sched_param(0))
        psutil.Process(pid).ionice(psutil.IOPRIO_CLASS_IDLE)
        resource.prlimit(pid, resource.RLIMIT_CORE, (0, 0))
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (2**20, 2**20))


POISONS: tuple[Callable[[], None], ...] = (
    plants_code_in_airflow_home,
    plants_code_for_python,
    plants_settings_of_tools,
    changes_its_process,
    leaves_files_that_resist,
    leaves_daemons,
    leaves_a_sibling,
    leaves_a_daemon_and_kills_the_zygote,
    leaves_a_daemon_and_stops_the_zygote,
    leaves_a_daemon_and_kills_the_handler,
    leaves_system_v_objects,
    leaves_system_v_objects_and_kills_the_handler,
    leaves_an_abstract_socket,
    throttles_its_watchers,
)

# ---- the folder that stays: DAG files ----

BUNDLES = AIRFLOW_HOME / "dag_bundles"


def locks_the_dag_files() -> None:
    """Nobody may look into their folder."""
    BUNDLES.chmod(0)


def replaces_the_dag_files() -> None:
    """A file is where their folder was."""
    shutil.rmtree(BUNDLES)
    BUNDLES.touch()


def links_the_dag_files() -> None:
    """A link is where their folder was: whoever clears it would clear another one."""
    shutil.rmtree(BUNDLES)
    BUNDLES.symlink_to("/proc/self/fdinfo")


def blocks_the_dag_files() -> None:
    """Whoever opens the lock of the folder waits for ever."""
    (lock,) = (BUNDLES / "_locks").iterdir()
    lock.unlink()
    os.mkfifo(lock)


SPOILS = (
    locks_the_dag_files,
    replaces_the_dag_files,
    links_the_dag_files,
    blocks_the_dag_files,
)

# ---- theft ----


def dies_with_a_token() -> None:
    """A victim: it crashes where cores are wanted, in a folder that stays for the next task."""
    resource.setrlimit(resource.RLIMIT_CORE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    os.chdir(AIRFLOW_HOME)
    os.kill(os.getpid(), signal.SIGABRT)


def has_its_watchers_dump_core() -> None:
    """Have the kernel write the memory of handler and zygote to the disk."""
    for pid in reversed(watchers()):
        hard = resource.prlimit(pid, resource.RLIMIT_CORE)[1]
        resource.prlimit(pid, resource.RLIMIT_CORE, (hard, hard))
        os.kill(pid, signal.SIGABRT)


def has_its_child_dump_core() -> list[str]:
    """Crash a child that nothing protects: what the search finds then, which is removed."""
    child = os.fork()
    if not child:
        LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
        hard = resource.getrlimit(resource.RLIMIT_CORE)[1]
        resource.setrlimit(resource.RLIMIT_CORE, (hard, hard))
        os.chdir(AIRFLOW_HOME)
        os.kill(os.getpid(), signal.SIGABRT)
    os.waitpid(child, 0)
    found = searches_files()
    for name in found:
        Path(name).unlink(missing_ok=True)  # A folder may be within another one.
    return found


def searches_files() -> list[str]:
    """Files with a token in them, and cores, among all that a task may read, but no program's."""
    found = []
    for folder in (TEMPORARY, Path.home(), AIRFLOW_HOME, Path("/dev/shm"), Path.cwd()):
        for path in folder.iterdir() if folder == Path.cwd() else folder.rglob("*"):
            with suppress(OSError):
                content = path.read_bytes() if path.is_file() else b""
                # A core that fills the disk may lack the part with the token.
                is_core = content.startswith(b"\x7fELF") and content[16:17] == ET_CORE
                if is_core or TOKEN.search(content):
                    found.append(str(path))
    return found


def attempt(call: Callable[[], object]) -> str:
    """How a call ends: the name of its error, or `done`."""
    try:
        call()
    except OSError as e:
        return errno.errorcode[e.errno or 0]
    return "done"


def checked(result: int) -> int:
    """The result of a C function.

    Raises:
        OSError: It failed.
    """
    if result == -1:
        raise OSError(ctypes.get_errno(), "")
    return result


def reads(pid: int) -> dict[str, str]:
    """Try everything by which a process reads or changes another one's memory and open files."""
    process, pidfd = Path(f"/proc/{pid}"), os.pidfd_open(pid)
    buffer = ctypes.create_string_buffer(8)
    vector = struct.pack("QQ", ctypes.addressof(buffer), 8)
    calls: dict[str, Callable[[], object]] = {
        **{name: (process / name).read_bytes for name in ("environ", "maps", "auxv", "io")},
        **{name: (process / name).readlink for name in ("cwd", "root", "exe", "fd/0", "ns/mnt")},
        "mem": lambda: (process / "mem").open("rb").close(),
        "process_vm_readv": lambda: checked(LIBC.process_vm_readv(pid, vector, 1, vector, 1, 0)),
        "pidfd_getfd": lambda: os.close(checked(LIBC.syscall(PIDFD_GETFD, pidfd, 1, 0))),
        "kcmp": lambda: checked(LIBC.syscall(KCMP, os.getpid(), pid, 2, 0, 0)),
        "ptrace": lambda: checked(LIBC.ptrace(PTRACE_SEIZE, pid, None, None)),
    }
    found = {name: attempt(call) for name, call in calls.items()}
    os.close(pidfd)
    return found


def reads_its_watchers() -> dict[str, Any]:
    """What it learns of handler and zygote; and, to compare, of a process of its own."""
    LIBC.prctl(PR_SET_DUMPABLE, 1, 0, 0, 0)
    open_to_all = [
        name
        for pid in watchers()
        for name in ("cmdline", "status", "comm", "limits", "stat", "cgroup", "mountinfo")
        if TOKEN.search(Path(f"/proc/{pid}/{name}").read_bytes())
    ]
    return {
        "of its own": reads(subprocess.Popen(["sleep", NAP]).pid),
        "of zygote and handler": [reads(pid) for pid in watchers()],
        "a token in": open_to_all,
    }


def reaches_networks() -> list[str]:
    """The descriptors that it inherited and that lead out of the environment."""
    found = []
    for path in Path("/proc/self/fd").iterdir():
        with suppress(OSError), socket.socket(fileno=os.dup(int(path.name))) as inherited:
            if inherited.family != socket.AF_UNIX:
                found.append(str(inherited))
    return found


THEFTS: tuple[Callable[[], Any], ...] = (
    around,
    dies_with_a_token,
    has_its_watchers_dump_core,
    has_its_child_dump_core,
    searches_files,
    reads_its_watchers,
    reaches_networks,
)


@dag(schedule=None)
def handled() -> None:
    """All attacks."""
    for attack in (*POISONS, *SPOILS, *THEFTS):

        @task(task_id=attack.__name__)
        def does(attack: Callable[[], Any] = attack) -> None:
            """Carry out the attack, and print what it found."""
            print("seen", json.dumps(attack()))  # noqa: T201 - the test reads it

        does()


handled()
