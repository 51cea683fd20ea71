"""Configurations: YAML files, single settings, and areas and widths in words."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import yaml

from fuzz.core import Files, Target
from fuzz.mutate import ODD, TEXTS, chance, damaged, damaged_json, damaged_text, number
from geoseg.config import Config, EvaluateConfig, PredictConfig, TileConfig, VectorizeConfig, validate
from geoseg.presets import dump_config, load_config, presets_folder
from geoseg.vectorize import _Limits

_KINDS = (TileConfig, PredictConfig, VectorizeConfig, EvaluateConfig)
_SCALARS = (
    "!!python/object/apply:os.system [x]", "!!int x", "!!binary x", "!!timestamp x", "!!bool x", "&a [*a]",
    "*a", "<<: {a: 1}", "? a", "- - -", "|", ">", "%YAML 9.9", "---", "...", "\t", "0b1", "0o7", "1_000",
    "1:30", "190:20:30", "2001-01-01", "9999-99-99", ".inf", ".nan", "~", "1e3", "1.e+3", "y", "on", "'", '"',
    "{", "[", "#", "!", "@", "`",
)  # fmt: skip
_WIDTHS = (
    "2px", "3m", "2%", "250m2", "20px", "1e400m2", "-1px", "0px", "nanm2", "infpx", "1e-400px", "٣px", "2 px",
    "9" * 5000 + "px", "1ha", "0.5ha", "1km2",
)  # fmt: skip


def seeds(folder: Path) -> list[Files]:
    """The presets, and everything written out."""
    made = [{"x.yaml": path.read_bytes()} for path in sorted(presets_folder().glob("*.yaml"))]
    return [*made, {"x.yaml": dump_config(Config()).encode()}]


def damage(rng: Random, seeds: Sequence[Files]) -> Files:
    """Other values, other lines, other bytes."""
    data = rng.choice(seeds)["x.yaml"]
    kind = rng.randrange(10)
    if kind < 5:
        value = damaged_json(rng, yaml.safe_load(data), most=2)
        try:
            return {
                "x.yaml": yaml.safe_dump(value, default_flow_style=chance(rng, 0.2)).encode(
                    "utf-8", "surrogatepass"
                )
            }
        except (yaml.YAMLError, ValueError):
            return {"x.yaml": repr(value).encode("utf-8", "surrogatepass")[:5000]}
    lines = data.decode().split("\n")
    at = rng.randrange(len(lines))
    if kind < 8:
        key, colon, value = lines[at].partition(":")
        lines[at] = rng.choice((
            f"{key}{colon} {rng.choice(_SCALARS)}", f"{key}{colon} {rng.choice(TEXTS)}",
            f"{key}{colon} {number(rng)}", rng.choice(_SCALARS), damaged_text(rng, lines[at]), lines[at] * 3,
            f"  {lines[at]}", "",
        ))  # fmt: skip
        return {"x.yaml": "\n".join(lines).encode("utf-8", "surrogatepass")}
    if kind == 8:
        deep = rng.choice(("[", "{a: ", "- ", "? ", "!a ")) * rng.choice((5, 100, 5000))
        lines.insert(at, deep)
        return {"x.yaml": "\n".join(lines).encode()}
    return {"x.yaml": damaged(rng, data, b"".join(s["x.yaml"] for s in seeds))}


def run(folder: Path, rng: Random) -> None:
    """Load it, write it, load it again; and check settings of the other verbs."""
    kind = rng.randrange(10)
    if kind < 7:
        config = load_config(str(folder / "x.yaml"))
        again = folder / "out" / "again.yaml"
        again.write_text(dump_config(config), encoding="utf-8")
        assert load_config(str(again)) == config
        return
    if kind == 7:
        load_config(None, [_setting(rng) for _ in range(rng.randint(1, 3))])
        return
    section = rng.choice(_KINDS)
    values: dict[str, Any] = {}
    for _ in range(rng.randint(1, 3)):
        name = rng.choice(list(section.model_fields)) if chance(rng, 0.95) else rng.choice(TEXTS)
        values[name] = rng.choice(_WIDTHS) if chance(rng, 0.5) else rng.choice(ODD)
    made = validate(section, values, where="options")
    if isinstance(made, VectorizeConfig):
        _Limits.of(made)


def _setting(rng: Random) -> str:
    sections = list(Config.model_fields)
    section = rng.choice(sections)
    fields = list(type(getattr(Config(), section)).model_fields)
    value = rng.choice(
        (rng.choice(_SCALARS), str(number(rng)), rng.choice(TEXTS), str(rng.choice(ODD))[:9999])
    )
    setting = f"{section}.{rng.choice(fields)}={value}"
    return damaged_text(rng, setting) if chance(rng, 0.3) else setting


TARGET = Target(name="config", seeds=seeds, damage=damage, run=run)
