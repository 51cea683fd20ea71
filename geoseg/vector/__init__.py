"""Polygons: tracing masks, simplifying coverages, attributes, writing layers (never torch)."""
