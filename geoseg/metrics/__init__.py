"""Scores: class ids against class ids in exact integers, and objects against objects.

What is counted accumulates over windows of any size and leaves out what is unknown (255). Classes that are
neither in the truth nor in the prediction keep NaN: an absent class is no failure, so means run over the
classes present.
"""

from geoseg.metrics.boundary import BoundaryCounts, boundary_band
from geoseg.metrics.confusion import ConfusionMatrix
from geoseg.metrics.shares import json_score, mean_present

__all__ = ["BoundaryCounts", "ConfusionMatrix", "boundary_band", "json_score", "mean_present"]
