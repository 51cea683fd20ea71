"""``python -m geoseg_cli`` is ``geoseg``."""

from geoseg_cli.main import run

run()
