"""A folder that several sandboxes share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

#: Where file systems are mounted in a sandbox, and nowhere else: so it is on Lambda.
MOUNTED = Path("/mnt")


@dataclass(frozen=True, slots=True)
class Mount:
    """A folder of the machine that a sandbox has under a name of its own, and may write.

    Attributes:
        folder: The folder of the machine.
        path: Its name in the sandbox, below `MOUNTED`.
    """

    folder: Path
    path: Path

    def __post_init__(self) -> None:
        """Check where it is.

        Raises:
            ValueError: It is not below `MOUNTED`.
        """
        if MOUNTED not in self.path.parents or ".." in self.path.parts:
            raise ValueError(
                f"a file system is to be mounted at {self.path}, allowed are folders below "
                f"{MOUNTED}: change it"
            )
