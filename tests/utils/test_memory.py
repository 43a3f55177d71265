"""The allocator: a freed block is reused, which the kernel's count of page faults shows."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, torch
from qdgs_lightning.utils.memory import keep_freed_memory
if {keep}:
    assert keep_freed_memory()
def faults(mebibytes):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    torch.ones(mebibytes * 2**18)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
for _ in range(3):
    faults(64)
print(faults(48))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
@pytest.mark.parametrize("keep", [True, False])
def test_next_block_costs_no_page_faults(keep: bool) -> None:
    # A process of its own: the advice cannot be taken back.
    script = SCRIPT.format(keep=keep)
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    if keep:
        assert int(result.stdout) < 10
    else:  # pages of 4 KiB to 2 MiB: without the advice the same block is faulted in again
        assert int(result.stdout) >= 32
