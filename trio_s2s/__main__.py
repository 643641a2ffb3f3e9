"""`python -m trio_s2s` is the same as `trio-s2s`."""

import sys

from trio_s2s.cli import main

sys.exit(main())
