"""The image's contents."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from lambda_image.packaging.trim import NOT_COMPILED
from tests.container.conftest import DOCKERFILE
from tests.container.emulated import LIMITS
from tests.container.engine import FOLDER, ROOT, EngineError, Podman

UV = ROOT / "build" / "uv" / "bin" / "uv"
REFERENCE = "apache-airflow[amazon,postgres]"
MOST_OF_THE_REFERENCE = 0.6

#: Bytes of the files below two folders; in the image, without the base image's own packages and
#: without what this suite installs.
_SIZES = """
import sysconfig
from pathlib import Path
def size(folder, without=()):
    files = (path for path in Path(folder).rglob("*") if path.is_file() and not path.is_symlink())
    names = ((path.relative_to(folder).parts[0].partition("-")[0], path) for path in files)
    return sum(path.stat().st_size for name, path in names if name not in without)
base = ("pip", "setuptools", "_distutils_hack", "pkg_resources", "distutils", "humanize")
print(size("/reference"), size(sysconfig.get_path("purelib"), base))
"""

_COMPILED = """
import importlib.util, sys, sysconfig
from pathlib import Path
for folder in (Path(sysconfig.get_path("purelib")), Path("/var/task")):
    for source in folder.rglob("*.py"):
        compiled = Path(importlib.util.cache_from_source(str(source)))
        kind = compiled.read_bytes()[4] if compiled.exists() else "missing"
        print(kind, source.relative_to(folder).parts[0], source)
"""

#: As a user that is not root: what it cannot read, and whether the handler can be imported.
_READABLE = """
import os
for folder, folders, files in os.walk("/var/task", onerror=print):
    for name in (*folders, *files):
        if not os.access(os.path.join(folder, name), os.R_OK):
            print("cannot be read:", folder, name)
import handler
print("imported", os.getuid())
"""

_AIRFLOW = """
import importlib.metadata, json, os
os.environ["AIRFLOW__CORE__EXECUTOR"] = "lambda_executor.LambdaExecutor"
from airflow.executors.executor_loader import ExecutorLoader
from airflow.providers_manager import ProvidersManager
executor, _ = ExecutorLoader.import_default_executor_cls()
provider = ProvidersManager().providers["airflow-lambda-executor"]
print(json.dumps({
    "executor": f"{executor.__module__}.{executor.__name__}",
    "provider": provider.version,
    "distribution": importlib.metadata.version("airflow-lambda-executor"),
    "airflow": importlib.metadata.version("apache-airflow-core"),
}))
"""


@pytest.fixture(scope="module")
def configuration(podman: Podman, image: str) -> dict[str, Any]:
    """The image's configuration."""
    (described,) = json.loads(podman.call("image", "inspect", image))
    found: dict[str, Any] = described["Config"]
    return found


def test_packages_are_at_most_60_percent_of_the_references(
    podman: Podman, image: str, record_property: Any
) -> None:
    """The size counts compiled files, for the same Python and Airflow."""
    version = podman.python(image, "import sys; print('%d.%d' % sys.version_info[:2])")
    airflow = json.loads(_in_image(podman, image, _AIRFLOW))["airflow"]
    reference = _reference(podman, image, airflow, version)
    sizes = podman.python(image, _SIZES, f"--volume={reference}:/reference:ro")
    theirs, ours = map(int, sizes.split())
    record_property("site_packages_bytes", f"{ours} of {theirs}")
    assert ours <= MOST_OF_THE_REFERENCE * theirs


def test_every_module_is_compiled_and_looks_at_no_time_stamp(podman: Podman, image: str) -> None:
    """An image with equal time stamps starts as fast; the user's packages too."""
    unchecked_hash = "1"
    found = [line.split(" ", 2) for line in podman.python(image, _COMPILED).splitlines()]
    others = [path for kind, _, path in found if kind != unchecked_hash]
    assert all(NOT_COMPILED.search(path) for path in others), others[:5]
    assert "humanize" in {name for kind, name, _ in found if kind == unchecked_hash}


def test_the_image_runs_as_nobody_and_holds_no_secret(
    podman: Podman, image: str, configuration: dict[str, Any]
) -> None:
    """No root, no credential in a variable, a file or a build step, and no AWS CLI."""
    assert configuration["User"] == "65534:65534"
    secret = re.compile("KEY|SECRET|PASSWORD|TOKEN|CREDENTIAL", re.IGNORECASE)
    assert not [entry for entry in configuration["Env"] if secret.search(entry)]
    steps = podman.call("history", "--no-trunc", "--format={{.CreatedBy}}", image)
    assert not secret.search(steps)
    look = (
        "import shutil; from pathlib import Path;"
        "found = [shutil.which('aws')];"
        "found += [p for p in Path('/').glob('**/.aws') if not str(p).startswith('/proc')];"
        "found += [*Path('/var/task').rglob('airflow.cfg'), *Path('/var/task').rglob('.env')];"
        "print([str(f) for f in found if f])"
    )
    assert podman.python(image, look) == "[]"


