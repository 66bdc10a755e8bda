"""What walks are computed with, and who imports whom."""

import signal

import pytest

from valleywalk import Resources
from valleywalk.machine import cores
from valleywalk.walks.parallel import how_it_ended


def test_processes_are_one_a_core_and_never_more_than_tasks():
    assert Resources().workers(1000) == cores()
    assert Resources(processes=7).workers(1000) == 7
    assert Resources(processes=7).workers(3) == 3
    with pytest.raises(ValueError, match="processes is 0; give 1 or more"):
        Resources(processes=0)


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (-signal.SIGKILL, "killed, maybe for want of memory"),
        (-signal.SIGSEGV, "ended with SIGSEGV, which is no want of memory"),
        (3, "ended with exit code 3"),
        (None, "ended with exit code None"),
    ],
)
def test_how_a_process_ended_is_said(code, said):
    assert said in how_it_ended([code])
