"""A setting as one file that needs none of this package: ONNX for onnxruntime, or torch.export's ``.pt2``."""

import json
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from clr_hpc.config.plugins import require
from clr_hpc.data.pack import Pack
from clr_hpc.inference.ensemble import Ensemble
from clr_hpc.inference.export.check import Agreement, Scorer, agreement
from clr_hpc.inference.export.graph import INPUT, PortableEnsemble
from clr_hpc.store.atomic import atomic_write

FORMAT_VERSION = 1
"""Of ``facts_of``; its inputs and outputs are docs/reference/formats.md's."""
FACTS = "clr_hpc"
"""Key of the facts in ONNX's metadata."""
FACTS_FILE = "clr_hpc.json"
"""Name of the facts in a ``.pt2`` file."""
AXES = ("batch", "height", "width")


@dataclass(frozen=True)
class FileFormat:
    """How a graph is written, and how it is run again from the file."""

    suffix: str
    write: Callable[[PortableEnsemble, str, Path], None]
    """Takes the graph, ``facts_of`` it as JSON, and the file."""
    open: Callable[[Path], Scorer]
    needs: tuple[str, ...] = ()
    """Packages of the extra ``export``."""


def export_file(ensemble: Ensemble, pack: Pack, file: Path, kind: FileFormat) -> Agreement:
    """Write a setting as a file, once it has scored validation images as its runs did.

    Args:
        ensemble: classifiers of a study's folder.
        pack: the study's.
        file: to write; one that is there is replaced.
        kind: one of ``FORMATS``.

    Raises:
        MissingExtraError: a package is missing.
        UserError: the models score one class.
        MismatchError: the file's scores are others; there is no file then.
    """
    for package in kind.needs:
        require(package, "export", f"a file that ends in {kind.suffix}")
    graph = PortableEnsemble(ensemble, pack.manifest.size)
    with atomic_write(file) as temporary:
        kind.write(graph, json.dumps(facts_of(ensemble, graph), ensure_ascii=False), temporary)
        return agreement(kind.open(temporary), ensemble, pack, file)


def facts_of(ensemble: Ensemble, graph: PortableEnsemble) -> Mapping[str, object]:
    """Return what a file says of itself, for programs that run it."""
    threshold = ensemble.threshold
    return {
        "format_version": FORMAT_VERSION,
        "finding": ensemble.finding,
        "runs": [model.title for model in ensemble.models],
        "outputs": graph.outputs,
        "smallest_longer_side": graph.square.size,
        "threshold": float(threshold) if np.isfinite(threshold) else None,
    }


def _write_onnx(graph: PortableEnsemble, facts: str, file: Path) -> None:
    program = torch.onnx.export(
        graph,
        (_example(graph),),
        dynamo=True,
        verbose=False,
        input_names=[INPUT],
        output_names=list(graph.outputs),
        dynamic_shapes=(dict(enumerate(AXES)),),
    )
    assert program is not None  # with dynamo it returns a program
    for node in program.model.graph.all_nodes():
        node.metadata_props.clear()  # stack traces, with the paths of this machine
    program.model.metadata_props[FACTS] = facts
    program.save(file, external_data=False)


def _open_onnx(file: Path) -> Scorer:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda pixels: dict(zip(names, session.run(names, {INPUT: pixels}), strict=True))


def _write_torch(graph: PortableEnsemble, facts: str, file: Path) -> None:
    sides = {number: torch.export.Dim(axis) for number, axis in enumerate(AXES)}
    # a copy, since the ensemble keeps its networks as they are; torch warns of weights in channels_last
    portable = deepcopy(graph).to(memory_format=torch.contiguous_format)
    program = torch.export.export(portable, (_example(graph),), dynamic_shapes=(sides,))
    for module in program.graph_module.modules():
        for node in module.graph.nodes if isinstance(module, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)  # it has the paths of this machine
    with file.open("wb") as opened:
        torch.export.save(program, opened, extra_files={FACTS_FILE: facts})


def _open_torch(file: Path) -> Scorer:
    held = {FACTS_FILE: ""}
    with file.open("rb") as opened:
        module = torch.export.load(opened, extra_files=held).module()
    names = json.loads(held[FACTS_FILE])["outputs"]

    def scores(pixels: NDArray[np.uint8]) -> dict[str, NDArray[np.float32]]:
        with torch.inference_mode():
            found = module(torch.from_numpy(pixels))
        return {name: each.numpy() for name, each in zip(names, found, strict=True)}

    return scores


def _example(graph: PortableEnsemble) -> torch.Tensor:
    # sides and batch are all different, so that none is taken for another
    return torch.zeros(2, graph.square.size + 3, graph.square.size + 5, dtype=torch.uint8)


FORMATS = {
    "onnx": FileFormat(".onnx", _write_onnx, _open_onnx, ("onnx", "onnxscript", "onnxruntime")),
    "torch": FileFormat(".pt2", _write_torch, _open_torch),
}
"""By the name that ``--format`` has for each."""
