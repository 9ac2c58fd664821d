"""CloudEvents SQL beyond the specification's own cases: errors at load time, corners, blame."""

import re
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eventing.errors import InvalidExpression
from triggers.cesql import Expression, FaultKind, Value
from triggers.cesql.like import matcher, parse_pattern
from triggers.cesql.parser import MAX_DEPTH

EVENT = {"id": "1", "source": "/s", "type": "t", "specversion": "1.0"}
INT32 = st.integers(-(2**31), 2**31 - 1)


def value(text: str, **attributes: Value) -> Value:
    result = Expression(text).evaluate(EVENT | attributes)
    assert result.error is None, result.message
    return result.value


def fault(text: str, **attributes: Value) -> tuple[Value, FaultKind | None]:
    result = Expression(text).evaluate(EVENT | attributes)
    return result.value, result.error


@pytest.mark.parametrize(
    ("text", "position", "words"),
    [
        ("", 0, "empty"),
        ("type == 'x'", 6, "write = alone"),
        ("type =", 6, "found the end of the expression"),
        ("(type = 'x'", 11, "to close the bracket"),
        ("type = 'x')", 10, "never opened"),
        ("type = 'x", 7, "no closing '"),
        ("type = 'it''s'", 11, "\\'"),
        ("type = 'x' ADN id = 'y'", 11, "did you mean AND?"),
        ("type = 'x' && id = 'y'", 11, "write AND"),
        ("!(type = 'x')", 0, "NOT"),
        ("type IS NULL", 5, "EXISTS"),
        ("type LIKE source", 10, "a text as the pattern of LIKE"),
        ("type IN ()", 9, "may not be empty"),
        ("type NOT 'x'", 9, "expected LIKE or IN"),
        ("EXISTS 'x'", 7, "an attribute name"),
        ("data.x = 1", 4, "data cannot be reached"),
        ("my_ext = 1", 0, "letters and digits only"),
        ("type = 'x' AND LENGHT(id) = 1", 15, "did you mean LENGTH?"),
        ("LEFT('a')", 0, "2 arguments, 1 given"),
        ("SUBSTRING('a')", 0, "2 or 3 arguments, 1 given"),
        ("CONCAT_WS()", 0, "at least 1 argument"),
        ("2147483648", 0, "out of range"),
        ("9" * 5000, 0, "out of range"),
    ],
)
def test_a_mistake_is_reported_with_its_place_and_remedy(
    text: str, position: int, words: str
) -> None:
    with pytest.raises(InvalidExpression, match=re.escape(words)) as caught:
        Expression(text)
    assert caught.value.position == position


@pytest.mark.parametrize(
    "text",
    [
        "(" * 5000 + "TRUE" + ")" * 5000,
        "-" * 5000 + "1",
        "NOT " * 5000 + "TRUE",
        " + ".join(["1"] * 5000),
        "ABS(" * 5000,
        "1 IN (" * 5000,
    ],
)
def test_nesting_too_deep_is_an_error_of_the_expression(text: str) -> None:
    with pytest.raises(InvalidExpression, match="levels deep"):
        Expression(text)


def test_nesting_up_to_the_limit_is_evaluated() -> None:
    depth = MAX_DEPTH - 1

    assert value("(" * depth + "TRUE" + ")" * depth) is True
    assert value("NOT " * depth + "TRUE") is (depth % 2 == 0)


def test_a_long_chain_of_one_operator_is_not_deep() -> None:
    chain = " OR ".join(f"type = 'type{n}'" for n in range(5000))

    assert value(chain, type="type4999") is True


@given(st.text() | st.text("aA1'\"\\%_ ()=<>!+-*/,\n" + "NOTINLIKEXSRA"))
def test_any_text_is_an_expression_or_refused(text: str) -> None:
    try:
        expression = Expression(text)
    except InvalidExpression as error:
        assert error.position is not None
        assert 0 <= error.position <= len(text)
    else:
        expression.evaluate(EVENT)
        assert bool(expression.blame(EVENT)) is not expression.accepts(EVENT)


def test_and_or_xor_bind_equally_and_group_from_the_left() -> None:
    assert value("FALSE AND FALSE OR TRUE") is True
    assert value("TRUE OR TRUE AND FALSE") is False
    assert value("TRUE XOR TRUE OR TRUE") is True


def test_not_and_minus_bind_closer_than_every_other_operator() -> None:
    assert value("NOT FALSE = TRUE") is True
    assert value("-2 + 3") == 1
    assert value("NOT 'TRUE' LIKE 'f%'") is True


def test_a_minus_between_operands_needs_no_space() -> None:
    assert value("4-1") == 3
    assert value("4 -1") == 3


def test_the_least_integer_can_be_written() -> None:
    assert value("-2147483648") == -(2**31)
    assert value("+5") == 5


@given(INT32, INT32)
def test_division_rounds_towards_zero_and_the_remainder_has_the_dividends_sign(
    x: int, y: int
) -> None:
    quotient, failed = fault("x / y", x=x, y=y)
    if y == 0 or (x, y) == (-(2**31), -1):
        assert (quotient, failed) == (0, FaultKind.MATH)
    else:
        assert quotient == int(Fraction(x, y))
        remainder = value("x % y", x=x, y=y)
        assert int(quotient) * y + int(remainder) == x
        assert int(remainder) * x >= 0


