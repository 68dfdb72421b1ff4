"""The one kind of error that a person can do something about."""


class Problem(Exception):
    """What was given, or where it runs, cannot be used; the message is a sentence for a person that
    says what to do.

    Commands print the sentence and end with exit code 1, services answer with it.  Whatever is no
    Problem is a bug of this program: it keeps its traceback.
    """
