"""Changes that affect the image's tag, and how the image gets into the stage's repository."""

from __future__ import annotations

import importlib
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aws_cdk as cdk
import pytest
from aws_cdk import aws_lambda as lambda_
from aws_cdk import cloud_assembly_schema as schema

from stacks.config import ImageConfig
from stacks.config.loading import StageConfigError
from stacks.stage import synthesizer
from stacks.stage.image import StageImage
from tests.synth.assembly import Assembly
from tests.synth.variants import ROOT

#: What the image is built from, and some of what it is not.
COPIED = ("lambda_image", "executor", "dags", "stacks", "README.md", "pyproject.toml", "app.py")


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository that a test may change."""
    root = tmp_path / "tree"
    root.mkdir()
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            ignored = shutil.ignore_patterns("__pycache__", ".*")
            shutil.copytree(source, root / name, ignore=ignored)
        else:
            shutil.copy(source, root / name)
    return root


@pytest.fixture
def tag_of(tmp_path: Path) -> Callable[[Path], str]:
    """The tag of the image that is built from a tree."""
    outputs = iter(range(100))

    def tag(root: Path, image: ImageConfig | None = None) -> str:
        app = cdk.App(outdir=str(tmp_path / f"out{next(outputs)}"))
        stack = cdk.Stack(app, "Stack")
        code = StageImage(root, image or ImageConfig()).code(stack, "x86_64")
        lambda_.DockerImageFunction(stack, "Function", code=code)
        app.synth()
        (tag,) = json.loads((Path(app.outdir) / "Stack.assets.json").read_text())["dockerImages"]
        return str(tag)

    return tag


@pytest.mark.parametrize(
    "changed",
    [
        "executor/src/lambda_executor/contract/wire.py",
        "executor/src/lambda_executor/contract/options.py",
        "executor/pyproject.toml",
        "lambda_image/packaging/build.py",
        "lambda_image/handler.py",
        "lambda_image/rds-ca-bundle.pem",
        "lambda_image/locks/3.3.2.txt",
        "lambda_image/Dockerfile",
        "dags/new.py",
    ],
)
def test_change_of_what_is_in_the_image_changes_its_tag(
    tree: Path, tag_of: Callable[[Path], str], changed: str
) -> None:
    """A change of the wire, the handler, its packages or a DAG makes another image."""
    before = tag_of(tree)
    file = tree / changed
    file.write_text((file.read_text() if file.exists() else "") + "\n# changed\n")
    assert tag_of(tree) != before


def test_unrelated_change_keeps_the_tag(tree: Path, tag_of: Callable[[Path], str]) -> None:
    """A change of other files does not change the image."""
    before = tag_of(tree)
    for changed in (
        *(
            "README.md",
            "pyproject.toml",
            "app.py",
            "stacks/stage/stage_stack.py",
            "tests/test_x.py",
        ),
        *("executor/CHANGELOG.md", "executor/tests/test_x.py"),
    ):
        file = tree / changed
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("# changed\n")
    bytecode = tree / "lambda_image/__pycache__"
    bytecode.mkdir()
    (bytecode / "handler.cpython-312.pyc").write_bytes(b"\0")
    (tree / "lambda_image/locks/3.2.2.txt").write_text("# of another Airflow\n")
    assert tag_of(tree) == before


def test_tag_is_the_same_on_any_machine(
    tree: Path, tag_of: Callable[[Path], str], tmp_path: Path
) -> None:
    """Neither the folder nor the time stamps nor the umask of a clone change the tag."""
    clone = tmp_path / "elsewhere"
    shutil.copytree(tree, clone, copy_function=shutil.copyfile)
    for file in clone.rglob("*.py"):
        file.chmod(0o600)
    assert tag_of(clone) == tag_of(tree)


def test_build_sees_only_the_allow_list(tree: Path, tag_of: Callable[[Path], str]) -> None:
    """The build context has the files that the Dockerfile copies, and no others."""
    (tree / ".env").write_text("SECRET=1\n")
    tag = tag_of(tree)
    (context,) = tree.parent.glob(f"out*/asset.{tag}")
    assert {path.name for path in context.iterdir()} == {"dags", "executor", "lambda_image"}
    assert {path.name for path in (context / "executor").iterdir()} == {
        *("pyproject.toml", "README.md", "src"),
    }


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with DAG files beside the clone, and what people have in such a folder."""
    files = {
        "dags/.airflowignore": "tests/\n",
        "dags/.env": "SECRET=1\n",
        "dags/.git/config": "",
        "dags/.venv/pyvenv.cfg": "",
        "dags/__pycache__/orders.cpython-312.pyc": "",
        "dags/environment/lib/pandas.py": "",
        "dags/environment/pyvenv.cfg": "",
        "dags/orders.py": "",
        "dags/sql/orders.sql": "",
        "requirements.txt": "pandas\n",
        "shared/helpers.py": "",
    }
    for name, text in files.items():
        file = tmp_path / "repository" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    return tmp_path / "repository"


