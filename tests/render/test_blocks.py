"""Block files: what is packed comes back, what is damaged is told."""

from __future__ import annotations

import numpy as np
import pytest

from geoseg.render.blocks import BlockGrid
from geoseg.render.grid import ChipGrid

BLOCKS = BlockGrid.of(
    ChipGrid.of((300, 200), size_px=64, overlap_px=32), scale=2, layers={"mask": 1, "probabilities": 3}
)


def filled(block: int) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(block)
    return {
        name: rng.integers(0, 4, values.shape).astype(np.uint8)
        for name, values in BLOCKS.empty(block).items()
    }


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_blocks_come_back(block: int) -> None:
    layers = filled(block)
    window = BLOCKS.window(block)
    assert layers["mask"].shape == (window.height * 2, window.width * 2)
    assert layers["probabilities"].shape == (3, window.height * 2, window.width * 2)
    back = BLOCKS.decode(block, BLOCKS.encode(block, layers))
    for name, values in layers.items():
        np.testing.assert_array_equal(back[name], values)


def test_damaged_blocks_are_told() -> None:
    data = BLOCKS.encode(0, filled(0))
    other_layers = BlockGrid.of(BLOCKS.grid, scale=2, layers={"mask": 1})
    for damaged in (
        b"",
        data[:-1],
        data + b"x",
        data[:10],
        data.replace(b'"block": 0', b'"block": 1'),
        data.replace(b"geoseg block 1", b"geoseg block 2"),
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 255]) + data[len(data) // 2 + 1 :],
        b"geoseg block 1\n{}\n",
        b"geoseg block 1\n[]\n",
        b"geoseg block 1\n" + b"[" * 4000 + b"\n",
        BLOCKS.encode(1, filled(1)),
        other_layers.encode(0, {"mask": filled(0)["mask"]}),
    ):
        with pytest.raises(ValueError, match=r".+"):
            BLOCKS.decode(0, damaged)


def test_no_more_is_inflated_than_a_block_holds() -> None:
    import json
    import zlib

    bomb = zlib.compress(bytes(50_000_000))
    header = json.dumps({"block": 0, "bytes": {"mask": len(bomb), "probabilities": 0}}).encode()
    with pytest.raises(ValueError, match="truncated data"):
        BLOCKS.decode(0, b"geoseg block 1\n" + header + b"\n" + bomb)
