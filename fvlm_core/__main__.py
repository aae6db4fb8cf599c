"""`python -m fvlm_core`: what `torchrun -m fvlm_core run ...` starts on every rank."""

import sys

from fvlm_core.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
