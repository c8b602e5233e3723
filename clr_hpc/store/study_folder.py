"""A study's folder: what was asked for, on which pack, and the run folders."""

import json
import shutil
from pathlib import Path

import yaml

from clr_hpc.config.run import RunSpec
from clr_hpc.config.study import Study
from clr_hpc.store.atomic import atomic_write
from clr_hpc.store.run_folder import is_done


class StudyFolder:
    """``results/<study>/``."""

    def __init__(self, path: Path) -> None:
        """Name the folder; ``prepare`` makes it."""
        self.path = path
        self.runs = path / "runs"

    def prepare(self, study: Study, pack_folder: Path) -> None:
        """Write down the study as it will run, and its pack's manifest."""
        self.runs.mkdir(parents=True, exist_ok=True)
        with atomic_write(self.path / "study.yaml") as temporary:
            temporary.write_text(yaml.safe_dump(study.model_dump(mode="json"), sort_keys=False))
        with atomic_write(self.path / "pack.json") as temporary:
            shutil.copyfile(pack_folder / "manifest.json", temporary)

    def unfinished(self, runs: tuple[RunSpec, ...]) -> tuple[RunSpec, ...]:
        """Return the runs whose result isn't there or says that they failed."""
        return tuple(spec for spec in runs if not is_done(self.result(spec)))

    def failures(self, runs: tuple[RunSpec, ...]) -> dict[str, int]:
        """Return the modification time, in ns, of the result of each of these runs that failed."""
        results = {spec.name: self.runs / spec.name / "result.json" for spec in self.unfinished(runs)}
        return {name: path.stat().st_mtime_ns for name, path in results.items() if path.exists()}

    def code_of(self, spec: RunSpec) -> str | None:
        """Return the checksum of the code that last trained a run; None where it isn't known."""
        return self._last_start(spec, "source_sha256")

    def host_of(self, spec: RunSpec) -> str | None:
        """Return the host that last trained a run; None where it isn't known."""
        return self._last_start(spec, "host")

    def _last_start(self, spec: RunSpec, key: str) -> str | None:
        try:
            starts = json.loads((self.runs / spec.name / "environment.json").read_text())
        except FileNotFoundError:
            return None
        value: str | None = starts[-1].get(key)
        return value

    def result(self, spec: RunSpec) -> dict[str, object] | None:
        """Return what a run came to; None where it hasn't ended."""
        try:
            result: dict[str, object] = json.loads((self.runs / spec.name / "result.json").read_text())
        except FileNotFoundError:
            return None
        return result
