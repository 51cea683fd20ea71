"""Where the chips begin: what moves when they move. ``geoseg check-seams`` on any number of scenes.

Usage: python benchmarks/seams.py SCENE... --model MODEL [--precision fp32]

Prints, scene by scene and for all together, the share of pixels that change when all chips move by half a
stride, within 16 px of a line between two chips and elsewhere, and the ratio of the two: 1 means that the
lines make no difference.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from geoseg.config import PredictConfig
from geoseg.render.session import Request
from geoseg.seams import EDGES_PX, NEAR_PX, SeamsReport, check_seams


def near_and_far(found: SeamsReport) -> Counter[str]:
    """Pixels and changed pixels, near a line and elsewhere."""
    counts: Counter[str] = Counter()
    for edge, name in zip(EDGES_PX, found.pixels, strict=True):
        where = "near" if edge < NEAR_PX else "far"
        counts[f"{where} pixels"] += found.pixels[name]
        counts[f"{where} changed"] += found.changed[name]
    return counts


def tell(name: str, counts: Counter[str]) -> None:
    """A line of the table."""
    near, far = (counts[f"{where} changed"] / max(1, counts[f"{where} pixels"]) for where in ("near", "far"))
    ratio = f"{near / far:.2f}" if far else "-"
    print(f"{name[:40]:40s} near a line {near:.3%}   elsewhere {far:.3%}   ratio {ratio}")


def main() -> None:
    """Check every scene."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("scenes", type=Path, nargs="+")
    parser.add_argument("--model", type=Path)
    parser.add_argument("--precision", default="auto")
    options = parser.parse_args()
    total: Counter[str] = Counter()
    for scene in options.scenes:
        config = PredictConfig(precision=options.precision)
        counts = near_and_far(check_seams(Request(scene=scene, model=options.model, config=config)))
        tell(scene.name, counts)
        total += counts
    tell("all", total)


if __name__ == "__main__":
    main()
