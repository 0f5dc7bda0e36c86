"""The configuration of a stage: its settings, and the relations that must hold between them.

Each section is a frozen pydantic model, from which the reference page (`reference.py`) and the
texts of errors are generated too. The stacks unpack the models into typed arguments; constructs
never see them.
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
