"""One case per adapter and engine: where the model is, and how its adapter fails when it should.

A new adapter adds a case here; ``test_every_adapter_has_a_case`` fails until it does.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from adapters.base import Context
from adapters.errors import AccessDenied, BadOutput, ModelNotFound, PredictorError, Unsupported
from adapters.network import HttpPolicy
from adapters.references import Cascade, HttpsFile, HuggingFaceModel, LocalFile, LocalFolder, Reference
from adapters.references.cascade import AttributeBy
from tests import models
from tests.hub import Fault, HubServer, Repository
from tests.servers.files import FileServer, Served


@dataclass(frozen=True)
class Refusal:
    """A reference that must not resolve: the error, and words that its message must hold."""

    what: str
    reference: Reference
    error: type[PredictorError]
    words: tuple[str, ...]


@dataclass
class Setting:
    """A model that is there, and what belongs to it while a test runs."""

    reference: Reference
    context: Context
    refusals: tuple[Refusal, ...] = ()
    go_down: Callable[[str], None] | None = None  # the host only answers this fault; None where there is no host


@dataclass(frozen=True)
class Case:
    """``make`` is a context manager that gives a Setting; ``folder`` is empty and the test's own."""

    name: str
    kind: type[Reference]
    engine: str
    make: Callable[[Path], Iterator[Setting]]

    @contextmanager
    def setting(self, folder: Path) -> Iterator[Setting]:
        yield from self.make(folder)


def _local_folder(folder: Path, write: Callable[[Path], Path]) -> Iterator[Setting]:
    model = write(folder / "model")
    depth = models.write_config(folder / "depth", {**models.CONFIG, "architectures": ["DPTForDepthEstimation"]})
    pickled = models.write_config(folder / "pickled")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x02N.")
    (folder / "empty").mkdir()
    yield Setting(
        LocalFolder(str(model)),
        Context(folder / "cache"),
        (
            Refusal("absent", LocalFolder(str(folder / "absent")), ModelNotFound, ("no folder",)),
            Refusal("empty", LocalFolder(str(folder / "empty")), Unsupported, ("config.json",)),
            Refusal("wrong task", LocalFolder(str(depth)), Unsupported, ("depth-estimation",)),
            Refusal(
                "pickle only",
                LocalFolder(str(pickled)),
                Unsupported,
                ("pickle",),
            ),
        ),
    )


def _hub_model(folder: Path, write: Callable[[Path], Path]) -> Iterator[Setting]:
    model = write(folder / "model")
    pickled = models.write_config(folder / "pickled")
    (pickled / "pytorch_model.bin").write_bytes(b"\x80\x02N.")
    repositories = {
        "street/detector": Repository(model),
        "street/private": Repository(model, private=True),
        "street/gated": Repository(model, gated="manual"),
        "street/disabled": Repository(model, disabled=True),
        "street/depth": Repository(model, pipeline_tag="depth-estimation"),
        "street/pickled": Repository(pickled),
    }
    with HubServer(repositories) as hub:

        def go_down(kind: str) -> None:
            hub.faults = [Fault("", kind, times=10_000)]

        yield Setting(
            HuggingFaceModel("street/detector"),
            Context(
                folder / "cache",
                endpoints={"huggingface": hub.url},
                http=HttpPolicy(frozenset({"localhost"})),  # where the hub keeps large files
            ),
            (
                Refusal("absent", HuggingFaceModel("street/absent"), ModelNotFound, ("does not exist",)),
                Refusal("private", HuggingFaceModel("street/private"), ModelNotFound, ("private",)),
                Refusal("gated", HuggingFaceModel("street/gated"), AccessDenied, ("gated",)),
                Refusal("disabled", HuggingFaceModel("street/disabled"), AccessDenied, ("disabled",)),
                Refusal("revision", HuggingFaceModel("street/detector", "v9"), ModelNotFound, ("v9",)),
                Refusal("file", HuggingFaceModel("street/detector", None, "x.onnx"), ModelNotFound, ("x.onnx",)),
                Refusal("wrong task", HuggingFaceModel("street/depth"), Unsupported, ("depth-estimation",)),
                Refusal(
                    "pickle only",
                    HuggingFaceModel("street/pickled"),
                    Unsupported,
                    ("pickle",),
                ),
            ),
            go_down,
        )


