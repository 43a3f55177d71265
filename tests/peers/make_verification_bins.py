"""Write verification sets with the programs of others, for tests/datasets/test_verification_*.py.

Python 2, numpy 1, OpenCV and mxnet run in environments of their own, and what they wrote is kept in
tests/data/verification_sets:

    python -m venv mxnet-env
    mxnet-env/bin/pip install mxnet==1.9.1 "opencv-python-headless<4.9" "numpy<1.24" \
        scikit-image==0.20.0
    python2 -m pip install numpy==1.16.6
    mxnet-env/bin/python tests/peers/make_verification_bins.py tests/data/verification_sets python2
"""

import json
import pickle
import subprocess
import sys
from pathlib import Path

import cv2  # type: ignore[import-not-found]
import numpy as np

np.bool = bool  # type: ignore[assignment,misc] # mxnet asks for a name that numpy no longer has

import mxnet  # type: ignore[import-not-found] # noqa: E402
from skimage.transform import SimilarityTransform  # type: ignore[import-not-found] # noqa: E402

# Which images stand in the pairs; two come twice.
ORDER = (0, 1, 2, 3, 0, 2)
IS_SAME = (True, False, True)
TEMPLATE = (
    (38.2946, 51.6963),
    (73.5318, 51.5014),
    (56.0252, 71.7366),
    (41.5493, 92.3655),
    (70.7299, 92.2041),
)
LANDMARKS = {
    "larger": ((75.2, 90.1), (131.7, 82.9), (108.3, 120.4), (85.6, 150.2), (136.1, 143.8)),
    "smaller": ((20.3, 24.8), (41.5, 30.2), (28.1, 38.9), (19.9, 47.3), (34.7, 51.6)),
    "at_the_edge": ((3.1, 20.5), (60.2, 12.3), (35.5, 50.4), (14.9, 85.1), (62.8, 78.7)),
}
PYTHON2 = """
import io, pickle, sys
import numpy
folder, payloads, same = sys.argv[1], [], [True, False, True]
bins, _ = pickle.load(open(folder + "/python3.bin", "rb"))
def dump(name, found, protocol):
    with open(folder + "/" + name, "wb") as file:
        pickle.dump((found, same), file, protocol)
dump("python2.bin", bins, 2)
dump("python2_text.bin", bins, 0)
dump("python2_numpy.bin", [numpy.frombuffer(x, numpy.uint8) for x in bins], 2)
"""


def picture(number: int, height: int = 112, width: int = 112) -> "np.ndarray":
    """Return a smooth BGR picture with one sharp ellipse, in the colours of a number."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    phases = np.random.default_rng(number).uniform(0, 6, (3, 3))
    waves = [np.sin(a + 5 * x) + np.sin(b + 4 * y) + np.sin(c + 3 * (x + y)) for a, b, c in phases]
    image = np.stack(waves, axis=-1) * 40 + 128
    image[(x - 0.5) ** 2 + 2 * (y - 0.4) ** 2 < 0.05] += 60
    return image.clip(0, 255).astype(np.uint8)


def jpeg(image: "np.ndarray", quality: int = 60) -> "np.ndarray":
    """Encode as insightface's tools do."""
    _, data = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])
    return np.asarray(data)


def write_sets(folder: Path, python2: str) -> None:
    """Write the same pairs in all the ways that files were pickled."""
    encoded = [jpeg(picture(number)) for number in range(4)]
    arrays = [encoded[number] for number in ORDER]
    texts = [array.tobytes() for array in arrays]
    columns = [array.reshape(-1, 1) for array in arrays]  # as older releases of OpenCV have them
    numbers = [np.bool_(same) for same in IS_SAME]

    def dump(name: str, bins: object, same: object, protocol: int) -> None:
        with (folder / name).open("wb") as file:
            pickle.dump((bins, same), file, protocol=protocol)

    dump("python3.bin", texts, list(IS_SAME), 2)
    subprocess.run([python2, "-c", PYTHON2, str(folder)], check=True)
    dump("python3.bin", texts, list(IS_SAME), 4)
    dump("numpy1.bin", arrays, list(IS_SAME), 5)
    dump("numpy1_columns.bin", columns, numbers, 4)
    dump("numpy1_latin1.bin", arrays, np.array(IS_SAME), 2)
    decoded = mxnet.image.imdecode(texts[1]).asnumpy()
    cv2.imwrite(str(folder / "image_1_by_mxnet.png"), decoded[..., ::-1])


def write_resized(folder: Path) -> None:
    """Write images of other sizes."""
    for name, (height, width) in {
        "large": (150, 150),
        "small": (60, 60),
        "tall": (140, 90),
    }.items():
        (folder / f"{name}.jpg").write_bytes(jpeg(picture(7, height, width)).tobytes())


def write_aligned(folder: Path) -> None:
    """Write an image, landmarks, and the faces that OpenCV warps, by scikit-image's matrices."""
    image = cv2.imdecode(jpeg(picture(8, 180, 200)), cv2.IMREAD_COLOR)
    (folder / "scene.jpg").write_bytes(jpeg(picture(8, 180, 200)).tobytes())
    found = {}
    for name, landmarks in LANDMARKS.items():
        transform = SimilarityTransform()
        transform.estimate(np.array(landmarks), np.array(TEMPLATE))
        matrix = transform.params[:2]
        cv2.imwrite(
            str(folder / f"{name}_by_opencv.png"), cv2.warpAffine(image, matrix, (112, 112))
        )
        found[name] = {"landmarks": landmarks, "matrix": matrix.tolist()}
    (folder / "matrices_by_skimage.json").write_text(json.dumps(found, indent=1) + "\n")


def main() -> None:
    """Write all of them."""
    folder, python2 = Path(sys.argv[1]), sys.argv[2]
    folder.mkdir(parents=True, exist_ok=True)
    write_sets(folder, python2)
    write_resized(folder)
    write_aligned(folder)


if __name__ == "__main__":
    main()
