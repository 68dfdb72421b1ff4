"""What a person is told of an error."""

import pytest

from machine.errors import Problem, sentence_of


class OfARoom(Problem):
    pass


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OfARoom("no model; give one"), "no model; give one"),
        (
            FileNotFoundError(2, "No such file or directory", "a/b"),
            "a/b: No such file or directory",
        ),
        (OSError(28, "No space left on device"), "No space left on device"),
        (OSError("broken data stream"), None),  # not of the machine: Pillow's, for instance
        (ValueError("operands could not be broadcast together"), None),
        (RuntimeError("size mismatch"), None),
    ],
)
def test_a_problem_and_what_the_machine_refuses_have_a_sentence_a_bug_has_none(error, sentence):
    assert sentence_of(error) == sentence


def test_what_was_done_until_then_is_added():
    error = PermissionError(13, "Permission denied", "index")
    error.add_note("nothing was published")
    assert sentence_of(error) == "index: Permission denied; nothing was published"
