"""The queue against a plain model: nothing lost, nothing twice at a time, newest last."""

import itertools
import threading
import time

from hypothesis import given
from hypothesis import strategies as st

from pycalico.controllers.workqueue import WorkQueue


def test_a_key_waits_once_however_often_it_is_asked_for():
    queue = WorkQueue()
    queue.add(["a", "b", "a", "a"])
    assert queue.take(10) == ["a", "b"]


def test_a_key_in_work_comes_again_afterwards_and_never_to_two():
    queue = WorkQueue()
    queue.add(["a"])
    assert queue.take(1) == ["a"]
    queue.add(["a", "b"])
    assert queue.take(10) == ["b"]
    queue.done("a", good=True)
    assert queue.take(10) == ["a"]


def test_failures_wait_longer_each_time_and_are_never_given_up():
    now = [0.0]
    queue = WorkQueue(clock=lambda: now[0])
    queue.add(["a"])
    waits = []
    for _ in range(20):
        assert queue.take(1) == ["a"]
        queue.done("a", good=False)
        due = min(due for due, _, _ in queue._later)
        waits.append(due - now[0])
        now[0] = due
    assert waits[0] < 0.01
    assert all(later >= 1.8 * sooner for sooner, later in itertools.pairwise(waits[:11]))
    assert 30 <= waits[-1] <= 33
    # News end the wait.
    queue.take(1)
    queue.done("a", good=False)
    queue.add(["a"])
    assert queue.take(1) == ["a"]
    queue.done("a", good=True)
    assert len(queue) == 0


def test_a_closed_queue_lets_its_workers_go():
    queue = WorkQueue()
    worker = threading.Thread(target=lambda: queue.take(1))
    worker.start()
    queue.close()
    worker.join(5)
    assert not worker.is_alive()


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "take", "good", "bad", "tick"]), st.sampled_from("abc")),
        max_size=60,
    )
)
def test_whatever_the_order_every_key_is_worked_on_after_its_last_change(steps):
    now = [0.0]
    queue, version, seen, working = WorkQueue(clock=lambda: now[0]), {}, {}, {}

    def take():
        queue.add(["end"])
        for key in queue.take(10):
            if key == "end":
                queue.done(key, good=True)
                continue
            assert key not in working
            working[key] = version[key]

    for action, key in steps:
        if action == "add":
            version[key] = version.get(key, 0) + 1
            queue.add([key])
        elif action == "take":
            take()
        elif action == "tick":
            now[0] += 10
        elif key in working:
            was = working.pop(key)
            if action == "good":
                seen[key] = was
            queue.done(key, good=action == "good")
    for _ in range(5):
        for key in list(working):
            seen[key] = working.pop(key)
            queue.done(key, good=True)
        now[0] += 100
        take()
    assert seen | working == version


def test_two_workers_never_hold_the_same_key():
    queue, holding, worst, lock = WorkQueue(), set(), [], threading.Lock()

    def work():
        while keys := queue.take(3):
            with lock:
                worst.extend(key for key in keys if key in holding)
                holding.update(keys)
            time.sleep(0.0005)
            with lock:
                holding.difference_update(keys)
            for key in keys:
                queue.done(key, good=True)

    workers = [threading.Thread(target=work) for _ in range(4)]
    for each in workers:
        each.start()
    for number in range(300):
        queue.add([number % 7])
        if number % 20 == 0:
            time.sleep(0.001)
    deadline = time.monotonic() + 5
    while len(queue) and time.monotonic() < deadline:
        time.sleep(0.002)
    queue.close()
    for each in workers:
        each.join(5)
    assert not worst
    assert not len(queue)
