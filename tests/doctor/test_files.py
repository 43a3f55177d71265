"""``qdgs doctor``: what it says of checkpoints, prompts, archives and sets of faces."""

from dataclasses import replace
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import open_clip
import pytest
import torch
import torch.nn.functional as F
import yaml
from huggingface_hub import constants

from qdgs_lightning.callbacks import QDRefresh
from qdgs_lightning.datamodules import FaceDataModule, SyntheticFaceDataModule
from qdgs_lightning.datasets import write_verification_bin
from qdgs_lightning.doctor import findings as doctor_findings
from qdgs_lightning.doctor.context import Plan, leaving_no_trace, make_plan
from qdgs_lightning.doctor.files import (
    check_archive_file,
    check_benchmarks,
    check_checkpoint,
    check_edits,
    check_initial_weights,
    check_training_set,
)
from qdgs_lightning.doctor.findings import Finding
from qdgs_lightning.doctor.match import (
    check_alignment,
    check_classes,
    check_image_sizes,
    check_parts,
)
from qdgs_lightning.doctor.run import examine
from qdgs_lightning.generators.stylegan2 import StyleGAN2Generator
from qdgs_lightning.guidance import PromptGuidance
from qdgs_lightning.identities import FileEdits
from qdgs_lightning.parsing.rooms import import_rooms
from qdgs_lightning.search import QDSearch, SearchConfig
from qdgs_lightning.tasks import FaceRecognizer
from tests.doctor.test_run import (
    Config,
    about,
    checked,
    files,
    findings,
    fit_config,
    given,
    in_the_way,
    loaded,
    search_config,
    write_network,
)
from tests.faces import jpegs, portraits, write_benchmark, write_training_set
from tests.models.backbones.weight_files import ir_file, saved
from tests.toys import ToyGenerator, ToyGuidance

FACES = """
model:
  class_path: FaceRecognizer
  init_args:
    backbone:
      class_path: IResNet
      init_args: {layers: [1, 2, 1, 1], width: 16, embedding_dim: 24, image_size: 32,
                  stage1_shortcut: pool, final_affine: none}
    head: {class_path: ArcFace}
data:
  class_path: FaceDataModule
  init_args: {train: faces, benchmarks: faces, validate_on: [lfw, agedb_30], image_size: 32,
              batch_size: 4, num_workers: 0}
trainer: {accelerator: cpu, max_epochs: 2, logger: false}
"""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import_rooms()
    monkeypatch.chdir(tmp_path)
    write_network(Path("net.safetensors"))


@pytest.fixture
def fit() -> Config:
    return fit_config()


@pytest.fixture
def search() -> Config:
    return search_config()


@pytest.fixture
def faces() -> Config:
    """A fit on four identities with eight images each, which are there."""
    write_benchmark(write_training_set(Path("faces")) / "lfw.bin", range(10, 14))
    config: Config = yaml.safe_load(FACES)
    return config


def planned(config: Config) -> tuple[Plan, FaceRecognizer, FaceDataModule]:
    with leaving_no_trace():
        plan = make_plan(given(config))
    assert isinstance(plan.model, FaceRecognizer)
    assert isinstance(plan.data, FaceDataModule)
    return plan, plan.model, plan.data


def test_a_set_of_faces_is_counted_and_timed(faces: Config) -> None:
    words, before = given(faces), files()
    found = list(examine(words, probe_seconds=0.2))
    assert not in_the_way(found)
    assert files() == before
    numbers = about(found, "training set", "ok", "faces: 32 images of 4 identities").numbers
    assert numbers == {"images": 32, "classes": 4}
    about(found, "benchmarks", "warning", r"lfw \(40 pairs\); absent: agedb_30")
    about(found, "head", "ok", "ArcFace of 4 classes ->")
    about(found, "image_size", "ok", "32 x 32")
    about(found, "speed", "ok", "images decoded/s and process on one cpu")
    rates = {k: v for f in found if f.subject == "speed" for k, v in f.numbers.items()}
    times = about(found, "time (an estimate)", "ok").numbers
    epoch = 32 * (1 / rates["images_learnt_from_s"] + 1 / rates["images_decoded_s_and_process"])
    assert times == pytest.approx({"an_epoch_seconds": epoch, "all_seconds": 2 * epoch})


