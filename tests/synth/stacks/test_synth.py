"""The synthesis itself: the same everywhere, without AWS, and checked by rule packs."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import aws_cdk as cdk
import pytest
from aws_cdk import aws_sqs as sqs
from cdk_nag import AwsSolutionsChecks
from cfnlint.api import ManualArgs, lint

from tests.synth.assembly import Assembly, findings_in, synthesize
from tests.synth.variants import CONTEXT, ROOT

#: Rules of cfn-lint, and why they do not hold here.
NOT_FOR_US = {
    "I1022": "It prefers Fn::Sub to the Fn::Join that the CDK writes; both do the same.",
    "I4010": "It asks for metadata about the architecture that no tool here reads.",
    "W3005": "The CDK makes a function wait for its role's policies, and for the role by the way.",
    "E3717": "It knows 900 s as the longest time-out. Lambda allows 1,800 s: API model of botocore "
    "1.44.8, 2026-11-20. `judge/limits.py` has the limit instead.",
    "W3691": "It knows whole versions of Postgres; RDS takes a major one and chooses the minor: "
    "https://docs.aws.amazon.com/AmazonRDS/latest/APIReference/API_CreateDBInstance.html",
}


def findings(app: cdk.App) -> list[str]:
    """The findings of cdk-nag's AwsSolutions in an app that are not acknowledged."""
    cdk.Validations.of(app).add_plugins(AwsSolutionsChecks(app))
    failed = None
    try:
        app.synth()
    except RuntimeError as e:
        failed = e
    found = findings_in(Path(app.outdir))
    if failed and not found:
        raise failed
    return found


def test_rule_pack_has_no_finding(assembly: Assembly) -> None:
    """cdk-nag AwsSolutions finds nothing that is not acknowledged on its construct."""
    assert assembly.findings() == []


def test_rule_pack_is_awake(tmp_path: Path) -> None:
    """The same check finds an unsafe queue."""
    app = cdk.App(outdir=str(tmp_path))
    sqs.Queue(cdk.Stack(app, "Stack"), "Plain")
    assert any("Plain" in finding for finding in findings(app))


def test_templates_are_what_cloudformation_takes(assembly: Assembly) -> None:
    """cfn-lint finds nothing in any template, offline."""
    regions = [assembly.config.region or "eu-west-1"]
    for part in assembly.parts:
        settings = ManualArgs(regions=regions, include_checks=["I"], ignore_checks=list(NOT_FOR_US))
        assert [
            str(found) for found in lint(json.dumps(assembly.json(part)), config=settings)
        ] == []


def test_linter_is_awake() -> None:
    """The same linter finds an unknown property."""
    template = {"Resources": {"Queue": {"Type": "AWS::SQS::Queue", "Properties": {"Size": 1}}}}
    assert lint(json.dumps(template), config=ManualArgs(regions=["eu-west-1"]))


def test_every_acknowledgement_is_on_its_construct_with_a_reason(assembly: Assembly) -> None:
    """Every acknowledgement is on a construct, not a stack, and has a reason."""
    acknowledged = {
        (path, rule): reason
        for part in assembly.parts
        for path, entries in assembly.metadata(part).items()
        for entry in entries
        if entry["type"] == cdk.Validations.ACKNOWLEDGED_RULES_METADATA_KEY
        for rule, reason in entry["data"].items()
        if "AwsSolutions-" in rule  # The CDK acknowledges some of its own rules by itself.
    }
    assert acknowledged
    for (path, rule), reason in acknowledged.items():
        assert path.count("/") >= 2, f"{rule} is acknowledged for all of {path}"
        assert len(reason.split()) >= 8, f"{rule} on {path}: {reason}"


def test_synth_is_the_same_elsewhere_without_network_or_credentials(tmp_path: Path) -> None:
    """One commit and context give the same templates in any folder, for any user, offline."""
    clone, out = tmp_path / "clone", tmp_path / "out"
    for name in ("lambda_image", "executor", "dags", "stacks"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, clone / name, ignore=ignored)
    for name in ("app.py", "cdk.json"):
        shutil.copy(ROOT / name, clone)
    here = synthesize(tmp_path / "here", "dev")
    ran = _app(out, {"stage": "dev"}, root=clone, environment=_without_sockets(tmp_path))
    assert ran.returncode == 0, ran.stderr
    elsewhere = Assembly("dev", here.config, out)
    assert elsewhere.parts == here.parts
    for part in here.parts:
        assert elsewhere.json(part) == here.json(part), part


def test_sockets_are_off_where_they_are_said_to_be(tmp_path: Path) -> None:
    """The environment of the test above does refuse connections, in Python and in Node."""
    environment = {"PATH": os.environ["PATH"], **_without_sockets(tmp_path)}
    for program in (
        [sys.executable, "-c", "import socket; socket.create_connection(('127.0.0.1', 9))"],
        ["node", "-e", "require('net').connect(9, '127.0.0.1')"],
    ):
        ran = subprocess.run(program, env=environment, capture_output=True, text=True, check=False)
        assert ran.returncode != 0
        assert "no network at synth" in ran.stderr


