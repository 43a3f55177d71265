"""Faces of a generator: which images an epoch shows, under which class, and when they are drawn."""

import math
import warnings
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
import torch
from lightning.pytorch import Trainer
from torch import Tensor
from torch.nn import functional as F

from qdgs_lightning.datamodules import DataModuleError, SyntheticFaceDataModule
from qdgs_lightning.datamodules.synthetic_faces import Cache
from qdgs_lightning.errors import QDGSError
from qdgs_lightning.generators import StyleGAN2Generator
from qdgs_lightning.identities import FaceAligner, FileEdits, PrincipalEdits
from qdgs_lightning.identities.drawer import epoch_loader, epoch_order
from qdgs_lightning.sampling import (
    ArchiveSampler,
    MeasureBins,
    PriorSampler,
    SamplingError,
)
from qdgs_lightning.search import Archive
from tests.generators.stylegan2.official_files import official_file
from tests.generators.stylegan2.parity import Parity
from tests.identities.identity_toys import (
    BINS,
    HALVES,
    CountingGenerator,
    fit,
    found_archives,
    toy_data,
)
from tests.toys import ToyGenerator, ToyGuidance


@pytest.fixture(scope="module")
def archives() -> list[Archive]:
    return found_archives()


def prior(evaluations: int = 200) -> PriorSampler:
    return PriorSampler(bins=BINS, evaluations=evaluations)


def rounded(images: Tensor) -> Tensor:
    return (255 * images).round() / 255


def test_an_epoch_has_every_image_once_under_its_class(tmp_path: Path) -> None:
    data = toy_data(sampler=prior())
    recorder, _ = fit(tmp_path, data, epochs=2)
    table = data.identities()
    assert len(table) == data.num_images == 48
    assert data.num_classes == 200
    truth = {
        tuple(image.flatten().tolist()): int(c)
        for image, c in zip(rounded(ToyGenerator()(table.latents)), table.classes, strict=True)
    }
    for epoch in (0, 1):
        images, classes = recorder.epoch(epoch)
        keys = [tuple(image.flatten().tolist()) for image in images]
        assert len(set(keys)) == 48
        assert [truth[key] for key in keys] == classes.tolist()
    assert torch.equal(table.classes, torch.arange(24).repeat_interleave(2))
    assert torch.equal(data.render(torch.arange(48)), rounded(ToyGenerator()(table.latents)))
    measures = ToyGuidance()(ToyGenerator()(table.latents), table.latents).measures
    assert torch.equal(data.sampler.joint.index(data.sampler.joint.labels(measures)), table.bins)  # type: ignore[union-attr]
    assert torch.equal(table.bins[0::2], table.bins[1::2])


def test_every_epoch_and_seed_has_an_order_of_its_own(tmp_path: Path) -> None:
    # More images than residues, within which they are shuffled.
    orders = []
    for seed in (0, 1):
        data = toy_data(sampler=prior(400), identities=80, seed=seed)
        recorder, _ = fit(tmp_path, data, epochs=2)
        orders += [recorder.epoch(epoch)[1] for epoch in (0, 1)]
    assert len({tuple(order.tolist()) for order in orders}) == 4


def test_images_are_resized_where_need_be(tmp_path: Path) -> None:
    data = toy_data(sampler=prior(), image_size=8)
    images = data.render(torch.tensor([3, 5]))
    small = ToyGenerator()(data.identities().latents[[3, 5]])
    expected = F.interpolate(small, (8, 8), mode="bilinear", antialias=True)
    assert torch.equal(images, rounded(expected))