def test_airflow_finds_the_executor_and_its_provider(podman: Podman, image: str) -> None:
    """The executor is a distribution, so Airflow knows its options."""
    found = json.loads(_in_image(podman, image, _AIRFLOW))
    assert found["executor"] == "lambda_executor.scheduler.executor.LambdaExecutor"
    assert found["provider"] == found["distribution"]


def test_the_scheduler_alone_finds_awss_native_client(podman: Podman, image: str) -> None:
    """No function imports it at a cold start; on Fargate the scheduler sends by it."""
    look = (
        "import subprocess, sys; from lambda_image.control_plane import python_path; import os;"
        "why = 'from lambda_executor.aws.http import WHY_MISSING; print(WHY_MISSING)';"
        "here = {**os.environ}; there = here | python_path(['scheduler'], here);"
        "[subprocess.run([sys.executable, '-c', why], env=e, check=True) for e in (here, there)]"
    )
    assert podman.python(image, look).splitlines() == ["No module named 'awscrt'", "None"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"AIRFLOW_VERSION": "3.2.99"}, "lambda_image/locks/3.2.99.txt"),
        ({"REQUIREMENTS": "tests/container/conflicting-requirements.txt"}, "boto3==1.40.0"),
        ({"REQUIREMENTS": "tests/container/no-such.txt"}, "tests/container/no-such.txt"),
    ],
)
def test_a_wrong_build_argument_fails_the_build(
    podman: Podman, base_image: str, image: str, arguments: dict[str, str], said: str
) -> None:
    """An Airflow without a lock, a conflicting requirement or a missing file makes no image."""
    assert image  # its layers are in the cache
    arguments = {"BASE_IMAGE": base_image, **arguments}
    with pytest.raises(EngineError, match=re.escape(said)):
        podman.build("localhost/airflow-lambda:wrong", ROOT, DOCKERFILE, arguments)


def test_the_image_can_be_built_upon(podman: Podman, image: str, tmp_path: Path) -> None:
    """The how-to's Dockerfile adds packages and compiled DAGs, and still runs without root."""
    page = (ROOT / "docs" / "howto" / "image.md").read_text(encoding="utf-8")
    (text, *_) = re.findall(r"```dockerfile\n(.*?)```", page, re.DOTALL)
    (tmp_path / "Dockerfile").write_text(text)
    (tmp_path / "requirements.txt").write_text("humanize==4.16.0\n")
    (tmp_path / "dags").mkdir()
    (tmp_path / "dags" / "mine.py").write_text("import humanize\n")
    own = podman.build(
        "localhost/airflow-lambda:own", tmp_path, tmp_path / "Dockerfile", {"IMAGE": image}
    )
    code = (
        "import sys, os; sys.path.append('dags'); import mine, humanize, lambda_image, airflow;"
        "print(humanize.__version__, sorted(os.listdir('dags')))"
    )
    assert _in_image(podman, own, code) == "4.16.0 ['__pycache__', 'mine.py']"
    assert podman.call("image", "inspect", "--format={{.Config.User}}", own) == "65534:65534"


def test_a_clone_under_a_strict_umask_makes_an_image_that_every_user_can_run(
    podman: Podman, base_image: str, tmp_path: Path
) -> None:
    """COPY keeps the modes of the machine that builds: there only the owner may read the files."""
    context = tmp_path / "clone"
    for folder in ("lambda_image", "executor", "dags"):
        ignored = shutil.ignore_patterns("__pycache__", ".*")
        shutil.copytree(ROOT / folder, context / folder, ignore=ignored)
    for path in (context, *context.rglob("*")):
        path.chmod(path.stat().st_mode & 0o700)
    arguments = {"BASE_IMAGE": base_image}
    strict = podman.build("localhost/airflow-lambda:strict", context, DOCKERFILE, arguments)
    variables = ("--env=AIRFLOW_HOME=/tmp/airflow", "--env=AWS_DEFAULT_REGION=eu-west-1")
    said = podman.python(strict, _READABLE, *LIMITS, *variables, "--user=993:990")
    assert "cannot be read" not in said
    assert "imported 993" in said


def _in_image(podman: Podman, image: str, code: str) -> str:
    """Run code as confined as a function is; the last line that it printed."""
    home = "--env=AIRFLOW_HOME=/tmp/airflow"
    return podman.python(image, code, *LIMITS, home).splitlines()[-1]


def _reference(podman: Podman, image: str, airflow: str, python: str) -> Path:
    """What pip makes of the reference's requirement, where the versions are locked these."""
    folder = FOLDER / f"reference-{airflow}-{python}"
    if folder.exists():
        return folder
    fresh = FOLDER / "reference.new"
    shutil.rmtree(fresh, ignore_errors=True)
    wanted = f"{REFERENCE}=={airflow}"
    locked = str(ROOT / "requirements.txt")
    target = ["--target", str(fresh), "--python-version", python, "--constraint", locked]
    subprocess.run([UV, "pip", "install", "--quiet", *target, wanted], check=True, timeout=300)
    compile_all = "import compileall; compileall.compile_dir('/new', 99, quiet=2, workers=0)"
    podman.python(image, compile_all, f"--volume={fresh}:/new", "--user=0")
    return fresh.rename(folder)
