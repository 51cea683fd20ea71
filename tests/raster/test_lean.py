"""What importing geoseg does not import, and that it is there all the same."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import geoseg.vectorize
heavy = sorted({"geopandas", "pandas", "pyarrow", "torch"} & set(sys.modules))
assert not heavy, heavy
import geopandas, pyogrio
from pyogrio._compat import HAS_GEOPANDAS
assert HAS_GEOPANDAS
frame = geopandas.GeoDataFrame({"name": ["a"]}, geometry=geopandas.points_from_xy([1], [2]), crs=4326)
pyogrio.write_dataframe(frame, sys.argv[1])
assert pyogrio.read_dataframe(sys.argv[1]).equals(frame)
print("fine")
"""


def test_geopandas_is_imported_when_somebody_wants_it(tmp_path: object) -> None:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", PROGRAM, f"{tmp_path}/a.gpkg"], capture_output=True, text=True
    )
    assert (done.stdout, done.stderr) == ("fine\n", "")
