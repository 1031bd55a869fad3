"""Turn a loaded open_clip model into an export (see `folder.py`): two ONNX graphs that give the same embeddings.

Each tower is traced by torch, optimized by ONNX Runtime once and for all, and compared with torch on a few inputs
before the export gets its name.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mmsearch.base.cleaning import remove_ours
from mmsearch.base.durable import sync, write_json
from mmsearch.base.errors import ModelError, StorageError
from mmsearch.base.text import first_line
from mmsearch.encoders import hub, openclip, openclip_tables
from mmsearch.encoders import names as model_names
from mmsearch.encoders.export import folder as export_folder
from mmsearch.encoders.export.folder import Manifest
from mmsearch.encoders.onnx import onnx_runtime, runtime_errors
from mmsearch.encoders.openclip import layers

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import torch

if TYPE_CHECKING:
    from mmsearch.base.records import Encoder
    from mmsearch.encoders.names import ModelSource
    from mmsearch.encoders.onnx import OnnxEncoder
    from mmsearch.encoders.openclip import OpenClipEncoder
    from mmsearch.encoders.weights import ModelFiles

# The first with GELU as one operator, which is a seventh of ViT-B/32's time; ONNX Runtime runs it since 1.17.
OPSET = 20

# Cosine between an embedding by torch and by the export: rounding differs, and takes it to 0.999999 or so.
LEAST_COSINE = 0.9999

_PROBE_TEXTS = ("a photo of a cat", "", "2 dogs & a red car, in the rain!", "Straße 日本語 🎈", "many words " * 100)
_PROBE_IMAGES = 3

# What of a model's `text_cfg` its tokenizer reads.
_TOKENIZER_SETTINGS = ("context_length", "tokenizer_kwargs", "tokenizer_mode")

# Tokens of the example text that a tower is traced with.
_EXAMPLE_TOKENS = 5

# Bytes. Smaller constants stay in the graph, larger ones are mapped from the file beside it.
_LEAST_MAPPED = 1024


def export(encoder: OpenClipEncoder, source: ModelSource, files: ModelFiles) -> OnnxEncoder:
    """Export both towers of a model that is loaded on the CPU in fp32, and return the encoder that runs them.

    The caller has `folder.turn`, and `files` are those that the model was loaded from. The export gets its name when
    all of it is on the disk; an older one of this model is replaced, and whatever goes wrong leaves nothing behind.
    Raises ModelError for a model that cannot be exported, StorageError for a disk that has no room.
    """
    if encoder.device != "cpu" or encoder.precision != "fp32":
        raise ValueError(f"an export is made on the CPU in fp32, not on {encoder.device} in {encoder.precision}")
    target = export_folder.folder_of(encoder.info.fingerprint)
    onnx_runtime()  # before torch's exporter, which may import it too
    with _export_errors(encoder.info.spec), _making(target) as folder, openclip.quiet(), hub.no_network():
        short = _write_text_graph(encoder, folder)
        _write_graph(
            _ImageTower(encoder),
            _example_pixels(encoder),
            "pixels",
            {0: _any_number()},
            folder / export_folder.IMAGE_GRAPH,
        )
        _copy_tokenizer(source, files, folder)
        manifest = _describe(encoder, files, folder, short)
        _check_parity(encoder, export_folder.open_export(folder, manifest))
        _settle(folder, manifest)
    return export_folder.open_export(target, manifest)


def _write_text_graph(encoder: OpenClipEncoder, folder: Path) -> bool:
    """Whether the graph takes texts that are shorter than the context length."""
    path = folder / export_folder.TEXT_GRAPH
    tower = _causal_tower(encoder.model)
    example = torch.from_numpy(encoder.tokenize(["a photo", "of a cat"]))
    if tower is None or example.shape[1] <= _EXAMPLE_TOKENS:
        _write_graph(_TextTower(encoder), example, "input_ids", {0: _any_number()}, path)
        return False
    axes = {0: _any_number(), 1: torch.export.Dim("tokens", min=2, max=example.shape[1])}
    _write_graph(_ShortTextTower(tower), example[:, :_EXAMPLE_TOKENS].contiguous(), "input_ids", axes, path)
    return True


def _any_number() -> Any:
    """The length of a batch. Examples have two entries, since torch.export would fix a single one."""
    return torch.export.Dim("batch", min=1)


def _example_pixels(encoder: OpenClipEncoder) -> torch.Tensor:
    size = encoder.info.preprocess.size
    return torch.zeros((2, size, size, 3), dtype=torch.uint8)


def _write_graph(tower: torch.nn.Module, example: torch.Tensor, name: str, axes: Mapping[int, Any], path: Path) -> None:
    """Trace `tower` with one input `name`, whose `axes` may have any length, and save it as `path`, optimized."""
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        raw = Path(folder, path.name)
        with torch.no_grad():
            program = torch.onnx.export(
                tower.eval(),
                (example,),
                dynamo=True,
                input_names=[name],
                output_names=["embeddings"],
                dynamic_shapes=(dict(axes),),
                opset_version=OPSET,
                verbose=False,
            )
        if program is None:
            raise ModelError("torch.onnx gave no graph")
        program.save(str(raw), external_data=True)
        del program
        _optimize(raw, path)


def _optimize(raw: Path, path: Path) -> None:
    """Have ONNX Runtime fuse what it can, and save the graph beside a file with its weights that can be mapped.

    `EXTENDED` leaves out what holds for one kind of processor only; that is done when a graph is opened for batches.
    """
    onnxruntime = onnx_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(path)
    key = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{key}_file_name", f"{path.stem}.weights")
    options.add_session_config_entry(f"{key}_min_size_in_bytes", str(_LEAST_MAPPED))
    options.add_session_config_entry("session.disable_prepacking", "1")  # keeps the weights out of memory
    with runtime_errors(f"{path.name} cannot be optimized"):
        onnxruntime.InferenceSession(str(raw), options, providers=["CPUExecutionProvider"])


def _copy_tokenizer(source: ModelSource, files: ModelFiles, folder: Path) -> None:
    if files.text_config.get("hf_model_name"):
        openclip.transformers_tokenizer(source, files).tokenizer.save_pretrained(folder)
    elif files.tokenizer:
        for name in model_names.TOKENIZER_NAMES:
            if (files.tokenizer / name).exists():
                shutil.copyfile(files.tokenizer / name, folder / name)
    else:
        shutil.copyfile(openclip_tables.clip_vocabulary(), folder / export_folder.VOCABULARY)


def _describe(encoder: OpenClipEncoder, files: ModelFiles, folder: Path, short_texts: bool) -> Manifest:
    config = files.text_config
    return Manifest(
        info=encoder.info,
        text_config={name: config[name] for name in _TOKENIZER_SETTINGS if name in config},
        clip_tokenizer=(folder / export_folder.VOCABULARY).exists(),
        short_texts=short_texts,
        files={},
        runtime=onnx_runtime().__version__,
        machine=export_folder.machine(),
    )


def _check_parity(ours: Encoder, export: Encoder) -> None:
    """Compare embeddings on inputs of every kind, alone and as a batch. Raises ModelError where they differ."""
    size = ours.info.preprocess.size
    noise = np.random.default_rng(0).integers(0, 256, (_PROBE_IMAGES, size, size, 3), dtype=np.uint8)
    noise[1] = np.linspace(0, 255, size, dtype=np.uint8)[:, None]
    noise[2] //= 16
    images, texts = ours.encode_images(noise), ours.encode_texts(_PROBE_TEXTS)
    alone = np.concatenate([export.encode_texts([text]) for text in _PROBE_TEXTS])
    pairs = [
        ("image", images, export.encode_images(noise)),
        ("image", images[:1], export.encode_images(noise[:1])),
        ("text", texts, export.encode_texts(_PROBE_TEXTS)),
        ("text", texts, alone),
    ]
    for tower, expected, found in pairs:
        least = float(np.min((expected * found).sum(axis=1)))
        if not least >= LEAST_COSINE:  # NaN is not
            raise ModelError(f"the {tower} tower's export is not faithful: cosine {least:.6f} to torch's embeddings")


def _settle(folder: Path, manifest: Manifest) -> None:
    """Bring all files to the disk, readable for the user alone, and write the manifest."""
    names = sorted(path.name for path in folder.iterdir())
    for name in names:
        (folder / name).chmod(0o600)
        sync(folder / name)
    found = {name: export_folder.describe(folder / name) for name in names}
    write_json(folder / export_folder.MANIFEST, {**manifest.to_json(), "files": found})


@contextmanager
def _making(target: Path) -> Iterator[Path]:
    """A new folder that becomes `target` at the end. What processes that were killed left here is removed."""
    for left in export_folder.unfinished(target):
        with suppress(OSError):
            remove_ours(left)
    folder = Path(tempfile.mkdtemp(prefix=export_folder.unfinished_prefix(target), dir=target.parent))
    try:
        yield folder
        remove_ours(target, through_links=True)
        os.replace(folder, target)
        sync(target.parent)
    finally:
        with suppress(OSError):
            remove_ours(folder, through_links=True)


@contextmanager
def _export_errors(spec: str) -> Iterator[None]:
    """Turn what torch, onnxscript and the operating system raise into our errors.

    Tracing runs the model's own code and a compiler over it, which fail with exceptions of any kind.
    """
    try:
        yield
    except ModelError:
        raise
    except OSError as error:
        raise StorageError(f"the export of {spec} cannot be written: {error.strerror or error}") from error
    except Exception as error:
        raise ModelError(f"{spec} cannot be exported: {type(error).__name__}: {first_line(error)}") from error


def _causal_tower(model: Any) -> Any | None:
    """The part of a model with its text tower, if that reads a text as CLIP's does: padding has no effect on it."""
    tower = getattr(model, "text", model)
    pool = getattr(tower, "text_pool_type", None) or getattr(tower, "pool_type", None)
    ours = all(hasattr(tower, name) for name in ("token_embedding", "positional_embedding", "transformer", "ln_final"))
    causal = getattr(tower, "attn_mask", None) is not None
    plain = getattr(tower, "cls_emb", None) is None and not getattr(tower, "use_pad_mask", False)
    return tower if ours and causal and plain and pool == "argmax" else None


