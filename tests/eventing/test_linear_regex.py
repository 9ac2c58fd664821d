"""Regular expressions of traffic policies: RE2's syntax, in time linear in the text."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eventing.resources.linear_regex import Pattern
from eventing.resources.regex_syntax import LONGEST, InvalidRegex

LETTERS = "abAB-."
singles = st.sampled_from(
    [*"abAB", r"\.", "-", ".", r"\d", r"\w", r"\W", "[ab]", "[^a-b]", "[A-Ba]", r"[\w-]", r"[^\d.]"]
)
repeats = st.sampled_from(["", "*", "+", "?", "{2}", "{1,}", "{0,2}", "*?"])
edges = st.sampled_from(["^", "$", r"\A"])


def grown(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    group = st.builds("({}){}".format, inner, repeats) | st.builds(
        "(?:{}){}".format, inner, repeats
    )
    return (
        st.lists(inner, min_size=1, max_size=3).map("".join)
        | st.lists(inner, min_size=2, max_size=3).map("|".join).map("(?:{})".format)
        | group
    )


patterns = st.recursive(st.builds("{}{}".format, singles, repeats) | edges, grown, max_leaves=6)


@settings(deadline=None, max_examples=500)
@given(patterns, st.booleans(), st.lists(st.text(LETTERS + "1\n", max_size=6), max_size=5))
def test_it_matches_what_python_matches(text: str, fold: bool, candidates: list[str]) -> None:
    expression = f"(?i){text}" if fold else text
    pattern, known = Pattern(expression), re.compile(expression, re.ASCII)
    for candidate in ["", *candidates]:
        expected = candidate if known.fullmatch(candidate) else None
        assert pattern.fullmatch(candidate) == expected


@pytest.mark.parametrize(
    ("expression", "matching", "other"),
    [
        (r"order\.(created|paid)", "order.paid", "order_paid"),
        ("(?i)^aaa$", "AaA", "AaAa"),
        ("a(?i:b)c", "aBc", "aBC"),
        ("(?i)stra(?-i:SS)e", "StraSSe", "Strasse"),
        ("(?s).+", "a\nb", ""),
        (".+", "a b", "a\nb"),
        (r"(?P<shop>[a-z]+)-(?<number>\d{2,3})", "eu-042", "eu-1"),
        ("[[:alpha:]_]+[[:^digit:]]", "ab_c", "ab_1"),
        (r"\x41\x{e9}\t", "Aé\t", "Ae\t"),
        ("[]a]+", "]a", "b"),
        ("[a-]+", "a-", "b"),
        (r"[\]^]+", "]^", "a"),
        ("[^[:space:]]*", "ab", "a b"),
        ("a{,2}{", "a{,2}{", "aa"),
        (r"\Aa\z", "a", "a\n"),
        ("|a", "", "b"),
        ("(:a)", ":a", "a"),
        (r"[\d-z]+", "1-z", "y"),
        ("ß|(?i)É", "é", "SS"),
        (r"(?i)[^a]\.", "b.", "A."),
    ],
)
def test_what_expressions_mean(expression: str, matching: str, other: str) -> None:
    pattern = Pattern(expression)
    assert pattern.fullmatch(matching) == matching
    assert pattern.fullmatch(other) is None


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("", "an empty expression matches no text (at character 1)"),
        ("(?=a)b", "look-ahead is not supported, as in RE2 (at character 1)"),
        ("a(?!b)", "look-ahead is not supported, as in RE2 (at character 2)"),
        ("(?<!a)b", "look-behind is not supported, as in RE2 (at character 1)"),
        (r"(a)\1", "back-references are not supported, as in RE2 (at character 4)"),
        ("(?P<a>b)(?P=a)", "back-references are not supported, as in RE2 (at character 9)"),
        ("a**", "a repeat of a repeat; put the first into a group (at character 3)"),
        ("*a", "nothing to repeat before it (at character 1)"),
        ("^+", "nothing to repeat before it (at character 2)"),
        ("[ab", 'a "[" without its "]" (at character 1)'),
        ("[a-", 'a "[" without its "]" (at character 1)'),
        ("[z-a]", "a range goes from a character to a later one (at character 2)"),
        (r"[a-\d]", "a range goes from a character to a later one (at character 2)"),
        ("a(b", 'a "(" without its ")" (at character 2)'),
        ("a)b", 'a ")" without its "(" (at character 2)'),
        ("[[:letter:]]", '"[:letter" is no class; known: alnum'),
        (r"\pL", "Unicode classes are not supported here; write ranges (at character 1)"),
        (r"\bword", "word boundaries are not supported here (at character 1)"),
        (r"\e", r'"\e" is not known (at character 1)'),
        ("a\\", "a backslash with nothing behind it (at character 2)"),
        (r"\x4", r"it has to be \xHH or \x{H…}, in hexadecimal (at character 1)"),
        (r"\x{41", r"it has to be \xHH or \x{H…}, in hexadecimal (at character 1)"),
        ("(?m)a", '"(?m" is not supported; known are i, s and U (at character 1)'),
        ("(?P<1>a)", "a group's name is letters, digits and _, then > (at character 1)"),
        ("a{3,2}", "2 is less than 3 (at character 2)"),
        ("a{1001}", "a count is at most 1000 (at character 2)"),
        ("((a{50}){50})", "the expression is too large once its counts are written out"),
        ("(" * 60 + ")" * 60, "groups stand in one another more than 50 deep"),
        ("a" * (LONGEST + 1), f"an expression has at most {LONGEST} characters"),
    ],
)
def test_what_is_no_expression_is_told_with_its_place(expression: str, message: str) -> None:
    with pytest.raises(InvalidRegex) as told:
        Pattern(expression)
    assert str(told.value).startswith(message)


@settings(deadline=None, max_examples=500)
@given(st.text(r"ab()[]{}^$.*+?|\-,:=!<>Pimsx09dwW" + "é", max_size=20))
def test_any_text_is_an_expression_or_told(text: str) -> None:
    try:
        pattern = Pattern(text)
    except InvalidRegex as error:
        assert 0 <= error.position <= len(text)
    else:
        assert pattern.fullmatch("ab") in ("ab", None)


@pytest.mark.parametrize("expression", ["(a+)+", "(a|aa)*", ".*a.*a.*a.*c", "(a?){30}a{30}"])
def test_no_expression_takes_more_than_one_step_a_character(expression: str) -> None:
    pattern = Pattern(expression)
    automaton = pattern._automaton
    at, states = automaton._start, set()
    for character in "a" * 20_000 + "b":
        at = automaton._known.get(at, {}).get(character) or automaton._behind(at, character)
        states.add(at)
    # Few sets of steps, each found out once: all else is a look-up a character.
    assert len(states) < 100
    assert not pattern.fullmatch("a" * 20_000 + "b")


def test_what_is_remembered_is_bounded() -> None:
    pattern = Pattern("[^x]*")
    assert all(pattern.fullmatch(chr(0x4E00 + code)) for code in range(10_000))
    assert pattern._automaton._kept <= 4_000


def test_equal_expressions_are_equal() -> None:
    assert Pattern("a+") == Pattern("a+") != Pattern("a*")
    assert len({Pattern("a+"), Pattern("a+")}) == 1
