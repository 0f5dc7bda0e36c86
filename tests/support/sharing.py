"""Which tests share a worker when several run at once."""

from __future__ import annotations

import re

from xdist.scheduler import LoadScopeScheduling

#: Tests that share a session fixture which is expensive or can exist only once.
TOGETHER = {
    "tests/container/": "container",
    "tests/e2e/test_environment.py": "deployed",
    "tests/e2e/test_operation.py": "deployed",
    "tests/e2e/test_page.py": "deployed",
    "tests/synth/": "synth",
}

#: The parameter of a test that is first, if it is a version of Airflow.
_VERSION = re.compile(r"\[(3\.\d[.\w]*)[-\]]")


class ByFile(LoadScopeScheduling):  # type: ignore[misc]
    """Tests of one file run in one worker, and so do those of `TOGETHER`.

    A file that has the same tests for each version of Airflow is as many as it has versions.
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        groups = (name for start, name in TOGETHER.items() if file.startswith(start))
        version = _VERSION.search(nodeid)
        return next(groups, f"{file} {version[1]}" if version else file)