def _class_token_tower(model: Any) -> Any | None:
    """The image tower of a model, if it is open_clip's own transformer and reads the embedding off the class token."""
    tower = getattr(model, "visual", None)
    if not isinstance(tower, layers.VisionTransformer) or tower.pool_type != "tok" or tower.attn_pool is not None:
        return None
    blocks = tower.transformer.resblocks
    known = all(type(block) is layers.ResidualAttentionBlock and _is_plain(block.attn) for block in blocks)
    return tower if blocks and known and tower.transformer.batch_first and not tower.output_tokens else None


def _is_plain(attention: torch.nn.MultiheadAttention) -> bool:
    """Whether queries, keys and values come from one matrix each, with biases, and nothing is added to them."""
    return (
        attention.in_proj_weight is not None
        and attention.in_proj_bias is not None
        and attention.bias_k is None
        and not attention.add_zero_attn
    )


def _class_token_features(tower: Any, batch: torch.Tensor) -> torch.Tensor:
    """What `tower` makes of a batch, (n, width of the embedding), not normalised.

    The computation is that of open_clip's `VisionTransformer.forward`. Of the last block only the class token is used,
    so its queries and its MLP are computed for that token alone: 7 % less work in ViT-B/32, and the same embeddings.
    """
    hidden = tower._embeds(batch)
    *blocks, last = tower.transformer.resblocks
    for block in blocks:
        hidden = _block(block, hidden, hidden.shape[1])
    pooled: torch.Tensor = tower._pool(_block(last, hidden, 1))[0]
    return pooled if tower.proj is None else pooled @ tower.proj


