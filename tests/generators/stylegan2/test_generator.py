"""StyleGAN2 as a generator, from a file to an archive."""

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import yaml

from qdgs_lightning.cli.main import main
from qdgs_lightning.generators import CheckpointError, StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import StyleGAN2Error
from qdgs_lightning.search import Archive, QDSearch, SearchConfig, SearchError
from qdgs_lightning.utils.precision import PrecisionError
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity
from tests.toys import ToyGuidance


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture
def parity() -> Parity:
    return Parity("sg2_res32_orig")


@pytest.fixture
def pickle(tmp_path: Path, parity: Parity) -> Path:
    path = tmp_path / "network.pkl"
    path.write_bytes(official_file(parity))
    return path


@pytest.mark.parametrize(("latent_space", "shape"), [("w", (32,)), ("w+", (8, 32))])
def test_samples_of_the_prior_are_mapped_noise(
    pickle: Path, parity: Parity, latent_space: str, shape: tuple[int, ...]
) -> None:
    generator = StyleGAN2Generator(pickle, latent_space=latent_space)  # type: ignore[arg-type]
    generator.prepare()
    latents = generator.sample_latents(3, seeded())
    assert latents.shape == (3, *shape)
    network = parity.network()
    ws = network.mapping(torch.randn(3, 32, generator=seeded()))
    expected = (network.synthesis(ws) / 2 + 0.5).clamp(0, 1)
    torch.testing.assert_close(generator(latents), expected, atol=1e-4, rtol=0)


def test_latents_have_unit_scale_around_the_average(pickle: Path) -> None:
    generator = StyleGAN2Generator(pickle)
    generator.prepare()
    latents = generator.sample_latents(5000, seeded(1))
    torch.testing.assert_close(latents.std(0), torch.ones(32), atol=0.05, rtol=0)
    average = generator(torch.zeros(1, 32))
    network = generator.network
    ws = network.mapping.w_avg.expand(1, 8, -1)
    torch.testing.assert_close(average, (network.synthesis(ws) / 2 + 0.5).clamp(0, 1))


def test_truncation_shrinks_samples(pickle: Path) -> None:
    whole, half = (StyleGAN2Generator(pickle, truncation_psi=psi) for psi in (1.0, 0.5))
    whole.prepare()
    half.prepare()
    samples = [generator.sample_latents(4, seeded()) for generator in (whole, half)]
    torch.testing.assert_close(samples[1], samples[0] / 2, atol=1e-5, rtol=0)


def test_images_of_another_size_are_averages(pickle: Path) -> None:
    full, small = StyleGAN2Generator(pickle), StyleGAN2Generator(pickle, image_size=16)
    full.prepare()
    small.prepare()
    latents = full.sample_latents(2, seeded())
    images = small(latents)
    assert images.shape == (2, 3, 16, 16)
    # Half the size with antialiasing keeps the mean colour.
    means = F.adaptive_avg_pool2d(full(latents), 1)
    torch.testing.assert_close(F.adaptive_avg_pool2d(images, 1), means, atol=0.02, rtol=0)
    assert images.std() < full(latents).std()


def test_networks_with_labels_need_one(tmp_path: Path, pickle: Path) -> None:
    path = tmp_path / "classes.pkl"
    path.write_bytes(official_file(Parity("sg2_res32_cond")))
    for label in (None, 5, -1):
        with pytest.raises(StyleGAN2Error, match="give a class from 0 to 4"):
            StyleGAN2Generator(path, label=label).prepare()
    with pytest.raises(StyleGAN2Error, match="give none: it has no classes"):
        StyleGAN2Generator(pickle, label=0).prepare()
    images = []
    for label in (0, 4):
        generator = StyleGAN2Generator(path, label=label)
        generator.prepare()
        images.append(generator(generator.sample_latents(1, seeded())))
    assert not torch.equal(*images)


