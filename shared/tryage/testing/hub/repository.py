"""A model repo: its metadata, its files, its git history, and the metadata that files contain."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatch
from pathlib import PurePosixPath
from sys import intern
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable

HubRecord: TypeAlias = dict[str, Any]

# The Hub sends these for every model, so a record does not have to hold them.
DEFAULTS: Mapping[str, Any] = {
    "private": False,
    "gated": False,
    "disabled": False,
    "downloads": 0,
    "likes": 0,
    "trendingScore": 0,
    "tags": [],
}

EPOCH = "2025-01-01T00:00:00.000Z"

# The patterns of the .gitattributes with which the Hub creates a model repo.
LFS_PATTERNS = (
    "*.7z", "*.arrow", "*.bin", "*.bz2", "*.ckpt", "*.ftz", "*.gguf", "*.gz", "*.h5", "*.joblib",
    "*.lfs.*", "*.mlmodel", "*.model", "*.msgpack", "*.npy", "*.npz", "*.onnx", "*.ot",
    "*.parquet", "*.pb", "*.pickle", "*.pkl", "*.pt", "*.pth", "*.rar", "*.safetensors",
    "*.tar.*", "*.tar", "*.tflite", "*.tgz", "*.wasm", "*.xz", "*.zip", "*.zst", "*tfevents*",
)  # fmt: skip

LFS_MIN_BYTES = 10 * 1024 * 1024  # a file of this size is in LFS, whatever its name

# The header of a model card: YAML between two lines of dashes.
_HEADER = re.compile(rb"\A---\r?\n(.*?)\r?\n---\s*(?:\n|\Z)", re.DOTALL)

_SHA = re.compile(r"[0-9a-f]{7,40}")


class Repo:
    """One model: its metadata as compact JSON, and the values that listings sort and filter by.

    It takes about 1.5 KB without its files, so that a million fit into memory.
    """

    __slots__ = ("_raw", "author", "created", "downloads", "gated", "git", "key", "likes",
                 "modified", "name", "parameters", "private", "providers", "tags", "task",
                 "trending")  # fmt: skip

    def __init__(self, record: Mapping[str, Any]) -> None:
        self.git: GitHistory | None = None
        self.write(record)

    def write(self, record: Mapping[str, Any]) -> None:
        """Replace the metadata."""
        full_record = {"createdAt": EPOCH, **DEFAULTS, **record}
        self.name: str = full_record["id"]
        self.key: str = full_record.get("_id") or make_key(self.name)
        self.author = intern(full_record.get("author") or self.name.rpartition("/")[0])
        self.task = intern(full_record.get("pipeline_tag") or "")
        self.tags = tuple(intern(tag) for tag in full_record["tags"])
        self.gated, self.private = full_record["gated"], bool(full_record["private"])
        self.providers = tuple(full_record.get("inferenceProviderMapping") or ())
        self.parameters: int | None = _parameter_count(full_record)
        self.downloads, self.likes, self.trending = (
            full_record[name] or 0 for name in ("downloads", "likes", "trendingScore")
        )
        self.created: str = full_record["createdAt"]
        self.modified: str = full_record.get("lastModified") or self.created
        stored_fields = {
            name: value for name, value in record.items() if DEFAULTS.get(name, ...) != value
        }
        if isinstance(weights := stored_fields.get("safetensors"), Mapping):
            # The Hub always sends both fields, and huggingface_hub fails without one of them.
            stored_fields["safetensors"] = {"parameters": {}, **weights}
        self._raw = json.dumps(stored_fields, ensure_ascii=False, separators=(",", ":")).encode()

    def read(self) -> HubRecord:
        """Return all metadata, the fields that the Hub always sends included."""
        names = {"_id": self.key, "id": self.name}
        if self.author:
            names["author"] = self.author
        dates = {"createdAt": self.created, "lastModified": self.modified}
        return {**names, **DEFAULTS, **dates, **json.loads(self._raw.decode())}


def make_key(name: str) -> str:
    """Return 24 hexadecimal digits in place of the Hub's `_id` of a model."""
    return hashlib.md5(name.encode(), usedforsecurity=False).hexdigest()[:24]


def _parameter_count(record: Mapping[str, Any]) -> int | None:
    """Return the number of parameters that the Hub filters by, or None."""
    for format_ in ("safetensors", "gguf"):
        total = (record.get(format_) or {}).get("total")
        if total:
            return int(total)
    return None


@dataclass(frozen=True)
class Blob:
    """The content of a file; a large file is in LFS, under its sha256."""

    data: bytes = field(repr=False)
    large: bool
    sha256: str
    oid: str

    @classmethod
    def from_bytes(cls, path: str, data: bytes, *, large: bool | None = None) -> Blob:
        """Hash the content once; of a large file git hashes the LFS pointer."""
        sha256 = hashlib.sha256(data).hexdigest()
        large = is_large(path, len(data)) if large is None else large
        git_content = _lfs_pointer(sha256, len(data)) if large else data
        oid = hashlib.sha1(b"blob %d\0" % len(git_content) + git_content).hexdigest()  # noqa: S324 - git's own hash
        return cls(data, large, sha256, oid)

    @property
    def etag(self) -> str:
        """The hash in the Hub's ETag: sha256 in LFS, git's sha1 otherwise."""
        return self.sha256 if self.large else self.oid

    @property
    def lfs(self) -> dict[str, str | int]:
        """The entry of a large file in the Hub's trees."""
        size = len(self.data)
        pointer = _lfs_pointer(self.sha256, size)
        return {"oid": self.sha256, "size": size, "pointerSize": len(pointer)}


