"""The smaller files of a run: what it is (``spec.json``), where it ran, its layers, and its profile."""

from pathlib import Path
from typing import Annotated, Any, NotRequired

from pydantic import BeforeValidator, Field, TypeAdapter
from typing_extensions import TypedDict

from clr_hpc.config.run import RunSpec
from clr_hpc.store import layout
from clr_hpc.store.records import Count, Damaged, Number, Rate, Seconds, Time, read_record, record
from clr_hpc.store.results import REMEDY


@record
class Environment(TypedDict):
    """One start of a run: code, versions and hardware. Earlier versions wrote fewer keys."""

    started: NotRequired[Time]
    command: NotRequired[str]
    host: NotRequired[str]
    gpu: NotRequired[str | None]
    processes: NotRequired[Count]
    versions: NotRequired[dict[str, str]]
    commit: NotRequired[str | None]
    source_sha256: NotRequired[str]


@record
class Layer(TypedDict):
    """A layer of a network."""

    name: str
    kind: str
    output: Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=1)]
    parameters: Count


@record
class Architecture(TypedDict):
    """A network, from its input ``[channels, height, width]`` on."""

    input: Annotated[list[Annotated[int, Field(ge=1, le=2**31)]], Field(min_length=1)]
    parameters: Count
    layers: list[Layer]


@record
class ProfilePart(TypedDict):
    """What a part of training took."""

    seconds: Seconds
    share: Number
    times: Count


@record
class ProfileLimits(TypedDict):
    """How near a step is to the same step on tensors that lie ready, and to what the device can do."""

    of_bare: Number
    of_roofline: Number


@record
class Profile(TypedDict):
    """Where a run's time went."""

    task: str
    architecture: str
    images_per_second: Rate | None
    parts: dict[str, ProfilePart]
    limits: ProfileLimits | None
    trace: str | None
    missing: str | None


def _as_list(starts: Any) -> Any:
    return [starts] if isinstance(starts, dict) else starts


_SPEC = TypeAdapter(RunSpec)
_ENVIRONMENTS: TypeAdapter[list[Environment]] = TypeAdapter(
    Annotated[list[Environment], Field(min_length=1), BeforeValidator(_as_list)]
)
_ARCHITECTURE: TypeAdapter[Architecture] = TypeAdapter(Architecture)
_PROFILE: TypeAdapter[Profile] = TypeAdapter(Profile)


def read_spec(folder: Path, expected: RunSpec) -> RunSpec | Damaged | None:
    """Return the spec in a run's folder; None before the run was begun."""
    found = read_record(folder / layout.SPEC, _SPEC, REMEDY)
    if isinstance(found, RunSpec) and found != expected:
        return Damaged(folder / layout.SPEC, f"it is the spec of {found.name}", REMEDY)
    return found


def read_environments(folder: Path) -> list[Environment] | Damaged | None:
    """Return the starts of a run, the first one first; None before it was begun."""
    return read_record(folder / layout.ENVIRONMENT, _ENVIRONMENTS, REMEDY)


def read_architecture(folder: Path) -> Architecture | Damaged | None:
    """Return a run's network; None where it has left none."""
    return read_record(folder / layout.ARCHITECTURE, _ARCHITECTURE, REMEDY)


def read_profile(folder: Path) -> Profile | Damaged | None:
    """Return a run's profile; None where it has left none."""
    return read_record(folder / layout.PROFILE, _PROFILE, "'clr-hpc run --profile' makes another of a new run")
