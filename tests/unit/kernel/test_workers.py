from __future__ import annotations

import threading

from kernel_parts import LONG

from balenawasm.engine.thread_stack import stack_size
from balenawasm.kernel.workers import WorkerPool

STACK = 8 << 20


def run(pool: WorkerPool, jobs: int) -> list[threading.Thread]:
    """Run jobs that all wait for each other; the threads they ran on."""
    together = threading.Barrier(jobs + 1)
    threads: list[threading.Thread] = []

    def job() -> None:
        threads.append(threading.current_thread())
        together.wait(LONG)

    for _ in range(jobs):
        pool.submit(job)
    together.wait(LONG)
    return threads


def test_every_job_has_a_thread_of_its_own() -> None:
    assert len(set(run(WorkerPool(STACK), 20))) == 20


def test_workers_have_the_stack_and_others_do_not() -> None:
    before = threading.stack_size()
    sizes: list[int] = []
    done = threading.Event()

    def job() -> None:
        sizes.append(stack_size())
        done.set()

    WorkerPool(12 << 20).submit(job)
    assert done.wait(LONG)
    assert sizes[0] >= 12 << 20
    assert threading.stack_size() == before


def test_idle_workers_go() -> None:
    pool = WorkerPool(STACK, idle_seconds=0.01)
    for thread in run(pool, 5):
        thread.join(LONG)
        assert not thread.is_alive()
    assert len(run(pool, 3)) == 3


def test_no_job_is_lost_to_a_worker_that_is_going() -> None:
    pool = WorkerPool(STACK, idle_seconds=0.001)
    for _ in range(300):
        assert len(run(pool, 1)) == 1
