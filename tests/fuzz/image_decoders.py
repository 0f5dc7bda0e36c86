"""The decoders of the image: workloads, logs, secrets, DAG files."""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path

from lambda_executor.bundles import trees
from lambda_executor.contract.dag_manifest import DagManifest, StoredFile
from lambda_executor.contract.errors import DecodeError
from lambda_image.dags import preload
from lambda_image.logs import log_events
from lambda_image.logs.invocation_log import WorkloadFacts
from lambda_image.logs.log_output import LogOutput
from lambda_image.logs.shared_values import SharedValues
from lambda_image.machine import environment
from lambda_image.machine.secret_variables import SecretError
from tests.fuzz.decoder import Decoder, dumped, text_of
from tests.unit.lambda_image.test_invocation import TOKEN, WORKLOAD
from tests.unit.lambda_image.test_secret_variables import ARN, Account

_HASH = "0" * 64
_FILE = {"etag": '"1"', "size_bytes": 4, "sha256": _HASH, "version_id": "v"}
MANIFEST = DagManifest(
    {"a.py": StoredFile('"1"', 4, _HASH), "folder/b.py": StoredFile('"2"', 4, "1" * 64, "v")}
)


def _manifest(data: bytes) -> None:
    """A manifest has a version, and is the same after it was written."""
    manifest = DagManifest.decode(data)
    assert len(manifest.version) == len("0123456789abcdef")
    _ = manifest.keeps_versions
    assert DagManifest.decode(manifest.encode()) == manifest


def _tree(data: bytes) -> None:
    """The files of any manifest stay in their folder, and the finished tree is read back."""
    manifest = DagManifest.decode(data)

    def fetch(files: Mapping[str, StoredFile], folder: Path) -> None:
        for path, file in files.items():
            (folder / path).write_bytes(b"x" * min(file.size_bytes, 16))

    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        folder = Path(base) / "outer" / "tree"
        tree = trees.Tree(folder, manifest, "etag")
        trees.build(tree, (), fetch)
        beside = [path for path in Path(base).rglob("*") if not path.is_relative_to(folder)]
        assert beside == [folder.parent]
        assert {p.stat().st_size for p in folder.rglob("*") if p.is_file()}
        found = trees.read(folder)
        is_whole = all(file.size_bytes <= 16 for file in manifest.files.values())
        assert (found == tree) if is_whole else (found is None)


def _tree_state(data: bytes) -> None:
    """What a tree on the disk says about itself; it may be damaged."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base:
        state = Path(base) / trees._STATE
        state.parent.mkdir()
        state.write_bytes(data)
        found = trees.read(Path(base))
        assert found is None or found.manifest.version


def _dag_file(data: bytes) -> None:
    """The imports of a DAG file are found, or the file is passed over."""
    with tempfile.TemporaryDirectory(prefix="fuzz-") as base, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # What Python says about the file.
        (Path(base) / "dag.py").write_bytes(data)
        for statement in preload.imports_of([Path(base)]):
            assert statement.module


def _log_line(data: bytes) -> None:
    """What a task prints becomes lines of JSON in UTF-8, without the token."""
    raw = io.BytesIO()
    output = LogOutput(raw, {})
    output.about({"dag_id": "d"}, TOKEN)
    output.write(data)
    output.end_line()
    written = raw.getvalue()
    assert TOKEN.encode() not in written
    for line in written.splitlines():
        assert line.decode().startswith("{")


def _task_log(data: bytes) -> None:
    """The lines of a task's log become events of CloudWatch Logs."""
    lines = data.splitlines(keepends=True)
    for batch in log_events.batches(log_events.events(lines)):
        for event in batch:
            event["message"].encode()
            assert event["timestamp"] > 0


def _workload_facts(data: bytes) -> None:
    facts = WorkloadFacts.read(text_of(data))
    json.dumps(facts.fields(), default=str)
    output = LogOutput(io.BytesIO(), {})
    output.about(facts.fields(), facts.token)
    output.write(b"line\n")


def _shared_values(data: bytes) -> None:
    """What a library calls a secret is hidden, whatever characters it has."""
    shared = _shared()
    shared.clear()
    shared.add(text_of(data), "another")
    assert "another" in shared.values()


@functools.cache
def _shared() -> SharedValues:
    return SharedValues()


def _secret(data: bytes) -> None:
    """The text of a secret becomes the variables of a workload."""
    references = {"ALL_OF_IT": ARN, "PASSWORD": f"{ARN}:password::"}
    with environment.restored():
        Account({ARN: text_of(data)}).variables(**references).export()


def _workload(data: bytes) -> None:
    """Airflow's own decoder of the workload, and our words for what it refuses."""
    from pydantic import ValidationError  # noqa: PLC0415 - Airflow is slow to import

    from lambda_image.runtime import compat, runner  # noqa: PLC0415 - as above

    try:
        compat.WORKLOADS.validate_json(text_of(data))
    except ValidationError as e:
        reason = runner._validation_reason(e)
        assert TOKEN not in reason
        reason.encode()


_TASK = {
    "type": "ExecuteTask",
    "token": TOKEN,
    "ti": {
        "id": "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a49",
        "dag_version_id": "0198c9d2-7d0e-7a53-9f6e-3f5d0c1b2a4a",
        "dag_id": "d",
        "task_id": "t",
        "run_id": "r",
        "map_index": -1,
        "try_number": 1,
        "pool_slots": 1,
        "queue": "default",
        "priority_weight": 1,
    },
    "dag_rel_path": "a.py",
    "bundle_info": {"name": "dags-folder", "version": None},
    "log_path": "dag_id=d/attempt=1.log",
}
_DAG_FILE = b"""\
from __future__ import annotations
import json, os.path
from airflow.sdk import DAG
try:
    import a
except ImportError:
    import b as c
if TYPE_CHECKING:
    from d import *
"""
_LINE = {"timestamp": "2026-11-21T08:00:00.123Z", "level": "info", "event": "x", "logger": "l"}

DECODERS = (
    Decoder("manifest", _manifest, (DecodeError,), (MANIFEST.encode(),)),
    Decoder("tree", _tree, (DecodeError, OSError), (MANIFEST.encode(),)),
    Decoder(
        "tree-state",
        _tree_state,
        (),
        dumped({"etag": "e", "manifest": DagManifest({}).encode().decode()}),
    ),
    Decoder(
        "dag-file",
        _dag_file,
        (),
        (_DAG_FILE,),
        bytes_per_byte=1000,  # Python's syntax tree.
    ),
    Decoder(
        "log-line",
        _log_line,
        (),
        (*dumped(_LINE), f"the token is {TOKEN}\nnext line".encode(), WORKLOAD.encode()),
    ),
    Decoder("task-log", _task_log, (), (*dumped(_LINE), b"text\n" + dumped(_LINE)[0])),
    Decoder("workload-facts", _workload_facts, (), (WORKLOAD.encode(),)),
    Decoder("shared-values", _shared_values, (), (b"a secret of somebody",)),
    Decoder(
        "secret",
        _secret,
        (SecretError,),
        (
            *dumped({"password": "correct horse", "host": "db", "more": {"api_key": "abc"}}),
            b"postgresql://user:pa%20ss@host:5432/db?password=x",
        ),
    ),
    Decoder("workload", _workload, (), dumped(_TASK)),
)