def dags_in(tree: Path, tag: str) -> Path:
    """The DAG folder that an image is built from."""
    (context,) = tree.parent.glob(f"out*/asset.{tag}")
    return context / "dags"


@pytest.mark.parametrize("written", ["absolute", "relative", "home"])
def test_dag_folder_may_lie_outside_the_clone(
    tree: Path,
    repository: Path,
    tag_of: Callable[..., str],
    monkeypatch: pytest.MonkeyPatch,
    written: str,
) -> None:
    """An absolute path, one relative to the clone and one from home all mean the same image."""
    monkeypatch.setenv("HOME", str(repository.parent))
    base = {"absolute": str(repository), "relative": "../repository", "home": "~/repository"}
    paths = [
        ImageConfig(dags=f"{start}/dags", requirements=f"{start}/requirements.txt")
        for start in (str(repository), base[written])
    ]
    assert tag_of(tree, paths[0]) == tag_of(tree, paths[1])


def test_tag_does_not_depend_on_where_the_dags_are(
    tree: Path, repository: Path, tag_of: Callable[..., str]
) -> None:
    """The same files in another folder make the same image."""
    before = tag_of(tree, ImageConfig(dags=str(repository / "dags")))
    repository.rename(repository.parent / "moved")
    assert tag_of(tree, ImageConfig(dags=str(repository.parent / "moved/dags"))) == before


def test_only_what_tasks_need_is_copied(
    tree: Path, repository: Path, tag_of: Callable[..., str]
) -> None:
    """No hidden file but .airflowignore, no cache and no virtual environment is in the image."""
    copied = dags_in(tree, tag_of(tree, ImageConfig(dags=str(repository / "dags"))))
    assert {str(path.relative_to(copied)) for path in copied.rglob("*") if path.is_file()} == {
        *(".airflowignore", "orders.py", "sql/orders.sql"),
    }


def test_a_program_beside_the_dags_can_be_run(
    tree: Path, repository: Path, tag_of: Callable[..., str]
) -> None:
    """A script for a BashOperator keeps its mode, and every user of the image may read a file."""
    dags = repository / "dags"
    (dags / "load.sh").write_text("#!/bin/sh\n")
    (dags / "load.sh").chmod(0o700)
    (dags / "orders.py").chmod(0o600)
    copied = dags_in(tree, tag_of(tree, ImageConfig(dags=str(dags))))
    assert (copied / "load.sh").stat().st_mode & 0o777 == 0o755
    assert (copied / "orders.py").stat().st_mode & 0o777 == 0o644


def test_a_repository_behind_a_link_gives_the_same_image(
    tree: Path, tag_of: Callable[..., str]
) -> None:
    """The clone may be reached through a link to its folder."""
    (tree.parent / "link").symlink_to(tree)
    assert tag_of(tree.parent / "link") == tag_of(tree)