def test_configurations_are_laid_over_each_other_and_options_over_them(faces: Config) -> None:
    over = {"data": {"init_args": {"batch_size": 8}}, "trainer": {"accelerator": "tpu"}}
    words = [*given(faces), *given(over, "over.yaml"), "--trainer.accumulate_grad_batches=4"]
    found = list(examine(words, probe_seconds=0))
    assert about(found, "batch", "warning", "8 x 1.*learning rate 0.001").numbers == {"images": 32}
    about(found, "devices", "wrong", "cannot run with accelerator tpu")


def test_an_index_is_looked_at_and_not_made(faces: Config) -> None:
    plan, model, data = planned(faces)
    index = Path("faces/train.idx")
    index.rename("aside")
    found = checked(check_training_set, plan)
    about(found, "training set", "warning", r"of 4 identities by `property`\) has no \.idx file")
    assert not index.exists()
    assert plan.images is None
    model.num_classes = 3
    about(checked(check_classes, plan), "head", "wrong", "num_classes is 3, .* have 4 identities")
    index.write_text("0\t0\n1\t44\n")
    found = checked(check_training_set, plan)
    about(found, "training set", "warning", "an index that cannot be used .*another file")
    Path("aside").rename(index)
    Path("faces/property").write_text("5,32,32")
    about(checked(check_training_set, plan), "this", "wrong", "5 classes and .* has 4")
    data.train_path = Path("nowhere")
    about(checked(check_training_set, plan), "training set", "missing", "there is no /.*/nowhere")


def test_faces_that_do_not_fit_the_model(faces: Config) -> None:
    plan, model, data = planned(faces)
    data.train_path = write_training_set(Path("small"), n=2, each=2, side=24)
    data.batch_size = 5
    found = checked(check_training_set, plan)
    about(found, "training set", "wrong", r"4 images of 2 identities, too few for a batch of 5")
    found = checked(check_image_sizes, plan)
    about(found, "image_size", "wrong", "training images are 24 x 24 and the backbone takes 32")
    plan, model, data = planned(faces)  # which opens its training set once
    data.train_path = write_training_set(Path("alone"), n=1, each=8)
    about(checked(check_training_set, plan), "training set", "wrong", "two identities are needed")
    data.train_path = model.make_head = None
    about(checked(check_parts, plan), "training images", "wrong", "there is nothing to train on")
    about(checked(check_classes, plan), "head", "wrong", "training needs a head")
    plan.callbacks.append(QDRefresh(search=SearchConfig()))
    about(checked(check_parts, plan), "QDRefresh", "wrong", "FaceDataModule draws none")


def test_a_training_image_of_another_size_stands_in_the_way(faces: Config) -> None:
    folder = Path("photos")
    for name in "ab":
        (folder / name).mkdir(parents=True)
        for number, data in enumerate(jpegs(portraits(0, 4, side=32))):
            (folder / name / f"{number}.jpg").write_bytes(data)
    (folder / "b" / "9.jpg").write_bytes(jpegs(portraits(0, 1, side=48))[0])
    faces["data"]["init_args"]["train"] = "photos"
    found = list(examine(given(faces), probe_seconds=0))
    about(
        found, "training set", "wrong", r"photos/b/9\.jpg has 48 x 48 pixels where others have 32"
    )


