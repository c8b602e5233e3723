"""One cell that lists what was found: ``Effusion|Mass``, ``['effusion', 'mass']``, ``effusion; mass``."""

import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache

from clr_hpc.config.base import shown
from clr_hpc.config.pathologies import (
    NEGATIVE,
    NO_DISEASES,
    NO_FINDING,
    PATHOLOGIES,
    POSITIVE,
    UNKNOWN,
    parse_finding,
)
from clr_hpc.data.tables.values import ValueRules, is_missing

_BETWEEN = re.compile(r"[|;,\n]")
_QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
OTHER = ""
"""Stands for a finding that is none of the pack's."""


class FindingsCells:
    """Cells of a findings column, read with the names that a pack knows."""

    def __init__(
        self,
        findings: Sequence[str],
        names: Mapping[str, Sequence[str]],
        rules: ValueRules,
        ignores_others: bool,
    ) -> None:
        """Take what names mean.

        Args:
            findings: of the pack.
            names: findings of names in the cells, in lower case; "" for a name to leave out.
            rules: of cells without a name.
            ignores_others: whether a name that is none of these is left out, where it would be an error.
        """
        self.findings = tuple(findings)
        self._names = names
        self._rules = rules
        self._ignores_others = ignores_others
        self.labels = cache(self._labels)

    def _labels(self, text: str) -> tuple[tuple[int, ...], int]:
        """Return the labels ``(findings,)`` of a cell, and whether nothing was found.

        Raises:
            ValueError: a name is unknown, or 'No Finding' stands together with a finding.
        """
        found = set(self._found(text))
        if not found:
            return self._blank()
        diseases = found - NO_DISEASES - {NO_FINDING}
        if NO_FINDING in found and diseases:
            raise ValueError(f"'No Finding' together with a finding: {shown(text)}")
        labels = tuple(POSITIVE if name in found else NEGATIVE for name in self.findings)
        if NO_FINDING in found:
            return labels, POSITIVE
        return labels, NEGATIVE if diseases else UNKNOWN

    def _blank(self) -> tuple[tuple[int, ...], int]:
        if self._rules.blank == "negative":
            return (NEGATIVE,) * len(self.findings), POSITIVE
        return (UNKNOWN,) * len(self.findings), UNKNOWN

    def _found(self, text: str) -> Iterator[str]:
        for name in self.names(text):
            known = self._known(name)
            if known is None and not self._ignores_others:
                raise ValueError(f"{shown(name)} is none of the pack's findings")
            yield from (OTHER,) if known is None else known

    def names(self, text: str) -> list[str]:
        """Return the names that a cell lists."""
        if self._known(text) is not None:
            return [text]
        listed = text.strip().removeprefix("[").removesuffix("]")
        if quoted := [first or second for first, second in _QUOTED.findall(listed)]:
            pieces = quoted
        else:
            pieces = _BETWEEN.split(listed)
        names = [name for piece in pieces if not is_missing(name := piece.strip())]
        return [part for name in names for part in self._words(name)]

    def _words(self, name: str) -> list[str]:
        """Return the names that blanks separate, where all of them are known; else the name as it is."""
        if self._known(name) is not None:
            return [name]
        found: list[str] = []
        words = name.split()
        while words:
            lengths = range(len(words), 0, -1)  # the longest first: Pleural Thickening is one finding
            length = next((size for size in lengths if self._known(" ".join(words[:size])) is not None), None)
            if length is None:
                return [name]
            found.append(" ".join(words[:length]))
            words = words[length:]
        return found

    def _known(self, name: str) -> Sequence[str] | None:
        if (meant := self._names.get(name.strip().casefold())) is not None:
            return meant
        finding = parse_finding(name)
        return (finding,) if finding is not None and finding in (*self.findings, NO_FINDING) else None


def names_of_14(name: str) -> bool:
    """Return whether a name is one of the 14 findings, or says that there is none."""
    return parse_finding(name) in (*PATHOLOGIES, NO_FINDING)
