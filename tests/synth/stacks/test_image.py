"""Changes that affect the image's tag, and how the image gets into the stage's repository."""

from __future__ import annotations

import importlib
import json
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
        "lambda_image/requirements.txt",
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


def test_links_are_left_as_they_are(tree: Path, tag_of: Callable[..., str]) -> None:
    """A link beside the DAG folder, even a broken one, is ignored."""
    (tree / "build/dags").mkdir(parents=True)
    (tree / "build/dags/example.py").write_text("")
    before = tag_of(tree, ImageConfig(dags="build/dags"))
    (tree / "build/elsewhere").symlink_to("/proc/self/fd/none")
    assert tag_of(tree, ImageConfig(dags="build/dags")) == before


def test_dag_folder_can_be_chosen(tree: Path, tag_of: Callable[..., str]) -> None:
    """The configured DAG folder replaces the default one, also for the Dockerfile."""
    (tree / "team/dags").mkdir(parents=True)
    (tree / "team/dags/example.py").write_text("")
    tag = tag_of(tree, ImageConfig(dags="team/dags"))
    (context,) = tree.parent.glob(f"out*/asset.{tag}")
    assert (context / "team/dags/example.py").exists()
    assert not (context / "dags").exists()


@pytest.mark.parametrize("dags", ["nowhere", "empty", "app.py"])
def test_dag_folder_must_hold_something(tree: Path, dags: str) -> None:
    """A missing folder is found at synth, not halfway through a deploy."""
    (tree / "empty").mkdir()
    with pytest.raises(StageConfigError, match=f'image.dags is "{dags}", allowed is a folder'):
        StageImage(tree, ImageConfig(dags=dags))


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
    """An image is built only for the architectures of the functions."""
    if assembly.config.image.uri:
        return
    platform = {"x86_64": "linux/amd64", "arm64": "linux/arm64"}
    built = {tag: image["source"]["platform"] for tag, image in assets(assembly).items()}
    for function in assembly.resources("AWS::Lambda::Function"):
        uri = json.dumps(function.properties["Code"]["ImageUri"])
        (tag,) = (tag for tag in built if tag in uri)
        assert built[tag] == platform[function.properties["Architectures"][0]]
    assert set(built.values()) == {platform[f.architecture] for f in assembly.config.functions}


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


@pytest.mark.parametrize("requirements", ["nowhere.txt", "dags"])
def test_requirements_must_be_a_file(tree: Path, requirements: str) -> None:
    """A missing requirements file is found at synth."""
    with pytest.raises(StageConfigError, match=f'image.requirements is "{requirements}", allowed'):
        StageImage(tree, ImageConfig(requirements=requirements))


def test_requirements_are_part_of_the_image(tree: Path, tag_of: Callable[..., str]) -> None:
    """The file with more packages is in the build context, and changing it makes another image."""
    (tree / "more.txt").write_text("pendulum\n")
    image = ImageConfig(requirements="more.txt")
    before = tag_of(tree, image)
    (tree / "more.txt").write_text("pendulum==3\n")
    assert tag_of(tree, image) != before
