from functools import cache
from pathlib import Path

import pytest
import torch

from clr_hpc.store import provenance


def test_a_process_keeps_the_code_that_it_began_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "module.py").write_text("a = 1\n")
    monkeypatch.setattr(provenance, "PACKAGE", tmp_path)
    monkeypatch.setattr(provenance, "code_of_this_process", cache(provenance.code_identity))
    first = provenance.describe_environment(torch.device("cpu"))
    (tmp_path / "module.py").write_text("a = 2\n")
    assert provenance.code_identity().source_sha256 != first["source_sha256"]
    assert provenance.describe_environment(torch.device("cpu"))["source_sha256"] == first["source_sha256"]
