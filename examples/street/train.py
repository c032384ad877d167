"""Train the demo model: a small RT-DETR on the drawn scenes of ``scenes.py``.

Needs the ``transformers`` extra and scipy. Two cores take about an hour. Two processes with one thread each and
averaged gradients are half as fast again as one process with two threads.

    python examples/street/train.py --minutes 60 --out /tmp/street          # writes a checkpoint as it goes
    python examples/street/export.py /tmp/street examples/street/model      # then Hugging Face and ONNX files
"""

from __future__ import annotations

import argparse
import math
import os
import pickle
import time
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from PIL import Image
from scenes import HEIGHT, LABELS, WIDTH, make_scene
from transformers import RTDetrConfig, RTDetrForObjectDetection, RTDetrResNetConfig

INPUT_WIDTH, INPUT_HEIGHT = 256, 192
WORKERS = 2
BATCH = 8  # of each worker


def build_model() -> RTDetrForObjectDetection:
    backbone = RTDetrResNetConfig(
        embedding_size=24,
        hidden_sizes=[24, 64, 96, 128],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )
    config = RTDetrConfig(
        backbone_config=backbone,
        encoder_in_channels=[64, 96, 128],
        encoder_hidden_dim=64,
        encoder_ffn_dim=128,
        encoder_layers=1,
        hidden_expansion=0.5,
        encoder_attention_heads=4,
        decoder_in_channels=[64, 64, 64],
        d_model=64,
        decoder_layers=3,
        decoder_ffn_dim=128,
        decoder_attention_heads=4,
        num_queries=50,
        num_denoising=40,
        freeze_backbone_batch_norms=False,
        id2label=dict(enumerate(LABELS)),
        label2id={name: i for i, name in enumerate(LABELS)},
    )
    model = RTDetrForObjectDetection(config)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):  # transformers starts these near zero in a backbone from scratch
            torch.nn.init.ones_(module.weight)
    return model


def load_scenes(cache: Path, count: int, part: int) -> tuple[np.ndarray, list[tuple[np.ndarray, np.ndarray]]]:
    """The scenes of one worker, drawn at the first call: images u8[n, h, w, 3], boxes in frame pixels, label ids."""
    images_path, truth_path = cache / f"scenes_{part}.npy", cache / f"scenes_{part}.pkl"
    if not truth_path.exists():
        images, truth = [], []
        for index in range(part, count, WORKERS):
            scene = make_scene(1, index)
            images.append(np.asarray(scene.image.resize((INPUT_WIDTH, INPUT_HEIGHT), Image.Resampling.BILINEAR)))
            truth.append((scene.boxes, scene.label_ids))
        cache.mkdir(parents=True, exist_ok=True)
        np.save(images_path, np.stack(images))
        truth_path.write_bytes(pickle.dumps(truth))
    return np.load(images_path, mmap_mode="r"), pickle.loads(truth_path.read_bytes())