def _block(block: Any, hidden: torch.Tensor, count: int) -> torch.Tensor:
    """A residual attention block's output for the first `count` tokens of `hidden` (n, tokens, width)."""
    normed = block.ln_1(hidden)
    kept: torch.Tensor = hidden[:, :count] + block.ls_1(_attention(block.attn, normed[:, :count], normed))
    change: torch.Tensor = block.ls_2(block.mlp(block.ln_2(kept)))
    return kept + change


def _attention(attention: Any, queries: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Self-attention of `queries` over `hidden`, both (n, tokens, width).

    `MultiheadAttention` does the same, but its graph moves each tensor around three times more, which costs 3 %.
    """
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    heads = (attention.num_heads, attention.head_dim)
    query, key, value = (
        torch.unflatten(torch.nn.functional.linear(source, weight, bias), -1, heads).transpose(1, 2)
        for source, weight, bias in zip((queries, hidden, hidden), weights, biases, strict=True)
    )
    mixed = torch.nn.functional.scaled_dot_product_attention(query, key, value)
    found: torch.Tensor = attention.out_proj(mixed.transpose(1, 2).flatten(2))
    return found


class _ImageTower(torch.nn.Module):
    """uint8 (n, size, size, 3) -> float32 (n, dim), L2-normalised."""

    scale: torch.Tensor
    shift: torch.Tensor

    def __init__(self, encoder: OpenClipEncoder) -> None:
        super().__init__()
        self.model = encoder.model
        self.class_token_tower = _class_token_tower(encoder.model)
        how = encoder.info.preprocess
        mean, std = torch.tensor(how.mean)[:, None, None], torch.tensor(how.std)[:, None, None]
        self.register_buffer("scale", 1 / (255 * std))
        self.register_buffer("shift", -mean / std)

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        batch = pixels.permute(0, 3, 1, 2).to(torch.float32) * self.scale + self.shift
        if self.class_token_tower is not None:
            features = _class_token_features(self.class_token_tower, batch)
        else:
            features = self.model.encode_image(batch)  # type: ignore[operator]
        return torch.nn.functional.normalize(features, dim=-1)


class _TextTower(torch.nn.Module):
    """int64 (n, context length) -> float32 (n, dim), L2-normalised."""

    def __init__(self, encoder: OpenClipEncoder) -> None:
        super().__init__()
        self.model = encoder.model

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.model.encode_text(input_ids), dim=-1)  # type: ignore[operator]


class _ShortTextTower(torch.nn.Module):
    """int64 (n, tokens), up to the context length -> float32 (n, dim), L2-normalised.

    The computation is that of open_clip's `CLIP.encode_text`, with positions and mask for the tokens that are there.
    """

    def __init__(self, tower: Any) -> None:
        super().__init__()
        self.tower = tower

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        tower = self.tower
        positions = torch.arange(input_ids.shape[1])
        # An index, where a slice would make torch.export rule out the full context length.
        hidden = tower.token_embedding(input_ids) + torch.nn.functional.embedding(positions, tower.positional_embedding)
        later = positions[None, :] > positions[:, None]
        mask = torch.zeros(later.shape).masked_fill(later, float("-inf"))
        hidden = tower.ln_final(tower.transformer(hidden, attn_mask=mask))
        ends = input_ids.argmax(dim=-1)
        features = hidden[torch.arange(hidden.shape[0]), ends]
        projection = tower.text_projection
        if projection is not None:
            features = projection(features) if isinstance(projection, torch.nn.Linear) else features @ projection
        return torch.nn.functional.normalize(features, dim=-1)
