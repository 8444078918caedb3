"""Everything that a detector's checkpoint may ask for, by the module and the name that Python and torch look up.

Names, and not patterns: the modules that hold layers also hold functions that load files and evaluate text, and classes
that they import from elsewhere. What ultralytics adds with a release has to be added here, or its checkpoints are
refused, which says the name; `tests/unit/export/archive/test_known_names.py` holds what each release writes.
"""

from __future__ import annotations

_DATA = {
    "_codecs": "encode",
    "builtins": "set",
    "collections": "OrderedDict",
    "numpy": "dtype",
    "numpy._core.multiarray": "scalar",
    "numpy.core.multiarray": "scalar",
    "pathlib": "PosixPath WindowsPath",
    "pathlib._local": "PosixPath WindowsPath",
    "torch": (
        "Size device BFloat16Storage BoolStorage ByteStorage CharStorage DoubleStorage FloatStorage HalfStorage "
        "IntStorage LongStorage ShortStorage bfloat16 bool float16 float32 float64 int16 int32 int64 int8 uint8"
    ),
    "torch._utils": "_rebuild_parameter _rebuild_tensor_v2",
    "ultralytics.utils": "IterableSimpleNamespace",
    "ultralytics.yolo.utils": "IterableSimpleNamespace",
}
"""Data that ultralytics puts beside the layers: sizes, metrics, arguments, paths; and what tensors consist of."""

_TORCH_LAYERS = {
    "activation": (
        "CELU ELU GELU GLU Hardshrink Hardsigmoid Hardswish Hardtanh LeakyReLU LogSigmoid LogSoftmax Mish "
        "MultiheadAttention PReLU RReLU ReLU ReLU6 SELU SiLU Sigmoid Softmax Softmax2d Softmin Softplus Softshrink "
        "Softsign Tanh Tanhshrink Threshold"
    ),
    "batchnorm": "BatchNorm1d BatchNorm2d BatchNorm3d SyncBatchNorm",
    "channelshuffle": "ChannelShuffle",
    "container": "ModuleDict ModuleList ParameterDict ParameterList Sequential",
    "conv": "Conv1d Conv2d Conv3d ConvTranspose1d ConvTranspose2d ConvTranspose3d",
    "distance": "CosineSimilarity PairwiseDistance",
    "dropout": "AlphaDropout Dropout Dropout1d Dropout2d Dropout3d FeatureAlphaDropout",
    "flatten": "Flatten Unflatten",
    "fold": "Fold Unfold",
    "instancenorm": "InstanceNorm1d InstanceNorm2d InstanceNorm3d",
    "linear": "Bilinear Identity Linear NonDynamicallyQuantizableLinear",
    "loss": "BCELoss BCEWithLogitsLoss CrossEntropyLoss HuberLoss KLDivLoss L1Loss MSELoss NLLLoss SmoothL1Loss",
    "module": "Module",
    "normalization": "CrossMapLRN2d GroupNorm LayerNorm LocalResponseNorm RMSNorm",
    "padding": (
        "ConstantPad1d ConstantPad2d ConstantPad3d ReflectionPad1d ReflectionPad2d ReflectionPad3d ReplicationPad1d "
        "ReplicationPad2d ReplicationPad3d ZeroPad1d ZeroPad2d ZeroPad3d"
    ),
    "pixelshuffle": "PixelShuffle PixelUnshuffle",
    "pooling": (
        "AdaptiveAvgPool1d AdaptiveAvgPool2d AdaptiveAvgPool3d AdaptiveMaxPool1d AdaptiveMaxPool2d AdaptiveMaxPool3d "
        "AvgPool1d AvgPool2d AvgPool3d LPPool1d LPPool2d MaxPool1d MaxPool2d MaxPool3d MaxUnpool1d MaxUnpool2d "
        "MaxUnpool3d"
    ),
    "sparse": "Embedding EmbeddingBag",
    "transformer": "Transformer TransformerDecoder TransformerDecoderLayer TransformerEncoder TransformerEncoderLayer",
    "upsampling": "Upsample UpsamplingBilinear2d UpsamplingNearest2d",
}
"""Layers and losses, by the module of ``torch.nn.modules``. Everything is given its state there, nothing is called."""

