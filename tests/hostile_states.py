"""Hostile runs, chips, shards, ONNX files, COCO files and configurations."""

from __future__ import annotations

import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from hostile_files import Lures, Maker, coco, written
from hostile_models import DEEP, MODELS, Payload


def _run(folder: Path, kit: Path, *, finished: bool = False) -> Path:
    run = shutil.copytree(kit / "run", folder / "run")
    if not finished:
        (run / "model.safetensors").unlink()
    return run


def last(state: Callable[[Lures], Any]) -> Maker:
    """An unfinished run whose state holds something else."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        run = _run(folder, kit)
        torch.save(state(lures), run / "last.pt")
        return run

    return make


def last_is_packed(folder: Path, kit: Path, lures: Lures) -> Path:
    """Its members are packed: a gigabyte in a megabyte."""
    run = _run(folder, kit)
    torch.save({"version": 1, "x": torch.zeros(4)}, folder / "plain")
    with (
        zipfile.ZipFile(folder / "plain") as plain,
        zipfile.ZipFile(run / "last.pt", "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for name in plain.namelist():
            packed.writestr(name, bytes(10**9) if name.endswith("/data/0") else plain.read(name))
    return run


def run_file(name: str, text: str | bytes, *, finished: bool = True) -> Maker:
    """A run with one file replaced."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        run = _run(folder, kit, finished=finished)
        (run / name).write_bytes(text.encode() if isinstance(text, str) else text)
        if not finished:
            torch.save({"version": 1}, run / "last.pt")
        return run

    return make


RUNS: dict[str, Maker] = {
    "last_runs_code": last(lambda lures: {"version": 1, "x": Payload(lures.new)}),
    "last_is_a_function": last(lambda _: {"version": 1, "x": os.system}),
    "last_is_a_huge_view": last(lambda _: {"version": 1, "x": torch.zeros(1).expand(10**12)}),
    "last_is_deep": last(lambda _: {"version": 1, "x": _deep_list(150)}),
    last_is_packed.__name__: last_is_packed,
    "log_deep": run_file("metrics.jsonl", '{"epoch": 1, "loss": ' + DEEP + "}\n"),
    "log_of_nonsense": run_file(
        "metrics.jsonl", '{"epoch": 1e308, "\\u001b[31m": 1e400}\nNaN\n' + "9" * 9000
    ),
    "log_many_keys": run_file(
        "metrics.jsonl", json.dumps({"epoch": 1, **{f"val_{at}": 0.5 for at in range(20_000)}}) + "\n"
    ),
    "config_runs_code": run_file(
        "config.yaml", "train: !!python/object/apply:os.mkdir [x]\n", finished=False
    ),
    "config_of_days": run_file("config.yaml", "train:\n  epochs: 2026-99-99\n", finished=False),
    "model_is_a_vrt": run_file("model.safetensors", "<VRTDataset/>"),
}


def chips(change: Callable[[dict[str, Any], Lures], str | dict[str, Any]]) -> Maker:
    """Chips whose ``chips.json`` is changed."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        made = shutil.copytree(kit / "chips", folder / "chips")
        told = change(json.loads((made / "chips.json").read_text()), lures)
        (made / "chips.json").write_text(told if isinstance(told, str) else json.dumps(told))
        return made

    return make


def chip_image(write: Callable[[Path, Lures], object]) -> Maker:
    """Chips of which every image is replaced."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        made = shutil.copytree(kit / "chips", folder / "chips")
        for path in sorted((made / "images").iterdir()):
            path.unlink()
            write(path, lures)
        return made

    return make


def _vrt(path: Path, lures: Lures) -> None:
    path.write_text(
        '<VRTDataset rasterXSize="64" rasterYSize="64"><VRTRasterBand dataType="Byte" band="1"><SimpleSource>'
        f"<SourceFilename>{lures.raster}</SourceFilename></SimpleSource></VRTRasterBand></VRTDataset>"
    )


def _chip_called(name: str) -> Maker:
    def change(told: dict[str, Any], _: Lures) -> dict[str, Any]:
        told["chips"][0]["name"] = name
        return told

    return chips(change)


