"""Which tests share a worker when several run at once."""

from __future__ import annotations

from xdist.scheduler import LoadScopeScheduling

#: Tests that share a session fixture which is expensive or can exist only once.
TOGETHER = {
    "tests/container/": "container",
    "tests/e2e/test_environment.py": "deployed",
    "tests/e2e/test_operation.py": "deployed",
    "tests/synth/": "synth",
}


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file run in one worker, and so do those of `TOGETHER`."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        groups = (name for start, name in TOGETHER.items() if file.startswith(start))
        return next(groups, file)
