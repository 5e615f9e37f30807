"""OCI images without a container daemon: layers are plain tar files kept by digest, an image is a few JSON files."""

from __future__ import annotations

import hashlib
import io
import json
import os
import tarfile
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from dev.stack import paths

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Layer:
    """An uncompressed tar file in the cache; its digest is also its diff id."""

    path: Path
    digest: str

    @classmethod
    def of(cls, path: Path) -> Layer:
        """The layer with its digest, which is read from beside the file when it was computed before."""
        note = path.with_suffix(".sha256")
        if not note.exists():
            with path.open("rb") as file:
                paths.write_atomic(note, hashlib.file_digest(file, "sha256").hexdigest())
        return cls(path, note.read_text())


@dataclass(frozen=True)
class Image:
    """A reference, its layers from the bottom up, and the run configuration of the OCI image specification."""

    reference: str
    layers: tuple[Layer, ...]
    config: Mapping[str, Any] = field(default_factory=dict)

    def write(self, output: IO[bytes], present: Collection[str] = ()) -> None:
        """Write an archive that containerd, kind and a container daemon load: OCI layout plus their manifest.json.

        Layers whose digests are `present` where it is loaded are left out.
        """
        config = json.dumps(
            {
                "architecture": "amd64",
                "os": "linux",
                "config": dict(self.config),
                "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer.digest}" for layer in self.layers]},
            }
        ).encode()
        config_type = "application/vnd.oci.image.config.v1+json"
        layer_type = "application/vnd.oci.image.layer.v1.tar"
        manifest_type = "application/vnd.oci.image.manifest.v1+json"
        manifest = json.dumps(
            {
                "schemaVersion": 2,
                "mediaType": manifest_type,
                "config": _descriptor(config_type, config),
                "layers": [
                    {
                        "mediaType": layer_type,
                        "digest": f"sha256:{layer.digest}",
                        "size": layer.path.stat().st_size,
                    }
                    for layer in self.layers
                ],
            }
        ).encode()
        annotations = {
            "io.containerd.image.name": self.reference,
            "org.opencontainers.image.ref.name": self.reference.rpartition(":")[2],
        }
        index = json.dumps(
            {
                "schemaVersion": 2,
                "manifests": [{**_descriptor(manifest_type, manifest), "annotations": annotations}],
            }
        ).encode()
        docker = json.dumps(
            [
                {
                    "Config": _blob(_digest(config)),
                    "RepoTags": [self.reference],
                    "Layers": [_blob(layer.digest) for layer in self.layers],
                }
            ]
        ).encode()
        with tarfile.open(fileobj=output, mode="w|") as archive:
            _add(archive, "oci-layout", b'{"imageLayoutVersion": "1.0.0"}')
            _add(archive, "index.json", index)
            _add(archive, "manifest.json", docker)
            for content in (manifest, config):
                _add(archive, _blob(_digest(content)), content)
            missing = {layer.digest: layer for layer in self.layers if layer.digest not in present}
            for layer in missing.values():
                info = tarfile.TarInfo(_blob(layer.digest))
                info.size = layer.path.stat().st_size
                with layer.path.open("rb") as file:
                    archive.addfile(info, file)


def content_hash(parts: Iterable[str | bytes]) -> str:
    """A hash over contents in their order, by which results are cached."""
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(f"{len(data)}:".encode())
        total.update(data)
    return total.hexdigest()


def write_layer(path: Path, files: Mapping[str, tuple[Path | bytes, int]]) -> None:
    """Write a layer of files, name -> (content, mode), that comes out the same for the same contents."""
    new = path.with_suffix(f".{os.getpid()}.new")
    with tarfile.open(new, "w", format=tarfile.PAX_FORMAT) as archive:
        folders = {str(parent) for name in files for parent in Path(name).parents} - {"."}
        for folder in sorted(folders):
            info = tarfile.TarInfo(folder)
            info.type, info.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(info)
        for name, (content, mode) in sorted(files.items()):
            _add(archive, name, content if isinstance(content, bytes) else content.read_bytes(), mode)
    new.replace(path)


def _add(archive: tarfile.TarFile, name: str, content: bytes, mode: int = 0o644) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), mode
    archive.addfile(info, io.BytesIO(content))


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _blob(digest: str) -> str:
    return f"blobs/sha256/{digest}"


def _descriptor(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": f"sha256:{_digest(content)}", "size": len(content)}
