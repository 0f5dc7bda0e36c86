"""What a person may say about a stage, and the relations that must hold between the values.

One frozen pydantic model per concern; the models are also the source of the reference page
(`stacks/config/reference.py`) and of what an error calls allowed. `relations/` has what must hold
between values. It must not know the CDK: the stacks unpack a model into typed arguments, constructs
never see it.
"""

from __future__ import annotations

from stacks.config.sections.functions import (
    DEFAULT_FUNCTION,
    PASSWORD_ROTATION,
    Architecture,
    FunctionConfig,
)
from stacks.config.sections.image import ExistingImage, ImageConfig
from stacks.config.sections.network import MOST_AZS
from stacks.config.sections.section import RetentionDays, Section
from stacks.config.stage import StageConfig

__all__ = [
    "DEFAULT_FUNCTION",
    "MOST_AZS",
    "PASSWORD_ROTATION",
    "Architecture",
    "ExistingImage",
    "FunctionConfig",
    "ImageConfig",
    "RetentionDays",
    "Section",
    "StageConfig",
]