def test_benchmarks_without_an_accuracy_stand_in_the_way(faces: Config) -> None:
    write_benchmark(Path("faces/lfw.bin"), range(10, 14), 8)
    plan, _, _ = planned(faces)
    about(checked(check_benchmarks, plan), "benchmark lfw", "wrong", "8 pairs are too few for 10")
    labels = [k // 20 % 2 == 0 for k in range(200)]
    write_verification_bin(Path("faces/lfw.bin"), jpegs(portraits(1, 2, side=32)) * 200, labels)
    about(checked(check_benchmarks, plan), "benchmark lfw", "warning", "10 of 10 folds hold pairs")


def test_benchmarks_that_are_damaged_or_nowhere(faces: Config) -> None:
    plan, _, data = planned(faces)
    Path("faces/lfw.bin").write_bytes(b"nonsense")
    found = checked(check_benchmarks, plan)
    about(found, "benchmark lfw", "wrong", "lfw.bin")
    about(found, "benchmarks", "warning", "absent: agedb_30")
    data.benchmark_root = None
    about(checked(check_benchmarks, plan), "benchmarks", "wrong", "nothing says where lfw, age")


def test_weights_to_start_from(faces: Config) -> None:
    plan, model, _ = planned(faces)
    model.init_from = Path("adaface.ckpt")
    about(checked(check_initial_weights, plan), "init_from", "missing", "no /.*/adaface.ckpt")
    saved({"state_dict": ir_file("model.")}, model.init_from)
    found = checked(check_initial_weights, plan)
    about(found, "init_from", "ok", "weights of AdaFace, which takes colours in BGR, turned to RGB")
    saved(ir_file("net."), model.init_from)
    found = checked(check_initial_weights, plan)
    about(found, "init_from", "ok", "weights of CVLface, which takes colours in RGB, as ours")
    saved({"conv1.weight": torch.zeros(3)}, model.init_from)
    about(checked(check_initial_weights, plan), "this", "wrong", "adaface.ckpt")


def test_a_checkpoint_to_go_on_from(faces: Config) -> None:
    faces["ckpt_path"] = "last.ckpt"
    plan, model, _ = planned(faces)
    about(checked(check_checkpoint, plan), "ckpt_path", "missing", "there is no /.*/last.ckpt")
    Path("last.ckpt").write_bytes(b"nonsense")
    about(checked(check_checkpoint, plan), "this", "wrong", "cannot be read as a checkpoint")
    weights = model.state_dict()
    # A head comes with the data and is not there yet.
    whole: dict[str, Any] = {"optimizer_states": []}
    torch.save(whole | {"state_dict": weights | {"head.weight": torch.zeros(4, 24)}}, "last.ckpt")
    about(checked(check_checkpoint, plan), "ckpt_path", "ok", "last.ckpt")
    torch.save({"state_dict": weights}, "last.ckpt")
    told = r"weights alone .* `model\.init_args\.init_from`"
    about(checked(check_checkpoint, plan), "this", "wrong", told)
    torch.save(whole | {"state_dict": {"classifier.0.weight": torch.zeros(3)}}, "last.ckpt")
    found = checked(check_checkpoint, plan)
    about(found, "this", "wrong", r"another model than the configuration's \(it has no backbone\.")
    deeper = weights | {"backbone.layer2.2.conv1.weight": torch.zeros(3)}
    torch.save(whole | {"state_dict": deeper}, "last.ckpt")
    about(
        checked(check_checkpoint, plan), "this", "wrong", r"layer2\.2\.conv1\.weight is not in this"
    )


def test_drawn_faces_that_cannot_be_cropped_or_edited_or_are_too_few(fit: Config) -> None:
    plan = loaded(fit)
    data, generator = plan.data, plan.generator
    assert isinstance(data, SyntheticFaceDataModule)
    assert isinstance(generator, StyleGAN2Generator)
    data.align, data.batch_size = "ffhq", 33
    found = checked(check_alignment, plan)
    about(found, "this", "wrong", "Nothing says that net.safetensors was trained on FFHQ")
    data.align = "ffhq_unchecked"
    about(checked(check_alignment, plan), "align", "ok", "crops of ffhq_unchecked, of 75%")
    data.align = "ffhq"
    found = checked(check_parts, plan)  # as no edits were read
    about(found, "training images", "wrong", r"16 identities x 2 latents x 1 edits = 32 .* 33 ")
    data.batch_size = 32
    about(checked(check_parts, plan), "training images", "ok")
    data.guidance = None
    about(checked(check_parts, plan), "training images", "wrong", r"no guidance -> set `data\.")
    generator.trained_on = "ffhq.zip"
    found = checked(check_alignment, plan)
    about(found, "align", "ok", "crops of ffhq, of 75% of the side")
    # As 0.7489 of 32 is 24: the crop, and not the image, is what is blown up.
    found = checked(check_image_sizes, plan)
    about(found, "images to learn from", "warning", "gives 24 pixels a side and .* wants 32")
    data.generator = plan.generator = ToyGenerator()
    about(checked(check_alignment, plan), "align", "wrong", "not for ToyGenerator")
    data.generator = plan.generator = generator
    about(checked(check_edits, plan), "identity edits", "ok", "2 of PrincipalEdits")
    np.save("edits.npy", np.zeros((9, 7168), np.float32))
    data.edits = FileEdits(Path("edits.npy"))
    found = checked(check_edits, plan)
    about(found, "this", "wrong", r"the shape \(9, 7168\); net.safetensors needs \[a, 256")
    np.save("edits.npy", np.zeros((3, 256), np.float32))
    assert about(checked(check_edits, plan), "identity edits", "ok").numbers == {"edits": 3}
    assert plan.num_edits == 3
    Path("edits.npy").unlink()
    about(checked(check_edits, plan), "this", "missing", "no file /.*/edits.npy")


def test_prompts_that_say_the_same(search: Config) -> None:
    pairs = {
        "hue": ("A red shape.", "A blue shape."),
        "tint": ("A RED shape. ", "A blue triangle."),
        "back": ("A blue shape!", "A red shape!"),
        "case": ("A square.", "a SQUARE."),  # the tokenizer knows no case
        "edges": ("A triangle with 3 edges.", "A square or diamond with 4 edges."),
    }
    measures = [{"name": n, "positive": p, "negative": q} for n, (p, q) in pairs.items()]
    search["guidance"] = {"class_path": "PromptGuidance", "init_args": {"measures": measures}}
    search["search"]["grid"] = [2] * 5
    found = findings(search)
    assert not in_the_way(found)
    about(found, "prompts", "warning", "\"A red shape.\" stands in both 'hue' and 'tint'")
    about(found, "prompts", "warning", "\"A square.\" stands in both 'case' and 'case'")
    about(found, "prompts", "warning", r"two prompts of 'case' apart \(cosine 1\.000\)")
    # By open_clip alone.
    guidance = PromptGuidance()
    guidance.prepare()
    texts = [*pairs["hue"], *pairs["back"], *pairs["edges"]]
    tokens = open_clip.get_tokenizer("shapes_clip")(texts)
    with torch.no_grad():
        embedded = F.normalize(guidance.clip.encode_text(tokens), dim=-1)  # type: ignore[union-attr, operator]
    axes = F.normalize(embedded[0::2] - embedded[1::2], dim=-1)
    parallel = about(found, "prompts", "warning", "'hue' and 'back' measure nearly the same")
    assert parallel.numbers["cosine"] == pytest.approx(float(axes[0] @ axes[1]), abs=1e-5)
    assert parallel.numbers["cosine"] < -0.95 < float(axes[0] @ axes[2])
    assert not any("edges" in f.found for f in found if f.subject == "prompts")


def test_a_clip_that_is_not_here_is_named_with_its_file(
    search: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    search["guidance"] = {
        "class_path": "PromptGuidance",
        "init_args": {"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"},
    }
    found = findings(search)
    about(found, "guidance", "missing", r"laion/CLIP-ViT-B-32.*`pretrained` to the path")

    class Hub(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(401)

        def log_message(self, *args: object) -> None:
            pass

    monkeypatch.setattr(doctor_findings, "_OFFLINE_BY_CHOICE", False)
    monkeypatch.setenv("no_proxy", "localhost")
    with HTTPServer(("localhost", 0), Hub) as server:
        monkeypatch.setattr(constants, "ENDPOINT", f"http://localhost:{server.server_port}")
        Thread(target=server.handle_request, daemon=True).start()
        found = findings(search)
    about(found, "guidance", "warning", r"not on this machine yet .*laion/CLIP-ViT-B-32")
    assert not in_the_way(found)
    about(findings(search), "guidance", "missing", "laion/CLIP-ViT-B-32")  # no server any more


def test_an_archive_to_begin_with_must_be_of_this_generator_and_guidance(fit: Config) -> None:
    plan = loaded(fit)
    refresh = plan.refresh
    assert refresh is not None
    assert plan.generator is not None
    assert plan.guidance is not None
    refresh.path, subject = "old.safetensors", "archive file"

    def look() -> list[Finding]:
        return checked(check_archive_file, plan)

    about(look(), subject, "missing", "no /.*/old.safetensors -> make it by `qdgs search")
    config = SearchConfig(
        grid=(50, 40), algorithm="random", ranges=((-1, 1), (-1, 1)), calibration=16
    )
    plan.search = refresh.config = config
    made = QDSearch(plan.generator, plan.guidance, config)
    made.run(16)
    made.save("old.safetensors")
    about(look(), subject, "ok", "of 16 evaluations, fits generator and guidance")
    plan.search = replace(config, sigma=0.25)
    about(look(), "this", "wrong", r"begun with search.sigma=0\.5, not 0\.25")
    refresh.every_n_epochs = None  # only its elites are used
    about(look(), subject, "ok")
    toys = QDSearch(ToyGenerator(), ToyGuidance(), replace(config, calibration=32))
    toys.run(32)
    toys.save("old.safetensors")
    about(look(), subject, "wrong", "made with ToyGenerator-.* not with this")
    Path("old.safetensors").write_bytes(b"nonsense")
    about(look(), "this", "wrong", "not a whole archive file")
