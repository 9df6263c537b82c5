"""The fixtures of the tests of runs, since webhooks report runs."""

from spool.runs.tests import conftest as of_runs

_system_assistants = of_runs._system_assistants
client = of_runs.client
graphs = of_runs.graphs
make_run = of_runs.make_run
path = of_runs.path
receiver = of_runs.receiver
thread = of_runs.thread
webhook_config = of_runs.webhook_config