def test_each_latent_is_drawn_under_every_edit_and_aligned(tmp_path: Path) -> None:
    path = tmp_path / "ffhq.pkl"
    path.write_bytes(official_file(Parity("sg2_res32_orig")))
    generator = StyleGAN2Generator(path)
    generator.prepare()
    edits = 0.3 * torch.randn(
        5, generator.w_std.numel(), generator=torch.Generator().manual_seed(0)
    )
    torch.save(edits, tmp_path / "edits.pt")
    data = toy_data(
        generator=StyleGAN2Generator(path),
        sampler=PriorSampler(bins=[MeasureBins(measure=0, intervals=[(-9, 9)])], evaluations=12),
        identities=3,
        edits=FileEdits(tmp_path / "edits.pt"),
        align="ffhq",
        image_size=16,
    )
    table = data.identities()
    assert data.num_images == 6 * 5
    rows = torch.tensor([0, 4, 5, 17, 29])
    images = data.render(rows)
    with torch.no_grad():
        latents = table.latents[rows // 5] + edits[rows % 5]
        expected = FaceAligner(size=16)(generator(latents))
    torch.testing.assert_close(images, expected, atol=0.51 / 255, rtol=0)
    assert torch.equal(images, rounded(images))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(data.render(rows), images)  # in the generator's own precision


@pytest.mark.parametrize("number", [1, 63, 64, 1000])
def test_an_order_is_a_permutation_within_residues(number: int) -> None:
    orders = [epoch_order(number, random=torch.Generator().manual_seed(s)) for s in (0, 0, 1)]
    assert sorted(orders[0].tolist()) == list(range(number))
    assert torch.equal(orders[0] % 64, torch.arange(number) % 64)
    assert torch.equal(orders[0], orders[1])
    if number > 64:
        assert (orders[0] != orders[2]).float().mean() > 0.8


@pytest.mark.parametrize("world", [1, 2, 4])
def test_ranks_share_the_steps_of_one_process_out(world: int) -> None:
    def rows(rank: int, of: int, seed: int = 0) -> Tensor:
        trainer = SimpleNamespace(global_rank=rank, world_size=of, training=False)
        loader = epoch_loader(
            110,
            batch_size=8 // of,
            random=torch.Generator().manual_seed(seed),
            trainer=cast(Trainer, trainer),
        )
        return torch.stack([batch.rows for batch in loader])

    shares = [rows(rank, world) for rank in range(world)]
    # 13 steps of eight; a rank shows its own residues in every epoch, as a cache needs.
    assert [share.shape for share in shares] == [(13, 8 // world)] * world
    for rank, share in enumerate(shares):
        assert (share % world == rank).all()
    assert torch.equal(torch.stack(shares, dim=2).flatten(1), rows(0, 1))
    assert len({row for share in shares for row in share.flatten().tolist()}) == 13 * 8
    with pytest.raises(DataModuleError, match=r"too few for a batch of 60 on 2 rank"):
        epoch_loader(
            110,
            batch_size=60,
            random=torch.Generator(),
            trainer=cast(Trainer, SimpleNamespace(global_rank=0, world_size=2)),
        )


@pytest.mark.parametrize("cache", ["device", "host"])
def test_a_cache_refuses_ranks_that_would_show_other_images_in_each_epoch(
    archives: list[Archive], cache: Cache
) -> None:
    data = toy_data(cache=cache)
    data.set_archive(archives[0])
    data.trainer = cast(Trainer, SimpleNamespace(global_rank=0, world_size=3, training=False))
    with pytest.raises(DataModuleError, match="divides 64, not 3"):
        data.train_dataloader()


def test_identities_of_a_checkpoint_replace_those_there_are(archives: list[Archive]) -> None:
    kept, other = toy_data(), toy_data(seed=1)
    kept.set_archive(archives[0])
    other.set_archive(archives[-1])
    expected, before = kept.identities(), other.identities()
    assert not torch.equal(before.latents, expected.latents)
    other.load_state_dict(kept.state_dict())
    other.seed = kept.seed
    other.set_archive(archives[0])
    found = other.identities()
    assert torch.equal(found.latents, expected.latents)
    assert torch.equal(found.classes, expected.classes)


def test_refreshes_and_a_resume_keep_classes_and_cost_what_is_new(
    tmp_path: Path, archives: list[Archive]
) -> None:
    plain, cached = toy_data(), toy_data(cache="host")
    whole, _ = fit(tmp_path, plain, epochs=4, archives=archives)
    again, _ = fit(tmp_path, cached, epochs=4, archives=archives)
    _, trainer = fit(tmp_path, toy_data(cache="device"), epochs=2, archives=archives)
    checkpoint = tmp_path / "last.ckpt"
    trainer.save_checkpoint(checkpoint)
    resumed, _ = fit(tmp_path, toy_data(), epochs=4, checkpoint=checkpoint, archives=archives)
    assert sorted(resumed.batches) == [2, 3]
    ever: dict[int, set[tuple[float, ...]]] = {}
    for epoch in range(4):
        table = whole.tables[epoch]
        for one in (again, resumed):
            if epoch in one.batches:
                for a, b in zip(one.epoch(epoch), whole.epoch(epoch), strict=True):
                    assert torch.equal(a, b)
                assert torch.equal(one.tables[epoch].classes, table.classes)
                assert torch.equal(one.tables[epoch].latents, table.latents)
        groups: dict[int, set[tuple[float, ...]]] = {}
        for latent, c in zip(table.latents.tolist(), table.classes.tolist(), strict=True):
            groups.setdefault(c, set()).add(tuple(latent))
        for c, group in groups.items():
            assert ever.setdefault(c, group) == group
    assert 24 < len(ever) < 4 * 24
    # Both have evaluated as many; what stayed in its place, under its class, was drawn once alone.
    saved = 0
    for before, after in pairwise(whole.tables[epoch] for epoch in range(4)):
        same = (before.latents == after.latents).all(1) & (before.classes == after.classes)
        saved += int(same.sum())
    assert saved > 24
    assert isinstance(plain.generator, CountingGenerator)
    assert isinstance(cached.generator, CountingGenerator)
    assert plain.generator.drawn - cached.generator.drawn == saved


def test_identities_are_shared_out_by_quotas(archives: list[Archive]) -> None:
    bins = [
        MeasureBins(measure=0, intervals=HALVES, names=["dark", "light"]),
        MeasureBins(measure=1, intervals=HALVES, names=["young", "old"]),
    ]
    counts = {}
    for name, proportions in (("even", None), ("asked", {"dark": 0.75, "light": 0.25})):
        sampler = ArchiveSampler(bins=bins, proportions=proportions)
        data = toy_data(sampler=sampler, identities=16, slots=16)
        data.set_archive(archives[-1])
        table = data.identities()
        counts[name] = table.bins[::2].bincount(minlength=4).tolist()
    assert counts == {"even": [4, 4, 4, 4], "asked": [6, 6, 2, 2]}
    # Evenly over cells, a bin has as many as there are cells of it.
    few = float(archives[-1].measures[:, 0].quantile(0.2))
    lopsided = [
        MeasureBins(measure=0, intervals=[(-math.inf, few), (few, math.inf)]),
        bins[1],
    ]
    data = toy_data(sampler=ArchiveSampler(bins=lopsided, even_over="cells"), identities=16)
    data.set_archive(archives[-1])
    of_cells = data.candidates().bins.bincount(minlength=4)
    expected = 16 * of_cells / of_cells.sum()
    drawn = data.identities().bins[::2].bincount(minlength=4)
    assert of_cells.max() > 2 * of_cells.min()
    assert (drawn - expected).abs().max() <= 1


def test_quotas_are_kept_or_refused_and_renormalised_ones_are_said(
    tmp_path: Path, archives: list[Archive]
) -> None:
    few = float(archives[-1].measures[:, 0].quantile(0.06))
    bins = MeasureBins(
        measure=0, intervals=[(-math.inf, few), (few, math.inf)], names=["dark", "light"]
    )

    def by_halves(*, renormalise: bool = False, **options: Any) -> SyntheticFaceDataModule:
        halves = {"dark": 0.5, "light": 0.5}
        return toy_data(
            sampler=ArchiveSampler(bins=[bins], proportions=halves, renormalise=renormalise),
            **options,
        )

    data = by_halves()
    with pytest.raises(SamplingError, match=r"12 of dark \(\d can be made\).*measures: red"):
        fit(tmp_path, data, archives=2 * archives[-1:])
    pairs = int(data.candidates().bins.bincount()[0]) // 2
    assert 0 < pairs < 11
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        fit(tmp_path, by_halves(identities=2 * pairs), archives=2 * archives[-1:])
    assert not any("identities of" in str(warning.message) for warning in told)
    with pytest.warns(UserWarning, match=rf"dark \({pairs} of 12\).*measures: red.*went to light"):
        fit(tmp_path, by_halves(renormalise=True), archives=2 * archives[-1:])


def test_k_means_makes_identities_of_several_sizes(tmp_path: Path) -> None:
    data = toy_data(sampler=prior(), grouping="kmeans", cache="host")
    recorder, _ = fit(tmp_path, data, epochs=2)
    sizes = data.identities().classes.bincount()
    assert len(sizes) == 24
    assert len(set(sizes.tolist())) > 1
    images = recorder.epoch(1)[0]
    assert len(images) == int(sizes.sum()) // 6 * 6


def test_what_is_missing_is_said_and_slots_once(tmp_path: Path, archives: list[Archive]) -> None:
    data = toy_data(identities=200, slots=200)
    with pytest.warns(UserWarning, match=r"latents for \d+ identities of 200"):
        fit(tmp_path, data, archives=archives)
    above = MeasureBins(measure=0, intervals=[(-1, 0), (0, 1)], names=["never", "always"])
    data = toy_data(sampler=ArchiveSampler(bins=[above]))
    with pytest.warns(UserWarning, match=r"no identities of never \(measures: red\)"):
        fit(tmp_path, data, archives=archives)
    data = toy_data(slots=26)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        recorder, _ = fit(tmp_path, data, epochs=4, archives=archives)
    assert sum("No class is free" in str(warning.message) for warning in told) == 1
    assert all(len(table) == 48 for table in recorder.tables.values())


def test_half_as_many_classes_again_are_reserved() -> None:
    for identities, slots in ((24, 36), (25, 37), (2, 3)):
        assert toy_data(identities=identities, slots=None, batch_size=2).num_classes == slots


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    settings: tuple[tuple[dict[str, Any], str], ...] = (
        ({"identities": 0}, "identities is 0"),
        ({"slots": 23}, "slots is 23, too few classes for 24"),
        ({"grouping": "spectral"}, "grouping is 'spectral'"),
    )
    for options, complaint in settings:
        with pytest.raises(DataModuleError, match=complaint):
            toy_data(**options)
    settings = (
        ({"align": "ffhq"}, "not for CountingGenerator"),
        ({"edits": PrincipalEdits()}, "not for CountingGenerator"),
        ({"sampler": None}, "need a sampler"),
        ({"generator": None}, "need a generator"),
        ({"batch_size": 49}, "48 images, too few for a batch of 49"),
        (
            {
                "sampler": PriorSampler(
                    bins=[MeasureBins(measure=2, intervals=HALVES)], evaluations=9
                )
            },
            "for measure 2, but the guidance has only 2",
        ),
    )
    for options, complaint in settings:
        with pytest.raises(QDGSError, match=complaint):
            fit(tmp_path, toy_data(**{"sampler": prior(), **options}))
    with pytest.raises(DataModuleError, match="add the QDRefresh callback"):
        fit(tmp_path, toy_data())
    _, trainer = fit(tmp_path, toy_data(sampler=prior()))
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with pytest.raises(SamplingError, match="slots: 200"):
        fit(
            tmp_path,
            toy_data(sampler=prior(), slots=201),
            epochs=2,
            checkpoint=tmp_path / "last.ckpt",
        )
