"""What is shipped, and which packages of the lock are in it."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[1]
UV = ROOT / "build" / "uv" / "bin" / "uv"


@dataclass(frozen=True, slots=True)
class Part:
    """Something that others install or run.

    Attributes:
        name: Its name, for people and for files.
        selection: The arguments of uv that select its packages in `uv.lock`.
        venv: The virtual environment that has them installed, below the root.
    """

    name: str
    selection: tuple[str, ...]
    venv: str = ".venv"

    def packages(self) -> Sequence[Requirement]:
        """Return its packages with their versions, also those for other systems."""
        text = _export(self, "requirements.txt", "--no-hashes", "--no-annotate", "--no-emit-local")
        return [Requirement(line) for line in text.splitlines() if line]

    def bill(self) -> str:
        """Return its bill of materials, a JSON document in the format CycloneDX 1.5."""
        return _export(self, "cyclonedx1.5")


def parts(pruned: Sequence[str]) -> tuple[Part, ...]:
    """Return all parts.

    Args:
        pruned: The packages that the image leaves out.
    """
    without = tuple(argument for name in pruned for argument in ("--prune", name))
    return (
        Part("executor", ("--package", "airflow-lambda-executor", "--extra", "native", "--no-dev")),
        Part("constructs", ("--package", "airflow-lambda-constructs", "--no-dev")),
        Part("image", ("--only-group", "image", *without), "build/venv/image"),
    )


def _export(part: Part, format: str, *arguments: str) -> str:
    return subprocess.run(
        [
            *(str(UV), "export", "--quiet", "--frozen", "--no-header"),
            *("--preview-features", "sbom-export", "--format", format, *arguments),
            *part.selection,
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    ).stdout
