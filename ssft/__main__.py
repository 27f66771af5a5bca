"""`python -m ssft VERB ...`, for launchers that start modules: `torchrun --nproc_per_node 2 -m ssft train ...`."""

import sys

from ssft.cli.main import main

sys.exit(main())
