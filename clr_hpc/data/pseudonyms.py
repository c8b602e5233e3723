"""Names of patients and images replaced by a keyed hash, so that who lacks the key can't guess them back."""

import hashlib
import hmac
from pathlib import Path
from typing import NamedTuple, Self

from clr_hpc.config.given_file import FileError, read_given
from clr_hpc.data.source import SourceError

_KEY_BYTES_MIN = 16
_DIGITS = 20
"""Of a pseudonym: 80 bits, so that two of a billion patients are given one with a chance of 1 in a million."""
_MAKE_ONE = "make one: (umask 077; head -c 32 /dev/urandom > KEYFILE)"


class Pseudonyms(NamedTuple):
    """HMAC-SHA-256 under one key: the same name has the same pseudonym in every pack made with it."""

    key: bytes

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read the key.

        Raises:
            SourceError: it can't be opened, others may read it, or it is shorter than 16 bytes.
        """
        try:
            key = read_given(path, largest=1 << 20)
        except FileError as error:
            raise SourceError(f"--pseudonymise {path}: {error}") from error
        if path.stat().st_mode & 0o077:
            raise SourceError(f"--pseudonymise {path}: others may read this key; run: chmod 600 {path}")
        if len(key) < _KEY_BYTES_MIN:
            raise SourceError(
                f"--pseudonymise {path}: a key of {len(key)} bytes can be guessed, {_KEY_BYTES_MIN} are needed; "
                f"{_MAKE_ONE}"
            )
        return cls(key)

    def of(self, kind: str, name: str) -> str:
        """Return the pseudonym of a patient or an image; names of different kinds never share one."""
        return hmac.digest(self.key, f"{kind}:{name}".encode(), "sha256").hex()[:_DIGITS]

    @property
    def key_id(self) -> str:
        """What tells packs of different keys apart and gives nothing of the key away."""
        return self.of("key", "")


def hashed(name: str) -> str:
    """Return a hash of a file's name without a key, for a file that names itself in no other way."""
    return hashlib.sha256(name.encode()).hexdigest()[:_DIGITS]
