"""geoseg: aerial and satellite rasters to map polygons.

The library reads top to bottom as the pipeline: :mod:`geoseg.tile`, :mod:`geoseg.train`,
:mod:`geoseg.predict`, :mod:`geoseg.vectorize`, :mod:`geoseg.evaluate`. Each stage is one public function that
returns a report; the stages meet only on disk. Importing this package imports nothing heavy.
"""

__version__ = "0.1.0"
