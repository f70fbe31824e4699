"""Fetches photographs with free licences from packages and says where each one comes from.

Turning them into training data is left to `data.py`.
"""

import fnmatch
import hashlib
import subprocess
from dataclasses import dataclass
from importlib.metadata import distribution
from pathlib import Path

import cv2

# Name, version and SHA-256: a picture that changed would be another training.
PACKAGES = [
    ("mate-backgrounds", "1.26.0-1", "7bf4c2209f34b4f61ba6d24c8b58c28b361e82e4b943aae6d42c030169af9e04"),
    ("lomiri-wallpapers-16.04", "20.04.0-2", "a99ff6a3bfe451e4cc0682ecb3cc82e71740626d59e4845ae34a0a0e45421eab"),
    ("lomiri-wallpapers-20.04", "20.04.0-2", "d44e89b8473aafe64a5b678f014862dc31335aaaf18665c544d985d854f1a709"),
    ("ukui-wallpapers", "20.04.3-1.1", "6d49be70152e6d603163458e177e501deb0be8f2916389ccbfcf59b0d7fc0262"),
    ("plasma-workspace-wallpapers", "4:5.27.5-2", "32cd18b71c8c938a18b3b351f217c02ac590e323caa3cf322fbb875ce8892f8b"),
]

# The files that ship in the wheels themselves; the text is what the libraries' documentation says of each.
WHEEL_PICTURES = {
    "skimage/data/astronaut.png": "public domain (NASA)",
    "skimage/data/brick.png": "CC0 (CC0Textures)",
    "skimage/data/cell.png": "CC0",
    "skimage/data/chelsea.png": "CC0 (Stefan van der Walt)",
    "skimage/data/clock_motion.png": "public domain (Stefan van der Walt)",
    "skimage/data/coffee.png": "CC0 (Rachel Michetti)",
    "skimage/data/coins.png": "no known copyright restrictions",
    "skimage/data/grass.png": "CC0",
    "skimage/data/gravel.png": "CC0 (CC0Textures)",
    "skimage/data/hubble_deep_field.jpg": "public domain (NASA)",
    "skimage/data/ihc.png": "no known copyright restrictions",
    "skimage/data/retina.jpg": "CC0",
    "skimage/data/rocket.jpg": "public domain (SpaceX)",
    "sklearn/datasets/images/china.jpg": "CC-BY-2.0 (danielbuechele)",
    "sklearn/datasets/images/flower.jpg": "CC-BY-2.0 (vultilion)",
}
WHEELS = {"skimage": "scikit-image", "sklearn": "scikit-learn"}

# Flat, transparent or repeated pictures teach nothing.
SKIPPED = [
    "*Elephants_*", "*no-logo*", "*MATE-Stripes*", "*/desktop/Stripes*", "*Silk*", "*Spring*", "*Waves*",
    "*Transparent*", "*focal-ubuntukylin*", "*/images_dark/*", "*/screenshot*", "*DarkestHour*", "*summer_1am*",
]

# No training step sees these; the evaluation uses nothing else.
HELD_OUT = {
    "astronaut", "chelsea", "coffee", "rocket", "china", "Bridge_by_Sander_Klootwijk", "Kleiber_by_Lukas_Baubkus",
    "Picture_1A_by_freespace", "picosdeeuropa_by_Aitzol_Berasategi", "Garden", "YellowFlower", "goldfish",
    "EveningGlow", "SafeLanding",
}


@dataclass(frozen=True)
class Picture:
    name: str
    path: Path
    source: str
    licence: str

    @property
    def is_held_out(self) -> bool:
        return self.name in HELD_OUT

    def read(self):
        """The picture as RGB bytes."""
        return cv2.cvtColor(cv2.imread(str(self.path), cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)


def find_all(work: Path) -> list[Picture]:
    """Every picture, in an order that does not depend on the machine."""
    found = [picture for package in PACKAGES for picture in from_package(work / "packages", *package)]
    found += from_wheels()
    missing = HELD_OUT - {picture.name for picture in found}
    if missing:
        raise SystemExit(f"held-out pictures are missing from the packages: {sorted(missing)}")
    return found


def from_package(folder: Path, name: str, version: str, digest: str) -> list[Picture]:
    root = unpack(folder, name, version, digest)
    licences = read_licences(root / "usr/share/doc" / name / "copyright")
    pictures = {}
    for path in sorted(root.rglob("*")):
        inside = path.relative_to(root).as_posix()
        if path.suffix not in (".jpg", ".png") or path.is_symlink() or is_skipped(inside):
            continue
        # Plasma keeps each wallpaper in several sizes below a folder with its name; the last one is large.
        title = path.parts[path.parts.index("contents") - 1] if "contents" in path.parts else path.stem
        pictures[title] = Picture(title, path, f"{name} {version}", licence_of(inside, licences))
    return list(pictures.values())


def unpack(folder: Path, name: str, version: str, digest: str) -> Path:
    """Downloads and extracts a Debian package once; nothing of it is installed."""
    root = folder / name
    if root.exists():
        return root
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run(["apt-get", "download", f"{name}={version}"], cwd=folder, check=True)
    archive = next(folder.glob(f"{name}_*.deb"))
    if hashlib.sha256(archive.read_bytes()).hexdigest() != digest:
        raise SystemExit(f"{archive} is not the package this training was made with")
    part = folder / f"{name}.part"
    subprocess.run(["dpkg-deb", "-x", archive, part], check=True)
    part.rename(root)
    archive.unlink()
    return root


def is_skipped(inside: str) -> bool:
    return any(fnmatch.fnmatchcase(inside, pattern) for pattern in SKIPPED)


def read_licences(copyright_file: Path) -> list[tuple[str, str]]:
    """Pairs of file pattern and licence from a machine-readable Debian copyright file."""
    pairs = []
    for paragraph in copyright_file.read_text().split("\n\n"):
        fields = read_fields(paragraph)
        for pattern in fields.get("Files", "").split():
            pairs.append((pattern, fields.get("License", "").split("\n")[0].strip()))
    return pairs


def read_fields(paragraph: str) -> dict[str, str]:
    fields, last = {}, ""
    for line in paragraph.splitlines():
        if line[:1] in (" ", "\t") and last:
            fields[last] += "\n" + line
        elif ":" in line:
            last, value = line.split(":", 1)
            fields[last] = value
    return fields


def licence_of(inside: str, licences: list[tuple[str, str]]) -> str:
    """As in Debian's format, the last pattern that fits decides."""
    fitting = [licence for pattern, licence in licences if fits(inside, pattern)]
    if not fitting:
        raise SystemExit(f"no licence is given for {inside}")
    return fitting[-1]


def fits(inside: str, pattern: str) -> bool:
    # Source and binary package have other folders, so the file's own name decides.
    return pattern == "*" or fnmatch.fnmatchcase(Path(inside).name, Path(pattern).name) and Path(pattern).name != "*"


def from_wheels() -> list[Picture]:
    pictures = []
    for inside, licence in WHEEL_PICTURES.items():
        wheel = distribution(WHEELS[inside.split("/")[0]])
        path = Path(wheel.locate_file(inside))
        pictures.append(Picture(path.stem, path, f"{wheel.metadata['Name']} {wheel.version}", licence))
    return pictures


def licence_table(pictures: list[Picture]) -> str:
    lines = ["| picture | from | licence | used for |", "| --- | --- | --- | --- |"]
    for picture in pictures:
        use = "evaluation" if picture.is_held_out else "training"
        lines.append(f"| {picture.name} | {picture.source} | {picture.licence} | {use} |")
    return "\n".join(lines) + "\n"
