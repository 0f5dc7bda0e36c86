"""The files that tasks share, wherever they run."""

from __future__ import annotations

from pydantic import Field

from stacks.config.sections.section import Section, rule


class SharedFilesConfig(Section):
    """A file system (Amazon EFS) that functions, jobs and tasks of Amazon ECS share."""

    mount: str | None = Field(
        None,
        pattern=r"^/mnt/[a-zA-Z0-9_.-]*[a-zA-Z0-9_-]$",
        max_length=160,
        description="The folder in which functions and containers find the shared files; null: "
        "there is no file system. It needs `network.function_in_vpc`, and functions do not start "
        "from a snapshot with it. MicroVMs cannot mount it. What is in it stays until a task "
        "deletes it (docs/howto/which-target.md).",
        examples=["/mnt/shared"],
        # https://docs.aws.amazon.com/lambda/latest/api/API_FileSystemConfig.html
        json_schema_extra=rule("a folder below /mnt"),
    )
