import logging
import warnings
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from clr_hpc.data.images.quiet import quiet


def test_threads_that_come_and_go_leave_everything_as_it_was() -> None:
    before = logging.root.manager.disable, list(warnings.filters)
    together = Barrier(4)

    def come_and_go(number: int) -> None:
        with quiet():
            together.wait()
            warnings.warn("of a library", stacklevel=1)
            logging.getLogger("library").critical("of a library")
            assert logging.root.manager.disable == logging.CRITICAL, number

    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(come_and_go, range(400)):
            pass
    assert (logging.root.manager.disable, list(warnings.filters)) == before
