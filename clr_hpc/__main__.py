"""``python -m clr_hpc`` is the command ``clr-hpc``."""

from clr_hpc.cli.app import app

if __name__ == "__main__":  # processes that are started by spawning import this file again
    app(prog_name="clr-hpc")
