"""Does each number find its own job, in whatever part of Ray's store it lies?"""

import ray

from trainables.evaluation.cell_trial import PART, in_parts


def test_each_number_finds_its_own_job(monkeypatch):
    fetched = []
    monkeypatch.setattr(ray, "put", lambda part: part)
    monkeypatch.setattr(ray, "get", lambda part: fetched.append(part) or part)
    for count in (1, PART - 1, PART, PART + 1, 2 * PART + 3):
        stored = in_parts(range(count))
        assert len(stored.parts) == -(-count // PART)
        fetched.clear()
        assert [stored.job(number) for number in range(count)] == list(range(count))
        assert len(fetched) <= len(stored.parts), "neighbours are fetched once"
