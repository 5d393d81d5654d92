from __future__ import annotations

import signal
import threading
import time

from kernel_parts import LONG, in_thread, new_process

from balenawasm.kernel.outcome import Exited, Killed
from balenawasm.kernel.signals import Interrupted, caught
from balenawasm.kernel.timers import Timers

MS = 1_000_000
HOUR = 3_600_000 * MS


def until_no_thread() -> None:
    end = time.monotonic() + LONG
    while any(thread.name == "timers" for thread in threading.enumerate()):
        assert time.monotonic() < end
        time.sleep(0.001)


def test_an_alarm_and_its_end() -> None:
    timers, process = Timers(), new_process()
    sleeping = in_thread(lambda: process.wait((), None))
    assert timers.set(process, MS) == (0, 0)
    assert isinstance(sleeping.exception(LONG), Killed)
    assert process.killed_by == signal.SIGALRM
    assert timers.get(process) == (0, 0)
    process.finish(Exited(0))
    until_no_thread()


def test_what_is_left_and_disarming() -> None:
    timers, process = Timers(), new_process()
    timers.set(process, HOUR, HOUR)
    left, interval = timers.get(process)
    assert HOUR - 60_000 * MS < left <= HOUR
    assert interval == HOUR
    assert timers.set(process, 0)[1] == HOUR
    assert timers.get(process) == (0, 0)
    until_no_thread()
    process.finish(Exited(0))


def test_a_timer_ends_with_its_process() -> None:
    timers, process = Timers(), new_process()
    timers.set(process, HOUR)
    process.finish(Exited(0))
    until_no_thread()
    assert timers.set(process, MS) == (0, 0)
    until_no_thread()


def test_intervals_and_several_processes() -> None:
    timers = Timers()
    processes = [new_process(pid) for pid in (1, 2, 3)]

    def count(process) -> int:
        process.signals.set_action(signal.SIGALRM, caught())
        timers.set(process, MS, 1)
        for _ in range(10):
            try:
                process.wait((), None)
            except Interrupted:
                with process.lock:
                    delivery = process.signals.begin_delivery()
                    assert delivery is not None
                    process.signals.end_delivery(delivery)
        timers.set(process, 0)
        return process.pid

    counting = [in_thread(lambda p=p: count(p)) for p in processes]
    assert [future.result(LONG) for future in counting] == [1, 2, 3]
    until_no_thread()
    for process in processes:
        process.finish(Exited(0))


def test_setting_again_and_again_keeps_the_queue_short() -> None:
    timers, process = Timers(), new_process()
    for _ in range(10_000):
        timers.set(process, HOUR)
    assert len(timers._queue) < 100
    assert len(process.on_exit._callbacks) == 1
    process.finish(Exited(0))
    until_no_thread()
