import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from clr_hpc.data.build import build_pack


def test_the_snippets_of_the_documentation_run(
    make_nih_folder: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    build_pack(make_nih_folder(120).source_with_lists, tmp_path / "packs" / "nih", 32, workers=1)
    monkeypatch.chdir(tmp_path)
    text = (repository / "docs" / "how-to" / "pack-images.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    assert len(blocks) == 2
    names: dict[str, object] = {}
    for block in blocks:
        exec(block, names)
    assert np.shape(names["pixels"]) == (32, 32)
    assert np.shape(names["batch"]) == (32, 32, 32)
    assert names["is_effusion"] in (0, 1)
    assert set(np.unique(names["labels"])) <= {0, 1}
