"""Outputs appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from geoseg import rename
from geoseg.errors import OutputError, WriteError
from geoseg.outputs import check_output, check_output_folder, made_in_place, staged_file, staged_folder


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_staged_file_moves_output_and_sidecars(tmp_path: Path) -> None:
    with staged_file(tmp_path / "mask.tif") as staged:
        staged.write_text("pixels")
        staged.with_name("mask.tif.aux.xml").write_text("names")
        assert not (tmp_path / "mask.tif").exists()
    assert names(tmp_path) == {"mask.tif", "mask.tif.aux.xml"}
    assert (tmp_path / "mask.tif").read_text() == "pixels"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_staged_file_leaves_nothing_after_an_error(tmp_path: Path, error: type[BaseException]) -> None:
    (tmp_path / "old.tif").write_text("old")

    def stop_half_way() -> None:
        with staged_file(tmp_path / "old.tif") as staged:
            staged.write_text("half")
            raise error

    with pytest.raises(error):
        stop_half_way()
    assert names(tmp_path) == {"old.tif"}
    assert (tmp_path / "old.tif").read_text() == "old"


def test_stale_sidecar_is_removed(tmp_path: Path) -> None:
    (tmp_path / "mask.tif.aux.xml").write_text("another CRS")
    with staged_file(tmp_path / "mask.tif") as staged:
        staged.write_text("new")
    assert names(tmp_path) == {"mask.tif"}


def test_longest_file_name_can_be_staged(tmp_path: Path) -> None:
    name = "m" * 251 + ".tif"
    with staged_file(tmp_path / name) as staged:
        staged.write_text("x")
    assert names(tmp_path) == {name}


def test_output_carries_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        with staged_folder(tmp_path / "chips") as staged:
            (staged / "a").write_text("a")
        with staged_file(tmp_path / "model.safetensors") as staged:
            staged.touch(mode=0o600)
    finally:
        os.umask(before)
    assert (tmp_path / "chips").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "model.safetensors").stat().st_mode & 0o777 == 0o644


def test_staged_folder_replaces_only_at_the_end(tmp_path: Path) -> None:
    old = tmp_path / "chips"
    old.mkdir()
    (old / "old").write_text("old")

    def stop_half_way() -> None:
        with staged_folder(old) as staged:
            (staged / "new").write_text("new")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        stop_half_way()
    assert names(old) == {"old"}
    with staged_folder(old) as staged:
        (staged / "new").write_text("new")
    assert names(old) == {"new"}
    assert names(tmp_path) == {"chips"}


def test_existing_output_needs_overwrite(tmp_path: Path) -> None:
    output = tmp_path / "mask.tif"
    output.write_text("x")
    with pytest.raises(OutputError, match=r"mask.tif exists; use --overwrite"):
        check_output(output, overwrite=False)
    check_output(output, overwrite=True)


def test_input_is_never_the_output(tmp_path: Path) -> None:
    scene = tmp_path / "scene.tif"
    scene.write_text("x")
    link = tmp_path / "link.tif"
    link.symlink_to(scene)
    for output in (scene, link):
        with pytest.raises(OutputError, match="both input and output"):
            check_output(output, overwrite=True, inputs=[scene])


def test_output_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not exist; create it first"):
        check_output(tmp_path / "no" / "mask.tif", overwrite=False)


def test_foreign_folder_is_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    check_output_folder(folder, overwrite=False, marker="chips.json")
    (folder / "holiday.jpg").write_text("x")
    with pytest.raises(OutputError, match="use --overwrite"):
        check_output_folder(folder, overwrite=False, marker="chips.json")
    with pytest.raises(OutputError, match="is not replaced"):
        check_output_folder(folder, overwrite=True, marker="chips.json")
    (folder / "chips.json").write_text("{}")
    check_output_folder(folder, overwrite=True, marker="chips.json")


def test_the_folder_one_is_in_is_no_output(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="is the folder you are in"):
        check_output_folder(tmp_path, overwrite=False, marker="chips.json")


def test_a_name_without_room_for_a_sidecar_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="too long a name"):
        check_output(tmp_path / ("m" * 251 + ".tif"), overwrite=False)
    check_output(tmp_path / ("m" * 243 + ".tif"), overwrite=False)


def test_what_a_dead_process_left_is_removed_and_what_a_living_one_has_stays(tmp_path: Path) -> None:
    output = tmp_path / "mask.tif"
    with staged_file(output) as staged:
        staged.write_text("first")
        dead = staged.parent.with_name(staged.parent.name[:-8] + "deadbeef")
        dead.mkdir()
        (dead / "mask.tif").write_text("half")
        with staged_file(output) as other:
            other.write_text("second")
            assert not dead.exists()
            assert staged.exists()
    assert output.read_text() == "first"
    assert names(tmp_path) == {"mask.tif"}


@pytest.mark.parametrize("one_stroke", [True, False])
def test_folders_change_places(one_stroke: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not one_stroke:
        monkeypatch.setattr(rename, "_exchange", lambda *_: False)
    for name in ("old", "new"):
        (tmp_path / name).mkdir()
        (tmp_path / name / name).touch()
    rename.swap(tmp_path / "new", tmp_path / "old", aside=tmp_path / "aside")
    assert names(tmp_path / "old") == {"new"}


def test_an_old_folder_that_a_killed_process_put_aside_comes_back(tmp_path: Path) -> None:
    with staged_folder(tmp_path / "chips") as staged:
        prefix = staged.parent.name[:-8]
    (tmp_path / "chips").rmdir()
    (tmp_path / f"{prefix}deadbeef" / "old").mkdir(parents=True)
    (tmp_path / f"{prefix}deadbeef" / "old" / "chips.json").touch()
    with pytest.raises(RuntimeError), staged_folder(tmp_path / "chips"):
        raise RuntimeError
    assert names(tmp_path) == {"chips"}
    assert names(tmp_path / "chips") == {"chips.json"}


def test_nobody_hears_of_the_hidden_folder(tmp_path: Path) -> None:
    path = tmp_path / "m.tif"
    with (
        pytest.raises(WriteError, match=f"^'{path}' is odd, so is {path}; do it again$"),
        staged_file(path) as at,
    ):
        raise WriteError(f"'{at.parent / 'tmp1' / 'draft.tif'}' is odd, so is {at}; do it again")


def die_making(folder: Path) -> None:
    """Have a process killed that makes ``folder``."""
    if child := os.fork():
        assert os.waitpid(child, 0)[1] == 0
        return
    with made_in_place(folder, marker="done"):
        (folder / "half").touch()
        os._exit(0)


def test_a_folder_made_in_place_costs_the_old_one_only_when_it_is_whole(tmp_path: Path) -> None:
    folder = tmp_path / "demo"
    folder.mkdir()
    (folder / "done").write_text("old")
    for _ in range(2):
        die_making(folder)
        assert sorted(path.name for path in folder.iterdir()) == ["done", "half"]
        assert (folder / "done").read_text() == ""
    with (
        pytest.raises(OutputError, match="is in use by another geoseg"),
        made_in_place(folder, marker="done"),
        made_in_place(folder, marker="done"),
    ):
        pass
    assert (folder / "done").read_text() == "old"
    with made_in_place(folder, marker="done"):
        (folder / "done").write_text("new")
    assert (folder / "done").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["demo"]
