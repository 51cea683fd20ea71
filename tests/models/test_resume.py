"""The state file: what it holds comes back, what it must not hold does not run."""

from __future__ import annotations

import pickle
import zipfile
from pathlib import Path
from random import Random

import pytest
import torch

from geoseg.errors import ModelError
from geoseg.models.resume import load_state, save_state


class _Touch:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[Path]]:
        return Path.touch, (self.path,)


def test_tensors_and_plain_values_come_back(tmp_path: Path) -> None:
    state = {"weights": {"a": torch.arange(6.0).reshape(2, 3)}, "epoch": 3, "best": {"miou": None}}
    save_state(tmp_path / "last.pt", state)
    loaded = load_state(tmp_path / "last.pt")
    assert torch.equal(loaded["weights"]["a"], state["weights"]["a"])  # type: ignore[index]
    assert (loaded["epoch"], loaded["best"]) == (3, {"miou": None})


def test_an_object_in_the_file_is_refused_and_does_not_run(tmp_path: Path) -> None:
    torch.save({"version": 1, "weights": _Touch(tmp_path / "owned")}, tmp_path / "last.pt")
    with pytest.raises(ModelError, match="damaged or no training state"):
        load_state(tmp_path / "last.pt")
    (tmp_path / "plain.pt").write_bytes(pickle.dumps(_Touch(tmp_path / "owned")))
    with pytest.raises(ModelError, match="damaged or no training state"):
        load_state(tmp_path / "plain.pt")
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize("keep", [0, 1, 100, -1])
def test_a_truncated_file_is_one_clear_error(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "last.pt"
    save_state(path, {"weights": torch.zeros(1000)})
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(ModelError, match="damaged or no training state"):
        load_state(path)


def test_a_file_with_other_bytes_is_one_clear_error_or_a_state(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_state(
        path, {"weights": {"a": torch.arange(6.0), "b": torch.zeros(2)}, "epoch": 3, "best": {"x": [1.5]}}
    )
    rng, refused = Random(1), 0
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    pickled = next(name for name in members if name.endswith("data.pkl"))
    for _ in range(400):
        data = bytearray(members[pickled])
        for _ in range(rng.randint(1, 3)):
            data[rng.randrange(len(data))] = rng.randrange(256)
        del data[rng.choice((len(data), rng.randrange(len(data)))) :]
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in (members | {pickled: bytes(data)}).items():
                archive.writestr(name, content)
        try:
            load_state(path)
        except ModelError:
            refused += 1
    assert refused > 300


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    torch.save({"version": 999}, tmp_path / "last.pt")
    with pytest.raises(ModelError, match="no training state of this geoseg"):
        load_state(tmp_path / "last.pt")


def test_a_missing_file_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="nothing to resume"):
        load_state(tmp_path / "last.pt")
