"""Write RecordIO files with mxnet itself, for tests/datasets/test_recordio.py to read.

mxnet is no longer maintained, so it runs in an environment of its own, and what it wrote is kept
in tests/data/recordio:

    python -m venv mxnet-env
    mxnet-env/bin/pip install mxnet==1.9.1 "opencv-python-headless<4.9" "numpy<1.24"
    mxnet-env/bin/python tests/peers/make_mxnet_records.py tests/data/recordio

Given a second folder, it reads the files that our own writer left there, and prints what it found:

    mxnet-env/bin/python tests/peers/make_mxnet_records.py tests/data/recordio FOLDER
"""

import hashlib
import json
import struct
import sys
from pathlib import Path

import numpy as np

np.bool = bool  # type: ignore[assignment,misc] # mxnet asks for a name that numpy no longer has

from mxnet import recordio  # type: ignore[import-not-found] # noqa: E402

MAGIC = struct.pack("<I", 0xCED7230A)
RAW = (
    b"",
    b"abc",
    MAGIC,
    MAGIC + MAGIC,
    b"1234" + MAGIC + b"56",
    b"12345" + MAGIC,
    b"1234" + MAGIC + MAGIC + b"5678" + MAGIC,
    b"x" + MAGIC + b"y",
    b"ab" + MAGIC + b"cd",
    bytes(range(256)),
)


def picture(identity: int, number: int) -> "np.ndarray":
    """Return an RGB picture of 16 x 16 pixels in the colour of an identity."""
    image = np.zeros((16, 16, 3), np.uint8)
    image[..., identity % 3] = 200
    image[2 * number : 2 * number + 2] = 255
    return image


def jpeg(identity: int, number: int) -> bytes:
    """Encode it as cv2 does in insightface's tools, which takes BGR."""
    header = recordio.IRHeader(0, 0.0, 0, 0)
    packed = recordio.pack_img(header, picture(identity, number)[..., ::-1], quality=95)
    return bytes(recordio.unpack(packed)[1])


def write_raw(folder: Path) -> None:
    """Write records that hold the magic, without headers."""
    file = recordio.MXRecordIO(str(folder / "raw.rec"), "w")
    for data in RAW:
        file.write(data)
    file.close()


def write_faces(folder: Path) -> None:
    """Write three identities as insightface's tools do: the record of key 0 comes last."""
    folder.mkdir(exist_ok=True)
    file = recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "w")
    key, ranges = 1, []
    for identity, count in enumerate((3, 2, 4)):
        ranges.append((key, key + count))
        for number in range(count):
            # Some sets keep a vector of labels, of which the first counts.
            label = [float(identity), 0.0] if identity == 2 else float(identity)
            header = recordio.IRHeader(0, label, key, 0)
            file.write_idx(key, recordio.pack(header, jpeg(identity, number)))
            key += 1
    first = key
    for low, high in ranges:
        file.write_idx(key, recordio.pack(recordio.IRHeader(0, [low, high], key, 0), b""))
        key += 1
    file.write_idx(0, recordio.pack(recordio.IRHeader(0, [first, key], 0, 1), b""))
    file.close()
    (folder / "property").write_text("3,16,16\n")


def write_plain(folder: Path) -> None:
    """Write two identities as im2rec does: an image has key 0, and nothing describes others."""
    folder.mkdir(exist_ok=True)
    file = recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "w")
    for key in range(5):
        header = recordio.IRHeader(0, float(key % 2), key, 0)
        file.write_idx(key, recordio.pack(header, jpeg(key % 2, key)))
    file.close()


def read(folder: Path) -> dict[str, object]:
    """Return what mxnet finds in a folder: labels and the SHA-256 of what follows the header."""
    file = recordio.MXIndexedRecordIO(str(folder / "train.idx"), str(folder / "train.rec"), "r")
    found: dict[str, object] = {}
    for key in sorted(file.keys):
        header, payload = recordio.unpack(file.read_idx(key))
        labels = np.atleast_1d(header.label).astype(float).tolist()
        found[str(key)] = {"labels": labels, "sha256": hashlib.sha256(payload).hexdigest()}
    return found


def main() -> None:
    """Write the fixtures, or read what our writer made."""
    target = Path(sys.argv[1])
    if len(sys.argv) > 2:
        print(json.dumps(read(Path(sys.argv[2])), indent=1))
        return
    target.mkdir(parents=True, exist_ok=True)
    write_raw(target)
    write_faces(target / "faces")
    write_plain(target / "plain")
    found = {
        "raw": [data.hex() for data in RAW],
        "faces": read(target / "faces"),
        "plain": read(target / "plain"),
    }
    (target / "read_by_mxnet.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
