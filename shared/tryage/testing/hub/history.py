"""The git side of a repo: blobs, commits and the names that point at them."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath

# The patterns of the .gitattributes with which the Hub creates a model repo.
LARGE = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5", "*.joblib",
    "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot",
    "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors",
    "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*",
)  # fmt: skip
LARGE_BYTES = 10 * 1024 * 1024
_COMMIT = re.compile(r"[0-9a-f]{7,40}")


def is_large(path: str, size: int) -> bool:
    """Return whether the Hub keeps a file in LFS: by its name, or because of its size in bytes."""
    name = PurePosixPath(path).name
    return size >= LARGE_BYTES or (size > 0 and any(fnmatch(name, shape) for shape in LARGE))


@dataclass(frozen=True)
class Blob:
    """The content of a file; a large one is in LFS and known by its sha256."""

    data: bytes = field(repr=False)
    large: bool
    sha256: str
    oid: str

    @classmethod
    def of(cls, path: str, data: bytes, *, large: bool | None = None) -> Blob:
        """Hash the content once; what git would hash of a large file is its pointer."""
        sha256 = hashlib.sha256(data).hexdigest()
        large = is_large(path, len(data)) if large is None else large
        stored = pointer(sha256, len(data)) if large else data
        oid = hashlib.sha1(b"blob %d\0" % len(stored) + stored).hexdigest()  # noqa: S324 - git's own hash
        return cls(data, large, sha256, oid)

    @property
    def etag(self) -> str:
        """What the Hub names the content by: sha256 in LFS, git's sha1 otherwise."""
        return self.sha256 if self.large else self.oid

    @property
    def lfs(self) -> dict[str, str | int]:
        """The LFS entry of the Hub's listings, of a large file."""
        size = len(self.data)
        return {
            "oid": self.sha256,
            "size": size,
            "pointerSize": len(pointer(self.sha256, size)),
        }


def pointer(sha256: str, size: int) -> bytes:
    """Return the LFS pointer that git holds in place of a large file."""
    said = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
    return said.encode()


@dataclass(frozen=True)
class Commit:
    """One state of all files, by path."""

    sha: str
    title: str
    message: str
    date: str
    files: dict[str, Blob] = field(repr=False)


@dataclass
class History:
    """All commits of a repo, newest last, and its branches and tags."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """Return the commit that a branch, a tag or (the start of) a sha names."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(revision) or self.tags.get(revision)
        if sha is None and _COMMIT.fullmatch(revision):
            sha = next((known for known in self.commits if known.startswith(revision)), None)
        return self.commits.get(sha or "")

    def commit(
        self, branch: str, files: dict[str, Blob], date: str, title: str, message: str = ""
    ) -> Commit:
        """Add a commit on top of a branch."""
        parent = self.branches.get(branch)
        told = f"{parent}{date}{title}{len(self.commits)}" + "".join(
            f"{path}{blob.oid}" for path, blob in sorted(files.items())
        )
        sha = hashlib.sha1(told.encode()).hexdigest()  # noqa: S324 - git's own hash
        made = Commit(sha, title, message, date, files)
        self.commits[sha], self.parents[sha], self.branches[branch] = made, parent, sha
        return made

    def log(self, commit: Commit) -> list[Commit]:
        """Return a commit and what came before it, newest first."""
        found, sha = [], commit.sha
        while sha:
            found.append(self.commits[sha])
            sha = self.parents[sha] or ""
        return found
