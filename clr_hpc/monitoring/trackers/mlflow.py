"""MLflow: an experiment for each study, with a run for each of its runs and one for its report."""

import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clr_hpc.config.base import UserError
from clr_hpc.monitoring.status import State
from clr_hpc.monitoring.trackers.base import Mark, Tracker
from clr_hpc.monitoring.trackers.read import TrackedRun

if TYPE_CHECKING:
    from mlflow.entities import Metric, Run

URI = "MLFLOW_TRACKING_URI"
DEFAULTS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Settings of MLflow's client where its user has none; its own would try for minutes to reach a dead server."""
KEY, STUDY, SAMPLES, STATE, REASON = (f"clr_hpc.{name}" for name in ("key", "study", "samples", "state", "reason"))
REPORT, DIGEST = "report", "clr_hpc.report"
"""The key of the report's run, and the tag that says which report it has."""
OF_TRAINING = {"mlflow.experimentKind": "custom_model_development"}
"""Has MLflow open an experiment with its runs, and not with traces of language models."""
FOLDER = ("file:", "/", "./")
"""How an address begins that is a folder."""
MOST_METRICS, MOST_RUNS = 900, 1000
"""In one request; the server takes 1,000."""
STATUS = {
    State.RUNNING: "RUNNING",
    State.STOPPED: "KILLED",
    State.FAILED: "FAILED",
    State.DONE: "FINISHED",
}


class MLflow(Tracker):
    """The server, or folder, that ``MLFLOW_TRACKING_URI`` names.

    Tags of its runs say which run of which study's folder each is, and how far it has it. So nothing has to be
    kept here, and a server that lost its runs gets them again.
    """

    name = "mlflow"
    needs = "mlflow"

    def __init__(self) -> None:
        """Take client and runs from ``open``."""
        self._client: Any = None
        self._experiment = ""
        self._runs: dict[str, Run] = {}
        self._study = self._study_id = ""

    def check(self) -> None:
        """See that package and server are named, and that MLflow writes into it where it is a folder."""
        super().check()
        uri = os.environ.get(URI)
        if not uri:
            raise UserError(
                f"tracker mlflow: {URI} is not set, so the server isn't known; set it: export "
                f"{URI}=http://127.0.0.1:5000"
            )
        if uri.startswith(FOLDER):
            from mlflow import MlflowClient
            from mlflow.exceptions import MlflowException

            try:  # later releases refuse folders, which costs no network to find out
                MlflowClient(tracking_uri=uri).search_experiments(max_results=1)
            except MlflowException as error:
                rule = str(error).partition(". ")[0]
                raise UserError(
                    f"tracker mlflow: {URI}={uri}: {rule}; name a server or a database, such as "
                    f"sqlite:///{Path.cwd()}/mlflow.db"
                ) from error

    def open(self, study: str, study_id: str, folder: Path) -> dict[str, Mark]:  # noqa: ARG002
        """Find or make the experiment of the study's name, and the runs of this folder in it."""
        for name, value in DEFAULTS.items():
            os.environ.setdefault(name, value)
        logging.getLogger("urllib3").setLevel(logging.ERROR)  # each try to reach a dead server is a warning
        from mlflow import MlflowClient

        self._study, self._study_id = study, study_id
        self._client = MlflowClient(tracking_uri=os.environ[URI])
        found = self._client.get_experiment_by_name(study)
        made = self._client.create_experiment
        self._experiment = made(study, tags=OF_TRAINING) if found is None else found.experiment_id
        self._runs = {}
        for run in self._of_folder():
            self._take(run)
        return {key: _mark(run) for key, run in self._runs.items() if key != REPORT}

    def write(self, run: TrackedRun) -> None:
        """Add what is new; the mark goes with the last of it, so that a part that was lost is sent again."""
        from mlflow.entities import Param, RunTag

        client, begun = self._client, round(run.started * 1000)
        known = self._runs.get(run.key) or self._create(run.key, run.name, begun)
        run_id = known.info.run_id
        if not known.data.params:  # it was made just now, or then the server was lost
            params = [Param(name, str(value)) for name, value in run.params.items()]
            client.log_batch(run_id, params=params)
            self._runs[run.key] = client.get_run(run_id)
        for samples, metrics in _batches(run):
            client.log_batch(run_id, metrics=metrics, tags=[RunTag(SAMPLES, str(samples))])
        tags = [RunTag(STATE, run.state), RunTag(REASON, run.reason or "")]
        if run.has_ended:
            client.log_batch(run_id, metrics=_final(run))
            client.set_terminated(run_id, STATUS[run.state], begun + round(run.seconds * 1000))
        else:
            client.update_run(run_id, status=STATUS[run.state])
        client.log_batch(run_id, tags=[*tags, RunTag(SAMPLES, str(run.samples))])

    def write_report(self, files: Mapping[str, Path], digest: str) -> None:
        """Upload the report's files to a run of their own."""
        known = self._runs.get(REPORT)
        if known is not None and known.data.tags.get(DIGEST) == digest:
            return
        if known is None:
            known = self._create(REPORT, f"report of {self._study}", 0)
        run_id = known.info.run_id
        for path in files.values():
            self._client.log_artifact(run_id, str(path), "report")
        self._client.set_tag(run_id, DIGEST, digest)
        self._client.set_terminated(run_id, "FINISHED")

    @property
    def address(self) -> str:
        """The page of the experiment, or the folder."""
        uri = os.environ.get(URI, "").rstrip("/")
        return (
            f"{uri}/#/experiments/{self._experiment}/runs" if uri.startswith("http") and self._experiment else uri
        )

    def _create(self, key: str, name: str, started: int) -> "Run":
        tags = {KEY: key, STUDY: self._study_id, SAMPLES: "-1", STATE: ""}
        start = {"start_time": started} if started else {}
        self._runs[key] = made = self._client.create_run(self._experiment, tags=tags, run_name=name, **start)
        return made

    def _of_folder(self) -> "Iterator[Run]":
        token = None
        while True:
            page = self._client.search_runs(
                [self._experiment], f"tags.`{STUDY}` = '{self._study_id}'", max_results=MOST_RUNS, page_token=token
            )
            yield from page
            token = page.token
            if not token:
                return

    def _take(self, run: "Run") -> None:
        """Keep a run; delete its double, which comes from a request whose answer was lost."""
        key = run.data.tags.get(KEY, "")
        double = self._runs.get(key)
        if double is not None:
            run, double = sorted((run, double), key=lambda one: _mark(one).samples, reverse=True)
            self._client.delete_run(double.info.run_id)
        self._runs[key] = run


def _mark(run: "Run") -> Mark:
    tags = run.data.tags
    return Mark(int(tags.get(SAMPLES, "-1")), tags.get(STATE, ""))


def _batches(run: TrackedRun) -> "Iterator[tuple[int, list[Metric]]]":
    """Yield metrics, as many as one request takes, and up to how many samples they go."""
    from mlflow.entities import Metric

    batch: list[Metric] = []
    last = run.points[0].samples if run.points else 0
    for point in run.points:
        if len(batch) + len(point.values) > MOST_METRICS:
            yield last, batch
            batch = []
        # the time of a value is part of what tells it from others, so a value that is sent again is the same one
        time = round((run.started + point.seconds) * 1000)
        batch += [Metric(tag, value, time, point.samples) for tag, value in point.values.items()]
        last = point.samples
    if batch:
        yield last, batch


def _final(run: TrackedRun) -> "list[Metric]":
    from mlflow.entities import Metric

    time = round((run.started + run.seconds) * 1000)
    return [Metric(tag, value, time, max(0, run.samples)) for tag, value in run.final.items()]
