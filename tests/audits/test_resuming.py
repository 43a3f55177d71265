"""``qdgs audit``: one that was stopped goes on, and ends as one that was not."""

from pathlib import Path

import pytest
import yaml
from torch import Tensor

from qdgs_lightning.cli.main import main
from qdgs_lightning.guidance import Evaluation
from tests.audits.test_run import BINS
from tests.datasets.face_sets import contents, photos
from tests.toys import ToyGuidance


class Counting(ToyGuidance):
    """Notes how many images it was asked for at a time.

    Args:
        interrupted_at: Number of the call, from 1, in which the user presses Ctrl-C; 0 for none.
    """

    seen: list[int] = []  # noqa: RUF012 (of all instances, as a command makes its own)

    def __init__(self, interrupted_at: int = 0) -> None:
        super().__init__()
        self.interrupted_at = interrupted_at

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Note and judge."""
        self.seen.append(len(images))
        if len(self.seen) == self.interrupted_at:
            raise KeyboardInterrupt
        return super().forward(images, latents)


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """What `Counting` notes."""
    noted: list[int] = []
    monkeypatch.setattr(Counting, "seen", noted)
    return noted


@pytest.fixture
def words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, in a folder with a set of 7 images and one of 40."""
    monkeypatch.chdir(tmp_path)
    photos(Path("one"), [3, 4])
    photos(Path("two"), [1, 39])
    guidance = {"class_path": "tests.audits.test_resuming.Counting"}
    annotator = {"class_path": "PromptAnnotator", "init_args": {"guidance": guidance, "bins": BINS}}
    settings = {
        "source": {"class_path": "ImageSet", "init_args": {"path": "one", "units": "images"}},
        "versus": {"class_path": "ImageSet", "init_args": {"path": "two", "units": "images"}},
        "annotator": annotator,
        "accelerator": "cpu",
        "num_bootstrap": 20,
        "batch_size": 6,
    }
    Path("audit.yaml").write_text(yaml.safe_dump(settings))
    return ["audit", "--config", "audit.yaml"]


INTERRUPTED = "--annotator.init_args.guidance.init_args.interrupted_at"


def _stopped(words: list[str]) -> str | int | None:
    """With what a command ends that does not get to its end."""
    with pytest.raises(SystemExit) as caught:
        main(words)
    return caught.value.code


def test_an_audit_that_was_stopped_goes_on_and_ends_with_the_same_bytes(
    words: list[str], seen: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    main([*words, "--output", "whole"])
    assert seen == [6, 1, 6, 6, 6, 6, 6, 6, 4]
    seen.clear()
    words += ["--output", "broken"]
    assert _stopped([*words, INTERRUPTED, "2"]) == 130
    assert seen == [6, 1]
    kept = "broken/unfinished-0.safetensors"
    told = capsys.readouterr()
    assert (told.out + told.err).count("kept") == 1
    assert "images that were annotated are kept in broken; the same line goes on: " in told.err
    assert list(contents(Path("broken"))) == [Path(kept).name]
    seen.clear()
    image = Path("two/id01/021.jpg")  # the 23rd of its set, in the fourth batch
    content = image.read_bytes()
    image.write_bytes(b"damaged")
    assert "021.jpg" in str(_stopped(words))
    assert seen == [1, 6, 6, 6]
    assert len(list(Path("broken").iterdir())) == 2
    image.write_bytes(content)
    seen.clear()
    main(words)
    assert seen == [6, 6, 6, 4]
    assert "18 of 40 images of two are annotated already" in capsys.readouterr().out
    assert contents(Path("broken")) == contents(Path("whole"))


def test_another_audit_in_its_folder_is_refused(words: list[str], seen: list[int]) -> None:
    words += ["--output", "out"]
    assert _stopped([*words, INTERRUPTED, "4"]) == 130
    before = contents(Path("out"))
    bins = "--annotator.init_args.bins"
    for other, named in (
        ([bins, '[{"measure": 0, "intervals": [[0, 1]], "names": ["all"]}]'], "another annotator"),
        (["--source.init_args.path", "two", "--source.init_args.name", "one"], "other images"),
    ):
        seen.clear()
        complaint = _stopped([*words, *other])
        assert f"out/unfinished-0.safetensors was begun with {named}; give" in str(complaint)
        assert seen == []
    assert contents(Path("out")) == before
    # No label depends on these: 7 and 6 images are known, and 34 are left.
    main([*words, "--num_bootstrap", "30", "--batch_size", "10"])
    assert seen == [10, 10, 10, 4]
    main([*words, "--num_bootstrap", "30", "--output", "whole"])
    assert (contents(Path("out"))["audit.csv"]) == contents(Path("whole"))["audit.csv"]
    assert "unfinished" not in "".join(contents(Path("out")))


def test_an_interruption_before_anything_is_known_leaves_nothing(
    words: list[str], seen: list[int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert _stopped([*words, "--output", "out", INTERRUPTED, "1"]) == 130
    assert not Path("out").exists()
    assert "; nothing of it is kept; start again with: qdgs audit" in capsys.readouterr().err
