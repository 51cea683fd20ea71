#!/bin/sh
# Build the sdist and the wheel, look into both, install the wheel outside of the checkout, and run it there.
# Its dependencies are taken from the environment of $PYTHON through a .pth file: paths added that way do not
# run that environment's own .pth files, so the editable install of the checkout stays invisible.
set -eu
PYTHON=$(realpath -s "${PYTHON:-python3}")
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# The first call makes the wheel from the sdist, as package builders do, the second from the checkout.
for how in "--outdir dist" "--wheel --outdir direct"; do
    (cd "$work" && "$PYTHON" -m build $how "$checkout") >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
done
"$PYTHON" - "$work" <<'PY'
import re
import sys
import tarfile
import zipfile
from pathlib import Path

work = Path(sys.argv[1])
(wheel,), (direct,), (sdist,) = work.glob("dist/*.whl"), work.glob("direct/*.whl"), work.glob("dist/*.tar.gz")
names = zipfile.ZipFile(wheel).namelist()
assert sorted(names) == sorted(zipfile.ZipFile(direct).namelist()), "the sdist lacks, or adds, what the wheel needs"
sources = tarfile.open(sdist).getnames()
for name in (*names, *sources):
    assert not re.search(r"__pycache__|\.py[co]$|\.(tif|gpkg|log|pt)$|/\.(venv|hypothesis|pytest_cache)", name), name
rooms = {name.split("/")[0] for name in names}
assert {room for room in rooms if not room.endswith(".dist-info")} == {"geoseg", "geoseg_cli"}, rooms
for wanted in ("py.typed", "configs/deeplabv3_resnet50.yaml", "models/weights/fields.safetensors", "page/page.css"):
    assert f"geoseg/{wanted}" in names, wanted
assert sum(name.endswith("LICENSE") and "/licenses/" in name for name in names) == 2, "licences"
top = sources[0].split("/")[0]
for wanted in ("pyproject.toml", "LICENSE", "SECURITY.md", "CHANGELOG.md", "tests/conftest.py", "mkdocs.yml"):
    assert f"{top}/{wanted}" in sources, wanted
PY
"$PYTHON" -m pip check
"$PYTHON" -m venv "$work/venv"
"$work/venv/bin/python" -m pip install --quiet --no-deps "$work"/dist/geoseg-*.whl
site=$("$PYTHON" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
target=$("$work/venv/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
echo "$site" >"$target/dependencies.pth"

cd "$work"
"$work/venv/bin/python" - "$checkout" <<'PY'
import sys
from pathlib import Path

import geoseg
import geoseg.presets

checkout = Path(sys.argv[1]).resolve()
for module in (geoseg, geoseg.presets):
    assert checkout not in Path(module.__file__).resolve().parents, module.__file__
names = geoseg.presets.preset_names()
assert "deeplabv3_resnet50" in names and "deeplabv3_mobilenet" in names, names
PY
"$work/venv/bin/geoseg" --version
"$work/venv/bin/geoseg" demo --output "$work/demo" --quick
test -s "$work/demo/parcels.gpkg"
echo "wheel: installs and runs outside of the checkout"
