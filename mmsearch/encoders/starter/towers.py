"""The starter model's two towers as ONNX graphs.

They are made node by node, so that the same weights give the same bytes whatever exporter is current.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import ModelProto

Array = NDArray[Any]

DIM = 384  # width of MiniLM's hidden states, hence of both towers' embeddings
IMAGE_SIZE = 224  # pixels; what Lite0 was trained at
CONTEXT_LENGTH = 256  # tokens, [CLS] and [SEP] included; what MiniLM was trained for
HEADS = 12
LAYERS = 6

# How many classes an image is composed of. With a temperature of 2 alone, 100 did worse than 50, and 20 about as well.
TOP_CLASSES = 50
# The embedding is the mean of two compositions: at 1 the classifier's own probabilities, which keep near classes (dog
# breeds) apart; at 2.5 a flatter reading, where the classes behind the first say what all have in common.
TEMPERATURES = (1.0, 2.5)

# ORT 1.17 and later run both; opset 20 has Gelu and 17 LayerNormalization as one node each.
OPSET = 20
IR_VERSION = 9

# EfficientNet-Lite0's stages: (expansion, kernel, stride, blocks, channels out). Tan and Le, 2019, table 1.
STAGES = (
    (1, 3, 1, 1, 16),
    (6, 3, 2, 2, 24),
    (6, 5, 2, 2, 40),
    (6, 3, 2, 3, 80),
    (6, 5, 1, 3, 112),
    (6, 5, 2, 4, 192),
    (6, 3, 1, 1, 320),
)
LAYER_NORM_EPSILON = 1e-12  # BERT's


class BuildError(Exception):
    """An input is not what the build was written for."""


class Graph:
    """An ONNX graph under construction. Methods add nodes and return the name of what they compute."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.initializers: list[Any] = []

    def constant(self, value: Array) -> str:
        from onnx import numpy_helper

        name = f"c{len(self.initializers)}"
        self.initializers.append(numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def ints(self, *values: int) -> str:
        return self.constant(np.array(values, np.int64))

    def number(self, value: float) -> str:
        return self.constant(np.array(value, np.float32))

    def node(self, operator: str, *inputs: str, output: str | None = None, **attributes: Any) -> str:
        from onnx import helper

        name = output or f"n{len(self.nodes)}"
        self.nodes.append(helper.make_node(operator, list(inputs), [name], name=name, **attributes))
        return name

    def cast(self, value: str, kind: str = "FLOAT") -> str:
        from onnx import TensorProto

        return self.node("Cast", value, to=TensorProto.DataType.Value(kind))

    def half(self, value: Array) -> str:
        """A float32 weight stored as float16, half the size. ONNX Runtime folds the cast when it loads the graph."""
        return self.cast(self.constant(value.astype(np.float16)))

    def normalize(self, value: str, output: str | None = None) -> str:
        """`value` divided by its L2 norm over the last axis. A zero vector stays zero."""
        norm = self.node("ReduceL2", value, self.ints(-1), keepdims=1)
        return self.node("Div", value, self.node("Max", norm, self.number(1e-12)), output=output)

    def model(self, name: str, inputs: Sequence[Any], axes: Sequence[str | int]) -> ModelProto:
        """The finished model, whose output `embeddings` is float32 with the given axes."""
        from onnx import TensorProto, checker, helper

        outputs = [helper.make_tensor_value_info("embeddings", TensorProto.FLOAT, axes)]
        graph = helper.make_graph(self.nodes, name, inputs, outputs, self.initializers)
        opset = helper.make_opsetid("", OPSET)
        model = helper.make_model(graph, opset_imports=[opset], ir_version=IR_VERSION, producer_name="mmsearch")
        checker.check_model(model, full_check=True)
        return model


def quantize_rows(weight: Array) -> tuple[Array, Array]:
    """Symmetric 8-bit quantisation, a scale a row: int8 [R, C] and float32 [R, 1] whose product is near `weight`."""
    scale = np.abs(weight).max(axis=1, keepdims=True).astype(np.float32) / np.float32(127)
    return np.rint(weight / scale).astype(np.int8), scale


class TextTower:
    """all-MiniLM-L6-v2 (BERT with 6 layers), its matrices as int8 weights with one scale a row.

    Only the weights are quantised, not the activations: ONNX Runtime expands them once, when it loads the graph. So a
    text's embedding depends neither on the texts beside it nor on how a processor multiplies 8-bit integers.
    """

    def __init__(self, weights: dict[str, Array]) -> None:
        self.graph = Graph()
        self.weights = weights

    def build(self) -> ModelProto:
        from onnx import TensorProto, helper

        graph = self.graph
        mask = graph.cast("attention_mask")
        unseen = graph.node("Mul", graph.node("Sub", mask, graph.number(1)), graph.number(1e9))
        unseen = graph.node("Unsqueeze", unseen, graph.ints(1, 2))
        hidden = self.embed()
        for layer in range(LAYERS):
            hidden = self.block(f"encoder.layer.{layer}.", hidden, unseen)
        self.pool(hidden, mask)
        shape = ["batch", "tokens"]
        inputs = [helper.make_tensor_value_info(n, TensorProto.INT64, shape) for n in ("input_ids", "attention_mask")]
        return graph.model("starter-text", inputs, ["batch", DIM])

    def embed(self) -> str:
        graph = self.graph
        rows, scale = quantize_rows(self.weights["embeddings.word_embeddings.weight"])
        words = graph.cast(graph.node("Gather", graph.constant(rows), "input_ids"))
        words = graph.node("Mul", words, graph.node("Gather", graph.constant(scale), "input_ids"))
        # A query has one segment, so its embedding is a constant that can be added to every position's.
        table = self.weights["embeddings.position_embeddings.weight"][:CONTEXT_LENGTH]
        table = table + self.weights["embeddings.token_type_embeddings.weight"][0]
        length = graph.node("Shape", "input_ids", start=1, end=2)
        positions = graph.node("Slice", graph.half(table), graph.ints(0), length, graph.ints(0))
        return self.layer_norm("embeddings.LayerNorm", graph.node("Add", words, positions))

    def layer_norm(self, name: str, value: str) -> str:
        scale, bias = (self.graph.constant(self.weights[f"{name}.{part}"]) for part in ("weight", "bias"))
        return self.graph.node("LayerNormalization", value, scale, bias, axis=-1, epsilon=LAYER_NORM_EPSILON)

    def linear(self, names: Sequence[str], value: str) -> str:
        """`value` through the linear layers `names` side by side."""
        graph = self.graph
        rows, scale = quantize_rows(np.concatenate([self.weights[f"{name}.weight"] for name in names]))
        matrix = graph.node("Mul", graph.cast(graph.constant(rows.T)), graph.constant(scale.T))
        bias = np.concatenate([self.weights[f"{name}.bias"] for name in names])
        return graph.node("Add", graph.node("MatMul", value, matrix), graph.constant(bias))

    def block(self, name: str, hidden: str, unseen: str) -> str:
        graph = self.graph
        attended = self.linear([f"{name}attention.output.dense"], self.attention(name, hidden, unseen))
        hidden = self.layer_norm(f"{name}attention.output.LayerNorm", graph.node("Add", hidden, attended))
        wide = graph.node("Gelu", self.linear([f"{name}intermediate.dense"], hidden))
        narrow = self.linear([f"{name}output.dense"], wide)
        return self.layer_norm(f"{name}output.LayerNorm", graph.node("Add", hidden, narrow))

    def attention(self, name: str, hidden: str, unseen: str) -> str:
        """Scaled dot-product attention, `unseen` [N, 1, 1, T] being -1e9 at padding and 0 elsewhere."""
        graph = self.graph
        width = DIM // HEADS
        joint = self.linear([f"{name}attention.self.{part}" for part in ("query", "key", "value")], hidden)
        joint = graph.node("Reshape", joint, graph.ints(0, 0, 3, HEADS, width))
        joint = graph.node("Transpose", joint, perm=[2, 0, 3, 1, 4])
        query, key, value = (
            graph.node("Gather", joint, graph.constant(np.array(i, np.int64)), axis=0) for i in range(3)
        )
        scores = graph.node("MatMul", query, graph.node("Transpose", key, perm=[0, 1, 3, 2]))
        scores = graph.node("Mul", scores, graph.number(width**-0.5))
        weights = graph.node("Softmax", graph.node("Add", scores, unseen), axis=-1)
        mixed = graph.node("Transpose", graph.node("MatMul", weights, value), perm=[0, 2, 1, 3])
        return graph.node("Reshape", mixed, graph.ints(0, 0, DIM))

    def pool(self, hidden: str, mask: str) -> None:
        """The mean of the hidden states that are not padding, L2-normalised (the norm makes the division moot)."""
        graph = self.graph
        row = graph.node("Unsqueeze", mask, graph.ints(1))
        graph.normalize(graph.node("Squeeze", graph.node("MatMul", row, hidden), graph.ints(1)), output="embeddings")


class ImageTower:
    """EfficientNet-Lite0, then the composition of its classes' embeddings. Kernels are stored as float16."""

    def __init__(self, layers: Iterator[tuple[Array, Array]], classes: Array) -> None:
        """`layers` as `convolutions` yields them; `classes` float32 [1000, DIM], L2-normalised."""
        self.graph = Graph()
        self.layers = layers
        self.classes = classes

    def build(self) -> ModelProto:
        from onnx import TensorProto, helper

        graph = self.graph
        # Mean and standard deviation are both 0.5: [0, 255] becomes [-1, 1].
        pixels = graph.node("Transpose", graph.cast("pixels"), perm=[0, 3, 1, 2])
        pixels = graph.node("Sub", graph.node("Div", pixels, graph.number(127.5)), graph.number(1))
        self.compose(self.classify(pixels))
        shape: list[str | int] = ["batch", IMAGE_SIZE, IMAGE_SIZE, 3]
        inputs = [helper.make_tensor_value_info("pixels", TensorProto.UINT8, shape)]
        model = graph.model("starter-image", inputs, ["batch", DIM])
        if next(self.layers, None) is not None:
            raise BuildError("the classifier has more layers than EfficientNet-Lite0")
        return model

    def classify(self, pixels: str) -> str:
        """The logits [N, 1000]."""
        graph = self.graph
        value, size = self.convolve(pixels, IMAGE_SIZE, kernel=3, stride=2)
        channels = 32
        for expansion, kernel, stride, blocks, out in STAGES:
            for block in range(blocks):
                step = stride if block == 0 else 1
                before = value
                if expansion > 1:
                    value, size = self.convolve(value, size)
                value, size = self.convolve(value, size, kernel, step, groups=channels * expansion)
                value, size = self.convolve(value, size, activate=False)
                if step == 1 and channels == out:
                    value = graph.node("Add", value, before)
                channels = out
        value, size = self.convolve(value, size)
        value = graph.node("Flatten", graph.node("GlobalAveragePool", value))
        weight, bias = next(self.layers)
        return graph.node("Gemm", value, graph.half(weight), graph.constant(bias.astype(np.float32)), transB=1)

    def convolve(
        self, value: str, size: int, kernel: int = 1, stride: int = 1, groups: int = 1, activate: bool = True
    ) -> tuple[str, int]:
        """The next convolution, and the width in pixels of what it gives. Padding is TensorFlow's "same"."""
        graph = self.graph
        weight, bias = next(self.layers)
        if weight.shape[2:] != (kernel, kernel):
            raise BuildError(f"a kernel of the classifier is {weight.shape[2:]}, expected {(kernel, kernel)}")
        out = -(-size // stride)
        missing = max((out - 1) * stride + kernel - size, 0)
        before, after = missing // 2, missing - missing // 2
        pads = [before, before, after, after]
        inputs = (value, graph.half(weight), graph.constant(bias.astype(np.float32)))
        value = graph.node("Conv", *inputs, strides=[stride, stride], pads=pads, group=groups)
        return (graph.node("Clip", value, graph.number(0), graph.number(6)) if activate else value), out

    def compose(self, logits: str) -> None:
        """ConSE over the likeliest classes, the mean of its embedding at each of TEMPERATURES."""
        from onnx import helper

        graph = self.graph
        graph.nodes.append(helper.make_node("TopK", [logits, graph.ints(TOP_CLASSES)], ["top", "chosen"], name="topk"))
        chosen = graph.node("Gather", graph.half(self.classes), "chosen")
        # A softmax over the kept logits alone differs from the truncated one by a factor, which the norm removes.
        heat = graph.constant(np.array(TEMPERATURES, np.float32).reshape(1, -1, 1))
        scaled = graph.node("Div", graph.node("Unsqueeze", "top", graph.ints(1)), heat)
        views = graph.normalize(graph.node("MatMul", graph.node("Softmax", scaled, axis=-1), chosen))
        graph.normalize(graph.node("ReduceSum", views, graph.ints(1), keepdims=0), output="embeddings")