_ULTRALYTICS = {
    "ultralytics.nn.modules": (
        "Bottleneck BottleneckCSP C1 C2 C2f C3 C3Ghost C3TR C3x CBAM ChannelAttention Classify Concat Conv "
        "ConvTranspose DFL DWConv DWConvTranspose2d Detect Ensemble Focus GhostBottleneck GhostConv Pose Proto SPP "
        "SPPF Segment SpatialAttention TransformerBlock TransformerLayer"
    ),
    "ultralytics.nn.modules.activation": "AGLU",
    "ultralytics.nn.modules.block": (
        "A2C2f AAttn ABlock AConv ADown Attention BNContrastiveHead Bottleneck BottleneckCSP C1 C2 C2PSA C2f C2fAttn "
        "C2fCIB C2fPSA C3 C3Ghost C3TR C3f C3k C3k2 C3x CBFuse CBLinear CIB ContrastiveHead DFL ELAN1 GhostBottleneck "
        "HGBlock HGStem ImagePoolingAttn MaxSigmoidAttnBlock PSA PSABlock Proto Proto26 RealNVP RepBottleneck RepC3 "
        "RepCSP RepNCSPELAN4 RepVGGDW ResNetBlock ResNetLayer Residual SAVPE SCDown SPP SPPELAN SPPF Silence "
        "SwiGLUFFN TorchVision"
    ),
    "ultralytics.nn.modules.conv": (
        "CBAM ChannelAttention Concat Conv Conv2 ConvTranspose DWConv DWConvTranspose2d Focus GhostConv Index "
        "LightConv RepConv SpatialAttention"
    ),
    "ultralytics.nn.modules.head": (
        "Classify Depth Detect LRPCHead OBB OBB26 Pose Pose26 RTDETRDecoder Segment Segment26 SemanticSegment "
        "WorldDetect YOLOEDetect YOLOESegment YOLOESegment26 v10Detect"
    ),
    "ultralytics.nn.modules.transformer": (
        "AIFI DeformableTransformerDecoder DeformableTransformerDecoderLayer LayerNorm2d MLP MLPBlock MSDeformAttn "
        "TransformerBlock TransformerEncoderLayer TransformerLayer"
    ),
    "ultralytics.nn.tasks": (
        "BaseModel ClassificationModel DepthModel DetectionModel Ensemble OBBModel PoseModel RTDETRDetectionModel "
        "SegmentationModel SemanticSegmentationModel WorldModel YOLOEModel YOLOESegModel YOLOv10DetectionModel"
    ),
    "ultralytics.utils.loss": (
        "BCEDiceLoss BboxLoss DFLoss DepthLoss26 E2EDetectLoss E2ELoss FocalLoss KeypointLoss MultiChannelDiceLoss "
        "PoseLoss26 RLELoss RotatedBboxLoss SegmentLoss26 SemanticSegmentationLoss TVPDetectLoss TVPSegmentLoss "
        "VarifocalLoss v10DetectLoss v8ClassificationLoss v8DetectionLoss v8OBBLoss v8PoseLoss v8SegmentationLoss"
    ),
    "ultralytics.utils.tal": (
        "PoseTaskAlignedAssigner RotatedTaskAlignedAssigner SegTaskAlignedAssigner TaskAlignedAssigner"
    ),
    "ultralytics.yolo.utils.loss": (
        "BboxLoss FocalLoss KeypointLoss VarifocalLoss v8ClassificationLoss v8DetectionLoss v8PoseLoss "
        "v8SegmentationLoss"
    ),
    "ultralytics.yolo.utils.tal": "TaskAlignedAssigner",
}
"""Layers, models, losses and what losses consist of, in every release from 8.0.0 on; those of YOLOv10 among them."""

ALLOWED = frozenset(
    (module, name)
    for modules in (
        _DATA,
        {f"torch.nn.modules.{module}": names for module, names in _TORCH_LAYERS.items()},
        _ULTRALYTICS,
    )
    for module, names in modules.items()
    for name in names.split()
)


def is_allowed(module: str, name: str) -> bool:
    """Whether a detector's checkpoint may ask for a name of a module."""
    return (module, name) in ALLOWED
