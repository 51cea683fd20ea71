"""Chips as training sees them: read, cut, turned, and with their share of chance."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from geoseg.chips.augment import d4, draw_dropped, draw_jitter, random_crop, rare_pixel
from geoseg.chips.objects import ChipObjects, ObjectFacts, shown_facts
from geoseg.chips.rim import ignore_rim
from geoseg.chips.store import ChipStore
from geoseg.chips.view import random_view
from geoseg.config import AugmentConfig
from geoseg.errors import ConfigError

CACHE_BYTES = 2_000_000_000

_UNCHANGED = AugmentConfig(flips=False, gain=0.0, offset=0.0, noise=0.0)
_Decoded = tuple[NDArray[Any], NDArray[np.bool_], NDArray[np.uint8], ChipObjects | None]


@dataclass(frozen=True, kw_only=True)
class ChipItem:
    """One chip as it goes into a batch; S is the crop's side or the chip's.

    Attributes:
        bands: (B, S, S), not normalised; in the chips' dtype, or floats at a random scale.
        valid: (S, S).
        labels: (S, S) uint8 class ids, 255 = unknown.
        gain: (B,) float32, to multiply the normalised bands by.
        offset: (B,) float32, to add to them then.
        noise: (B,) float32, standard deviation of the noise to add.
        seed: of all that is drawn for this chip later, 0 to 2^63 - 1.
        objects: (S, S) int32 of instance chips, 0 where no object is; ``None`` for others. Where the rim is
            left out of the labels, objects are still told.
        facts: of object 1, 2, ..., then of crowd areas, with the shares that are inside what is shown: 0 for
            an object of the chip that is not. Empty without objects.
    """

    bands: NDArray[Any]
    valid: NDArray[np.bool_]
    labels: NDArray[np.uint8]
    gain: NDArray[np.float32]
    offset: NDArray[np.float32]
    noise: NDArray[np.float32]
    seed: int
    objects: NDArray[np.int32] | None = None
    facts: tuple[ObjectFacts, ...] = ()


class ChipDataset:
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
        rare_share: float = 0.0,
        ignore_rim_px: int = 0,
        seed: int = 0,
        cache_bytes: int = CACHE_BYTES,
    ) -> None:
        """Prepare; no chip is read yet.

        Args:
            store: the chips.
            split: ``train``, ``val`` or ``test``.
            augment: random changes; none when not given.
            crop_px: side of a random crop of each chip; the whole chip when not given.
            rare_share: share of the crops that are around a pixel of a class chosen evenly.
            ignore_rim_px: pixels on either side of a border of classes whose labels become 255.
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
        self._rare_share = rare_share
        self._ignore_rim_px = ignore_rim_px
        self._seed = seed % 2**64
        self._cache: dict[int, _Decoded] = {}
        self._cache_left = cache_bytes
        self._cache_lock = threading.Lock()

    def __len__(self) -> int:
        return len(self.chips)

    def item(self, index: int, *, epoch: int = 0) -> ChipItem:
        """One chip, with the random changes of ``epoch``.

        Args:
            index: number of the chip; with the number of chips added to it, once or more, the same chip
                with other changes.
            epoch: number of the epoch.

        Raises:
            ChipsError: the chip's files are missing or not what they should be.
            ReadError: they are damaged.
        """
        if index < 0 or not self.chips:
            raise IndexError(f"chip {index} of {len(self.chips)}")
        rng = np.random.default_rng([self._seed, epoch, index])
        seed = int(rng.integers(2**63))
        bands, valid, labels, objects = self._part(self._decoded(index % len(self.chips)), rng)
        numbers = None if objects is None else objects.numbers.astype(np.int32)
        augment = self._augment or _UNCHANGED
        if augment.flips:
            element = int(rng.integers(8))
            bands, valid, labels = d4(bands, element), d4(valid, element), d4(labels, element)
            numbers = None if numbers is None else d4(numbers, element)
        gain, offset, noise = draw_jitter(len(bands), augment, rng)
        dropped = draw_dropped(len(bands), augment.band_dropout, rng)
        for values in (gain, offset, noise):
            values[dropped] = 0.0
        return ChipItem(
            bands=bands,
            valid=valid,
            labels=labels,
            gain=gain,
            offset=offset,
            noise=noise,
            seed=seed,
            objects=numbers,
            facts=() if objects is None else objects.facts,
        )

    def _part(self, whole: _Decoded, rng: np.random.Generator) -> _Decoded:
        """The part of a chip that is shown."""
        bands, valid, labels, objects = whole
        octaves = 0.0 if self._augment is None else self._augment.scale
        if octaves == 0.0 and self._crop_px is None:
            return whole
        keep = rare_pixel(labels, self._rare_share, rng)
        if octaves > 0.0:
            view = random_view(labels, self._crop_px or self.store.size_px, octaves, rng, keep)
            if objects is not None:
                facts = shown_facts(objects.facts, objects.numbers, *view.window(labels.shape))
                objects = ChipObjects(numbers=view.of_objects(objects.numbers), facts=facts)
            return *view.of(bands, valid, labels, self.store.stats), objects
        rows, cols = random_crop(labels, self._crop_px or self.store.size_px, rng, keep)
        if objects is not None:
            facts = shown_facts(objects.facts, objects.numbers, rows, cols)
            objects = ChipObjects(numbers=objects.numbers[rows, cols], facts=facts)
        return bands[:, rows, cols], valid[rows, cols], labels[rows, cols], objects

    def _decoded(self, index: int) -> _Decoded:
        kept = self._cache.get(index)
        if kept is not None:
            return kept
        chip = self.chips[index]
        bands, valid, labels = self.store.read(chip)
        labels = ignore_rim(labels, self._ignore_rim_px, self.store.classes.boundary)
        objects = self.store.read_objects(chip) if self.store.task == "instance" else None
        decoded = bands, valid, labels, objects
        size = bands.nbytes + valid.nbytes + labels.nbytes
        size += 0 if objects is None else objects.numbers.nbytes
        with self._cache_lock:
            # Chips come in random order, so which of them are kept does not matter: the first that fit.
            if index not in self._cache and size <= self._cache_left:
                self._cache[index] = decoded
                self._cache_left -= size
        return decoded
