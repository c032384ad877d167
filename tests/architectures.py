"""A random model of every transformers architecture that is run, small enough for tests, as a folder to be added.

Each builder gives (model, preprocessor_config.json, further files as the library writes them). Scores of fresh models
are all alike, so parameters are shaken; models of masks get biases under which segments come out.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers as tf
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from tokenizers.normalizers import Lowercase

LABELS = ("car", "person", "tree", "stop sign")
JOINTS = ("nose", "left eye", "right eye", "left ear", "right ear")
WORDS = (
    *("a", "the", "this", "is", "photo", "of", ".", ",", ":", "task", "semantic", "instance", "panoptic"),
    *("car", "person", "tree", "stop", "sign", "red", "big"),
)
Built = tuple[Any, dict[str, Any]]

_NAMES = {"id2label": dict(enumerate(LABELS)), "label2id": {name: i for i, name in enumerate(LABELS)}}
_DETR_SIZE = {"shortest_edge": 64, "longest_edge": 96}


def _resnet(**options: Any) -> Any:
    return tf.ResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage1", "stage2", "stage3", "stage4"],
        **options,
    )


def _processor(name: str, **options: Any) -> dict[str, Any]:
    return {"image_processor_type": f"{name}ImageProcessor", **options}


def _detr_config(cls: Any = tf.DetrConfig, **options: Any) -> Any:
    return cls(
        use_timm_backbone=False,
        use_pretrained_backbone=False,
        backbone=None,
        backbone_config=_resnet(),
        **{
            "d_model": 32,
            "encoder_layers": 1,
            "decoder_layers": 1,
            "encoder_ffn_dim": 16,
            "decoder_ffn_dim": 16,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "num_queries": 12,
            **_NAMES,
            **options,
        },
    )


def detr() -> Built:
    return tf.DetrForObjectDetection(_detr_config()), _processor("Detr", size=_DETR_SIZE)


def conditional_detr() -> Built:
    model = tf.ConditionalDetrForObjectDetection(_detr_config(tf.ConditionalDetrConfig))
    return model, _processor("ConditionalDetr", size=_DETR_SIZE)


def deformable_detr() -> Built:
    # With one decoder layer, the library cannot save what it has tied.
    config = _detr_config(
        tf.DeformableDetrConfig, num_feature_levels=4, encoder_n_points=2, decoder_n_points=2, decoder_layers=2
    )
    return tf.DeformableDetrForObjectDetection(config), _processor("DeformableDetr", size=_DETR_SIZE)


def table_transformer() -> Built:
    model = tf.TableTransformerForObjectDetection(_detr_config(tf.TableTransformerConfig))
    return model, _processor("Detr", size=_DETR_SIZE)


def dab_detr() -> Built:
    # With one decoder layer, the library cannot save what it has tied.
    config = _detr_config(tf.DabDetrConfig, hidden_size=32, decoder_layers=2)
    return tf.DabDetrForObjectDetection(config), _processor("ConditionalDetr", size=_DETR_SIZE)


def lw_detr() -> Built:
    backbone = tf.LwDetrViTConfig(
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        pretrain_image_size=64,
        window_block_indices=[0],
        num_windows=4,
        out_features=["stage1", "stage2"],
    )
    config = tf.LwDetrConfig(
        backbone_config=backbone,
        projector_scale_factors=[1.0],
        d_model=32,
        decoder_ffn_dim=16,
        decoder_n_points=2,
        decoder_layers=2,
        decoder_self_attention_heads=2,
        decoder_cross_attention_heads=2,
        num_queries=12,
        group_detr=2,
        **_NAMES,
    )
    size = {"height": 64, "width": 64}
    return tf.LwDetrForObjectDetection(config), _processor("DeformableDetr", size=size, do_pad=False)


def yolos() -> Built:
    config = tf.YolosConfig(**_VIT, image_size=[64, 96], num_detection_tokens=12, **_NAMES)
    return tf.YolosForObjectDetection(config), _processor("Yolos", size=_DETR_SIZE)


_RT = {
    "encoder_in_channels": [16, 16, 16],
    "encoder_hidden_dim": 16,
    "encoder_ffn_dim": 16,
    "encoder_layers": 1,
    "encoder_attention_heads": 2,
    "hidden_expansion": 0.5,
    "decoder_in_channels": [16, 16, 16],
    "d_model": 16,
    "decoder_layers": 2,  # with one, the library cannot save what it has tied
    "decoder_ffn_dim": 16,
    "decoder_attention_heads": 2,
    "num_queries": 12,
    "num_denoising": 0,
    "freeze_backbone_batch_norms": False,
}


def _rt_resnet() -> Any:
    return tf.RTDetrResNetConfig(
        embedding_size=8,
        hidden_sizes=[8, 16, 16, 16],
        depths=[1, 1, 1, 1],
        layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )


def rt_detr_v2() -> Built:
    model = tf.RTDetrV2ForObjectDetection(tf.RTDetrV2Config(backbone_config=_rt_resnet(), **_RT, **_NAMES))
    return model, _processor("RTDetr", size={"height": 64, "width": 96})


def rt_detr() -> Built:
    model = tf.RTDetrForObjectDetection(tf.RTDetrConfig(backbone_config=_rt_resnet(), **_RT, **_NAMES))
    return model, _processor("RTDetr", size={"height": 64, "width": 96})


def _hgnet() -> Any:
    return tf.HGNetV2Config(
        embedding_size=8,
        depths=[1, 1, 1, 1],
        hidden_sizes=[16, 16, 16, 16],
        stem_channels=[3, 8, 8],
        stage_in_channels=[8, 16, 16, 16],
        stage_mid_channels=[8, 8, 8, 8],
        stage_out_channels=[16, 16, 16, 16],
        stage_num_blocks=[1, 1, 1, 1],
        stage_downsample=[False, True, True, True],
        stage_light_block=[False, False, True, True],
        stage_kernel_size=[3, 3, 3, 3],
        stage_numb_of_layers=[1, 1, 1, 1],
        out_features=["stage2", "stage3", "stage4"],
    )


def d_fine() -> Built:
    config = tf.DFineConfig(backbone_config=_hgnet(), **_RT, decoder_n_points=[2, 2, 2], **_NAMES)
    return tf.DFineForObjectDetection(config), _processor("RTDetr", size={"height": 64, "width": 96})


def deimv2() -> Built:
    config = tf.Deimv2Config(backbone_config=_hgnet(), **_RT, decoder_n_points=[2, 2, 2], **_NAMES)
    return tf.Deimv2ForObjectDetection(config), _processor("RTDetr", size={"height": 64, "width": 96})


_VIT = {
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 16,
    "patch_size": 16,
}


def vit() -> Built:
    config = tf.ViTConfig(**_VIT, image_size=32, **_NAMES)
    return tf.ViTForImageClassification(config), _processor("ViT", size={"height": 32, "width": 32})


def resnet() -> Built:
    config = _resnet(**_NAMES, problem_type="multi_label_classification")
    return tf.ResNetForImageClassification(config), _processor("ConvNext", size={"shortest_edge": 64})


def convnext() -> Built:
    config = tf.ConvNextConfig(hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], **_NAMES)
    return tf.ConvNextForImageClassification(config), _processor("ConvNext", size={"shortest_edge": 64})


def segformer() -> Built:
    config = tf.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        **_NAMES,
    )
    return tf.SegformerForSemanticSegmentation(config), _processor("Segformer", size={"height": 64, "width": 64})


def upernet() -> Built:
    config = tf.UperNetConfig(
        backbone_config=_resnet(),
        hidden_size=16,
        auxiliary_in_channels=16,
        auxiliary_channels=8,
        pool_scales=[1, 2],
        **_NAMES,
    )
    return tf.UperNetForSemanticSegmentation(config), _processor("Segformer", size={"height": 64, "width": 64})


def _swin() -> Any:
    return tf.SwinConfig(
        embed_dim=8,
        depths=[1, 1, 1, 1],
        num_heads=[1, 1, 2, 2],
        window_size=4,
        image_size=64,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )


_MASK_SIZE = {"size": {"height": 64, "width": 96}, "size_divisor": 32}


def mask2former() -> Built:
    config = tf.Mask2FormerConfig(
        backbone_config=_swin(),
        feature_size=32,
        mask_feature_size=32,
        hidden_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        num_queries=2,
        **_NAMES,
    )
    return tf.Mask2FormerForUniversalSegmentation(config), _processor("Mask2Former", **_MASK_SIZE)


def maskformer() -> Built:
    decoder = _detr_config()
    config = tf.MaskFormerConfig(
        backbone_config=_swin(), decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, **_NAMES
    )
    return tf.MaskFormerForInstanceSegmentation(config), _processor("MaskFormer", **_MASK_SIZE)


def oneformer() -> Built:
    config = tf.OneFormerConfig(
        backbone_config=_swin(),
        num_queries=12,
        hidden_dim=32,
        conv_dim=32,
        mask_dim=32,
        encoder_feedforward_dim=16,
        encoder_layers=1,
        decoder_layers=2,
        num_attention_heads=2,
        dim_feedforward=16,
        text_encoder_width=16,
        text_encoder_num_layers=1,
        text_encoder_vocab_size=64,
        task_seq_len=16,
        is_training=False,
        **_NAMES,
    )
    return tf.OneFormerForUniversalSegmentation(config), _processor("OneFormer", size={"height": 64, "width": 96})


def detr_segmentation() -> Built:
    model = tf.DetrForSegmentation(_detr_config(encoder_attention_heads=8, decoder_attention_heads=8))
    return model, _processor("Detr", size=_DETR_SIZE)


_CLIP_TEXT = {
    "vocab_size": 64,
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "max_position_embeddings": 16,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
_CLIP_VISION = {
    "hidden_size": 16,
    "intermediate_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 16,
}


def clip() -> Built:
    config = tf.CLIPConfig(text_config=_CLIP_TEXT, vision_config=_CLIP_VISION, projection_dim=16)
    return tf.CLIPModel(config), _processor("CLIP", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


def siglip() -> Built:
    text = {**_CLIP_TEXT, "max_position_embeddings": 64, "projection_size": 16}
    config = tf.SiglipConfig(text_config=text, vision_config=_CLIP_VISION)
    return tf.SiglipModel(config), _processor("Siglip", size={"height": 32, "width": 32})


def owlvit() -> Built:
    config = tf.OwlViTConfig(
        text_config=_CLIP_TEXT, vision_config={**_CLIP_VISION, "image_size": 64}, projection_dim=16
    )
    return tf.OwlViTForObjectDetection(config), _processor("OwlViT", size={"height": 64, "width": 64})


def owlv2() -> Built:
    config = tf.Owlv2Config(text_config=_CLIP_TEXT, vision_config={**_CLIP_VISION, "image_size": 64}, projection_dim=16)
    return tf.Owlv2ForObjectDetection(config), _processor("Owlv2", size={"height": 64, "width": 64})


def grounding_dino() -> Built:
    text = tf.BertConfig(
        vocab_size=64,
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=64,
        pad_token_id=0,
    )
    swin = _swin()
    swin.out_features = ["stage2", "stage3", "stage4"]
    config = tf.GroundingDinoConfig(
        backbone_config=swin,
        text_config=text,
        num_queries=12,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
        max_text_len=32,
        query_dim=4,
        positional_embedding_temperature=20,
        disable_custom_kernels=True,
    )
    return tf.GroundingDinoForObjectDetection(config), _processor("GroundingDino", size=_DETR_SIZE)


def vitpose() -> Built:
    backbone = tf.VitPoseBackboneConfig(
        image_size=[64, 48],
        patch_size=[16, 16],
        hidden_size=16,
        num_hidden_layers=1,
        num_attention_heads=2,
        mlp_ratio=1,
        out_features=["stage1"],
    )
    config = tf.VitPoseConfig(
        backbone_config=backbone,
        use_simple_decoder=True,
        id2label=dict(enumerate(JOINTS)),
        label2id={name: i for i, name in enumerate(JOINTS)},
    )
    return tf.VitPoseForPoseEstimation(config), _processor("VitPose", size={"height": 64, "width": 48})


def vit_features() -> Built:
    return tf.ViTModel(tf.ViTConfig(**_VIT, image_size=32)), _processor("ViT", size={"height": 32, "width": 32})


def dinov2() -> Built:
    config = tf.Dinov2Config(**{**_VIT, "image_size": 32})
    return tf.Dinov2Model(config), _processor("Bit", size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})


_SQUARE = {"height": 32, "width": 32}


def deit() -> Built:
    return tf.DeiTModel(tf.DeiTConfig(**_VIT, image_size=32)), _processor("DeiT", size=_SQUARE, crop_size=_SQUARE)


def dinov2_with_registers() -> Built:
    config = tf.Dinov2WithRegistersConfig(**{**_VIT, "image_size": 32}, num_register_tokens=2)
    return tf.Dinov2WithRegistersModel(config), _processor("Bit", size={"shortest_edge": 32}, crop_size=_SQUARE)


def dinov3() -> Built:
    config = tf.DINOv3ViTConfig(**{**_VIT, "hidden_size": 32}, image_size=32, num_register_tokens=2)
    return tf.DINOv3ViTModel(config), _processor("DINOv3ViT", size=_SQUARE)


_SAM_DECODER = {
    "hidden_size": 16,
    "mlp_dim": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "iou_head_hidden_dim": 16,
}
_SAM_PROMPTS = {"hidden_size": 16, "image_size": 64, "mask_input_channels": 4}


def sam() -> Built:
    vision = tf.SamVisionConfig(
        hidden_size=16,
        output_channels=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=64,
        patch_size=8,
        mlp_dim=16,
        window_size=4,
        global_attn_indexes=[1],
        num_pos_feats=8,
    )
    config = tf.SamConfig(
        vision_config=vision.to_dict(),
        prompt_encoder_config={**_SAM_PROMPTS, "patch_size": 8},
        mask_decoder_config=_SAM_DECODER,
    )
    sizes = {"size": {"longest_edge": 64}, "pad_size": {"height": 64, "width": 64}}
    return tf.SamModel(config), _processor("Sam", **sizes)


_SAM2_PROCESSOR = {"image_processor_type": "Sam2ImageProcessorFast", "size": {"height": 64, "width": 64}}


def _sam2_parts(hidden: int = 16) -> dict[str, Any]:
    backbone = tf.Sam2HieraDetConfig(
        hidden_size=8,
        num_attention_heads=1,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 2, 4, 2],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = tf.Sam2VisionConfig(
        backbone_config=backbone.to_dict(),
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
        fpn_hidden_size=hidden,
    )
    return {
        "vision_config": vision.to_dict(),
        "prompt_encoder_config": {**_SAM_PROMPTS, "hidden_size": hidden, "patch_size": 16},
        "mask_decoder_config": {**_SAM_DECODER, "hidden_size": hidden},
    }


def sam2() -> Built:
    config = tf.Sam2Config(**_sam2_parts())
    return tf.Sam2Model(config), _SAM2_PROCESSOR


def sam2_video() -> Built:
    hidden = 128  # the memory's 64 have to fit into it several times
    config = tf.Sam2VideoConfig(
        **_sam2_parts(hidden),
        image_size=64,
        memory_attention_hidden_size=hidden,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=16,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=hidden,
        memory_fuser_num_layers=1,
        memory_fuser_embed_dim=hidden,
        memory_fuser_intermediate_dim=16,
        mask_downsampler_embed_dim=hidden,
    )
    return tf.Sam2VideoModel(config), _SAM2_PROCESSOR


DETECTION: tuple[Callable[[], Built], ...] = (
    detr,
    conditional_detr,
    deformable_detr,
    dab_detr,
    table_transformer,
    lw_detr,
    yolos,
    rt_detr,
    rt_detr_v2,
    d_fine,
    deimv2,
)
# Of the same code as others above, and so not run as programs of their own.
SIBLINGS: tuple[Callable[[], Built], ...] = (dab_detr, table_transformer, lw_detr, rt_detr, deimv2)
CLASSIFICATION: tuple[Callable[[], Built], ...] = (vit, resnet, convnext)
SEMANTIC: tuple[Callable[[], Built], ...] = (segformer, upernet)
UNIVERSAL: tuple[Callable[[], Built], ...] = (mask2former, maskformer, oneformer, detr_segmentation)
ZERO_SHOT_CLASSIFICATION: tuple[Callable[[], Built], ...] = (clip, siglip)
ZERO_SHOT_DETECTION: tuple[Callable[[], Built], ...] = (owlvit, owlv2, grounding_dino)
KEYPOINTS: tuple[Callable[[], Built], ...] = (vitpose,)
EMBEDDERS: tuple[Callable[[], Built], ...] = (vit_features, deit, dinov2, dinov2_with_registers, dinov3)
SEGMENTERS: tuple[Callable[[], Built], ...] = (sam, sam2, sam2_video)
READS_TEXTS = {oneformer, *ZERO_SHOT_CLASSIFICATION, *ZERO_SHOT_DETECTION}


def write(build: Callable[[], Built], folder: Path) -> Path:
    """The model's folder, as a repository of the hub would hold it."""
    torch.manual_seed(0)
    model, processor = build()
    model.eval()
    _shake(model)
    if build in UNIVERSAL:
        _make_sure_of_labels(model)
    folder.mkdir(parents=True)
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(processor))
    if build in READS_TEXTS:
        write_tokenizer(folder)
    return folder


def _shake(model: Any) -> None:
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.weight.fill_(1.0)
        for parameter in model.parameters():
            if parameter.dtype.is_floating_point and parameter.dim() > 0:
                parameter.add_(torch.randn_like(parameter) * 0.2)


def _make_sure_of_labels(model: Any) -> None:
    """Every query is sure of one label, and "no object", the last one, is never the best."""
    with torch.no_grad():
        for name, module in model.named_modules():
            if name.endswith(("class_predictor", "class_embed", "class_labels_classifier")) and hasattr(module, "bias"):
                module.weight.mul_(10)
                module.bias[-1] = -20.0


def write_tokenizer(folder: Path, words: Sequence[str] = WORDS) -> None:
    """Whole words, lower case; the special tokens stand where CLIP's and BERT's configs above expect them."""
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[CLS]", "[SEP]", "[UNK]", *words))}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 1), ("[SEP]", 2)]
    )
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        unk_token="[UNK]",
        eos_token="[SEP]",
        model_max_length=16,
    )
    fast.save_pretrained(folder)
