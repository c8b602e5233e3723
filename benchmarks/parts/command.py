"""The command line of a benchmark."""

import argparse


def parser(description: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows a script's docstring as it is written."""
    return argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
