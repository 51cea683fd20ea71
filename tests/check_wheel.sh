#!/bin/sh
# Build the wheel, install it outside of the checkout, and run it there.
# Its dependencies are taken from the environment of $PYTHON through a .pth file: paths added that way do not
# run that environment's own .pth files, so the editable install of the checkout stays invisible.
set -eu
PYTHON=$(realpath -s "${PYTHON:-python3}")
checkout=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$PYTHON" -m build --wheel --outdir "$work/dist" "$checkout" >"$work/build.log" 2>&1 || { cat "$work/build.log"; exit 1; }
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
