"""Numbers of bytes and times, written for people."""


def size(number: float) -> str:
    """Write a number of bytes for people, in the units that disks are sold by."""
    for unit in ("bytes", "kB", "MB", "GB"):
        if number < 999.5:  # from there on three digits round to 1000
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} TB"


def duration(seconds: float) -> str:
    """Write a time for people."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 2 * 3600:
        return f"{seconds / 60:.0f} min"
    if seconds < 48 * 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{seconds / 86400:.1f} days"
