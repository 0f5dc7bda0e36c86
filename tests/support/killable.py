"""A part of DAG files: an operator that says when Airflow has it stop."""

#: Needs the imports of `time` and of `BaseOperator`.
KILLABLE = """
class Killable(BaseOperator):
    def execute(self, context):
        print("executing")
        time.sleep(60)
    def on_kill(self):
        print("on_kill was called")
"""
