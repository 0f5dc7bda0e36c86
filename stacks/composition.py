"""All stacks of one stage, and the order in which they are deployed.

Resources that are deleted together are in one stack: docs/decisions/0006-stacks-by-lifecycle.md
"""

from __future__ import annotations

from pathlib import Path

import aws_cdk as cdk
from constructs import Construct

from stacks.config import StageConfig
from stacks.config.advice import advice
from stacks.control_plane_stack import ControlPlaneStack, own_execution_api_url
from stacks.database_stack import DatabaseStack
from stacks.encryption_stack import EncryptionStack
from stacks.execution_stack import ExecutionStack
from stacks.network_stack import NetworkStack
from stacks.observability_stack import ObservabilityStack
from stacks.registry_stack import RegistryStack
from stacks.stage.image import StageImage
from stacks.stage.stage_stack import Stage
from stacks.stage.synthesizer import OwnRepositorySynthesizer
from stacks.storage_stack import StorageStack

#: What the ids of our warnings begin with.
_WARNINGS = "airflow-lambda"


def build(scope: Construct, stage: str, config: StageConfig, *, root: Path) -> None:
    """Add the stacks of a stage to the app; the image is built from the repository at `root`."""
    image = StageImage(root, config.image)
    key_arn = config.encryption.key_arn
    if config.encryption.key == "customer" and key_arn is None:
        key_arn = EncryptionStack(scope, Stage(stage, config, None)).key_arn
    this = Stage(stage, config, key_arn)
    registry = None if config.image.existing else RegistryStack(scope, this)
    network = NetworkStack(scope, this) if config.needs_vpc else None
    database = (
        DatabaseStack(scope, this, network=network) if network and config.database.enabled else None
    )
    storage = StorageStack(scope, this, network=network) if StorageStack.wanted(config) else None
    execution = ExecutionStack(
        scope,
        this,
        image=image,
        execution_api_url=(
            config.execution.execution_api_url
            or own_execution_api_url(stage, network.api if network else None)
        ),
        storage=storage,
        network=network if config.network.function_in_vpc or config.has_containers else None,
        synthesizer=_synthesizer(registry),
    )
    for warning in advice(config):
        cdk.Annotations.of(execution).add_warning_v2(f"{_WARNINGS}:{warning.id}", warning.text)
    control_plane = (
        ControlPlaneStack(
            scope,
            this,
            network=network,
            database=database,
            execution=execution,
            image=image,
            storage=storage,
            synthesizer=_synthesizer(registry),
        )
        if network and database and config.control_plane.kind == "fargate"
        else None
    )
    if database:
        _deploy_after(database, network)
    if storage and storage.shared_files:
        _deploy_after(storage, network)
    _deploy_after(execution, registry, storage)
    if config.network.function_in_vpc or config.has_api_gateway or config.has_containers:
        _deploy_after(execution, network)
    if control_plane:
        _deploy_after(control_plane, registry, network, database, storage, execution)
    if config.observability.wanted:
        observability = ObservabilityStack(
            scope, this, execution=execution, database=database, control_plane=control_plane
        )
        _deploy_after(observability, execution, database, control_plane)


def _deploy_after(stack: cdk.Stack, *earlier: cdk.Stack | None) -> None:
    for each in filter(None, earlier):
        stack.add_stack_dependency(each)


def _synthesizer(registry: RegistryStack | None) -> OwnRepositorySynthesizer | None:
    """Make a synthesizer for one stack: two stacks cannot share one."""
    if registry is None:
        return None
    return OwnRepositorySynthesizer(registry=registry, repository_name=registry.repository_name)
