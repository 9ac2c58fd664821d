"""The node's bound on workers, and why it can't starve a pool."""

from functions.budget import WorkerBudget, default_workers


class Borrower:
    def __init__(self, budget, idle=None):
        self.budget = budget
        self.idle = idle
        self.workers = 0

    def take(self, *, entitled=False):
        taken = self.budget.take(self, entitled=entitled)
        self.workers += taken
        return taken

    def idle_since(self):
        return self.idle

    def give_up_idle(self):
        self.workers -= 1
        self.budget.give_back(self)


def test_workers_are_handed_out_up_to_the_limit():
    first = Borrower(WorkerBudget(2))
    assert [first.take(), first.take(), first.take()] == [True, True, False]


def test_an_exited_worker_makes_room_for_another():
    budget = WorkerBudget(1)
    first, second = Borrower(budget), Borrower(budget)
    first.take()
    assert not second.take()
    budget.give_back(first)
    assert second.take()
    assert budget.taken == 1


def test_a_pool_gets_what_it_is_entitled_to_even_above_the_limit():
    budget = WorkerBudget(1)
    Borrower(budget).take()
    assert Borrower(budget).take(entitled=True)
    assert budget.taken == 2


def test_above_the_limit_the_worker_idle_longest_elsewhere_goes():
    budget = WorkerBudget(3)
    busy, idle, idler = Borrower(budget), Borrower(budget, idle=20.0), Borrower(budget, idle=10.0)
    for each in (busy, idle, idler):
        each.take()
    assert Borrower(budget, idle=0.0).take(entitled=True)
    assert (busy.workers, idle.workers, idler.workers) == (1, 1, 0)
    assert budget.taken == 3


def test_the_default_is_four_workers_a_cpu_and_at_least_eight(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: set(range(16)))
    assert default_workers() == 64
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: {0})
    assert default_workers() == 8
