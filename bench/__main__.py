"""All measurements, one after another, or those named: ``python -m bench start --rounds 5``."""

import sys

from bench import images, network, start

PROGRAMS = {"start": start.main, "images": images.main, "network": network.main}

if len(sys.argv) > 1 and sys.argv[1] in PROGRAMS:
    sys.exit(PROGRAMS[sys.argv.pop(1)]())
sys.exit(max([program() for program in PROGRAMS.values()]))
