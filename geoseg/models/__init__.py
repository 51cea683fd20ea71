"""Tensors only: the DeepLabV3 + PointRend network, its losses, its inference, its file (never rasterio)."""
