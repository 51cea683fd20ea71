"""Hostile models, runs, chips, shards, journals, ONNX files, COCO files and configurations."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnx
import torch
from hostile_files import Lures, coco

Maker = Callable[[Path, Path, Lures], Path]


class Payload:
    """An object that makes a file when it is unpickled."""

    def __init__(self, new: str) -> None:
        self._new = new

    def __reduce__(self) -> Any:
        return os.mkdir, (self._new,)


DEEP = "[" * 900 + "]" * 900


def _card(kit: Path) -> tuple[dict[str, Any], dict[str, Any], bytes]:
    raw = (kit / "model.safetensors").read_bytes()
    length = int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8 : 8 + length])
    return header, json.loads(header["__metadata__"]["geoseg"]), raw[8 + length :]


def write_safetensors(path: Path, header: dict[str, Any] | str, data: bytes) -> Path:
    """A safetensors file of any header."""
    text = (header if isinstance(header, str) else json.dumps(header)).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def card(swap: tuple[str, str] | None = None, **values: Any) -> Maker:
    """A model whose card is changed; keys with two underscores are of a table in it."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        header, told, data = _card(kit)
        for key, value in values.items():
            table, _, name = key.rpartition("__")
            (told[table] if table else told)[name] = value
        text = json.dumps(told)
        header["__metadata__"]["geoseg"] = text if swap is None else text.replace(*swap, 1)
        return write_safetensors(folder / "a.safetensors", header, data)

    return make


def header(**entries: Any) -> Maker:
    """A model with further entries in its header."""

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        told, _, data = _card(kit)
        return write_safetensors(folder / "a.safetensors", told | entries, data)

    return make


def model_is_a_pickle(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.safetensors"
    path.write_bytes(pickle.dumps(Payload(lures.new)))
    return path


def model_is_a_torch_file(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.safetensors"
    torch.save(Payload(lures.new), path)
    return path


def model_and_zip_in_one(folder: Path, kit: Path, lures: Lures) -> Path:
    torch.save(Payload(lures.new), folder / "x")
    path = folder / "a.safetensors"
    path.write_bytes((kit / "model.safetensors").read_bytes() + (folder / "x").read_bytes())
    return path


def model_header_of_gigabytes(folder: Path, kit: Path, lures: Lures) -> Path:
    path = folder / "a.safetensors"
    path.write_bytes(struct.pack("<Q", 2**40) + b"{}")
    return path


HUGE = {"dtype": "F32", "shape": [2**31 - 1, 2**31 - 1], "data_offsets": [0, 2**62]}

MODELS: dict[str, Maker] = {
    **{
        make.__name__: make
        for make in (
            model_is_a_pickle,
            model_is_a_torch_file,
            model_and_zip_in_one,
            model_header_of_gigabytes,
        )
    },
    "card_deep": card(('"training": {', '"training": {"config": ' + DEEP + ", "), training={"scores": {}}),
    "card_key_twice": card(('"dtype": "uint8"', '"dtype": "uint8", "dtype": "uint16"')),
    "card_nan": card(('"gsd_m": 0.5', '"gsd_m": NaN')),
    "card_infinite": card(('"gsd_m": 0.5', '"gsd_m": 1e999')),
    "card_long_number": card(('"size_px": 64', '"size_px": ' + "9" * 9000)),
    "card_count_huge": card(stats__count=[10**400] * 3),
    "card_count_below_zero": card(stats__count=[-1] * 3),
    "card_spread_below_zero": card(stats__m2=[-1.0] * 3),
    "card_many_keys": card(training={f"k{at}": 1 for at in range(50_000)}),
    "card_weights_elsewhere": card(architecture__backbone_weights="/etc/passwd"),
    "card_too_wide": card(architecture__head_width=10**9),
    "card_wide": card(architecture__head_width=2048, architecture__head_depth=8),
    "card_bands_nasty": card(band_names=["\x1b[31m[red]", "[link=file:///x]y[/link]", "\u202e</script>"]),
    "card_version_nasty": card(geoseg_version="\x1b]0;x\x07\n[red]\u202e", torch_version="\n" * 1000),
    "card_classes_nasty": card(classes__names=["a", "\x1b[31m[red]", "\u202e</script>"]),
    "card_classes_markup": card(
        classes__names=["a", "[red]x[/red]", "</script><img src=x onerror=alert(1)>"]
    ),
    "header_dtype_is_a_list": header(x={"dtype": ["F32"], "shape": [1], "data_offsets": [0, 4]}),
    "header_entry_is_a_list": header(x=[1]),
    "header_huge_tensor": header(x=HUGE),
    "header_offset_below_zero": header(x={"dtype": "F32", "shape": [1], "data_offsets": [-4, 0]}),
    "header_offset_is_a_float": header(x={"dtype": "F32", "shape": [1], "data_offsets": [0, 1e300]}),
}


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
    "last_is_deep": last(lambda _: {"version": 1}),
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


def _deep_list() -> list[Any]:
    value: list[Any] = []
    for _ in range(500):
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

    def make(folder: Path, kit: Path, lures: Lures) -> Path:
        path = folder / "a.yaml"
        path.write_text(text.replace("NEW_LURE", lures.new))
        return path

    return make


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
        path = folder / "a.json"
        text = json.dumps(coco(**changes)).replace("RASTER_LURE", lures.raster).replace("URL_LURE", lures.url)
        path.write_text(text)
        return path

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
