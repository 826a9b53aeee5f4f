"""When prompts are read: at once, or together with those that come a little later."""

from __future__ import annotations

from c2c_search.inference.generation_settings import GenerationSettings
from c2c_search.prompt_cache.prefix_cache import PrefixCache
from c2c_search.server.group import Asked
from c2c_search.server.group import Group
from c2c_search.server.limits import ServerLimits
from c2c_search.server.prompt_reader import PromptReader
from c2c_search.server.writing import Prompt
from c2c_search.server.writing import Wanted


def test_where_many_are_answered_prompts_are_read_together(make_pair):
    read, failed, numbers = [], [], iter(range(100))

    class Reader(PromptReader):
        def read(self, taken):
            read.extend(taken)
            return super().read(taken)

    group = Group(Reader(make_pair(), ServerLimits(batch=8), PrefixCache()))
    settings = GenerationSettings(max_new_tokens=24, min_new_tokens=24)  # keeps its place

    def step(*, asking=0):
        for _ in range(asking):
            wanted = Wanted(Prompt(ids=(1, 2, 3 + next(numbers))), settings)
            group.add(Asked(wanted, lambda *told: None, lambda done: None, failed.append, object))
        group.step()
        return len(read)

    assert step(asking=1) == 1  # places enough: nobody waits
    assert step(asking=3) == 4
    assert step(asking=1) == 4  # as many are answered as places are left
    assert step(asking=1) == 6  # a quarter of all places
    assert step(asking=1) == 6
    assert [step() for _ in range(4)] == [6, 6, 6, 7]  # nobody else came
    assert group.queued == 0
    assert step(asking=5) == 7  # one place is left, and the longest answers go on
    assert [step() for _ in range(4)] == [7, 7, 7, 8]
    assert group.queued == 4
    while group.busy:
        group.step()
    assert len(read) == 12
    assert not failed
