"""Maps to look at results on: scene, mask and polygons over each other, in one file or from a server."""
