import pytest

from inngest_server.apps.problems import Findings, Problem, RegistrationInvalidError, show


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (5, "5"),
        (1.5, "1.5"),
        ("a b", '"a b"'),
        ("a\nb\ud800", '"a\\nb\\ud800"'),
        ("x" * 81, '"' + "x" * 77 + '..."'),
        ([1], "a list"),
        ({"a": 1}, "an object"),
        (b"", "a bytes"),
    ],
)
def test_a_value_is_quoted_short_and_on_one_line(value: object, shown: str) -> None:
    assert show(value) == shown


def test_a_number_too_long_to_print_is_described() -> None:
    assert show(10**5000) == "a number of more than 18 digits"


def test_a_problem_is_one_line_whatever_its_parts_hold() -> None:
    problem = Problem("f\n", "steps.a\nb", "c", "first\r\nsecond\u2028third")

    assert problem.line == 'function "f\\n": steps.a b: first  second third'


def test_the_parts_of_a_problem_are_bounded() -> None:
    findings = Findings().about("f" * 5000)
    findings.refuse("a" * 5000, "code", "m" * 5000)

    (problem,) = findings.problems
    assert (len(problem.function_id or ""), len(problem.field), len(problem.message)) == (1000, 200, 1000)


def test_collectors_of_functions_share_their_lists() -> None:
    findings = Findings()
    findings.about("f").refuse("a", "c", "m")
    findings.about("g").warn("a", "c", "m")

    assert [problem.function_id for problem in findings.problems] == ["f"]
    assert [warning.function_id for warning in findings.warnings] == ["g"]


def test_the_error_says_one_problem_a_line() -> None:
    error = RegistrationInvalidError([Problem(None, "url", "c", "is bad"), Problem("f", "id", "c", "is bad")])

    assert str(error) == 'url: is bad\nfunction "f": id: is bad'
    assert error.code == "config_invalid"
    assert error.problems_left_out == 0
