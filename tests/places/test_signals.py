import signal
import subprocess
import sys

import pytest

IN_A_FINALIZER = """
import os, signal, sys, time
from clr_hpc.places.signals import raise_on_terminate

class Finalized:
    def __del__(self):
        os.kill(os.getpid(), signal.{name})
        sum(range(1000))

signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    with raise_on_terminate():
        Finalized()
        time.sleep(20)
except KeyboardInterrupt as error:
    print(type(error).__name__)
"""


@pytest.mark.parametrize(("name", "raised"), [("SIGTERM", "TerminatedError"), ("SIGINT", "KeyboardInterrupt")])
def test_a_signal_that_falls_into_a_finalizer_is_not_lost(name: str, raised: str) -> None:
    code = IN_A_FINALIZER.format(name=name)
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (ended.stdout.strip(), ended.stderr) == (raised, "")


def test_what_else_finalizers_raise_is_shown_as_ever() -> None:
    code = IN_A_FINALIZER.format(name="SIGTERM").replace("os.kill(os.getpid(), signal.SIGTERM)", "1 / 0")
    ended = subprocess.run(
        [sys.executable, "-c", code.replace("time.sleep(20)", "")], capture_output=True, text=True, check=True
    )
    assert "ZeroDivisionError" in ended.stderr
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
