"""Words of the command line: values without names, and Python's None."""

from pathlib import Path

import pytest

from qdgs_lightning.cli.main import main
from qdgs_lightning.datasets.records.writer import write_record_dataset
from tests.cli.test_main import CONFIG, complaint, written
from tests.faces import identities


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_paths_come_first_without_their_names(capsys: pytest.CaptureFixture[str]) -> None:
    write_record_dataset(Path("set"), identities(range(2), 4, side=16), height=16, width=16)
    told = []
    for words in (["set"], ["--path", "set"], ["set", "--sample", "8"]):
        main(["data", "inspect", *words])
        told.append(capsys.readouterr().out)
    assert told[0] == told[1] == told[2] != ""
    main(["data", "unpack", "set", "folder"])
    main(["data", "pack", "folder", "again", "--quality", "90"])
    main(["data", "verify", "again", "--workers=0"])
    records = [Path(name, "train.rec").read_bytes() for name in ("set", "again")]
    assert records[0] == records[1]
    with pytest.raises(SystemExit):
        main(["data", "pack", "--help"])
    assert "qdgs data pack SOURCE OUTPUT [--OPTION" in " ".join(capsys.readouterr().out.split())


def test_one_value_too_many_is_told() -> None:
    assert "'b' stands there without an option, and it takes PATH so" in complaint(
        "data", "inspect", "a", "b"
    )
    assert "'x.yaml' stands there without an option, and it takes none" in complaint(
        "search", "x.yaml"
    )


def test_the_none_of_sweeps_is_null(capsys: pytest.CaptureFixture[str]) -> None:
    config = written(CONFIG)
    for words in (["--trainer.max_steps=7", "--trainer.max_epochs=None"], ["--ckpt_path", "None"]):
        with pytest.raises(SystemExit) as ended:
            main(["fit", "--config", config, *words, "--print_config"])
        assert ended.value.code in (None, 0)
        name = words[-1].partition("=")[0] if "=" in words[-1] else words[0]
        assert f"{name.rpartition('.')[2].lstrip('-')}: null\n" in capsys.readouterr().out
