"""What a file or folder is: model, run, chips, scene, mask, polygons, journal, shard or ONNX file.

Nothing is computed and torch is not needed: files say themselves what they are. They may come from strangers,
so what they are is seen by their first bytes, and each is opened as the stage does that reads it.
"""

from __future__ import annotations

from pathlib import Path

from geoseg.errors import InputError
from geoseg.facts.common import Facts
from geoseg.progress import SILENT, Progress
from geoseg.raster import formats

_KNOWN = "a model, a run or chips folder, a scene, a mask, polygons, a journal, a shard or an ONNX file"
_STATES = (".pt", ".pth")
_ZIP = b"PK\x03\x04"


def info(path: Path, *, counts: bool = False, progress: Progress = SILENT) -> Facts:
    """The facts of ``path``, in plain values; ``kind`` says what it is.

    Args:
        path: any file or folder that geoseg makes or reads.
        counts: of a mask, go through the pixels and count the classes.
        progress: told about the counting.

    Raises:
        InputError: it is nothing that geoseg knows; or ``counts`` of what is no mask.
        ReadError: it is damaged.
    """
    path = Path(path)
    # Before a folder is looked into: an address is no path.
    if not path.is_dir():
        head = formats.read_head(path, what="file", error=InputError)
        facts = _of_raster(path, counts, progress) if formats.is_raster(head, path) else None
        if facts is not None:
            return facts
    if counts:
        raise InputError(f"{path} is no mask, so it has no classes to count; leave --counts out")
    return _of_folder(path) if path.is_dir() else _of_file(path, head)


def _of_raster(path: Path, counts: bool, progress: Progress) -> Facts:
    from geoseg.facts.raster import raster_facts

    return raster_facts(path, counts=counts, progress=progress)


def _of_folder(path: Path) -> Facts:
    from geoseg.facts import chips, model, work

    if (path / "chips.json").is_file():
        return chips.chips_facts(path)
    if model.is_run(path):
        return model.run_facts(path)
    if work.is_journal(path):
        return work.journal_facts(path)
    raise InputError(f"{path} is a folder of something else{_inside(path)}")


def _inside(path: Path) -> str:
    """What to do about a folder that is nothing itself: name something in it."""
    from geoseg.facts import model, work

    for found in sorted(path.iterdir())[:1000]:
        if found.is_dir() and (
            (found / "chips.json").is_file() or model.is_run(found) or work.is_journal(found)
        ):
            return f"; name what is in it, such as {found}"
    return f"; give {_KNOWN}"


def _of_file(path: Path, head: bytes) -> Facts:
    from geoseg.facts import layers, model, onnx_file, work

    if path.suffix.lower() in _STATES:
        raise InputError(f"{path} is the state that training goes on from; name the folder of the run")
    if path.suffix.lower() == ".safetensors":
        return model.model_facts(path)
    if path.suffix.lower() == onnx_file.SUFFIX:
        return onnx_file.onnx_facts(path)
    if head.startswith(_ZIP):
        return work.shard_facts(path)
    if path.name == "chips.json":
        raise InputError(f"{path} belongs to a chips folder; name the folder, {path.parent}")
    if formats.vector_driver(head, path.suffix) is not None:
        return layers.layer_facts(path)
    raise InputError(f"{path} is {formats.describe(head)}; give {_KNOWN}")
