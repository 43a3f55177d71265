"""Images drawn in half precision: what it changes, what it leaves alone, what is refused."""

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from qdgs_lightning.datamodules import DataModuleError, SyntheticFaceDataModule
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.generators.stylegan2 import StyleGAN2Error
from qdgs_lightning.guidance import Evaluation
from qdgs_lightning.identities import FaceAligner, FileEdits, IdentityTable
from qdgs_lightning.identities.drawer import FaceDrawer, precision_of
from qdgs_lightning.sampling import MeasureBins, PriorSampler
from qdgs_lightning.utils.precision import Precision, PrecisionError
from tests.identities.identity_toys import HALVES, fit, toy_data
from tests.toys import ToyGenerator, ToyGuidance

AVATARS = Path("avatars_generator")
BINS = [MeasureBins(measure=0, intervals=HALVES)]


def avatars(**options: Any) -> StyleGAN2Generator:
    generator = StyleGAN2Generator(AVATARS, **options)
    generator.prepare()
    return generator


def drawn(
    generator: StyleGAN2Generator, precision: Precision | None = None, *, autocast: bool = False
) -> Tensor:
    """Return images of six latents under the shipped edits, as numbers."""
    latents = generator.sample_latents(6, torch.Generator().manual_seed(0))
    edits = FileEdits(Path("avatars_edits"))
    drawer = FaceDrawer(generator, edits=edits, align="none", image_size=64, precision=precision)
    numbers = torch.arange(6)
    drawer.place(
        IdentityTable(latents=latents, classes=numbers, bins=0 * numbers, bin_names=("all",)),
        torch.device("cpu"),
    )
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        images = drawer.draw(drawer.num_edits * numbers + numbers % drawer.num_edits)
    assert images.dtype == torch.uint8
    return images.double()


class NotingGuidance(ToyGuidance):
    """Keeps what it says."""

    def __init__(self) -> None:
        super().__init__()
        self.measures: list[Tensor] = []

    def forward(self, images: Tensor, latents: Tensor) -> Evaluation:
        """Judge and keep."""
        said = super().forward(images, latents)
        self.measures.append(said.measures.detach())
        return said


def faces(**options: Any) -> SyntheticFaceDataModule:
    settings: dict[str, Any] = {
        "generator": StyleGAN2Generator(AVATARS),
        "sampler": PriorSampler(bins=BINS, evaluations=20),
        "identities": 4,
        "slots": 4,
        "image_size": 64,
    }
    return toy_data(**settings | options)


def test_half_precision_changes_images_by_what_is_documented() -> None:
    whole = drawn(avatars())
    for precision, mean, most in (("bfloat16", 0.18, 7), ("float16", 0.021, 1)):
        half = drawn(avatars(), precision)  # type: ignore[arg-type]
        error = (half - whole).abs()
        assert mean / 1.5 < error.mean() < 1.5 * mean
        assert error.max() <= most + 2
        # It is the generator's own precision, asked for elsewhere, ...
        assert torch.equal(half, drawn(avatars(precision=precision)))
        # ... and not that of the training.
        assert torch.equal(half, drawn(avatars(), precision, autocast=True))  # type: ignore[arg-type]
    assert torch.equal(whole, drawn(avatars(precision="bfloat16"), "float32"))


def test_every_edit_of_a_latent_has_its_class() -> None:
    generator = avatars()
    drawer = FaceDrawer(
        generator, edits=FileEdits(Path("avatars_edits")), align="none", image_size=64
    )
    classes = torch.tensor([7, 3, 7])
    latents = generator.sample_latents(3, torch.Generator().manual_seed(0))
    table = IdentityTable(latents=latents, classes=classes, bins=0 * classes, bin_names=("all",))
    drawer.place(table, torch.device("cpu"))
    rows = torch.arange(3 * drawer.num_edits)
    assert drawer.num_edits > 1
    assert torch.equal(drawer.classes(rows), classes.repeat_interleave(drawer.num_edits))


@pytest.mark.parametrize("size", [20, 96])
def test_images_of_another_size_are_resized_as_pillow_does(size: int) -> None:
    generator = avatars()
    latents = generator.sample_latents(2, torch.Generator().manual_seed(0))
    drawer = FaceDrawer(generator, edits=None, align="none", image_size=size)
    classes = torch.arange(2)
    table = IdentityTable(latents=latents, classes=classes, bins=classes, bin_names=("a", "b"))
    drawer.place(table, torch.device("cpu"))
    with torch.no_grad():
        plain = generator(latents).mul(255).round().byte().permute(0, 2, 3, 1).numpy()
    for found, image in zip(drawer.draw(classes), plain, strict=True):
        resized = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
        off = np.abs(found.permute(1, 2, 0).numpy().astype(int) - np.asarray(resized).astype(int))
        assert off.max() <= 2  # bytes are rounded before, and once more between rows and columns


