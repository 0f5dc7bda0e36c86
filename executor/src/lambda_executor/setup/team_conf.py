"""Airflow's configuration as the executor of one team reads it."""

from __future__ import annotations

import os
from collections.abc import Mapping

from airflow.configuration import AirflowConfigParser, conf

from lambda_executor.contract.errors import ConfigError
from lambda_executor.contract.options import SECTION
from lambda_executor.setup.references import REFERENCES

_OWN = {SECTION, *(reference.section for reference in REFERENCES)}


class TeamConf:
    """The team's own values of our options, and everybody's values of Airflow's options.

    Airflow looks a team's value up in no other place, so that one team never gets another's
    options. But a task's queue, for example, comes from the `[operators] default_queue` that all
    teams share.
    https://airflow.apache.org/docs/apache-airflow/3.4.0/core-concepts/multi-team.html
    """

    def __init__(self, team: str) -> None:
        self._team = team

    def get(self, section: str, key: str, *, fallback: str | None = None) -> str | None:
        """Return the value of an option, or the fallback."""
        if section in _OWN:
            own: str | None = conf.get(section, key, fallback=fallback, team_name=self._team)
            return own
        return conf.get(section, key, fallback=fallback)

    def has_section(self, section: str) -> bool:
        """Whether the team has this section in the configuration file."""
        return bool(conf.has_section(self._in_file(section)))

    def options(self, section: str) -> list[str]:
        """Return the names of the team's options in a section of the configuration file."""
        return list(conf.options(self._in_file(section)))

    def _in_file(self, section: str) -> str:
        return f"{self._team}={section}"


def conf_of_team(team: str | None) -> AirflowConfigParser | TeamConf:
    """Return the configuration of a team that a person named, or without one Airflow's.

    Raises:
        ConfigError: A team was named, and this Airflow has no teams.
    """
    if team is None:
        return conf
    if not conf.getboolean("core", "multi_team", fallback=False):
        raise ConfigError(
            f"the team is {team!r}, and this Airflow has no teams: [core] multi_team is not set",
            fix="set it, with Airflow 3.2 or newer, or leave --team out",
            command="export AIRFLOW__CORE__MULTI_TEAM=True",
        )
    return TeamConf(team)


def variables_of_team(team: str) -> Mapping[str, str]:
    """Return the environment variables of a team, by their names without it."""
    own = prefix(team)
    return {
        name.replace(own, prefix(), 1): value
        for name, value in os.environ.items()
        if name.upper().startswith(own)
    }


def prefix(team: str | None = None) -> str:
    """Return what the environment variables with the options of a team start with."""
    return f"AIRFLOW__{team.upper()}___" if team else "AIRFLOW__"
