"""Seeded faults on a real small study at every place: ``python -m tests.campaign --faults 200 --seed 1``.

Each fault gets a study of its own and falls at a drawn moment. The same command is run until the study has ended;
then it must be the undisturbed one, byte for byte, and nothing else may be left of it.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))  # as pytest does for tests/
