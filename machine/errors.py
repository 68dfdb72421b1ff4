"""The one kind of error that a person can do something about."""


class Problem(Exception):
    """What was given, or where it runs, cannot be used; the message is a sentence for a person that
    says what to do.

    Commands print the sentence and end with exit code 1, services answer with it.  Whatever is no
    Problem is a bug of this program: it keeps its traceback.
    """


def sentence_of(error: BaseException) -> str | None:
    """What a person is told of an error: the message of a Problem, or what this machine refused and
    of which file (no permission, a full disk), and any notes added to that; None of a bug."""
    if isinstance(error, Problem):
        return str(error)
    if not isinstance(error, OSError) or not error.strerror:
        return None
    parts = [part for part in (error.filename, error.strerror) if part]
    return "; ".join([": ".join(map(str, parts)), *getattr(error, "__notes__", ())])