CHIPS: dict[str, Maker] = {
    "chips_deep": chips(
        lambda told, _: json.dumps(told | {"classes": 0}).replace('"classes": 0', f'"classes": {DEEP}')
    ),
    "chips_deep_inside": chips(
        lambda told, _: json.dumps(told).replace('"background": ', f'"more": {DEEP}, "background": ', 1)
    ),
    "chips_long_number": chips(
        lambda told, _: json.dumps(told).replace('"size_px": 64', '"size_px": ' + "9" * 9000)
    ),
    "chips_count_huge": chips(lambda told, _: told | {"stats": told["stats"] | {"count": [10**400] * 3}}),
    "chips_nan": chips(lambda told, _: json.dumps(told | {"gsd_m": 0}).replace('"gsd_m": 0', '"gsd_m": NaN')),
    "chips_crs_names_a_file": chips(lambda told, lures: told | {"crs": f"+init={lures.text}:1"}),
    "chips_crs_is_a_path": chips(lambda told, lures: told | {"crs": lures.text}),
    "chips_bands_nasty": chips(lambda told, _: told | {"bands": ["\x1b[31m[red]", "\u202e</script>", "\n"]}),
    "chips_many": chips(lambda told, _: told | {"chips": told["chips"] * 10_000}),
    "chip_name_leads_out": _chip_called("../../../../etc/passwd"),
    "chip_name_is_a_path": _chip_called("/etc/passwd"),
    "chip_name_is_a_url": _chip_called("http://127.0.0.1/x"),
    "chip_images_are_vrts": chip_image(_vrt),
    "chip_images_are_pipes": chip_image(lambda path, _: os.mkfifo(path)),
    "chip_images_are_links_to_themselves": chip_image(lambda path, _: path.symlink_to(path.name)),
}


def shard(change: Callable[[dict[str, Any], dict[str, Any], Lures], None]) -> Maker:
    """A shard whose facts or plan are changed."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = folder / "m.tif.shard-1-of-2"
        with (
            zipfile.ZipFile(kit / path.name) as before,
            zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as after,
        ):
            told = {name: json.loads(before.read(name)) for name in ("plan.json", "shard.json")}
            change(told["plan.json"], told["shard.json"], lures)
            for name in before.namelist():
                after.writestr(name, json.dumps(told[name]) if name in told else before.read(name))
        return path

    return make


def _deep_list(levels: int = 500) -> list[Any]:
    value: list[Any] = []
    for _ in range(levels):
        value = [value]
    return value


SHARDS: dict[str, Maker] = {
    "shard_number_huge": shard(lambda _plan, facts, _: facts.update(transform=[10**400] * 6)),
    "shard_deep": shard(lambda _plan, facts, _: facts.update(tags=_deep_list())),
    "shard_crs_names_a_file": shard(lambda _plan, facts, lures: facts.update(crs=f"+init={lures.text}:1")),
    "shard_plan_huge": shard(lambda plan, _facts, _: plan.update(shape=[2**31 - 1, 2**31 - 1])),
    "shard_plan_nasty": shard(
        lambda plan, _facts, _: plan.update(geoseg="\x1b[31m\n[red]", nodata={"a": "\x1b"})
    ),
    "shard_classes_nasty": shard(
        lambda _plan, facts, _: facts["classes"].update(names=["a", "\x1b[31m", "\u202e"])
    ),
}


def onnx_file(change: Callable[[Any, Lures], None]) -> Maker:
    """An ONNX file."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        value = onnx.helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, [1])
        graph = onnx.helper.make_graph([], "g", [value], [value])
        model = onnx.helper.make_model(graph)
        change(model, lures)
        path = folder / "a.onnx"
        path.write_bytes(model.SerializeToString())
        return path

    return make


def _external(model: Any, lures: Lures) -> None:
    tensor = model.graph.initializer.add()
    tensor.name, tensor.data_type = "w", onnx.TensorProto.FLOAT
    tensor.dims.append(2**40)
    tensor.data_location = onnx.TensorProto.EXTERNAL
    entry = tensor.external_data.add()
    entry.key, entry.value = "location", lures.text


def _metadata(key: str, value: str) -> Callable[[Any, Lures], None]:
    def change(model: Any, _: Lures) -> None:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value

    return change