def test_a_link_out_of_the_dag_folder_becomes_what_it_points_to(
    tree: Path, repository: Path, tag_of: Callable[..., str]
) -> None:
    """Code that several projects share by a link is in the image."""
    dags = repository / "dags"
    (dags / "common").symlink_to("../shared")
    (dags / "settings.py").symlink_to(repository / "shared/helpers.py")
    copied = dags_in(tree, tag_of(tree, ImageConfig(dags=str(dags))))
    assert (copied / "common/helpers.py").is_file()
    assert not (copied / "common").is_symlink()
    assert not (copied / "settings.py").is_symlink()


def test_other_links_stay_links(tree: Path, repository: Path, tag_of: Callable[..., str]) -> None:
    """A link within the folder, a broken one and one that leads back are not followed."""
    dags = repository / "dags"
    (dags / "same.py").symlink_to(dags / "orders.py")
    (dags / "mounted").symlink_to("/mnt/no-such-folder")
    (dags / "up").symlink_to("..")
    copied = dags_in(tree, tag_of(tree, ImageConfig(dags=str(dags))))
    links = {path.name: str(path.readlink()) for path in copied.iterdir() if path.is_symlink()}
    assert links == {"same.py": "orders.py", "mounted": "/mnt/no-such-folder", "up": ".."}


@pytest.mark.parametrize(
    ("dags", "message"),
    [
        ("nowhere", "does not exist, allowed is a folder with DAG files: create it, or name the"),
        ("empty", "has no DAG file (.py, .zip), allowed is a folder with DAG files: put DAG files"),
        ("app.py", "is not a folder, allowed is a folder with DAG files: name its folder"),
    ],
)
def test_dag_folder_must_hold_something(tree: Path, dags: str, message: str) -> None:
    """A missing folder is found at synth, with the value, the path and the fix."""
    (tree / "empty").mkdir()
    (tree / "empty/notes.txt").write_text("")
    expected = re.escape(f'image.dags is "{dags}", which is {tree / dags} and {message}')
    with pytest.raises(StageConfigError, match=expected):
        StageImage(tree, ImageConfig(dags=dags))


def test_a_home_folder_that_is_not_known_is_named(tree: Path) -> None:
    """`~nobody-here` cannot be expanded."""
    with pytest.raises(
        StageConfigError, match=r'image\.dags is "~nobody-here/dags", which is a home'
    ):
        StageImage(tree, ImageConfig(dags="~nobody-here/dags"))


def test_airflow_and_python_of_the_stage_are_the_images(
    tree: Path, tag_of: Callable[..., str], tmp_path: Path
) -> None:
    """The Dockerfile gets both versions, and the build context the packages of that Airflow."""
    tag = tag_of(tree, ImageConfig(airflow_version="3.2.2", python_version="3.13"))
    (manifest,) = tmp_path.glob("out*/Stack.assets.json")
    source = json.loads(manifest.read_text())["dockerImages"][tag]["source"]
    assert source["dockerBuildArgs"] == {
        "AIRFLOW_VERSION": "3.2.2",
        "BASE_IMAGE": "public.ecr.aws/lambda/python:3.13",
    }
    (context,) = tmp_path.glob(f"out*/asset.{tag}")
    assert [path.name for path in (context / "lambda_image/locks").iterdir()] == ["3.2.2.txt"]


def test_a_base_image_by_digest_makes_another_image_when_it_is_raised(
    tree: Path, tag_of: Callable[..., str], tmp_path: Path
) -> None:
    """The digest is part of what the image is built from, and so of its tag."""
    base = "public.ecr.aws/lambda/python:3.12@sha256:"
    tags = [
        tag_of(tree, image)
        for image in (
            ImageConfig(),
            ImageConfig(base_image=f"{base}{64 * 'a'}"),
            ImageConfig(base_image=f"{base}{64 * 'b'}"),
        )
    ]
    assert len(set(tags)) == 3
    built = {
        tag: asset["source"]["dockerBuildArgs"]["BASE_IMAGE"]
        for manifest in tmp_path.glob("out*/Stack.assets.json")
        for tag, asset in json.loads(manifest.read_text())["dockerImages"].items()
    }
    assert built[tags[2]] == f"{base}{64 * 'b'}"


