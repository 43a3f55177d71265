"""Labels of axes that show a measure: its name between the words for its two ends."""

import textwrap
from itertools import takewhile

Ends = tuple[str, str]
"""Descriptions of a measure's low and high end, such as the two prompts of a pair."""

_PER_INCH = 12  # characters of matplotlib's default font at 10 points, on average
_ARTICLES = {"a", "an", "the"}


def measure_label(name: str, ends: Ends | None, *, inches: float) -> str:
    """Label an axis with a measure's name and what its two ends stand for.

    Args:
        name: Name of the measure.
        ends: Descriptions of its low and high end; None where there are none, as for a direction of
            the latent.
        inches: Length of the axis. A label that is longer is broken into lines.

    Returns:
        One line where that is enough; an arrow points to either end. A name that holds both words
        already, such as "red to blue", is not said twice.

    Example:
        >>> measure_label("skin", ("A person with dark skin.", "A person with light skin."),
        ...               inches=5)
        '← dark    skin    light →'
        >>> measure_label("latent 1", None, inches=5)
        'latent 1'
    """
    room = max(12, int(inches * _PER_INCH))
    if ends is None:
        return textwrap.fill(name, room)
    low, high = short_ends(ends)
    named = {word.casefold() for word in name.split()}
    if {low.casefold(), high.casefold()} <= named:
        return textwrap.fill(f"← {name} →", room)
    lines = [f"← {low}    {name}    {high} →"]
    if len(lines[0]) > room:
        lines = [f"← {low}    {high} →", name]
    if len(lines[0]) > room:
        lines = [f"← {low}", f"{high} →", name]
    return "\n".join(textwrap.fill(line, room) for line in lines)


def short_ends(ends: Ends) -> Ends:
    """Reduce two sentences to the words in which they differ.

    Words that both begin with are left out, and words that both end with where one or two words
    remain of each: a longer phrase reads badly without its noun.

    Args:
        ends: Two sentences that differ.

    Returns:
        Two phrases that differ, without a full stop and, where it can be spared, an article.

    Example:
        >>> short_ends(("A person in their 20s.", "A person in their 50s."))
        ('20s', '50s')
        >>> short_ends(("A triangle with 3 edges.", "A square with 4 edges."))
        ('triangle with 3 edges', 'square with 4 edges')
    """
    whole = [end.strip().rstrip(".").split() for end in ends]
    most = min(map(len, whole)) - 1  # a word is left of each
    before = min(_shared(*whole), most)
    begun = [words[before:] for words in whole]
    after = min(_shared(*(words[::-1] for words in begun)), most - before)
    cut = [words[: len(words) - after] for words in begun]
    choices = ([cut] if max(map(len, cut)) <= 2 else []) + [begun, whole]
    for low, high in ([_without_article(words) for words in choice] for choice in choices):
        if low and high and low != high:
            return low, high
    return ends


def _shared(low: list[str], high: list[str]) -> int:
    """Count the words that both begin with."""
    return len(list(takewhile(lambda pair: pair[0] == pair[1], zip(low, high, strict=False))))


def _without_article(words: list[str]) -> str:
    """Join words without an article in front."""
    return " ".join(words[1:] if words[:1] and words[0].casefold() in _ARTICLES else words)