def test_a_fit_draws_in_half_precision_and_judges_in_full(tmp_path: Path) -> None:
    judges = NotingGuidance(), NotingGuidance()
    full = faces(guidance=judges[0])
    half = faces(guidance=judges[1], draw_precision="bfloat16", cache="host")
    seen = [fit(tmp_path, data, epochs=2)[0] for data in (full, half)]
    for epoch in (0, 1):
        (images, classes), (others, other_classes) = (each.epoch(epoch) for each in seen)
        assert torch.equal(classes, other_classes)
        assert 0.02 < 255 * (images - others).abs().mean() < 1
    tables = [data.identities() for data in (full, half)]
    for name in ("latents", "classes", "bins"):
        assert torch.equal(getattr(tables[0], name), getattr(tables[1], name))
    judged = [torch.cat(judge.measures) for judge in judges]
    assert torch.equal(*judged)  # to the last bit
    rows = torch.arange(half.num_images)
    generator = half.prepare_synthesis()[0]
    with torch.no_grad():  # in batches as large, since sums of bfloat16 may depend on that
        parts = torch.split(tables[1].latents, half.batch_size)
        expected = torch.cat([generator(part, precision="bfloat16") for part in parts])
    assert torch.equal(half.render(rows), expected.mul(255).round() / 255)


def test_a_resumed_run_says_that_it_draws_otherwise(tmp_path: Path) -> None:
    _, trainer = fit(tmp_path, faces(draw_precision="bfloat16"))
    checkpoint = tmp_path / "last.ckpt"
    trainer.save_checkpoint(checkpoint)
    with pytest.warns(UserWarning, match=r"drawn in bfloat16, and are drawn in float32 .*bfloat16"):
        fit(tmp_path, faces(), epochs=2, checkpoint=checkpoint)
    alike = (faces(draw_precision="bfloat16"), faces(generator=avatars(precision="bfloat16")))
    states = {"now": trainer.datamodule.state_dict()}  # type: ignore[attr-defined]
    states["earlier"] = {"identities": states["now"]["identities"]}
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for data in alike:
            data.load_state_dict(states["now"])
        faces().load_state_dict(states["earlier"])


def test_a_user_s_word_for_the_alignment_is_taken_from_yaml() -> None:
    with pytest.raises(StyleGAN2Error, match=r"`data\.init_args\.align` to ffhq_unchecked .* none"):
        faces(align="ffhq").prepare_synthesis()
    data = faces(align="ffhq_unchecked", image_size=32)
    with torch.no_grad():
        expected = FaceAligner(size=32)(avatars()(data.identities().latents))
    torch.testing.assert_close(
        data.render(torch.arange(data.num_images)), expected, atol=0.51 / 255, rtol=0
    )


def test_what_cannot_be_drawn_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(PrecisionError, match="precision is 'bf16'; give one of float32, float16"):
        faces(draw_precision="bf16").prepare_synthesis()
    with pytest.raises(DataModuleError, match="half precision are for StyleGAN2Generator, not for"):
        toy_data(draw_precision="float16").prepare_synthesis()
    toy_data(draw_precision="float32").prepare_synthesis()
    assert precision_of(ToyGenerator(), None) == precision_of(None, None) == "float32"

    generator = avatars()
    generator.network.synthesis.get_submodule("b16.conv0").bias.fill_(1e6)  # type: ignore[operator]
    with pytest.raises(DataModuleError, match=r"too large for float16: .*bfloat16"):
        drawn(generator, "float16")
    assert len(drawn(generator, "bfloat16")) == 6

    # A GPU before Ampere.
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: False)
    drawer = FaceDrawer(
        avatars(), edits=None, align="none", image_size=64, precision="bfloat16"
    )  # on the CPU
    numbers = torch.arange(2)
    table = IdentityTable(
        latents=torch.zeros(2, 1), classes=numbers, bins=numbers, bin_names=("a", "b")
    )
    with pytest.raises(DataModuleError, match=r"does not compute in bfloat16: .*float16 or"):
        drawer.place(table, torch.device("cuda"))
