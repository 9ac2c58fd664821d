"""Weights and stickiness: shares that come out exactly, keys that stay where they are."""

import subprocess
import sys
from collections import Counter
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from functions.traffic.split import REMEMBERED, Share, Split

KEYS = [f"customer-{number}" for number in range(20_000)]


def split(**weights):
    return Split(Share(name, weight, name) for name, weight in weights.items())


def chosen(of, keys=KEYS):
    return {key: of.pick_for(key) for key in keys}


def moved(before, after):
    return {key for key in before if before[key] != after[key]}


weights = st.dictionaries(
    st.sampled_from(["a", "b", "c", "d"]), st.floats(0, 100), min_size=1
).filter(lambda given: any(given.values()))


# -- At random


@given(weights, st.floats(0, 1, exclude_max=True))
def test_a_draw_chooses_a_revision_that_has_a_weight(given, draw):
    assert given[split(**given).pick(draw)] > 0


def test_each_revision_gets_its_share_of_the_draws():
    random = Random(7).random
    of = split(old=90, new=9, other=1)
    met = Counter(of.pick(random()) for _ in range(100_000))
    assert met["old"] == pytest.approx(90_000, rel=0.01)
    assert met["new"] == pytest.approx(9_000, rel=0.05)
    assert met["other"] == pytest.approx(1_000, rel=0.15)


def test_weights_are_relative_to_one_another():
    thirds, hundredths = split(a=1, b=2), split(a=33.333333, b=66.666666)
    for number in range(1000):
        assert thirds.pick(number / 1000) == hundredths.pick(number / 1000)


def test_the_largest_draw_below_one_is_taken_whatever_the_sum_of_the_floats():
    assert split(**dict.fromkeys("abcdefghij", 0.1)).pick(1 - 2**-53) == "j"


# -- By key


@given(weights, st.text())
def test_a_key_has_one_revision_and_that_has_a_weight(given, key):
    first = split(**given).pick_for(key)
    assert given[first] > 0
    assert split(**given).pick_for(key) == first


@given(weights, st.text(), st.randoms())
def test_the_order_of_the_shares_does_not_count(given, key, random):
    shuffled = list(given.items())
    random.shuffle(shuffled)
    assert split(**dict(shuffled)).pick_for(key) == split(**given).pick_for(key)


def test_nor_where_the_weights_are_too_small_to_tell_scores_apart():
    least = 5e-324
    assert chosen(split(a=least, b=least)) == chosen(split(b=least, a=least))


@given(weights, st.text(), st.floats(0.01, 100))
def test_a_revision_whose_weight_grows_keeps_its_keys(given, key, more):
    before = split(**given).pick_for(key)
    after = split(**(given | {before: given[before] + more}))
    assert after.pick_for(key) == before


@given(weights, st.text())
def test_only_the_keys_of_a_revision_that_is_out_go_elsewhere(given, key):
    of = split(**given)
    before = of.pick_for(key)
    for out in given:
        of.refresh(lambda name, out=out: name == out)
        others = {name for name, weight in given.items() if weight and name != out}
        if before != out:
            assert of.pick_for(key) == before
        else:
            assert of.pick_for(key) in (others or {None})
    of.refresh(lambda name: False)
    assert of.pick_for(key) == before


def test_each_revision_gets_its_share_of_the_keys():
    met = Counter(chosen(split(old=90, new=9, other=1)).values())
    assert met["old"] == pytest.approx(18_000, rel=0.02)
    assert met["new"] == pytest.approx(1_800, rel=0.1)
    assert met["other"] == pytest.approx(200, rel=0.25)


def test_a_canary_that_grows_from_1_to_5_percent_keeps_the_first_1_percent():
    small, large = chosen(split(old=99, new=1)), chosen(split(old=95, new=5))
    first = {key for key in KEYS if small[key] == "new"}
    assert len(first) == pytest.approx(200, rel=0.25)
    assert all(large[key] == "new" for key in first)


@pytest.mark.parametrize("percent", [0, 1, 10, 49, 90, 99])
def test_moving_1_percent_of_the_weight_moves_1_percent_of_the_keys(percent):
    before = chosen(split(old=100 - percent, new=percent))
    after = chosen(split(old=99 - percent, new=percent + 1))
    assert len(moved(before, after)) == pytest.approx(200, rel=0.35)


def test_with_three_revisions_at_most_twice_the_weight_that_moved():
    before, after = chosen(split(a=20, b=30, c=50)), chosen(split(a=21, b=30, c=49))
    assert len(moved(before, after)) < 2.2 * 200


def test_the_choice_is_the_same_in_every_process():
    code = (
        "from functions.traffic.split import Share, Split\n"
        "of = Split([Share('old', 70, 'old'), Share('new', 30, 'new')])\n"
        "print(*(of.pick_for(f'customer-{n}') for n in range(200)))"
    )
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            check=True,
            env={"PYTHONHASHSEED": seed},
        ).stdout.split()
        for seed in ("1", "2")
    ]
    here = split(old=70, new=30)
    assert told[0] == told[1] == [here.pick_for(f"customer-{n}") for n in range(200)]


def test_what_is_remembered_of_keys_is_bounded():
    of = split(old=70, new=30)
    for number in range(3 * REMEMBERED):
        of.pick_for(str(number))
    assert of.pick_for.cache_info().currsize == REMEMBERED
