"""CLIP with random weights, for measurements: it is as fast as the trained model and needs no download."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

# The architecture of mmsearch's `clip` and of rclip 3; trained weights have the same shapes.
ARCHITECTURE = "ViT-B-32-256"
_SEED = 0


def checkpoint(folder: Path) -> Path:
    """The weights as a safetensors file in `folder`, made where it is missing."""
    path = folder / f"{ARCHITECTURE}-random.safetensors"
    if not path.exists():
        import safetensors.torch

        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".tmp")
        safetensors.torch.save_file(_model().state_dict(), unfinished)
        unfinished.replace(path)
    return path


def export_onnx(weights: Path, image: Path, text: Path) -> None:
    """Write both towers as ONNX graphs with the options that rclip's own model files are made with.

    That is torch's TorchScript exporter, opset 18, fp32, a free batch dimension; from `input` to `output`.
    """
    import torch

    model = _model(weights)
    pixels = torch.zeros(1, 3, model.visual.image_size[0], model.visual.image_size[1])
    tokens = torch.zeros(1, model.context_length, dtype=torch.long)
    _export(model.visual, pixels, image)
    _export(_TextTower.of(model), tokens, text)


def _model(weights: Path | None = None) -> Any:
    import open_clip
    import torch

    torch.manual_seed(_SEED)
    model = open_clip.create_model(
        ARCHITECTURE, pretrained=str(weights) if weights else None, load_weights=bool(weights)
    )
    return model.eval()


class _TextTower:
    """open_clip keeps the text tower's parts in the model itself; an export needs a module of its own."""

    @staticmethod
    def of(model: Any) -> Any:
        import torch

        class TextTower(torch.nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.model = model

            def forward(self, tokens: torch.Tensor) -> Any:
                return self.model.encode_text(tokens)

        return TextTower()


def _export(tower: Any, example: Any, path: Path) -> None:
    import torch

    with warnings.catch_warnings():  # not under no_grad, where attention becomes one operator that ONNX lacks
        warnings.simplefilter("ignore")
        torch.onnx.export(
            tower.eval(),
            (example,),
            str(path),
            input_names=["input"],
            output_names=["output"],
            dynamic_axes={"input": {0: "batch"}, "output": {0: "batch"}},
            opset_version=18,
            dynamo=False,
        )
