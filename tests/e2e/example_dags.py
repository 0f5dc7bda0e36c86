"""Airflow's own example DAGs: those that run under both executors, and why the others do not.

They are in the core and in the standard provider of the Airflow that the tests run.
"""

from __future__ import annotations

from pathlib import Path

import airflow

AIRFLOW = Path(airflow.__path__[0])
FOLDERS = (AIRFLOW / "example_dags", AIRFLOW / "providers" / "standard" / "example_dags")

#: The DAGs that are started, by their files.
STARTED = {
    "example_asset_alias": ("asset_s3_bucket_producer", "asset_alias_example_alias_producer"),
    "example_asset_alias_with_no_taskflow": (
        "asset_s3_bucket_producer_with_no_taskflow",
        "asset_alias_example_alias_producer_with_no_taskflow",
    ),
    "example_asset_decorator": ("asset1_producer",),
    "example_branch_python_dop_operator_3": ("example_branch_dop_operator_v3",),
    "example_display_name": ("example_display_name",),
    "example_dynamic_task_mapping": (
        "example_dynamic_task_mapping",
        "example_task_group_mapping",
        "example_task_mapping_second_order",
    ),
    "example_dynamic_task_mapping_with_no_taskflow_operators": (
        "example_dynamic_task_mapping_with_no_taskflow_operators",
    ),
    "example_failed_dag": ("example_failed_dag",),
    "example_latest_only_with_trigger": ("latest_only_with_trigger",),
    "example_nested_branch_dag": ("example_nested_branch_dag",),
    "example_outlet_event_extra": (
        "asset_with_extra_by_context",
        "asset_with_extra_by_yield",
        "asset_with_extra_from_classic_operator",
    ),
    "example_params_trigger_ui": ("example_params_trigger_ui",),
    "example_setup_teardown": ("example_setup_teardown",),
    "example_setup_teardown_taskflow": ("example_setup_teardown_taskflow",),
    "example_simplest_dag": ("example_simplest_dag",),
    "example_skip_dag": ("example_skip_dag",),
    "example_task_group": ("example_task_group",),
    "example_xcom": ("example_xcom",),
    "example_xcomargs": ("example_xcom_args", "example_xcom_args_with_operators"),
    "tutorial_dag": ("tutorial_dag",),
    "tutorial_taskflow_api": ("tutorial_taskflow_api",),
    "tutorial_taskflow_templates": ("tutorial_taskflow_templates",),
    "example_bash_decorator": ("example_bash_decorator",),
    "example_branch_datetime_operator": (
        "example_branch_datetime_operator",
        "example_branch_datetime_operator_3",
    ),
    "example_external_task_parent_deferrable": ("example_external_task",),
    "example_latest_only": ("latest_only",),
    "example_measurement_correction_decorator": ("example_measurement_correction_decorator",),
    "example_measurement_correction_operator": ("example_measurement_correction_operator",),
    "example_sensor_decorator": ("example_sensor_decorator",),
    "example_short_circuit_decorator": ("example_short_circuit_decorator",),
    "example_short_circuit_operator": ("example_short_circuit_operator",),
    "example_trigger_controller_dag": ("example_trigger_controller_dag",),
}

#: The DAGs that the ones above start, by their files.
FOLLOWING = {
    "example_external_task_child_deferrable": ("child_dag",),
    "example_trigger_target_dag": ("example_trigger_target_dag",),
}

#: The files that do not run, each with its reason.
LEFT_OUT = {
    "example_asset_allow_teams": "needs teams",
    "example_asset_partition": "its DAGs start by the clock or by partitions, not by hand",
    "example_asset_state_store": "counts a random number of records",
    "example_asset_with_watchers": "waits for files that somebody puts there",
    "example_assets": "each task sleeps for 5 s",
    "example_branch_labels": "has only empty operators, which no executor runs",
    "example_complex": "37 tasks of one kind, which other DAGs have too",
    "example_custom_weight": "needs a plugin",
    "example_dag_decorator": "asks a server on the internet",
    "example_inlet_event_extra": "names the asset of another example differently, so both fail",
    "example_kubernetes_executor": "needs Kubernetes",
    "example_local_kubernetes_executor": "needs Kubernetes",
    "example_params_ui_tutorial": "needs values that a person gives",
    "example_passing_params_via_test_command": "needs parameters of `airflow tasks test`",
    "example_retry_policy": "needs a server, and waits minutes for its tries",
    "example_task_group_decorator": "17 tasks of one kind, which other DAGs have too",
    "example_task_state_store": "makes up a random name and number",
    "example_task_state_store_async": "makes up a random name",
    "example_task_state_store_mapped": "makes up random numbers",
    "example_time_delta_sensor_async": "waits for the clock",
    "example_workday_timetable": "needs a plugin, and has only an empty operator",
    "tutorial": "a task sleeps for 5 s",
    "tutorial_objectstorage": "asks a server on the internet",
    "tutorial_taskflow_api_virtualenv": "installs packages",
    "example_bash_operator": "the same tasks as in example_bash_decorator",
    "example_branch_day_of_week_operator": "branches by the day on which it runs",
    "example_branch_operator": "branches at random, and installs packages",
    "example_branch_operator_decorator": "branches at random, and installs packages",
    "example_external_task_marker_dag": "waits for a run of another date",
    "example_hitl_operator": "waits for a person",
    "example_python_decorator": "installs packages",
    "example_python_operator": "installs packages",
    "example_sensors": "waits for files and for the clock, by background processes of its tasks",
}


def files() -> list[Path]:
    """The files of the DAGs that run, and a folder of templates that one of them reads."""
    return [FOLDERS[0] / "sql", *(_in(name) for name in (*STARTED, *FOLLOWING))]


def existing() -> set[str]:
    """The names of all files with example DAGs."""
    return {file.stem for folder in FOLDERS for file in folder.glob("*.py")} - {"__init__"}


def _in(name: str) -> Path:
    (found,) = (file for folder in FOLDERS if (file := folder / f"{name}.py").exists())
    return found