def test_default_airflow_is_the_dockerfiles() -> None:
    """A build by hand and a stage that says nothing have the same versions."""
    text = (ROOT / "lambda_image/Dockerfile").read_text()
    defaults = dict(re.findall(r"^ARG (\w+)=(.*)$", text, re.MULTILINE))
    image = ImageConfig()
    assert defaults["AIRFLOW_VERSION"] == image.airflow_version
    assert defaults["BASE_IMAGE"] == f"public.ecr.aws/lambda/python:{image.python_version}"


def test_an_airflow_without_a_lock_names_the_command_that_makes_it(tree: Path) -> None:
    """Any patch version can be had, and the message says how."""
    with pytest.raises(StageConfigError) as refused:
        StageImage(tree, ImageConfig(airflow_version="3.2.1"))
    message = str(refused.value)
    assert message.startswith('image.airflow_version is "3.2.1", and its packages are not listed')
    assert "`make image-requirements AIRFLOW_VERSION=3.2.1`" in message
    assert "3.2.2" in message


def test_image_is_built_after_its_repository_is_there(dev: Assembly) -> None:
    """The asset manifest of the execution stack, not only its deployment, waits for the registry.

    The CDK CLI looks the repository up when it builds: without this dependency the first
    `cdk deploy --all` fails.
    """
    artifacts = dev.manifest()["artifacts"]
    execution, registry = "airflow-lambda-dev-execution", "airflow-lambda-dev-registry"
    assert artifacts[f"{execution}.assets"]["dependencies"] == [registry]
    assert registry in artifacts[execution]["dependencies"]
    assert f"{execution}.assets" in artifacts[execution]["dependencies"]


def test_either_distribution_of_the_assembly_schema_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two distributions install that module; with the other one's class names we synthesize too."""
    for shared in (schema.ArtifactManifest, schema.ArtifactType, schema.AssetManifestProperties):
        other = f"@aws-cdk/cloud-assembly-schema.{shared.__name__}"
        monkeypatch.setattr(shared, "__jsii_type__", other)
    importlib.reload(synthesizer)
    app = cdk.App(outdir=str(tmp_path / "out"))
    registry = cdk.Stack(app, "Registry")
    cdk.Stack(
        app,
        "Execution",
        synthesizer=synthesizer.OwnRepositorySynthesizer(registry=registry, repository_name="ours"),
    )
    manifest = json.loads((Path(app.synth().directory) / "manifest.json").read_text())
    assert manifest["artifacts"]["Execution.assets"]["dependencies"] == ["Registry"]


def test_asset_manifest_asks_for_the_bootstrap_version_like_the_cdks_own(dev: Assembly) -> None:
    """Adding the manifest again changes only its dependency."""
    artifacts = dev.manifest()["artifacts"]
    ours = artifacts["airflow-lambda-dev-execution.assets"]["properties"]
    stock = artifacts["airflow-lambda-dev-network.assets"]["properties"]
    assert {**ours, "file": None} == {**stock, "file": None}


def assets(assembly: Assembly, part: str = "execution") -> dict[str, Any]:
    """The images that a stack publishes, by their tag."""
    path = assembly.folder / f"airflow-lambda-{assembly.stage}-{part}.assets.json"
    images: dict[str, Any] = json.loads(path.read_text()).get("dockerImages", {})
    return images