def test_wrong_arguments_are_refused(pickle: Path) -> None:
    with pytest.raises(StyleGAN2Error, match="truncation_psi is 3"):
        StyleGAN2Generator(pickle, truncation_psi=3)
    with pytest.raises(StyleGAN2Error, match=r"latent_space is 'W\+'; give one of w, w\+"):
        StyleGAN2Generator(pickle, latent_space="W+")  # type: ignore[arg-type]
    with pytest.raises(PrecisionError, match="precision is 'fp16'; give one of float32"):
        StyleGAN2Generator(pickle, precision="fp16")  # type: ignore[arg-type]
    with pytest.raises(StyleGAN2Error, match="image_size is 0"):
        StyleGAN2Generator(pickle, image_size=0)
    generator = StyleGAN2Generator(pickle)
    with pytest.raises(CheckpointError, match=r"call prepare\(\) first"):
        generator.sample_latents(1, seeded())
    generator.prepare()
    with pytest.raises(StyleGAN2Error, match=r"shape \(1, 3\); this generator draws \[n, 32\]"):
        generator(torch.zeros(1, 3))


def test_a_generator_is_known_by_all_that_decides_images(pickle: Path) -> None:
    def print_of(**options: Any) -> str:
        generator = StyleGAN2Generator(pickle, **options)
        generator.prepare()
        return generator.fingerprint()

    own = print_of()
    changes: list[dict[str, Any]] = [
        {"truncation_psi": 0.5},
        {"latent_space": "w+"},
        {"image_size": 16},
        {"precision": "bfloat16"},
    ]
    assert len({own, *(print_of(**change) for change in changes)}) == 1 + len(changes)
    assert own == print_of(truncation_psi=1, image_size=32)  # what it is anyway
    with pytest.raises(CheckpointError, match=r"call prepare\(\) first"):
        StyleGAN2Generator(pickle).fingerprint()


def test_only_the_same_generator_continues_a_search(tmp_path: Path, pickle: Path) -> None:
    config, path = SearchConfig(grid=(5, 5), calibration=20), tmp_path / "a.safetensors"
    search = QDSearch(StyleGAN2Generator(pickle), ToyGuidance(), config)
    search.run(20)
    search.save(path)
    for options, complaint in (
        ({"latent_space": "w+"}, r"the latent_shape \[32\], not \[8, 32\]; bring .*a.safetensors"),
        ({"truncation_psi": 0.5}, "the generator StyleGAN2Generator-.*, not StyleGAN2Generator-"),
    ):
        other = QDSearch(StyleGAN2Generator(pickle, **options), ToyGuidance(), config)
        with pytest.raises(SearchError, match=complaint):
            other.load(path)
    same = QDSearch(StyleGAN2Generator(pickle), ToyGuidance(), config)
    same.load(path)
    assert same.evaluations == 20


def test_convert_then_search(
    tmp_path: Path, pickle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    kept = tmp_path / "network.safetensors"
    words = ["convert", "--checkpoint", str(pickle), "--output", str(kept)]
    main(words)
    told = capsys.readouterr().out
    assert "images of 32 x 32 pixels" in told
    assert "1 embedded source file(s) ignored, not executed" in told
    with pytest.raises(SystemExit, match=r"is there already; .* add --force true"):
        main(words)
    pickle.unlink()

    config = {
        "generator": {
            "class_path": "StyleGAN2Generator",
            "init_args": {"checkpoint": str(kept), "image_size": 128},
        },
        "guidance": {"class_path": "PromptGuidance"},
        "search": {"grid": [10, 10], "emitters": 1, "batch_size": 8, "calibration": 16},
        "evaluations": 32,
        "output": str(tmp_path / "archive.safetensors"),
        "accelerator": "cpu",
    }
    (tmp_path / "search.yaml").write_text(yaml.safe_dump(config))
    main(["search", "--config", str(tmp_path / "search.yaml")])
    archive = Archive.load(tmp_path / "archive.safetensors")
    assert archive.latents.shape[1:] == (32,)
    assert len(archive.latents) >= 1


def test_kept_files_give_the_same_generator(tmp_path: Path, pickle: Path) -> None:
    main(["convert", "--checkpoint", str(pickle), "--output", str(tmp_path / "a.safetensors")])
    before, after = StyleGAN2Generator(pickle), StyleGAN2Generator(tmp_path / "a.safetensors")
    before.prepare()
    after.prepare()
    assert before.fingerprint() == after.fingerprint()