def _hub_file(folder: Path) -> Iterator[Setting]:
    """As Ultralytics' repositories are: a checkpoint, its export, and nothing of transformers'."""
    models.write_yolo(folder / "yolo" / "yolo11n.onnx")
    (folder / "yolo" / "yolo11n.pt").write_bytes(b"\x80\x02N.")
    content = models.write_yolo(folder / "broken" / "broken.onnx").read_bytes()
    (folder / "broken" / "broken.onnx").write_bytes(content[: len(content) // 2])
    models.write_yolo(folder / "several" / "n.onnx")
    models.write_yolo(folder / "several" / "s.onnx")
    (folder / "page").mkdir()
    (folder / "page" / "model.onnx").write_text("<!DOCTYPE html><html>Sign in</html>")
    names = ("yolo", "broken", "several", "page")
    with HubServer({f"street/{name}": Repository(folder / name) for name in names}) as hub:

        def go_down(kind: str) -> None:
            hub.faults = [Fault("", kind, times=10_000)]

        yield Setting(
            HuggingFaceModel("street/yolo"),
            Context(folder / "cache", endpoints={"huggingface": hub.url}, http=HttpPolicy(frozenset({"localhost"}))),
            (
                Refusal("several", HuggingFaceModel("street/several"), Unsupported, ("n.onnx", "s.onnx")),
                Refusal("broken", HuggingFaceModel("street/broken"), Unsupported, ("cannot load",)),
                Refusal("a page", HuggingFaceModel("street/page"), Unsupported, ("model.onnx",)),
            ),
            go_down,
        )


def _file(folder: Path) -> Iterator[Setting]:
    model = models.write_yolo(folder / "street.onnx")
    odd = models.write_yolo(folder / "odd.onnx", metadata=False)
    (folder / "odd.json").write_text('{"layout": "yolo-v99"}')
    (folder / "model.xml").write_text("<net/>")
    yield Setting(
        LocalFile(str(model)),
        Context(folder / "cache"),
        (
            Refusal("absent", LocalFile(str(folder / "absent.onnx")), ModelNotFound, ("no file",)),
            Refusal("OpenVINO", LocalFile(str(folder / "model.xml")), Unsupported, ("OpenVINO",)),
            Refusal("layout", LocalFile(str(odd)), Unsupported, ("yolo-v99",)),
        ),
    )


def _web_file(folder: Path) -> Iterator[Setting]:
    content = models.write_yolo(folder / "street.onnx").read_bytes()
    pickled = b"\x80\x02" + b"." * 100
    files = {
        "/street.onnx": Served(content),
        "/pickled.onnx": Served(pickled),
        "/page.onnx": Served(b"<!DOCTYPE html><html>Sign in</html>"),
        "/broken.onnx": Served(content[: len(content) // 2]),
    }

    def digest(path: str) -> str:
        return hashlib.sha256(files[path].content).hexdigest()

    with FileServer(files) as server:

        def file(path: str, sha256: str = "") -> HttpsFile:
            return HttpsFile(server.url + path, sha256 or digest(path))

        yield Setting(
            file("/street.onnx"),
            Context(folder / "cache", http=HttpPolicy(frozenset({"127.0.0.1"}))),
            (
                Refusal("absent", file("/absent.onnx", "0" * 64), ModelNotFound, ("absent.onnx",)),
                Refusal("another file", file("/street.onnx", "0" * 64), BadOutput, ("SHA-256", digest("/street.onnx"))),
                Refusal("pickle", file("/pickled.onnx"), Unsupported, ("pickle",)),
                Refusal("a page", file("/page.onnx"), BadOutput, ("page",)),
                Refusal("broken", file("/broken.onnx"), Unsupported, ("cannot load",)),
                Refusal("own network", HttpsFile("https://10.0.0.1/m.onnx", "0" * 64), AccessDenied, ("private",)),
            ),
            server.fail,
        )


def _cascade(folder: Path) -> Iterator[Setting]:
    yolo = str(models.write_yolo(folder / "street.onnx"))
    colour = str(models.write_colour_classifier(folder / "colour.onnx"))
    bright = str(models.write_brightness(folder / "bright.onnx"))
    asked = (AttributeBy("colour", colour), AttributeBy("brightness", bright, "number", ("car", "tree")))

    def changed(what: str, detector: str = yolo, **values: Any) -> tuple[str, Cascade]:
        return what, Cascade(detector, (replace(asked[0], **values),))

    refused: list[tuple[tuple[str, Cascade], type[PredictorError], tuple[str, ...]]] = [
        (changed("absent", f"{folder}/absent.onnx"), ModelNotFound, ("no file",)),
        (changed("unregistered", "model:nobody"), ModelNotFound, ("registered", "nobody")),
        (changed("not a detector", colour), Unsupported, ("makes tag",)),
        (changed("not a classifier", model=yolo), Unsupported, ("no classifier",)),
        (changed("label", labels=("bus",)), Unsupported, ("no label 'bus'",)),
        (changed("values", values=("a", "b")), Unsupported, ("values of its own",)),
        (changed("no number", input_type="number"), Unsupported, ("does not answer numbers",)),
        (changed("a number", model=bright), Unsupported, ("answers a number",)),
        (("no poses", Cascade(yolo, (), colour)), Unsupported, ("no poses",)),
    ]
    yield Setting(
        Cascade(yolo, asked, margin=0.1),
        Context(folder / "cache"),
        tuple(Refusal(what, reference, error, words) for (what, reference), error, words in refused),
    )


CASES = (
    Case("cascade", Cascade, "onnxruntime", _cascade),
    Case("web-file", HttpsFile, "onnxruntime", _web_file),
    Case("file-onnx", LocalFile, "onnxruntime", _file),
    Case("folder-onnx", LocalFolder, "onnxruntime", lambda f: _local_folder(f, models.write_onnx_model)),
    Case("folder-transformers", LocalFolder, "transformers", lambda f: _local_folder(f, models.write_rt_detr)),
    Case("hub-file", HuggingFaceModel, "onnxruntime", _hub_file),
    Case("hub-onnx", HuggingFaceModel, "onnxruntime", lambda f: _hub_model(f, models.write_onnx_model)),
    Case("hub-transformers", HuggingFaceModel, "transformers", lambda f: _hub_model(f, models.write_rt_detr)),
)