def is_large(path: str, size: int) -> bool:
    """Return whether the Hub stores a file in LFS, by its name and its size in bytes."""
    name = PurePosixPath(path).name
    return size >= LFS_MIN_BYTES or (
        size > 0 and any(fnmatch(name, pattern) for pattern in LFS_PATTERNS)
    )


def _lfs_pointer(sha256: str, size: int) -> bytes:
    """Return the LFS pointer that git stores in place of a large file."""
    lines = ("version https://git-lfs.github.com/spec/v1", f"oid sha256:{sha256}", f"size {size}")
    return "".join(f"{line}\n" for line in lines).encode()


@dataclass(frozen=True)
class Commit:
    """One state of all files, which are stored by path."""

    sha: str
    title: str
    message: str
    date: str
    files: dict[str, Blob] = field(repr=False)


@dataclass
class GitHistory:
    """All commits of a repo, the newest last, and the sha of each branch and tag."""

    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    parents: dict[str, str | None] = field(default_factory=dict)

    def find(self, revision: str) -> Commit | None:
        """Return the commit of a branch, of a tag, or of a sha or its first digits."""
        revision = revision.removeprefix("refs/heads/").removeprefix("refs/tags/")
        sha = self.branches.get(revision) or self.tags.get(revision)
        if sha is None and _SHA.fullmatch(revision):
            sha = next((name for name in self.commits if name.startswith(revision)), None)
        return self.commits.get(sha or "")

    def commit(
        self, branch: str, files: dict[str, Blob], date: str, title: str, message: str = ""
    ) -> Commit:
        """Add a commit on top of a branch."""
        parent = self.branches.get(branch)
        content = "".join(f"{path}{blob.oid}" for path, blob in sorted(files.items()))
        identity = f"{parent}{date}{title}{len(self.commits)}{content}"
        sha = hashlib.sha1(identity.encode()).hexdigest()  # noqa: S324 - git's own hash
        new_commit = Commit(sha, title, message, date, files)
        self.commits[sha], self.parents[sha], self.branches[branch] = new_commit, parent, sha
        return new_commit

    def log(self, commit: Commit) -> list[Commit]:
        """Return a commit and its ancestors, the newest first."""
        commits, sha = [], commit.sha
        while sha:
            commits.append(self.commits[sha])
            sha = self.parents[sha] or ""
        return commits


def describe_files(files: Mapping[str, Blob]) -> dict[str, Any]:
    """Return the metadata that files contain; a field is None if no file contains it."""
    card = _read_card(files["README.md"].data) if "README.md" in files else {}
    config = _parse_json(files["config.json"].data) if "config.json" in files else {}
    config_fields = ("architectures", "model_type", "auto_map", "quantization_config")
    safetensors = _count_weights(blob.data for path, blob in files.items() if _is_weights(path))
    library = card.get("library_name") or ("transformers" if "model_type" in config else None)
    return {
        "cardData": card or None,
        "config": {name: config[name] for name in config_fields if name in config} or None,
        "library_name": library,
        "pipeline_tag": card.get("pipeline_tag"),
        "safetensors": safetensors,
        "tags": _tags(card, config, library, has_safetensors=safetensors is not None),
    }


def _read_card(data: bytes) -> dict[str, Any]:
    """Return the YAML header of a model card; a card with broken YAML has no header."""
    import yaml  # type: ignore[import-untyped]  # the package has no types

    match = _HEADER.match(data)
    try:
        header = yaml.safe_load(match[1]) if match else None
    except yaml.YAMLError:
        return {}
    return header if isinstance(header, dict) else {}


def _count_weights(files: Iterable[bytes]) -> dict[str, Any] | None:
    """Return the number of parameters of each dtype, from the headers of safetensors files."""
    counts: Counter[str] = Counter()
    for data in files:
        size = int.from_bytes(data[:8], "little")
        for name, tensor in _parse_json(data[8 : 8 + size]).items():
            if name != "__metadata__":
                counts[tensor["dtype"]] += math.prod(tensor["shape"])
    return {"parameters": dict(counts), "total": counts.total()} if counts else None


def _is_weights(path: str) -> bool:
    return "/" not in path and path.endswith(".safetensors")


def _parse_json(data: bytes) -> dict[str, Any]:
    try:
        value = json.loads(data)
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _tags(
    card: Mapping[str, Any],
    config: Mapping[str, Any],
    library: str | None,
    *,
    has_safetensors: bool,
) -> list[str]:
    """Return the tags in the Hub's order: library, formats, model type, task, tags of the card."""
    tags = [
        *_as_list(library),
        *(["safetensors"] if has_safetensors else []),
        *_as_list(config.get("model_type")),
    ]
    tags += [*_as_list(card.get("pipeline_tag")), *_as_list(card.get("tags"))]
    tags += ["custom_code"] if "auto_map" in config else []
    tags += _as_list(card.get("language"))
    for key, prefix in (("datasets", "dataset"), ("base_model", "base_model")):
        tags += [f"{prefix}:{item}" for item in _as_list(card.get(key))]
    relation = card.get("base_model_relation")
    if relation:
        tags += [f"base_model:{relation}:{item}" for item in _as_list(card.get("base_model"))]
    tags += [f"license:{item}" for item in _as_list(card.get("license"))]
    return list(dict.fromkeys([*tags, "region:us"]))


def _as_list(value: object) -> list[str]:
    items = value if isinstance(value, list) else [value]
    return [str(item) for item in items if item is not None]
