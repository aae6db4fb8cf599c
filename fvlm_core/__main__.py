"""`python -m fvlm_core`: what `torchrun -m fvlm_core run ...` starts on every rank."""

from fvlm_core.cli.main import program

if __name__ == "__main__":
    program()
