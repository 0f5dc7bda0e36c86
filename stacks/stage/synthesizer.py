"""Publish a stack's images into a repository that an earlier stack of the same deploy makes.

`DefaultStackSynthesizer(image_assets_repository_name=...)` alone is not enough: the CLI looks the
repository up when it builds an image, and only publishing waits for the stacks that a stack depends
on. Here the asset manifest itself depends on the registry stack, as with `AppStagingSynthesizer`.
docs/decisions/0004-own-repository.md
"""

from __future__ import annotations

from typing import Any

import aws_cdk as cdk
import jsii
from aws_cdk import cloud_assembly_schema as schema

#: The bootstrap version that `DefaultStackSynthesizer` requires for its own asset manifests.
_BOOTSTRAP_VERSION_FOR_ASSETS = 6

# Two distributions, aws-cdk-lib and aws-cdk-cloud-assembly-schema, install this module into the
# same file; either may win. They give the classes different jsii names, and the CDK accepts only
# those of aws-cdk-lib.
_SHARED: tuple[Any, ...] = (
    schema.ArtifactManifest,
    schema.ArtifactType,
    schema.AssetManifestProperties,
)
for _shared in _SHARED:
    _shared.__jsii_type__ = f"aws-cdk-lib.cloud_assembly_schema.{_shared.__name__}"


class OwnRepositorySynthesizer(cdk.DefaultStackSynthesizer):
    """The default synthesizer, except that images go into the repository of the registry stack."""

    def __init__(self, *, registry: cdk.Stack, repository_name: str) -> None:
        super().__init__(image_assets_repository_name=repository_name)
        self._registry = registry

    @jsii.member(jsii_name="reusableBind")
    def reusable_bind(self, stack: cdk.Stack) -> cdk.IBoundStackSynthesizer:
        """Bind this object, because the default's clone loses the Python overrides."""
        self._bound_to = stack
        self.bind(stack)
        return self

    @jsii.member(jsii_name="synthesize")
    def synthesize(self, session: cdk.ISynthesisSession) -> None:
        """Synthesize as usual, then add the asset manifest again with the dependency."""
        super().synthesize(session)
        stack = self._bound_to.artifact_id
        session.assembly.add_artifact(
            f"{stack}.assets",
            type=schema.ArtifactType.ASSET_MANIFEST,
            properties=schema.AssetManifestProperties(
                file=f"{stack}.assets.json",
                requires_bootstrap_stack_version=_BOOTSTRAP_VERSION_FOR_ASSETS,
                bootstrap_stack_version_ssm_parameter=qualified(
                    self, cdk.DefaultStackSynthesizer.DEFAULT_BOOTSTRAP_STACK_VERSION_SSM_PARAMETER
                ),
            ),
            dependencies=[self._registry.artifact_id],
        )


def qualified(synthesizer: cdk.IStackSynthesizer, name: str) -> str:
    """Return the name of a bootstrap resource with the qualifier of the bootstrap stack in use."""
    qualifier = synthesizer.bootstrap_qualifier or cdk.DefaultStackSynthesizer.DEFAULT_QUALIFIER
    return name.replace("${Qualifier}", qualifier)
