"""Chips as tensors. Needs no rasterio before the first chip is read."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import Dataset

from geoseg.chips.augment import d4, jitter, random_crop
from geoseg.chips.store import ChipStore
from geoseg.config import AugmentConfig
from geoseg.errors import ConfigError

CACHE_BYTES = 2_000_000_000

_Decoded = tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.uint8]]


class ChipDataset(Dataset[tuple[Tensor, Tensor]]):
    """The chips of one split.

    What an item looks like depends on (seed, epoch, index) only: not on the items read before, on which
    thread or process reads it, or on how often training was interrupted. Safe to read from several threads.
    """

    def __init__(
        self,
        store: ChipStore,
        split: str,
        *,
        augment: AugmentConfig | None = None,
        crop_px: int | None = None,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Prepare; no chip is read yet.

        Args:
            store: the chips.
            split: ``train``, ``val`` or ``test``.
            augment: random changes; none when not given.
            crop_px: side of a random crop of each chip; the whole chip when not given.
            seed: of the randomness.
            cache_bytes: decoded chips are kept in memory up to this, in their own dtype.

        Raises:
            ConfigError: the crop is larger than the chips.
        """
        if crop_px is not None and crop_px > store.size_px:
            raise ConfigError(
                f"crop_px {crop_px} is larger than the chips of {store.folder}, {store.size_px} px; lower it"
            )
        self.store = store
        self.chips = store.chips(split)
        self._augment = augment
        self._crop_px = crop_px
        self._seed = seed
        self._cache: dict[int, _Decoded] = {}
        self._cache_left = cache_bytes
        self._cache_lock = threading.Lock()
        # In shared memory, so that worker processes that live on hear of a new epoch.
        self._epoch = torch.zeros((), dtype=torch.int64)
        self._epoch.share_memory_()  # type: ignore[no-untyped-call]

    def __len__(self) -> int:
        return len(self.chips)

    def set_epoch(self, epoch: int) -> None:
        """Draw the random changes of ``epoch`` from now on."""
        self._epoch.fill_(epoch)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """One chip.

        Returns:
            ``image`` (B, H, W) float32, normalised by the store's statistics and 0 where not valid, and
            ``labels`` (H, W) int64, 255 = ignore. H = W = ``crop_px`` or the chip size.

        Raises:
            ChipsError: the chip's files are missing or not what they should be.
            ReadError: they are damaged.
        """
        if not 0 <= index < len(self.chips):
            raise IndexError(f"chip {index} of {len(self.chips)}")
        bands, valid, labels = self._decoded(index)
        rng = np.random.default_rng([self._seed % 2**64, int(self._epoch), index])
        if self._crop_px is not None:
            rows, cols = random_crop(labels, self._crop_px, rng)
            bands, valid, labels = bands[:, rows, cols], valid[rows, cols], labels[rows, cols]
        if self._augment is not None and self._augment.flips:
            element = int(rng.integers(8))
            bands, valid, labels = d4(bands, element), d4(valid, element), d4(labels, element)
        image = self.store.stats.normalise(bands, valid)
        if self._augment is not None:
            floating = np.issubdtype(bands.dtype, np.floating)
            image = jitter(image, valid & np.isfinite(bands) if floating else valid, self._augment, rng)
        return torch.from_numpy(np.ascontiguousarray(image)), torch.from_numpy(labels.astype(np.int64))

    def _decoded(self, index: int) -> _Decoded:
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        decoded = self.store.read(self.chips[index])
        size = sum(part.nbytes for part in decoded)
        with self._cache_lock:
            # Chips come in random order, so which of them are kept does not matter: the first that fit.
            if index not in self._cache and size <= self._cache_left:
                self._cache[index] = decoded
                self._cache_left -= size
        return decoded

    def __getstate__(self) -> dict[str, Any]:
        # Worker processes fill caches of their own.
        state = self.__dict__ | {"_cache": {}}
        del state["_cache_lock"]
        return state

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._cache_lock = threading.Lock()
