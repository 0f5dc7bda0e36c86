"""All stacks of one stage and the order between them.

The cut is by lifecycle: what is thrown away together is in one stack.
docs/decisions/0006-stacks-by-lifecycle.md
"""

from __future__ import annotations

from pathlib import Path

from constructs import Construct

from stacks.config import StageConfig
from stacks.constructs.watched import WatchedDatabase
from stacks.database import DatabaseStack
from stacks.execution import ExecutionStack, Placement
from stacks.image import image_code
from stacks.network import NetworkStack
from stacks.observability import ObservabilityStack, Watched
from stacks.registry import RegistryStack
from stacks.synthesizer import OwnRepositorySynthesizer


def build(scope: Construct, stage: str, config: StageConfig, *, root: Path) -> None:
    """Add the stacks of a stage to the app.

    Args:
        scope: The app.
        stage: The stage's name.
        config: The stage's configuration.
        root: The root of the repository, which the image is built from.
    """
    registry = RegistryStack(scope, stage=stage, config=config)
    network = NetworkStack(scope, stage=stage, config=config)
    database = DatabaseStack(
        scope,
        stage=stage,
        config=config,
        vpc=network.vpc,
        security_group=network.database_security_group,
    )
    execution = ExecutionStack(
        scope,
        stage=stage,
        config=config,
        code=image_code(root, config.image, config.default_function.architecture),
        execution_api_url=str(config.execution.execution_api_url),
        placement=(
            Placement(network.vpc, network.function_security_group)
            if network.function_security_group
            else None
        ),
        synthesizer=OwnRepositorySynthesizer(
            registry=registry, repository_name=registry.repository_name
        ),
    )
    database.add_stack_dependency(network)
    execution.add_stack_dependency(registry)
    if network.function_security_group:
        execution.add_stack_dependency(network)
    if config.observability.wanted:
        observability = ObservabilityStack(
            scope,
            stage=stage,
            config=config,
            watched=Watched(
                results=execution.queue.results,
                dead_letters=execution.queue.dead_letters,
                database=WatchedDatabase(
                    instance=database.database.instance, storage_gb=config.database.storage_gb
                ),
                control_plane=None,
            ),
        )
        observability.add_stack_dependency(execution)
        observability.add_stack_dependency(database)
