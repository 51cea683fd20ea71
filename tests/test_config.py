"""Configuration: defaults once, presets as differences, one line for what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from geoseg.config import Config, PredictConfig, TileConfig, validate
from geoseg.errors import ConfigError
from geoseg.presets import dump_config, load_config, preset_names


@pytest.mark.parametrize("name", preset_names())
def test_presets_load_and_differ_from_the_defaults_where_they_say(name: str) -> None:
    config = load_config(name)
    assert config.model.architecture.startswith(name.partition("_")[0])
    assert config.model.task == ("instance" if name.startswith("maskrcnn") else "semantic")
    assert config != Config() or name == "deeplabv3_mobilenet"


def test_dump_reads_back(tmp_path: Path) -> None:
    config = load_config(
        None, ["train.learning_rate=1e-3", "loss.class_weights=[1.0, 2.5]", "model.output_stride=8"]
    )
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(str(path)) == config
    assert config.loss.class_weights == (1.0, 2.5)


def test_overrides_beat_the_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train:\n  epochs: 7\n  batch_size: 2\nmodel:\n")
    config = load_config(str(path), ["train.epochs=9"])
    assert (config.train.epochs, config.train.batch_size) == (9, 2)
    assert config.model == Config().model


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train:\n  epoch: 3\n", "train.epoch: unknown key; did you mean train.epochs?"),
        ("trian:\n  epochs: 3\n", "trian: unknown key; did you mean train?"),
        ("train:\n  epochs: 0\n", "train.epochs: Input should be greater than or equal to 1"),
        ("train:\n  learning_rate: .inf\n", "train.learning_rate: Input should be a finite number"),
        ("- 1\n", "holds no section"),
        ("train: !!python/object/apply:os.system ['true']\n", "not readable as YAML"),
        ("a: &a [1]\nb: *a\n", "aliases are not allowed"),
        ("train: [\n", "not readable as YAML"),
        ("[" * 5000, "not readable as YAML"),
        ("train: " + "[" * 21 + "]" * 21, "more than 20 levels deep"),
        ("train:\n  epochs: 2026-99-99\n", "not readable as YAML"),
        ("train:\n  epochs: !!timestamp x\n", "not readable as YAML"),
        ("train:\n  epochs: !!bool x\n", "not readable as YAML"),
        ("'a\\nb': 1\n", "unknown key"),
        ('"a\\nb\\r": 1\n', "a\\nb\\r: unknown key"),
    ],
)
def test_wrong_files_are_one_line(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(str(path))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_huge_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "huge.yaml"
    path.write_bytes(b"#" * 100_001)
    with pytest.raises(ConfigError, match="larger than"):
        load_config(str(path))


@pytest.mark.parametrize("name", ["no_such_preset", "no/such/file.yaml"])
def test_missing_config(name: str) -> None:
    with pytest.raises(ConfigError, match="deeplabv3_mobilenet"):
        load_config(name)


@pytest.mark.parametrize(
    "override",
    [
        "train.epochs",
        "epochs=3",
        "=3",
        "train.=3",
        "train.epochs=[",
        "train.a.b=1",
        "train.epochs=2026-99-99",
    ],
)
def test_wrong_overrides(override: str) -> None:
    with pytest.raises(ConfigError):
        load_config(None, [override])


MASK_RCNN = "model.architecture=maskrcnn_resnet50_fpn_pointrend"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["model.anchor_px=[1, 2, 3, 4, 5]"], "model: anchor_px does not apply to deeplabv3_mobilenet_v3"),
        (["detection.min_score=0.5"], "detection.min_score does not apply to deeplabv3_mobilenet_v3_large"),
        (["points.per_object=9"], "points.per_object does not apply to deeplabv3_mobilenet_v3_large"),
        (
            [MASK_RCNN, "model.dropout=0.1"],
            "model: dropout does not apply to maskrcnn_resnet50_fpn_pointrend",
        ),
        ([MASK_RCNN, "loss.dice_weight=1"], "loss.dice_weight does not apply to maskrcnn_resnet50_fpn"),
        ([MASK_RCNN, "model.mask_head=conv", "model.head_depth=1"], "head_depth does not apply to maskrcnn"),
        ([MASK_RCNN, "model.mask_head=conv", "points.importance=0.5"], "points.importance does not apply to"),
    ],
)
def test_options_of_another_task_are_refused_in_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_config(None, overrides)
    assert message in str(caught.value)
    assert str(caught.value).endswith("; leave it out")
    assert "\n" not in str(caught.value)


def test_what_applies_to_objects_is_taken_and_reads_back(tmp_path: Path) -> None:
    options = ["model.anchor_px=[8, 16, 32, 64, 128]", "detection.max_objects=900", "points.per_object=64"]
    config = load_config(None, [MASK_RCNN, *options])
    path = tmp_path / "config.yaml"
    path.write_text(dump_config(config))
    assert load_config(str(path)) == config
    assert config.detection.max_objects == 900


def test_sections_are_checked() -> None:
    with pytest.raises(ConfigError, match=r"overlap_px 512 must be below size_px 512"):
        validate(TileConfig, {"overlap_px": 512}, where="tile")
    with pytest.raises(ConfigError, match=r"predict: size_px: .*multiple of 32"):
        validate(PredictConfig, {"size_px": 100}, where="predict")


@pytest.mark.parametrize(
    "override",
    [
        "augment.scale=0.5", "augment.band_dropout=0.1", "train.rare_share=0.5", "train.ignore_rim_px=2",
        "loss.class_weights=median_frequency", "loss.class_weights=effective",
    ],
)  # fmt: skip
def test_what_makes_rare_things_count_is_off_unless_set(override: str) -> None:
    section, _, name = override.partition("=")[0].partition(".")
    off, on = (
        getattr(getattr(config, section), name) for config in (Config(), load_config(None, [override]))
    )
    assert off in (0, "none", "auto")
    assert str(on) == override.partition("=")[2]


@pytest.mark.parametrize(
    "override",
    ["augment.scale=-0.1", "augment.band_dropout=1.1", "train.rare_share=2", "train.ignore_rim_px=-1"],
)
def test_shares_and_widths_out_of_range_are_refused(override: str) -> None:
    with pytest.raises(ConfigError, match="should be"):
        load_config(None, [override])
