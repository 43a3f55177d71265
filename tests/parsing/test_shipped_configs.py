"""Configurations of the package: listed, copied, found by name in any folder, named when absent."""

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.errors import ConfigError
from qdgs_lightning.parsing.shipped_configs import CONFIG_FOLDER, find_config, shipped_configs
from tests.cli.test_main import complaint

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_the_list_has_a_line_of_every_configuration_under_its_kind(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["configs"])
    told = capsys.readouterr().out
    assert max(map(len, told.splitlines())) <= 80
    sections = [part.splitlines() for part in told.strip().split("\n\n")]
    listed = {line.split()[0]: part[0] for part in sections for line in part[1:]}
    assert sorted(listed) == sorted(path.stem for path in (ROOT / "configs").glob("*.yaml"))
    for name, title in listed.items():
        keys = set(yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text()))
        kind = title.partition(":")[0]
        assert (kind == "Searches") == ("generator" in keys), name
        assert (kind == "Overlays") == (not keys & {"model", "generator"}), name


def test_a_wheel_holds_all_of_them() -> None:
    """A checkout's link to the folder is no part of the package."""
    assert held_by_a_wheel() >= {config.path for config in shipped_configs()}
    assert (ROOT / "configs").resolve() == CONFIG_FOLDER.resolve()


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="asks git for the files")
def test_a_wheel_forgets_no_file() -> None:
    """Configurations, weights, networks, summaries, the mark of types: all that is no code."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "src"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    files = {ROOT / name for name in listed.stdout.split("\0") if name}
    others = {path for path in files if path.suffix != ".py" and path.is_file()}
    assert {path.suffix for path in others} == {".typed", ".yaml", ".json", ".safetensors"}
    assert held_by_a_wheel() >= others
    folders = {path.parent for path in files if path.suffix == ".py"}
    assert all((folder / "__init__.py").is_file() for folder in folders)  # else left out


def held_by_a_wheel() -> set[Path]:
    """Find the files that are no code and that setuptools is told to take along."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    patterns = settings["package-data"]["qdgs_lightning"]
    return {path for pattern in patterns for path in CONFIG_FOLDER.parent.glob(pattern)}


@pytest.mark.parametrize(
    ("name", "said"), [("shapes_none", 0), ("shapes_none.yaml", 1), ("mine.yaml", 0)]
)
def test_a_shipped_configuration_in_place_of_a_file_is_said_once(
    name: str, said: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("mine.yaml").write_text((CONFIG_FOLDER / "shapes_none.yaml").read_text())
    with pytest.raises(SystemExit):
        main(["fit", "--config", name, "--print_config"])
    told = f"There is no {tmp_path / name}: taking the shipped configuration shapes_none.\n"
    assert capsys.readouterr().err == told * said


def test_overlays_name_what_they_lie_over() -> None:
    names = {config.name for config in shipped_configs()}
    bases = {config.base for config in shipped_configs() if config.kind == "overlay"}
    assert None not in bases
    assert bases <= names | {"shapes_*"}
    assert all(config.base is None for config in shipped_configs() if config.kind != "overlay")


def test_listing_needs_no_torch() -> None:
    program = (
        "import sys; from qdgs_lightning.cli.main import main; main(['configs']); "
        "assert 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True)


def test_a_configuration_is_found_by_name_unless_a_file_is_there() -> None:
    shipped = CONFIG_FOLDER / "shapes_qd.yaml"
    assert find_config("shapes_qd") == find_config("shapes_qd.yaml") == shipped
    Path("shapes_qd").mkdir()  # such as a folder of results
    assert find_config("shapes_qd") == shipped
    Path("shapes_qd.yaml").write_text("trainer: {}")
    assert find_config("shapes_qd.yaml") == Path("shapes_qd.yaml")


@pytest.mark.parametrize("name", ["elsewhere/shapes_qd", "shapes_qd.txt", "shapes_qdd.yaml"])
def test_what_is_not_there_is_told_with_its_absolute_path_and_a_guess(
    name: str, tmp_path: Path
) -> None:
    with pytest.raises(ConfigError) as told:
        find_config(name)
    assert f"{tmp_path / name} is not there (did you mean 'shapes_qd'?)" in str(told.value)


def test_names_work_wherever_a_configuration_is_asked_for(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for words in (
        ["fit", "--config", "shapes_qd", "-c", "shapes_rare"],
        ["test", "--config=shapes_none"],
        ["search", "--config", "shapes_search.yaml", "--output", "x.safetensors"],
    ):
        with pytest.raises(SystemExit) as ended:
            main([*words, "--print_config"])
        assert ended.value.code in (None, 0)
        out, told = capsys.readouterr()
        printed = yaml.safe_load(out)
        name, dot, _ = (words[1].partition("=")[2] or words[2]).partition(".")
        assert ("taking the shipped configuration" in told) == bool(dot)  # a file's name
        written = yaml.safe_load((ROOT / "configs" / f"{name}.yaml").read_text())
        assert set(written) <= set(printed)
    assert "did you mean 'shapes_qd'?" in complaint("fit", "--config", "shapes_dq")
    assert "did you mean 'shapes_rare'?" in complaint(
        "shapes-table", "--overlay", "shapes_rar", "--arms", "none"
    )
    with pytest.raises(SystemExit) as ended:
        main(["doctor", "--config", "shapes_dq"])
    assert ended.value.code == 1
    assert "did you mean 'shapes_qd'?" in capsys.readouterr().out


def test_a_copy_is_the_same_and_never_replaces_a_file_unasked(
    capsys: pytest.CaptureFixture[str],
) -> None:
    main(["configs", "copy", "shapes_none"])
    assert capsys.readouterr().out == "Written: shapes_none.yaml\n"
    content = (ROOT / "configs" / "shapes_none.yaml").read_bytes()
    assert Path("shapes_none.yaml").read_bytes() == content
    Path("shapes_none.yaml").write_text("mine")
    assert "there already" in complaint("configs", "copy", "shapes_none")
    assert Path("shapes_none.yaml").read_text() == "mine"
    main(["configs", "copy", "shapes_none", "--force", "true"])
    assert Path("shapes_none.yaml").read_bytes() == content
    Path("mine").mkdir()
    main(["configs", "copy", "shapes_none.yaml", "--output", "mine"])
    main(["configs", "copy", "--name", "shapes_none", "--output", "new/mine.yaml"])
    for path in ("mine/shapes_none.yaml", "new/mine.yaml"):
        assert Path(path).read_bytes() == content
    assert "did you mean 'shapes_none'?" in complaint("configs", "copy", "shapes_non")