@given(INT32, INT32, st.sampled_from("+-*"))
def test_a_result_beyond_32_bits_is_a_math_error(x: int, y: int, operator: str) -> None:
    exact = {"+": x + y, "-": x - y, "*": x * y}[operator]
    result = fault(f"x {operator} y", x=x, y=y)

    assert result == ((exact, None) if -(2**31) <= exact < 2**31 else (0, FaultKind.MATH))


def test_negating_the_least_integer_is_a_math_error() -> None:
    assert fault("-x", x=-(2**31)) == (0, FaultKind.MATH)


@pytest.mark.parametrize(
    ("text", "integer"), [("+7", 7), ("-0", 0), ("007", 7), ("0" * 5000 + "1", 1)]
)
def test_strings_that_are_integers(text: str, integer: int) -> None:
    assert value("INT(x)", x=text) == integer


@pytest.mark.parametrize(
    "text", ["", " 1", "1 ", "1_0", "٣", "1.0", "2147483648", "9" * 5000, "--1"]
)
def test_strings_that_are_no_integers(text: str) -> None:
    assert fault("INT(x)", x=text) == (0, FaultKind.CAST)


def test_equality_casts_the_left_to_the_type_of_the_right() -> None:
    assert value("x = 5", x="05") is True
    assert value("5 = x", x="05") is False
    assert value("x = TRUE", x="True") is True
    assert value("x = y", x="1", y=1) is True
    assert value("x <> y", x="a", y="b") is True


def test_in_casts_elements_to_the_type_of_the_left_and_stops_at_an_equal_one() -> None:
    assert value("x IN (5, 6)", x="5") is True
    assert value("5 IN ('05')") is True
    assert value("x IN (x, missing)", x="5") is True
    assert fault("x IN ('6', missing)", x="5") == (False, FaultKind.MISSING_ATTRIBUTE)
    assert fault("5 IN ('a')") == (False, FaultKind.CAST)


def test_an_error_in_an_operand_gives_the_zero_value_of_the_whole() -> None:
    assert fault("LEFT('abc', -1)") == ("abc", FaultKind.FUNCTION_EVALUATION)
    assert fault("CONCAT(LEFT('abc', -1), 'd')") == ("", FaultKind.FUNCTION_EVALUATION)
    assert fault("LENGTH(LEFT('abc', -1))") == (0, FaultKind.FUNCTION_EVALUATION)
    assert fault("missing OR TRUE") == (False, FaultKind.MISSING_ATTRIBUTE)


def test_an_error_tells_where_it_happened() -> None:
    result = Expression("type = 't' AND 10 / INT(n) > 2").evaluate(EVENT | {"n": "0"})

    assert (result.error, result.error_position) == (FaultKind.MATH, 15)


def test_trim_takes_unicode_white_space_and_nothing_else() -> None:
    assert value("TRIM(x)", x="\u3000\t a \u2009\n") == "a"
    assert value("TRIM(x)", x="\x1f\u200b a") == "\x1f\u200b a"


def test_names_of_functions_and_attributes_count_in_any_case() -> None:
    assert value("length(Type) = 1 and exists TYPE") is True


def test_required_attributes_always_exist() -> None:
    assert Expression("EXISTS id AND EXISTS source").evaluate({}).value is True


def test_only_the_boolean_true_is_accepted() -> None:
    assert Expression("flag").accepts({"flag": True})
    assert not Expression("flag").accepts({"flag": "true"})
    assert Expression("flag = TRUE").accepts({"flag": "true"})
    assert not Expression("1").accepts({})


@given(
    st.text("ab%_\\\n", max_size=12),
    st.text("ab%_\\\n", max_size=12),
)
def test_like_is_held_equal_to_a_regular_expression(pattern: str, text: str) -> None:
    wanted = re.sub(
        r"\\[%_]|[%_]|[^%_]",
        lambda found: {"%": ".*", "_": "."}.get(found[0], re.escape(found[0][-1])),
        pattern,
        flags=re.DOTALL,
    )

    matched = matcher(parse_pattern(pattern))(text)

    assert matched is (re.fullmatch(wanted, text, re.DOTALL) is not None)


def test_a_like_pattern_of_many_wildcards_does_not_backtrack() -> None:
    assert value(f"x LIKE '{'%a' * 50}b'", x="a" * 20_000) is False


def test_blame_names_the_smallest_false_part() -> None:
    expression = Expression("type = 't' AND (source LIKE 'http%' OR EXISTS region) AND n > 5")

    parts = expression.blame(EVENT | {"n": "7"})

    assert [(part.expression, part.position, dict(part.found)) for part in parts] == [
        ("source LIKE 'http%'", 16, {"source": "/s"}),
        ("EXISTS region", 39, {"region": None}),
    ]


def test_blame_names_the_part_that_failed() -> None:
    [part] = Expression("type = 't' AND (TRUE XOR n > 5)").blame(EVENT | {"n": "many"})

    assert (part.expression, part.error) == ("n > 5", '"many" is no 32-bit integer')


def test_blame_tells_a_value_that_is_no_boolean() -> None:
    [part] = Expression("type").blame(EVENT)

    assert part.error == 'its value is the String "t", not a Boolean'
