"""Progress at a terminal and in a log."""

import re
import sys

import pytest

from efiss import progress as progressing
from efiss.progress import bars, line_of, training_line
from trainer.train import Progress


def at(step: int, steps: int = 4000, seconds_left: float = 3492.4) -> Progress:
    return Progress(step, steps, {"relahash": 2.8126, "instance": 0.4}, 0.003, 104.7, seconds_left)


def test_the_line_says_step_time_left_rate_and_losses():
    assert line_of(at(120)) == (
        "step 120 of 4,000 (3%), 0:58:12 left, 105 pictures/s; relahash 2.813, instance 0.400"
    )
    assert "25:01:01 left" in line_of(at(120, seconds_left=90061))
    assert "step 4,000 of 4,000 (100%), 0:00:00 left" in line_of(at(4000, seconds_left=0))


@pytest.fixture
def clock(monkeypatch):
    """A clock that the test sets: clock.now."""

    class Clock:
        now = 1000.0

        def monotonic(self):
            return self.now

    clock = Clock()
    monkeypatch.setattr(progressing, "time", clock)
    return clock


def test_a_log_gets_a_line_a_minute_and_the_last(clock, capsys):
    with training_line() as tell:
        for step in range(1, 201):
            tell(at(step, 200))
            clock.now += 1
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" of ")[0] for line in lines] == [
        "step 1", "step 61", "step 121", "step 181", "step 200"
    ]  # fmt: skip
    assert lines[0] == line_of(at(1, 200))


def test_a_terminal_gets_one_line_that_is_rewritten_every_second(clock, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *arguments, **options: False)
    with training_line() as tell:
        for step in range(1, 11):
            tell(at(step, 10))
            clock.now += 0.4
    text = capsys.readouterr().err
    assert text.endswith("\n") and text.count("\n") == 1
    rewritten = text.rstrip("\n").split("\r")
    assert rewritten[0] == ""
    assert [line.split(" of ")[0] for line in rewritten[1:]] == [
        "step 1", "step 4", "step 7", "step 10"
    ]  # fmt: skip


def test_works_that_follow_each_other_have_a_bar_each(capsys, monkeypatch):
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    monkeypatch.setattr("click.utils.should_strip_ansi", lambda *arguments, **options: False)
    with bars() as tell:
        for what, total in (("decoding", 2), ("ranking", 1), ("nothing", 0), ("looking", 9)):
            for done in range(min(total, 3) + 1):
                tell(what, done, total)
    text = capsys.readouterr().out
    assert text.count("\n") == 4
    works = "decoding|ranking|nothing|looking"
    names = dict.fromkeys(re.findall(rf"({works})  \[", text))
    assert list(names) == works.split("|")
    assert "100%" in text and "33%" in text


def test_a_log_has_the_names_of_works_alone(capsys):
    with bars() as tell:
        for done in range(3):
            tell("decoding", done, 2)
    assert capsys.readouterr().out == "decoding\n"