ONNX: dict[str, Maker] = {
    "onnx_weights_elsewhere": onnx_file(_external),
    "onnx_metadata_deep": onnx_file(_metadata("a", DEEP)),
    "onnx_metadata_nasty": onnx_file(_metadata("\x1b[31m[red]", "\u202e\n[link=x]y[/link]")),
    "onnx_metadata_long_number": onnx_file(_metadata("a", "9" * 9000)),
    "onnx_card_deep": onnx_file(_metadata("geoseg", '{"version": ' + DEEP + "}")),
}


def config(text: str) -> Maker:
    """A configuration."""
    return written("a.yaml", lambda lures: text.replace("NEW_LURE", lures.new))


CONFIGS: dict[str, Maker] = {
    "yaml_runs_code": config('train: !!python/object/apply:os.mkdir ["NEW_LURE"]'),
    "yaml_new_object": config('train: !!python/object/new:os.mkdir ["NEW_LURE"]'),
    "yaml_aliases": config("a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]"),
    "yaml_deep": config("[" * 50_000),
    "yaml_number": config("train: {epochs: " + "9" * 9000 + "}"),
    "yaml_day": config("train: {epochs: 2026-99-99}"),
    "yaml_tags_that_do_not_fit": config("train: {epochs: !!int '', seed: !!bool x}"),
    "yaml_keys_nasty": config('"\\e[31m[red]\\u202e\\n": 1'),
    "yaml_weights_at_an_address": config("model: {backbone_weights: 'http://127.0.0.1:1/x'}"),
}


def coco_file(**changes: Any) -> Maker:
    """COCO instances."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        shutil.copytree(kit / "photos", folder / "photos")
        text = json.dumps(coco(**changes)).replace("RASTER_LURE", lures.raster).replace("URL_LURE", lures.url)
        return written("a.json", text)(folder, kit, lures)

    return make


def _image(name: str, side: int = 128) -> dict[str, Any]:
    return {"images": [{"id": 1, "file_name": name, "width": side, "height": side}]}


def _outline(segmentation: Any) -> dict[str, Any]:
    return {"annotations": [{"id": 1, "image_id": 1, "category_id": 1, "segmentation": segmentation}]}


COCO: dict[str, Maker] = {
    "coco_leads_out": coco_file(**_image("../../../../../../../etc/passwd")),
    "coco_absolute": coco_file(**_image("RASTER_LURE")),
    "coco_url": coco_file(**_image("URL_LURE/a.png")),
    "coco_vsi": coco_file(**_image("/vsicurl/URL_LURE/a.png")),
    "coco_name_nasty": coco_file(**_image("\x1b[31m\n\u202e[red].png")),
    "coco_nul": coco_file(**_image("a\0.png")),
    "coco_image_huge": coco_file(**_image("a.png", 10**8)),
    "coco_runs_of_a_billion": coco_file(**_outline({"size": [128, 128], "counts": [0, 10**9]})),
    "coco_runs_as_text": coco_file(**_outline({"size": [128, 128], "counts": "o" * 100_000})),
    "coco_runs_come_round": coco_file(**_outline({"size": [128, 128], "counts": [2**31 - 1] * 3})),
    "coco_polygon_of_a_million": coco_file(**_outline([[float(at % 128) for at in range(1_000_000)]])),
    "coco_far_away": coco_file(**_outline([[-1e6, -1e6, 1e6, -1e6, 1e6, 1e6, -1e6, 1e6]])),
    "coco_not_finite": coco_file(**_outline([[float("nan"), 0, 1, 1, 2, float("inf")]])),
    "coco_category_nasty": coco_file(categories=[{"id": 1, "name": "\x1b[31m[red]\u202e"}]),
    "coco_deep": coco_file(categories=[{"id": 1, "name": "x", "more": _deep_list()[:1]}]),
}

CASES: dict[str, dict[str, Maker]] = {
    "model": MODELS,
    "weights": {name: make for name, make in MODELS.items() if name.startswith(("model_", "header_"))},
    "run": RUNS,
    "chips": CHIPS,
    "shard": SHARDS,
    "onnx": ONNX,
    "config": CONFIGS,
    "coco": COCO,
}