def test_image_goes_into_our_own_repository(assembly: Assembly) -> None:
    """The image is published to the stage's repository, from which every function runs."""
    if assembly.config.image.uri:
        return
    repository = assembly.only("AWS::ECR::Repository").properties["RepositoryName"]
    images = assets(assembly)
    for image in images.values():
        for destination in image["destinations"].values():
            assert destination["repositoryName"] == repository
    for function in assembly.resources("AWS::Lambda::Function"):
        uri = json.dumps(function.properties["Code"]["ImageUri"])
        assert any(f"/{repository}:{tag}" in uri for tag in images)


def test_image_and_function_have_one_architecture(assembly: Assembly) -> None:
    """An image is built only for the architectures of the functions and targets."""
    if assembly.config.image.uri:
        return
    platform = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
    built = {tag: image["source"]["platform"] for tag, image in assets(assembly).items()}
    for function in assembly.resources("AWS::Lambda::Function"):
        uri = json.dumps(function.properties["Code"]["ImageUri"])
        (tag,) = (tag for tag in built if tag in uri)
        assert built[tag] == platform[function.properties["Architectures"][0]]
    assert set(built.values()) == {platform[each] for each in assembly.config.architectures}


def test_existing_image_needs_no_container_engine(assembly: Assembly) -> None:
    """With an existing image nothing is built or pushed, and the functions run it."""
    existing = assembly.config.image.existing
    if existing is None:
        return
    assert not assembly.has("registry")
    assert not assets(assembly)
    for function in assembly.resources("AWS::Lambda::Function"):
        uri = json.dumps(function.properties["Code"]["ImageUri"])
        assert f"{existing.account}.dkr.ecr.{existing.region}." in uri
        assert f"/{existing.repository}@{existing.digest}" in uri


@pytest.mark.parametrize(
    ("requirements", "message"),
    [("nowhere.txt", "does not exist, allowed"), ("dags", "is not a file, allowed")],
)
def test_requirements_must_be_a_file(tree: Path, requirements: str, message: str) -> None:
    """A missing requirements file is found at synth, with the value, the path and the fix."""
    path = tree / requirements
    expected = re.escape(f'image.requirements is "{requirements}", which is {path} and {message}')
    with pytest.raises(StageConfigError, match=expected):
        StageImage(tree, ImageConfig(requirements=requirements))


@pytest.mark.parametrize(
    "line",
    [
        *("-r base.txt", "--requirement=base.txt", "-c constraints.txt", "-e .", "-e ./plugins"),
        *("./plugins", "../plugins", "/srv/wheels/ours.whl", "ours @ file:///srv/ours.whl"),
    ],
)
def test_requirements_name_no_other_file(tree: Path, line: str) -> None:
    """Only the one file is in the image: another one would be missed in the middle of a deploy."""
    (tree / "more.txt").write_text(f"pandas\n{line}\n")
    message = re.escape(f"names another file in line 2 ({line})")
    with pytest.raises(StageConfigError, match=message):
        StageImage(tree, ImageConfig(requirements="more.txt"))


@pytest.mark.parametrize(
    "line",
    [
        *("pandas==2.3.3 --hash=sha256:0", "-c https://example.com/constraints.txt", "", "# ./x"),
        *("--index-url https://example.com/simple", "git+https://example.com/ours.git"),
        *("-e git+https://example.com/ours.git#egg=ours", "ours @ https://example.com/o.whl"),
    ],
)
def test_other_lines_of_requirements_are_taken(tree: Path, line: str) -> None:
    """What pip can fetch during the build may be in the file."""
    (tree / "more.txt").write_text(f"{line}\n")
    StageImage(tree, ImageConfig(requirements="more.txt"))


def test_requirements_are_part_of_the_image(tree: Path, tag_of: Callable[..., str]) -> None:
    """The file with more packages is in the build context, and changing it makes another image."""
    (tree / "more.txt").write_text("pendulum\n")
    image = ImageConfig(requirements="more.txt")
    before = tag_of(tree, image)
    (tree / "more.txt").write_text("pendulum==3\n")
    assert tag_of(tree, image) != before
