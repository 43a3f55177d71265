"""The base of every error that a user can cause."""


class QDGSError(ValueError):
    """A mistake in what was asked for, in one sentence: what is wrong, where, what to do next.

    The command line prints the sentence alone and ends with a non-zero status; with
    ``QDGS_DEBUG=1`` in the environment it shows the traceback instead.
    """
