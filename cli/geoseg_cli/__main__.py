"""``python -m geoseg_cli`` is ``geoseg``."""

import sys

from geoseg_cli.main import main

sys.exit(main())
