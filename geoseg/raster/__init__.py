"""Georeferenced arrays on disk: scenes in, labels burned, masks out (rasterio and numpy, never torch)."""
