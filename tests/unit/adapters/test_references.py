"""References: every form that people paste, every form that is refused, and that no key gets through."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from adapters.errors import InvalidReference
from adapters.references import (
    FoundSecret,
    HttpsFile,
    HuggingFaceEndpoint,
    HuggingFaceModel,
    InferenceServerModel,
    LocalFile,
    LocalFolder,
    NuclioFunction,
    Reference,
    RoboflowVersion,
    parse_reference,
)

HF = HuggingFaceModel
RF = RoboflowVersion
SHA = "0123456789abcdef" * 4
COMMIT = "1d5f47bd3bdf2c4bbfa585418ffe6da5028b4c0b"
HUB = "https://huggingface.co"
ROUTER = "https://router.huggingface.co/hf-inference/models"
ENDPOINT = "https://ab12.us-east-1.aws.endpoints.huggingface.cloud"
UNIVERSE = "https://universe.roboflow.com"
APP = "https://app.roboflow.com"

ACCEPTED: list[tuple[str, Reference]] = [
    # ids
    ("org/name", HF("org/name")),
    ("  org/name\n", HF("org/name")),
    ("facebook/detr-resnet-50", HF("facebook/detr-resnet-50")),
    ("org/name/", HF("org/name")),
    ("org/name@rev", HF("org/name", "rev")),
    ("org/name@main", HF("org/name")),
    (f"org/name@{COMMIT}", HF("org/name", COMMIT)),
    ("org/name@refs/pr/1", HF("org/name", "refs/pr/1")),
    ("org/name@feature%2Fx", HF("org/name", "feature/x")),
    ("org/name@v1.0/onnx/model.onnx", HF("org/name", "v1.0", "onnx/model.onnx")),
    ("gpt2", HF("gpt2")),
    ("gpt2@607a30d", HF("gpt2", "607a30d")),
    ("gpt2@refs/pr/2", HF("gpt2", "refs/pr/2")),
    ("org/name.v2_x-3", HF("org/name.v2_x-3")),
    ("org/model-3-base", HF("org/model-3-base")),  # shaped like a Roboflow slug, but the hub's
    ("huggingface/name", HF("huggingface/name")),
    # hf://
    ("hf://org/name", HF("org/name")),
    ("HF://org/name", HF("org/name")),
    ("hf://models/org/name", HF("org/name")),
    ("hf://org/3", HF("org/3")),
    ("hf://org/name@v2", HF("org/name", "v2")),
    ("hf://org/name@refs%2Fpr%2F1/onnx/model.onnx", HF("org/name", "refs/pr/1", "onnx/model.onnx")),
    ("hf://org/name/onnx/model.onnx", HF("org/name", None, "onnx/model.onnx")),
    ("hf://org/name@refs/convert/onnx/model.onnx", HF("org/name", "refs/convert/onnx", "model.onnx")),
    ("hf://gpt2", HF("gpt2")),
    ("hf://gpt2@main/model.onnx", HF("gpt2", None, "model.onnx")),
    # pages of the hub
    (f"{HUB}/org/name", HF("org/name")),
    (f"{HUB}/org/name/", HF("org/name")),
    (f"{HUB}//org//name", HF("org/name")),
    (f"{HUB}:443/org/name", HF("org/name")),
    ("http://huggingface.co/org/name", HF("org/name")),
    ("HTTPS://HuggingFace.co/org/name", HF("org/name")),
    ("https://huggingface.co./org/name", HF("org/name")),
    (f"{HUB}/org/name?library=transformers#usage", HF("org/name")),
    (f"{HUB}/org/name.git", HF("org/name")),
    ("huggingface.co/org/name", HF("org/name")),
    ("huggingface.co:443/org/name", HF("org/name")),
    ("https://www.huggingface.co/org/name", HF("org/name")),
    ("www.huggingface.co/org/name", HF("org/name")),
    ("https://hf.co/org/name", HF("org/name")),
    ("hf.co/org/name/tree/v1", HF("org/name", "v1")),
    (f"{HUB}/gpt2", HF("gpt2")),
    (f"{HUB}/gpt2/tree/main", HF("gpt2")),
    (f"{HUB}/gpt2/discussions", HF("gpt2")),
    (f"{HUB}/gpt2/resolve/main/onnx/model.onnx", HF("gpt2", None, "onnx/model.onnx")),
    (f"{HUB}/org/name/tree/main", HF("org/name")),
    (f"{HUB}/org/name/tree/main/onnx", HF("org/name")),
    (f"{HUB}/org/name/tree/{COMMIT}", HF("org/name", COMMIT)),
    (f"{HUB}/org/name/tree/refs%2Fpr%2F7", HF("org/name", "refs/pr/7")),
    (f"{HUB}/org/name/tree/refs/pr/7", HF("org/name", "refs/pr/7")),
    (f"{HUB}/org/name/tree/feature%2Fx", HF("org/name", "feature/x")),
    (f"{HUB}/org/name/blob/main/config.json", HF("org/name")),
    (f"{HUB}/org/name/blob/v1/model.safetensors", HF("org/name", "v1")),
    (f"{HUB}/org/name/blob/v1/onnx/model.onnx", HF("org/name", "v1", "onnx/model.onnx")),
    (f"{HUB}/org/name/resolve/main/a%20b.onnx?download=true", HF("org/name", None, "a b.onnx")),
    (f"{HUB}/org/name/resolve/refs%2Fpr%2F1/openvino/model.xml", HF("org/name", "refs/pr/1", "openvino/model.xml")),
    (f"{HUB}/org/name/raw/v1/README.md", HF("org/name", "v1")),
    (f"{HUB}/org/name/discussions", HF("org/name")),
    (f"{HUB}/org/name/discussions/5", HF("org/name")),
    (f"{HUB}/org/name/commits/main", HF("org/name")),
    (f"{HUB}/org/name/commits/refs/pr/1", HF("org/name", "refs/pr/1")),
    (f"{HUB}/org/name/commit/{COMMIT}", HF("org/name", COMMIT)),
    (f"{HUB}/api/models/org/name", HF("org/name")),
    (f"{HUB}/api/models/org/name/revision/refs%2Fpr%2F1", HF("org/name", "refs/pr/1")),
    (f"{HUB}/models/org/name", HF("org/name")),
    ("org/name/tree/v2", HF("org/name", "v2")),
    # hosted inference
    (f"{ROUTER}/org/name", HuggingFaceEndpoint(f"{ROUTER}/org/name")),
    (f"{ROUTER}/gpt2", HuggingFaceEndpoint(f"{ROUTER}/gpt2")),
    ("https://api-inference.huggingface.co/models/org/name", HuggingFaceEndpoint(f"{ROUTER}/org/name")),
    (ENDPOINT, HuggingFaceEndpoint(ENDPOINT)),
    (f"{ENDPOINT}/", HuggingFaceEndpoint(ENDPOINT)),
    (f"{ENDPOINT}#model=org/name", HuggingFaceEndpoint(ENDPOINT, "org/name")),
    (
        f"{ENDPOINT}#task=object-detection&labels=car, car,,person".replace(" ", "%20"),
        HuggingFaceEndpoint(ENDPOINT, "", "object-detection", ("car", "person")),
    ),
    (f"{ENDPOINT}#task=Object%20Detection&more=x", HuggingFaceEndpoint(ENDPOINT)),
    (f"{ENDPOINT}/predict?x=1", HuggingFaceEndpoint(f"{ENDPOINT}/predict")),
    (ENDPOINT.replace("https", "http"), HuggingFaceEndpoint(ENDPOINT)),
    (ENDPOINT.removeprefix("https://"), HuggingFaceEndpoint(ENDPOINT)),
    ("hf-endpoint+https://models.example.com/detr", HuggingFaceEndpoint("https://models.example.com/detr")),
    ("hf-endpoint+http://127.0.0.1:8000", HuggingFaceEndpoint("http://127.0.0.1:8000")),
    # Roboflow
    ("ws/proj/3", RF("ws", "proj", 3)),
    ("proj/3", RF(None, "proj", 3)),
    ("roboflow://ws/proj/3", RF("ws", "proj", 3)),
    ("roboflow://proj/3", RF(None, "proj", 3)),
    ("roboflow://ws/proj", RF("ws", "proj", None)),
    (f"{UNIVERSE}/ws/proj", RF("ws", "proj", None)),
    ("universe.roboflow.com/ws/proj", RF("ws", "proj", None)),
    (f"{UNIVERSE}/ws/proj/model/3", RF("ws", "proj", 3)),
    (f"{UNIVERSE}/ws/proj/dataset/3", RF("ws", "proj", 3)),
    (f"{UNIVERSE}/ws/proj/dataset/3/download/coco", RF("ws", "proj", 3)),
    (f"{UNIVERSE}/ws/proj/3", RF("ws", "proj", 3)),
    (f"{UNIVERSE}/ws/proj/browse?queryText=x", RF("ws", "proj", None)),
    (f"{UNIVERSE}/ws/proj-3-cars", RF("ws", "proj-3-cars", None)),
    (f"{APP}/ws/proj/deploy/2", RF("ws", "proj", 2)),
    (f"{APP}/ws/proj/2", RF("ws", "proj", 2)),
    (f"{APP}/ws/proj/models", RF("ws", "proj", None)),
    (f"{APP}/ws/proj/models/proj/2", RF("ws", "proj", 2)),
    (f"{APP}/ws/proj/models/proj-2-rfdetr-small", RF("ws", "proj", 2)),
    (f"{APP}/ws/my-9-cars/models/ws/my-9-cars-2-rfdetr", RF("ws", "my-9-cars", 2)),
    ("https://api.roboflow.com/ws/proj/3", RF("ws", "proj", 3)),
    ("https://serverless.roboflow.com/proj/3", RF(None, "proj", 3)),
    ("https://serverless.roboflow.com/ws/proj-3-yolov8n-t1", RF("ws", "proj", 3)),
    ("https://detect.roboflow.com/proj/3", RF(None, "proj", 3)),
    ("detect.roboflow.com/proj/3", RF(None, "proj", 3)),
    ("https://outline.roboflow.com/proj/3", RF(None, "proj", 3)),
    ("https://classify.roboflow.com/proj/3", RF(None, "proj", 3)),
    ("https://segment.roboflow.com/proj/3", RF(None, "proj", 3)),
    # inference servers
    ("http://127.0.0.1:9001/proj/3", InferenceServerModel("http://127.0.0.1:9001", "proj", 3)),
    ("localhost:9001/proj/3", InferenceServerModel("http://localhost:9001", "proj", 3)),
    ("http://h:9001/proj/3#labels=cat,dog", InferenceServerModel("http://h:9001", "proj", 3, ("cat", "dog"))),
    ("http://[::1]:9001/proj/3", InferenceServerModel("http://[::1]:9001", "proj", 3)),
    ("https://gpu_box.lan/proj/3?confidence=40", InferenceServerModel("https://gpu_box.lan", "proj", 3)),
    # Nuclio
    ("http://nuclio:8070/api/functions/yolo", NuclioFunction("http://nuclio:8070", "yolo")),
    (
        "http://nuclio:8070/projects/cvat/functions/onnx.detr-1/code",
        NuclioFunction("http://nuclio:8070", "onnx.detr-1"),
    ),
    ("https://nuclio.lan/api/functions/yolo", NuclioFunction("https://nuclio.lan", "yolo")),
    ("nuclio+http://localhost:49155", NuclioFunction("http://localhost:49155", None)),
    (
        "nuclio+http://localhost:49155#labels=car,stop%20sign,a%2Bb",
        NuclioFunction("http://localhost:49155", None, ("car", "stop sign", "a+b")),
    ),
    ("http://localhost:8070", NuclioFunction("http://localhost:8070", "")),
    ("http://localhost:8070/projects/cvat/functions", NuclioFunction("http://localhost:8070", "")),
    ("http://nuclio/api/functions", NuclioFunction("http://nuclio", "")),
    ("nuclio+http://nuclio:8070/api/functions/yolo", NuclioFunction("http://nuclio:8070", "yolo")),
    # folders and files
    ("/models/street", LocalFolder("/models/street")),
    ("/models//street/./", LocalFolder("/models/street")),
    ("./org/name", LocalFolder("./org/name")),
    ("../models", LocalFolder("../models")),
    ("..", LocalFolder("..")),
    (".", LocalFolder("./")),
    ("./.././x", LocalFolder("../x")),
    ("./~x", LocalFolder("./~x")),
    ("~", LocalFolder("~")),
    ("~/models/a b", LocalFolder("~/models/a b")),
    ("/модели/улица", LocalFolder("/модели/улица")),
    ("/models/100%20/x", LocalFolder("/models/100%20/x")),
    ("./model.onnx", LocalFile("./model.onnx")),
    ("/models/Model.ONNX", LocalFile("/models/Model.ONNX")),
    ("~/ir/model.xml", LocalFile("~/ir/model.xml")),
    ("model.onnx", LocalFile("./model.onnx")),
    ("models/yolo.onnx", LocalFile("./models/yolo.onnx")),
    ("a/b/c/yolo.xml", LocalFile("./a/b/c/yolo.xml")),
    ("file:///models/street", LocalFolder("/models/street")),
    ("file://localhost/models/a%20b.onnx", LocalFile("/models/a b.onnx")),
    # files on the web
    (f"https://example.com/a/model.onnx#sha256={SHA}", HttpsFile("https://example.com/a/model.onnx", SHA)),
    (f"https://Example.com/model.onnx#sha256={SHA.upper()}", HttpsFile("https://example.com/model.onnx", SHA)),
    (f"https://example.com/m.onnx?download=1#sha256:{SHA}", HttpsFile("https://example.com/m.onnx?download=1", SHA)),
    (f"https://example.com:8443/a%20b.onnx#sha256={SHA}", HttpsFile("https://example.com:8443/a%20b.onnx", SHA)),
    (f"https://a.b/m.xml#sha256={SHA}&bin_sha256={SHA}", HttpsFile("https://a.b/m.xml", SHA, SHA)),
    (
        f"https://a.b/m.onnx#sha256={SHA}&size=640x480&labels=car,stop%20sign&layout=yolo-v5&threshold=0.4",
        HttpsFile(
            "https://a.b/m.onnx",
            SHA,
            "",
            (("layout", "yolo-v5"), ("labels", "car,stop sign"), ("size", "640x480"), ("threshold", "0.4")),
        ),
    ),
]

# text, a word of the message, a word of the hint
REFUSED: list[tuple[str, str, str]] = [
    ("", "No model", "ORG/NAME"),
    (" \n", "No model", "ORG/NAME"),
    ("x" * 5000, "5000 characters", "ORG/NAME"),
    ("org/na me", "white space", "./"),
    ("https://huggingface.co/org/na me", "white space", "./"),
    ("org/\x00name", "control characters", "anew"),
    ("org/name\u200b", "invisible", "anew"),
    ("/models/\u202egnp.x", "invisible", "anew"),
    ("/models/\ud800", "invisible", "anew"),
    ("huggingface。co/org/name", "outside ASCII", "look-alike"),
    ("https://huggingface．co/org/name", "outside ASCII", "look-alike"),
    ("оrg/name", "outside ASCII", "look-alike"),
    ("C:\\models\\street", "backslash", "forward slashes"),
    ("C:/models/street", "neither a URL", "ORG/NAME"),
    ("https:/huggingface.co/org/name", "neither a URL", "ORG/NAME"),
    ("git@hf.co:org/name", "neither a URL", "ORG/NAME"),
    ("javascript:alert(1)", "neither a URL", "ORG/NAME"),
    ("a/b/c/d", "one or two parts", "ORG/NAME"),
    ("org/name/v3", "one or two parts", "ORG/NAME"),
    ("hf_" + "a1" * 16, "access token", "connection add"),
    (f"{HUB}/org/hf_{'a1' * 16}", "access token", "connection add"),
    # schemes and hosts
    ("s3://bucket/model.onnx", "scheme", "ORG/NAME"),
    ("ftp://example.com/model.onnx", "scheme", "ORG/NAME"),
    ("nuclio+ftp://example.com", "scheme", "ORG/NAME"),
    ("http://", "no valid host", "ORG/NAME"),
    ("http://[::1/x", "invalid host", "ORG/NAME"),
    ("http://host:99999/proj/3", "invalid host or port", "ORG/NAME"),
    ("http://a..b/proj/3", "no valid host", "ORG/NAME"),
    ("https://example.com", "Nothing at this address", "nuclio+https://example.com"),
    ("https://huggingface.co.example.com/org/name", "Nothing at this address", "ORG/NAME"),
    ("https://huggingface.co@example.com/org/name", "Nothing at this address", "ORG/NAME"),
    ("https://nothuggingface.co/org/name", "Nothing at this address", "ORG/NAME"),
    ("example.com/org/name", "one or two parts", "ORG/NAME"),
    ("https://huggingface.co/%ff/x", "percent signs", "ORG/NAME"),
    (f"{HUB}/org/name?x=%ff", "question mark", "ORG/NAME"),
    (f"{HUB}/org/%00", "control characters", "anew"),
    (f"{HUB}/org/..", "holds . or ..", "ORG/NAME"),
    (f"{HUB}/org/name/resolve/main/..%2F..%2Fx.onnx", "holds . or ..", "ORG/NAME"),
    # the hub's pages that are no models
    (f"{HUB}", "start page", "ORG/NAME"),
    (f"{HUB}/datasets/org/name", "dataset", "trained on it"),
    (f"{HUB}/datasets", "dataset", "trained on it"),
    ("hf://datasets/org/name", "dataset", "trained on it"),
    ("datasets/org/name", "dataset", "trained on it"),
    (f"{HUB}/spaces/org/name", "Space", "links the models"),
    ("spaces/org/name", "Space", "links the models"),
    ("hf.co/spaces/org/name", "Space", "links the models"),
    ("https://org-name.hf.space", "Space", "links the models"),
    (f"{HUB}/docs/transformers", "documentation", "ORG/NAME"),
    ("docs/transformers", "documentation", "ORG/NAME"),
    ("hf://docs/transformers", "documentation", "ORG/NAME"),
    (f"{HUB}/papers/2005.12872", "paper", "links"),
    ("hf.co/papers/2005.12872", "paper", "links"),
    (f"{HUB}/join/discord", "page of the hub itself", "ORG/NAME"),
    (f"{HUB}/blog/detr", "page of the hub itself", "ORG/NAME"),
    (f"{HUB}/settings/tokens", "page of the hub itself", "ORG/NAME"),
    (f"{HUB}/collections/org/name", "list of models", "ORG/NAME"),
    (f"{HUB}/models?pipeline_tag=object-detection", "list of models", "ORG/NAME"),
    (f"{HUB}/api/datasets/org/name", "page of the hub itself", "ORG/NAME"),
    (f"{HUB}/org/name/whatever", "no model and no file", "ORG/NAME"),
    ("https://discuss.huggingface.co/t/1", "serves no models", "ORG/NAME"),
    ("https://ui.endpoints.huggingface.co/org/endpoints/x", "settings page", "endpoints.huggingface.cloud"),
    ("https://router.huggingface.co/v1/chat/completions", "only hf-inference", "hf-inference/models"),
    ("https://router.huggingface.co/fal-ai/x", "only hf-inference", "hf-inference/models"),
    (f"{ROUTER}", "only hf-inference", "hf-inference/models"),
    ("org/-name", "no valid model id", "ORG/NAME"),
    ("org/na--me", "no valid model id", "ORG/NAME"),
    ("org/" + "n" * 97, "no valid model id", "ORG/NAME"),
    ("org/name@", "revision", "ORG/NAME@main"),
    ("org/name@a..b", "revision", "ORG/NAME@main"),
    ("org/name@feature/x", "no .onnx or .xml", "%2F"),
    (f"{HUB}/org/name/blob/main/pytorch_model.bin", "pickle", "ORG/NAME"),
    ("hf://org/name/model.pt", "pickle", "ORG/NAME"),
    # Roboflow
    ("roboflow://proj", "version is missing", "WORKSPACE/PROJECT/3"),
    ("https://detect.roboflow.com/proj", "version is missing", "WORKSPACE/PROJECT/3"),
    ("https://detect.roboflow.com/", "names no version", "WORKSPACE/PROJECT/3"),
    ("ws/proj/0", "whole number from 1", "WORKSPACE/PROJECT/3"),
    ("roboflow://ws/proj/v3", "whole number from 1", "WORKSPACE/PROJECT/3"),
    ("my.site/proj/3", "workspace and project hold", "WORKSPACE/PROJECT/3"),
    (f"{UNIVERSE}/ws", "names no project", "WORKSPACE/PROJECT/3"),
    (f"{UNIVERSE}/search?q=cars", "names no project", "WORKSPACE/PROJECT/3"),
    (f"{APP}/ws/settings", "names no project", "WORKSPACE/PROJECT/3"),
    (f"{APP}/ws/proj/models/other-name", "holds no version", "WORKSPACE/PROJECT/3"),
    (f"{APP}/ws/proj/unknown/3", "names no version", "WORKSPACE/PROJECT/3"),
    (f"{APP}/ws/workflows", "workflow", "the workflow uses"),
    (f"{APP}/ws/workflows/edit/custom-workflow", "workflow", "the workflow uses"),
    ("https://detect.roboflow.com/infer/workflows/ws/flow", "workflow", "the workflow uses"),
    ("https://serverless.roboflow.com/ws/workflows/flow", "workflow", "the workflow uses"),
    ("http://127.0.0.1:9001/infer/workflows/ws/flow", "workflow", "the workflow uses"),
    ("https://serverless.roboflow.com/ws/my-2-cars-3-yolov8", "cannot be read", "WORKSPACE/PROJECT/3"),
    ("https://docs.roboflow.com/deploy", "no model", "WORKSPACE/PROJECT/3"),
    ("https://roboflow.com", "no model", "WORKSPACE/PROJECT/3"),
    ("http://127.0.0.1:9001", "inference server", "http://127.0.0.1:9001/PROJECT/3"),
    ("http://127.0.0.1:9001/proj", "inference server", "/PROJECT/3"),
    # Nuclio
    ("http://localhost:8070/login", "dashboard", "http://localhost:8070/api/functions/NAME"),
    ("http://localhost:8070/projects/cvat/api-gateways", "names no function", "/api/functions/NAME"),
    ("http://nuclio:8070/api/functions/a%20b", "Nuclio does not allow", "/api/functions/NAME"),
    ("nuclio+http://localhost:49155/predict", "at the root", "nuclio+http://localhost:49155"),
    # files
    ("yolov8n.pt", "pickle", "ONNX"),
    ("./best.pth", "pickle", "ONNX"),
    ("/models/pytorch_model.bin", "pickle", "ONNX"),
    ("./model.safetensors", "not enough", "config.json"),
    ("model.tflite", "not enough", "config.json"),
    ("file://server/share/model.onnx", "this machine only", "file:///"),
    ("file:///a?b=c", "this machine only", "file:///"),
    ("file:///a%00b", "control characters", "anew"),
    ("https://example.com/model.onnx", "SHA-256", "sha256sum"),
    ("https://example.com/model.onnx#sha256=abc", "SHA-256", "sha256sum"),
    (f"http://example.com/model.onnx#sha256={SHA}", "https only", "https://"),
    (f"https://example.com/model.onnx?X-Amz-Signature=abc#sha256={SHA}", "may be a key", "Download"),
    (f"https://example.com/model.onnx?v=abc#sha256={SHA}", "may be a key", "Download"),
    (f"https://example.com/model.xml#sha256={SHA}", ".bin", "bin_sha256"),
    (f"https://example.com/model.onnx#sha256={SHA}&bin_sha256={SHA}", ".bin", "bin_sha256"),
    (f"https://example.com/model.onnx#sha256={SHA}&colour=red", "unknown", "layout"),
    (f"https://example.com/model.onnx#sha256={SHA}&name=a&name=b", "twice", "layout"),
    (f"https://example.com/model.onnx#sha256={SHA}&size=640", "HEIGHTxWIDTH", "layout"),
    (f"https://example.com/model.onnx#sha256={SHA}&iou=half", "number", "layout"),
    (f"https://example.com/model.onnx#sha256={SHA}&junk", "cannot be read", "layout"),
    (f"https://example.com/model.pt#sha256={SHA}", "only .onnx", "Download"),
]

KEY = "S3cretKeyThatNobodyMaySee"


@pytest.mark.parametrize(("text", "reference"), ACCEPTED)
def test_a_form_that_people_paste_becomes_its_reference(text: str, reference: Reference) -> None:
    parsed = parse_reference(text)
    assert parsed.reference == reference
    assert parsed.secrets == ()
    assert parse_reference(reference.canonical).reference == reference


@pytest.mark.parametrize(("text", "message", "hint"), REFUSED)
def test_what_is_no_model_is_refused_with_the_reason_and_what_to_paste(text: str, message: str, hint: str) -> None:
    with pytest.raises(InvalidReference) as error:
        parse_reference(text)
    assert message in error.value.message
    assert hint in error.value.hint
    assert "\n" not in error.value.message


@pytest.mark.parametrize(
    ("text", "canonical", "secret"),
    [
        (f"https://detect.roboflow.com/proj/3?api_key={KEY}", "roboflow://proj/3", ("roboflow", "roboflow.com", KEY)),
        (
            f"https://api.roboflow.com/ws/proj/3?API_KEY={KEY}",
            "roboflow://ws/proj/3",
            ("roboflow", "roboflow.com", KEY),
        ),
        (f"detect.roboflow.com/proj/3?x=1&api_key={KEY}", "roboflow://proj/3", ("roboflow", "roboflow.com", KEY)),
        (f"ws/proj/3?api_key={KEY}", "roboflow://ws/proj/3", ("roboflow", "roboflow.com", KEY)),
        (f"http://h:9001/p/3?api_key={KEY}", "http://h:9001/p/3", ("roboflow", "h:9001", KEY)),
        (f"{HUB}/org/name?token={KEY}", "hf://org/name", ("huggingface", "huggingface.co", KEY)),
        (f"{HUB}/org/name#access_token={KEY}", "hf://org/name", ("huggingface", "huggingface.co", KEY)),
        (f"{HUB}/org/name?x=hf_{'a' * 20}", "hf://org/name", ("huggingface", "huggingface.co", f"hf_{'a' * 20}")),
        (f"https://me:{KEY}@huggingface.co/org/name", "hf://org/name", ("huggingface", "huggingface.co", KEY)),
        (f"https://{KEY}@hf.co/org/name", "hf://org/name", ("huggingface", "huggingface.co", KEY)),
        (f"{ENDPOINT}?token={KEY}", ENDPOINT, ("huggingface", ENDPOINT.removeprefix("https://"), KEY)),
        (f"{ROUTER}/a/b?token={KEY}", f"{ROUTER}/a/b", ("huggingface", "huggingface.co", KEY)),
        (f"hf-endpoint+https://a.b?key={KEY}", "hf-endpoint+https://a.b", ("huggingface", "a.b", KEY)),
        (
            f"http://me:{KEY}%40@n:8070/api/functions/f",
            "http://n:8070/api/functions/f",
            ("nuclio", "n:8070", f"me:{KEY}@"),
        ),
        (f"https://u:{KEY}@a.b/m.onnx#sha256={SHA}", f"https://a.b/m.onnx#sha256={SHA}", ("https", "a.b", f"u:{KEY}")),
    ],
)
def test_a_key_moves_from_the_text_to_the_secrets(text: str, canonical: str, secret: tuple[str, str, str]) -> None:
    parsed = parse_reference(text)
    assert parsed.reference.canonical == canonical
    assert parsed.secrets == (FoundSecret(*secret),)
    assert secret[2] not in f"{parsed!r} {parsed} {parsed.reference!r} {parsed.secrets!r}"


@pytest.mark.parametrize(
    "text",
    [
        f"https://app.roboflow.com/ws/workflows/x?api_key={KEY}",
        f"https://me:{KEY}@example.com/x",
        f"https://me:{KEY}@[::1/x",
        f"https://me:{KEY}@host:port/x",
        f"https://huggingface.co/datasets/a/b?token={KEY}",
        f"https://example.com/m.onnx?sig={KEY}#sha256={SHA}",
        f"file:///a?token={KEY}",
        f"ftp://me:{KEY}@example.com/model.onnx",
        f"me:{KEY}@huggingface.co/org/name",
        f"model.onnx?token={KEY}",
        f"http://h:9001/?api_key={KEY}",
        f"http://h:8070/login?api_key={KEY}",
        f"https://huggingface.co/org/name?token={KEY}%00",
    ],
)
def test_a_refusal_never_shows_a_key(text: str) -> None:
    with pytest.raises(InvalidReference) as error:
        parse_reference(text)
    assert KEY not in f"{error.value} {error.value!r} {error.value.hint}"
    assert error.value.__suppress_context__ or error.value.__context__ is None


@pytest.mark.parametrize(
    ("endpoint", "text", "reference"),
    [
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000/org/name/tree/v1", HF("org/name", "v1")),
        ("http://127.0.0.1:5000/", "127.0.0.1:5000/org/name", HF("org/name")),
        ("https://mirror.example/hub", "https://mirror.example/hub/org/name", HF("org/name")),
        ("https://mirror.example", "https://huggingface.co/org/name", HF("org/name")),
        (
            "http://127.0.0.1:5000",
            "http://127.0.0.1:9001/proj/3",
            InferenceServerModel("http://127.0.0.1:9001", "proj", 3),
        ),
    ],
)
def test_pages_of_the_hub_in_use_are_read_as_the_hubs(endpoint: str, text: str, reference: Reference) -> None:
    assert parse_reference(text, hub_endpoint=endpoint).reference == reference


def test_a_key_for_a_mirror_is_not_taken_for_the_hubs_own() -> None:
    parsed = parse_reference(f"https://mirror.example/org/name?token={KEY}", hub_endpoint="https://mirror.example")
    assert parsed.secrets == (FoundSecret("huggingface", "mirror.example", KEY),)


def test_a_router_url_names_its_model_and_an_endpoint_does_not() -> None:
    assert HuggingFaceEndpoint(f"{ROUTER}/org/name").repo_id == "org/name"
    assert HuggingFaceEndpoint(ENDPOINT).repo_id is None


# fmt: off
PIECES = st.sampled_from([
    "https://", "http://", "hf://", "roboflow://", "file://", "nuclio+", "hf-endpoint+", "huggingface.co", "hf.co",
    "router.huggingface.co", "x.endpoints.huggingface.cloud", "universe.roboflow.com", "app.roboflow.com",
    "detect.roboflow.com", "serverless.roboflow.com", "localhost", ":9001", ":8070", "/", "/", "/", "org", "name",
    "models", "tree", "blob", "resolve", "main", "refs", "pr", "convert", "1", "3", "@", "%2F", "%20", "%40", "%",
    "..", ".", "~", "model.onnx", "model.xml", "a-2-b", "discussions", "commits", "functions", "projects", "api",
    "deploy", "datasets", "?api_key=", "&", "=", "#", f"#sha256={SHA}", "?download=1", "hf-inference", "-", "é", " ",
    "[", "]",
])
# fmt: on
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=14).map("".join), st.lists(PIECES | st.text(max_size=3)).map("".join)
)


@given(TEXTS)
@example("http://[")
@example("//")
@example("hf://@/@")
@example("https://huggingface.co/org/name@x/y")
def test_any_text_becomes_a_reference_that_round_trips_or_is_refused(text: str) -> None:
    try:
        parsed = parse_reference(text)
    except InvalidReference as error:
        assert error.message
        assert error.hint
        return
    again = parse_reference(parsed.reference.canonical)
    assert again.reference == parsed.reference
    assert again.reference.canonical == parsed.reference.canonical
    assert again.secrets == ()


@given(TEXTS, st.sampled_from(["?api_key={}", "&token={}", "#access_token={}", "?a=b&secret={}"]))
def test_no_key_of_a_url_gets_into_reference_repr_or_message(text: str, tail: str) -> None:
    # A path may hold a question mark, and is shown as it was typed.
    pasted = text.split("#", maxsplit=1)[0] + tail.format(KEY)
    try:
        parsed = parse_reference(f"https://{pasted}")
    except InvalidReference as error:
        assert KEY not in f"{error} {error!r} {error.hint}"
        return
    assert KEY not in f"{parsed!r} {parsed.reference.canonical}"


@given(TEXTS)
def test_no_login_of_a_url_gets_into_reference_repr_or_message(text: str) -> None:
    try:
        parsed = parse_reference(f"https://me:{KEY}@{text}")
    except InvalidReference as error:
        assert KEY not in f"{error} {error!r} {error.hint}"
        return
    assert KEY not in f"{parsed!r} {parsed.reference.canonical}"
    assert [secret.value for secret in parsed.secrets if KEY in secret.value]


def test_the_tables_are_long() -> None:
    assert len(ACCEPTED) + len(REFUSED) > 200
