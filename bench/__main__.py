"""All measurements, one after another; see each module for its own options."""

import sys

from bench import start

sys.exit(start.main())