def test_templates_depend_on_no_machine(assembly: Assembly) -> None:
    """No look-up in an account is needed, and no path of this machine is in a template."""
    assert "missing" not in assembly.manifest()
    for part in assembly.parts:
        assert str(ROOT) not in json.dumps(assembly.json(part)), part


def test_stacks_depend_on_each_other_explicitly(dev: Assembly) -> None:
    """The order of a deploy is in the assembly: network first, the registry before the function."""
    artifacts = dev.manifest()["artifacts"]
    order = {
        part: {
            dependency.removeprefix("airflow-lambda-dev-")
            for dependency in artifacts[f"airflow-lambda-dev-{part}"].get("dependencies", [])
            if not dependency.endswith(".assets")
        }
        for part in dev.parts
    }
    assert order == {
        "registry": set(),
        "network": set(),
        "database": {"network"},
        "storage": set(),
        "execution": {"network", "registry", "storage"},
        "control-plane": {"database", "execution", "network", "registry", "storage"},
        "observability": {"control-plane", "database", "execution"},
    }


def test_only_production_is_protected_from_deletion(assembly: Assembly) -> None:
    """CloudFormation refuses to delete the stacks of a stage that keeps its data."""
    for part in assembly.parts:
        properties = assembly.manifest()["artifacts"][f"airflow-lambda-{assembly.stage}-{part}"][
            "properties"
        ]
        protected = properties.get("terminationProtection", False)
        assert protected == (assembly.config.removal == "retain")


def test_local_stage_is_bound_to_the_embedded_account(
    assembly_of: Callable[[str], Assembly],
) -> None:
    """The CDK CLI deploys `local` with credentials of account 000000000000 and no other."""
    artifacts = assembly_of("local").manifest()["artifacts"]
    environments = {a["environment"] for a in artifacts.values() if a["type"].endswith(":stack")}
    assert environments == {"aws://000000000000/unknown-region"}


def test_feature_flags_are_the_recommended_ones(dev: Assembly) -> None:
    """Every flag that cdk.json sets has this CDK's recommended value, but for two.

    References between stacks are strong, so that CloudFormation refuses to pull a network from
    under its database; and no usage data is collected.
    """
    report = dev.manifest()["artifacts"]["aws-cdk-lib/feature-flag-report"]["properties"]["flags"]
    set_by_us = {flag: CONTEXT[flag] for flag in CONTEXT if flag.startswith("@aws-cdk")}
    different = {
        flag: value
        for flag, value in set_by_us.items()
        if flag in report and value != report[flag]["recommendedValue"]
    }
    assert different == {
        "@aws-cdk/core:defaultCrossStackReferences": "strong",
        "@aws-cdk/core:enableAdditionalMetadataCollection": False,
    }


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (
            {"stage": "prd"},
            "unknown stage 'prd', allowed are local, dev, prod (did you mean prod?)",
        ),
        (
            {"stage": "dev", "override": '{"image": {"dags": "dagz"}}'},
            'image.dags is "dagz", which is ',
        ),
    ],
)
def test_wrong_configuration_ends_the_app_with_a_message(
    tmp_path: Path, context: Mapping[str, str], message: str
) -> None:
    """The app exits with an error, a readable message and its section, without a traceback."""
    ran = _app(tmp_path, context)
    assert ran.returncode == 1
    assert message in ran.stderr
    assert "Traceback" not in ran.stderr
    assert re.search(r"^See docs/troubleshooting/\w+\.md#[a-z-]+$", ran.stderr, re.MULTILINE)


def test_a_stage_that_nobody_chose_is_named(tmp_path: Path) -> None:
    """With a misspelt `-c stag=prod` the app names the stage that it uses."""
    mistyped = _app(tmp_path, {"stag": "prod"})
    assert mistyped.returncode == 0
    assert "No -c stage=<name> is given: using the stage dev; allowed are" in mistyped.stderr


def _without_sockets(folder: Path) -> Mapping[str, str]:
    """An empty home, and an environment in which no connection succeeds."""
    home = folder / "home"
    home.mkdir()
    (home / "sitecustomize.py").write_text(
        "import socket\n"
        "def refuse(*_): raise RuntimeError('no network at synth')\n"
        "socket.socket.connect = socket.socket.connect_ex = refuse\n"
    )
    (home / "sockets-off.js").write_text(
        "require('net').Socket.prototype.connect = () => { throw Error('no network at synth') }\n"
    )
    return {
        "HOME": str(home),
        "PYTHONPATH": f"{home}:{folder / 'clone/executor/src'}",
        "NODE_OPTIONS": f"--require {home / 'sockets-off.js'}",
        "AWS_EC2_METADATA_DISABLED": "true",
    }


def _app(
    folder: Path,
    context: Mapping[str, str],
    *,
    root: Path = ROOT,
    environment: Mapping[str, str] | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run the app as the CDK CLI does."""
    return subprocess.run(
        [sys.executable, "app.py"],
        cwd=root,
        env={
            "PATH": os.environ["PATH"],
            "CDK_CONTEXT_JSON": json.dumps({**CONTEXT, **context}),
            "CDK_OUTDIR": str(folder),
            "PYTHONDONTWRITEBYTECODE": "1",
            **(environment or {}),
        },
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
