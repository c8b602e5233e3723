"""What study and site files may hold, before anybody asks what it means."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from clr_hpc.config.base import UserError
from clr_hpc.config.load import StudyError, load_study
from clr_hpc.config.yaml_file import YamlError, parse_yaml, read_yaml, to_yaml
from clr_hpc.places.slurm.site import load_site

READERS: list[Callable[[Path], Any]] = [read_yaml, load_study, load_site]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *(("yes", "yes"), ("no", "no"), ("on", "on"), ("1:30", "1:30"), ("2026-01-01", "2026-01-01")),
        *(("010", 10), ("0o10", 8), ("0x1F", 31), ("+7", 7)),
        *(("1e-4", 1e-4), (".5", 0.5), ("2.", 2.0), ("-.inf", float("-inf"))),
        *(("true", True), ("~", None), ("'1'", "1")),
        ("{a: &x {k: 1}, b: {<<: *x, k: 2}}", {"a": {"k": 1}, "b": {"k": 2}}),
    ],
)
def test_scalars_are_those_of_yaml_1_2(text: str, value: object) -> None:
    assert parse_yaml(text) == value


def test_a_key_that_is_there_twice_is_named_with_both_lines(tmp_path: Path) -> None:
    file = tmp_path / "any.yaml"
    for text, line in (("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n", "lines 3 and 5"), ("{a: 1, a: 1}", "line 1")):
        file.write_text(text)
        for reader in READERS:
            with pytest.raises(UserError, match=f"is there twice, in {line}; drop one"):
                reader(file)
    assert parse_yaml("- {a: 1}\n- {a: {a: [a, a]}}\n") == [{"a": 1}, {"a": {"a": ["a", "a"]}}]


BOMB = "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 10)}]\n"
    for before, after in zip("abcdefg", "bcdefgh", strict=True)
)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "more than 1,000,000 values"),
        ("a: &x [*x]", r"\*x stands inside &x"),
        ("[" * 5000, "nesting|inside each other"),
        ("- " * 5000 + "a", "inside each other"),
        ("a: [", "not YAML: line 2"),
        ("a: 1\n--- 2", "another document"),
        ("a: \x01", "not YAML"),
        ("9" * 5000, "not YAML"),
        ("!!python/object/apply:os.getcwd []", "not YAML"),
    ],
)
def test_what_no_file_should_hold_is_rejected_in_one_short_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "any.yaml"
    file.write_text(text)
    for reader in READERS:
        with pytest.raises(UserError, match=message) as caught:
            reader(file)
        assert len(str(caught.value)) < 500
        assert "\n" not in str(caught.value)


def test_what_is_no_file_is_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "latin").write_bytes("# Größe\nname: a\n".encode("latin-1"))
    with (tmp_path / "large").open("wb") as sparse:
        sparse.truncate(2**32)
    messages = {"pipe": "a pipe", "": "a folder", "latin": "not UTF-8: byte 0xf6 in line 1", "large": "bytes"}
    for reader in READERS:
        for name, message in messages.items():
            with pytest.raises(UserError, match=message):
                reader(tmp_path / name)
        for name in ("nowhere", "x" * 300, "a\0b"):
            with pytest.raises((UserError, OSError, ValueError)):
                reader(tmp_path / name)


def test_a_value_in_an_error_has_a_length(tmp_path: Path) -> None:
    file = tmp_path / "study.yaml"
    large = [["x" * 1000] * 1000] * 10
    for values in ({"name": "a", "pathologies": large}, {"x" * 10_000: 1}, {"name": large, "training": large}):
        file.write_text(yaml.safe_dump(values))
        with pytest.raises(StudyError) as caught:
            load_study(file)
        assert len(str(caught.value)) < 3000


def test_what_is_written_is_the_same_in_both_versions() -> None:
    values = ["1e5", "yes", "0o7", "010", "1:30", "12e03", ".5e1", 1e-5, 0.1, 3, True, None, "~", ""]
    for read in (yaml.safe_load, parse_yaml):
        assert read(to_yaml(values)) == values


def test_an_empty_text_is_nothing() -> None:
    assert parse_yaml("") is None
    with pytest.raises(YamlError):
        parse_yaml("a: 1\n b: 2")
