"""``qdgs export``: what is left of it when it is stopped, and what it refuses."""

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from filelock import FileLock

from qdgs_lightning.cli.main import main
from tests.export.export_words import (
    BATCH,
    BINS,
    card,
    complaint,
    data,
    tree,
    write_archive,
    write_config,
)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_archive(tmp_path_factory.mktemp("run"))


@pytest.fixture
def words(tmp_path: Path, archive: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The command, in a folder that holds its configuration alone."""
    monkeypatch.chdir(tmp_path)
    return write_config(tmp_path, archive=archive)


@pytest.mark.parametrize("format", ["folder", "rec", "webdataset"])
def test_a_run_that_broke_off_goes_on_and_ends_with_the_same_bytes(
    words: list[str], format: str
) -> None:
    words += ["--format", format]
    with pytest.raises(RuntimeError, match="broken"):
        # The first call draws a sample.
        main([*words, "--output", "broken", "--data.init_args.fails_at", "4"])
    assert not Path("broken").exists()
    assert len(list(Path("broken.unfinished/pieces").iterdir())) == 3
    # One of them is no longer whole, as after a power cut, and another is drawn in its place.
    damaged = Path("broken.unfinished/pieces/00000001.rec")
    damaged.write_bytes(damaged.read_bytes()[:-100])
    assert "00000001.rec was damaged" in complaint(*words, "--output", "broken")
    main([*words, "--output", "broken"])
    main([*words, "--output", "whole"])
    broken, whole = tree(Path("broken")), tree(Path("whole"))
    for name in ("README.md", "card.json"):
        whole[name] = whole[name].replace(b"whole", b"broken")
    assert broken == whole
    assert sorted(os.listdir()) == ["broken", "config.yaml", "whole"]


@pytest.mark.slow
def test_a_run_on_two_processes_that_was_killed_ends_with_the_bytes_of_one(
    words: list[str],
) -> None:
    killed, pieces = Path("killed"), Path("killed.unfinished/pieces")
    path = os.pathsep.join([str(Path(__file__).parents[2]), os.environ.get("PYTHONPATH", "")])
    two = ["--devices", "2", "--data.init_args.pause", "1", "--output", "killed"]
    with subprocess.Popen(
        [sys.executable, "-m", "qdgs_lightning", *words, *two],
        env={**os.environ, "PYTHONPATH": path},
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        # Until both processes, which take turns, have written something.
        while {int(path.stem) % 2 for path in pieces.glob("[0-9]*.rec")} != {0, 1}:
            assert process.poll() is None
            time.sleep(0.01)
        os.killpg(process.pid, signal.SIGKILL)
    assert not killed.exists()
    main([*words, "--output", "killed"])
    main([*words, "--output", "whole"])
    whole = tree(Path("whole"))
    for name in ("README.md", "card.json"):
        whole[name] = whole[name].replace(b"whole", b"killed")
    assert tree(killed) == whole


def test_what_is_there_is_not_drawn_again(words: list[str], archive: Path) -> None:
    pieces = -(-data(archive).num_images // BATCH)
    for calls in (1, 2):  # each run draws a sample, and then one piece before it breaks
        with pytest.raises(RuntimeError, match="broken"):
            main([*words, "--output", "faces", "--data.init_args.fails_at", "2"])
        assert len(list(Path("faces.unfinished/pieces").iterdir())) == calls
    left = pieces - 2
    main([*words, "--output", "faces", "--data.init_args.fails_at", str(1 + left)])
    before = tree(Path("faces"))
    # A set that is whole is looked at, and left alone.
    main([*words, "--output", "faces", "--data.init_args.fails_at", "1"])
    assert tree(Path("faces")) == before
    assert sorted(os.listdir()) == ["config.yaml", "faces"]


@pytest.fixture
def _sigint() -> Iterator[None]:
    """Lightning ignores further interrupts of a process that is about to end."""
    handler = signal.getsignal(signal.SIGINT)
    yield
    signal.signal(signal.SIGINT, handler)


@pytest.mark.usefixtures("_sigint")
def test_an_interruption_says_where_the_work_is(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    stop = ["--data.init_args.fails_at", "2", "--data.init_args.error", "interrupt"]
    with pytest.raises(SystemExit) as caught:
        main([*words, "--output", "faces", *stop])
    assert caught.value.code
    told = capsys.readouterr()
    assert (told.out + told.err).count("are kept") == 1
    assert "images that were drawn are kept in faces.unfinished; the same line" in told.err
    assert sorted(os.listdir()) == ["config.yaml", "faces.unfinished"]
    # A GPU that judged the candidates once more could file some in other bins.
    assert Path("faces.unfinished/candidates.safetensors").is_file()


@pytest.mark.parametrize(
    ("other", "named"),
    [
        (["--format", "rec"], "format=folder, not rec"),
        (["--quality", "90"], "quality=95, not 90"),
        (["--batch_size", "8"], "batch_size=16, not 8"),
        (["--licence", "mine"], "licence=not stated"),
        (["--data.init_args.step", "2"], "other identities"),
        (["--data.init_args.edits", "2"], "images="),
        (["--data.init_args.strength", "0.5"], "images drawn otherwise"),
    ],
)
@pytest.mark.parametrize("finished", [True, False])
def test_other_settings_into_the_same_folder_are_refused(
    words: list[str], other: list[str], named: str, finished: bool
) -> None:
    words += ["--output", "faces"]
    if finished:
        main(words)
    else:
        with pytest.raises(RuntimeError, match="broken"):
            main([*words, "--data.init_args.fails_at", "2"])
    before = tree(Path())
    said = complaint(*words, *other)
    assert named in said
    assert ("faces.unfinished was begun" in said) is not finished
    left = tree(Path())
    left = {name: content for name, content in left.items() if "candidates" not in name}
    assert left.items() <= before.items()
    assert Path("faces").exists() is finished


def test_what_cannot_be_is_refused_in_one_sentence(words: list[str], archive: Path) -> None:
    base = ["export", *words[1:3], "--output", "faces"]
    here = ["--archive", str(archive)]
    content = yaml.safe_load(Path("config.yaml").read_text())
    settings = {"bins": BINS, "evaluations": 50}
    sampler = {"class_path": "PriorSampler", "init_args": settings}
    content["data"]["init_args"]["sampler"] = sampler
    Path("prior.yaml").write_text(yaml.safe_dump(content))
    prior = ["--config", "prior.yaml"]
    Path("taken").mkdir()
    Path("taken/file").touch()
    for options, sentence in (
        ([], "ArchiveSampler draws from an archive: add --archive"),
        ([*here, *prior], "PriorSampler draws from no archive"),
        (
            ["--archive", "none.safetensors"],
            f"There is no archive file {Path('none.safetensors').absolute()}",
        ),
        ([*here, "--data.init_args.generator_seed", "1"], "not with this generator"),
        (
            [*here, "--checkpoint", "no.ckpt"],
            f"There is no checkpoint {Path('no.ckpt').absolute()}",
        ),
        ([*here, "--checkpoint", "config.yaml"], "config.yaml holds no identities of Noise"),
        ([*here, "--format", "zip"], "zip"),
        ([*here, "--image_format", "gif"], "gif"),
        ([*here, "--quality", "0"], "quality is 0"),
        ([*here, "--batch_size", "0"], "batch_size is 0"),
        ([*here, "--shard_size", "0"], "shard_size is 0"),
        ([*here, "--output", "taken"], "is there already and is no exported set"),
        ([*here, "--output", "taken/file"], "is there already and is no exported set"),
        ([*here, "--data", "tests.boring.BoringData"], "BoringData draws no identities"),
        ([*here, "--data.init_args.identities", "0"], "There is no identity to write"),
        ([*here, "--data.init_args.strength", ".nan"], "an image that is NaN"),
    ):
        assert sentence in complaint(*base, *options), sentence
        assert not Path("faces").exists()
    main([*base, *prior])
    assert card(Path("faces"))["archive"] is None


def test_a_second_command_waits_its_turn(words: list[str]) -> None:
    with FileLock(".lock_faces"):
        assert "Another process is writing" in complaint(*words, "--output", "faces")
    assert not Path("faces.unfinished").exists()


def test_a_disk_without_room_is_noticed_before_anything_is_written(
    words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    room = (10**6, 10**6, 50_000)
    monkeypatch.setattr("shutil.disk_usage", lambda path: type("Usage", (), {"free": room[2]})())
    said = complaint(*words, "--output", "faces")
    assert "and the disk has 50 kB" in said
    assert not Path("faces.unfinished/pieces").exists()


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let this process write no file beyond a size: the system's own complaint, on any disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_fills_up_loses_nothing(words: list[str]) -> None:
    words += ["--output", "faces", "--image_format", "png"]
    with pytest.raises(RuntimeError, match="broken"):
        main([*words, "--data.init_args.fails_at", "3"])
    before = tree(Path("faces.unfinished/pieces"))
    with largest_file(min(len(content) for content in before.values()) // 2):
        said = complaint(*words)
    assert "takes no more" in said
    assert tree(Path("faces.unfinished/pieces")) == before
    main(words)
    assert Path("faces/card.json").exists()


def test_a_disk_that_fills_up_while_the_set_is_put_together_loses_nothing(
    words: list[str],
) -> None:
    words += ["--output", "faces", "--format", "rec", "--image_format", "png"]
    with largest_file(40_000):  # enough for a piece, not for train.rec
        assert "takes no more" in complaint(*words)
    assert not Path("faces").exists()
    main([*words, "--data.init_args.fails_at", "1"])  # beside the sample nothing is drawn
    main([*words, "--output", "whole"])
    assert Path("faces/train.rec").read_bytes() == Path("whole/train.rec").read_bytes()
    assert len(Path("whole/train.rec").read_bytes()) > 40_000
