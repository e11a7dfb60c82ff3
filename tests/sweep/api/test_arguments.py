"""Do errors that commands and functions share speak of arguments where a function was called?"""

import pytest

from sweep.api.arguments import in_words_of_python, with_arguments
from sweep.studies.bad_input import BadInput


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        ("give what sweep.run was given as --storage", "give what sweep.run was given as storage"),
        ("give its folder with --raw nih_cxr14=DIR", "give its folder with raw=['nih_cxr14=DIR']"),
        ("not given (--raw a=DIR): give", "not given (raw=['a=DIR']): give"),
        ("for example --only seed=0,1 or", "for example only=['seed=0,1'] or"),
        ("--only 'seed=' is not", "only 'seed=' is not"),
        ("again with --retry-failed, --raw-data and /data/--storage", None),
        ("no rate is known", None),
    ],
)
def test_flags_become_arguments(said, expected):
    assert with_arguments(said) == (expected or said)


def test_what_a_command_refuses_is_a_value_error():
    with pytest.raises(ValueError, match=r"^storage x$"), in_words_of_python():
        raise BadInput("--storage x")


def test_an_error_without_flags_stays_itself():
    error = UnicodeDecodeError("utf-8", b"x", 0, 1, "of a study file")
    with pytest.raises(UnicodeDecodeError) as raised, in_words_of_python():
        raise error
    assert raised.value is error