def augment(
    image: np.ndarray, boxes: np.ndarray, label_ids: np.ndarray, rng: np.random.Generator
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """A flipped, cropped and relit copy: pixels f32[3, h, w] in 0 to 1, boxes as normalised centre and size."""
    boxes = boxes / np.array([WIDTH, HEIGHT, WIDTH, HEIGHT], np.float32)
    picture = Image.fromarray(image)
    if rng.random() < 0.7:
        share = rng.uniform(0.7, 1.25)  # below 1 zooms in, above 1 zooms out onto grey
        left, top = rng.uniform(min(0, 1 - share), max(0, 1 - share), 2)
        size = (INPUT_WIDTH, INPUT_HEIGHT)
        window = (left * size[0], top * size[1], (left + share) * size[0], (top + share) * size[1])
        fill = tuple(int(v) for v in rng.integers(0, 256, 3))
        picture = picture.transform(size, Image.Transform.EXTENT, window, Image.Resampling.BILINEAR, fillcolor=fill)
        whole = (boxes - np.array([left, top, left, top])) / share
        boxes = whole.clip(0, 1)
        areas = [np.prod(part[:, 2:] - part[:, :2], axis=1) for part in (boxes, whole)]
        keep = areas[0] > 0.4 * areas[1]
        boxes, label_ids = boxes[keep], label_ids[keep]
    if rng.random() < 0.5:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        boxes = np.stack([1 - boxes[:, 2], boxes[:, 1], 1 - boxes[:, 0], boxes[:, 3]], axis=1)
    pixels = torch.from_numpy(np.array(picture)).permute(2, 0, 1).float() / 255
    pixels = (pixels * float(rng.uniform(0.75, 1.25)) + float(rng.uniform(-0.08, 0.08))).clamp(0, 1)
    centres = np.concatenate([(boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]], axis=1)
    truth = {
        "class_labels": torch.from_numpy(label_ids.astype(np.int64)),
        "boxes": torch.from_numpy(centres.astype(np.float32)),
    }
    return pixels, truth


def learning_rate(share: float, step: int) -> float:
    """Warm-up over 200 steps, then a cosine from 1e-3 down to 2e-5 over the time given."""
    return min(1.0, (step + 1) / 200) * (2e-5 + (1e-3 - 2e-5) * 0.5 * (1 + math.cos(math.pi * min(1.0, share))))


def average_gradients(model: torch.nn.Module) -> None:
    parameters = [p for p in model.parameters() if p.requires_grad]
    flat = torch.cat([(p.grad if p.grad is not None else torch.zeros_like(p)).reshape(-1) for p in parameters])
    dist.all_reduce(flat)
    flat /= WORKERS
    for parameter, piece in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        parameter.grad = torch.empty_like(parameter).copy_(piece.view_as(parameter))  # in the weights' own layout


def work(rank: int, args: argparse.Namespace) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(args.port))
    torch.set_num_threads(1)
    dist.init_process_group("gloo", rank=rank, world_size=WORKERS)
    images, truth = load_scenes(args.cache, args.scenes, rank)
    torch.manual_seed(0)
    model = build_model().train().to(memory_format=torch.channels_last)
    if args.start_from:
        model.load_state_dict(torch.load(args.start_from, weights_only=True))
    average = torch.optim.swa_utils.AveragedModel(
        model, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.998), use_buffers=True
    )
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, weight_decay=1e-4)
    rng = np.random.default_rng((rank, args.seed))
    started, step, losses = time.monotonic(), 0, []
    finished = torch.zeros(1)
    while not finished.item():
        share = (time.monotonic() - started) / (60 * args.minutes)
        progress = torch.tensor([share])
        dist.broadcast(progress, 0)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(progress.item(), step)
        chosen = rng.integers(len(truth), size=BATCH)
        pairs = [augment(images[i], *truth[i], rng) for i in chosen]
        with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
            pixels = torch.stack([p for p, _ in pairs]).to(memory_format=torch.channels_last)
            loss = model(pixels, labels=[t for _, t in pairs]).loss
        optimizer.zero_grad()
        loss.backward()
        average_gradients(model)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        average.update_parameters(model)
        losses.append(loss.item())
        step += 1
        finished.fill_(float(progress.item() >= 1))
        if rank == 0 and (step % 100 == 0 or finished.item()):
            seconds = time.monotonic() - started
            speed = step * BATCH * WORKERS / seconds
            loss_now = np.mean(losses[-100:])
            print(f"step {step}  {seconds / 60:.1f} min  {speed:.1f} images/s  loss {loss_now:.3f}", flush=True)
        if rank == 0 and (step % 500 == 0 or finished.item()):
            args.out.mkdir(parents=True, exist_ok=True)
            average.module.save_pretrained(args.out)
            torch.save(model.state_dict(), args.out / "last.pt")
    dist.destroy_process_group()


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo model on drawn scenes.")
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--scenes", type=int, default=12_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path, default=Path("/tmp/hubbridge-scenes"))
    parser.add_argument("--out", type=Path, default=Path("/tmp/hubbridge-street"))
    parser.add_argument("--start-from", type=Path, help="a last.pt of an earlier run")
    parser.add_argument("--bf16", action="store_true", help="bfloat16 autocast, where the processor has it")
    parser.add_argument("--port", type=int, default=29517)
    args = parser.parse_args()
    mp.spawn(work, (args,), nprocs=WORKERS)


if __name__ == "__main__":
    main()
