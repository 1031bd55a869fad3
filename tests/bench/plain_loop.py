"""What a user of open_clip would write: a DataLoader with 2 workers, open_clip's transform, fp32, batches of 32.

`python plain_loop.py FOLDER ARCHITECTURE CHECKPOINT` prints one JSON object: `images`, and `images_per_s` from the end
of the first batch to the end of the last (null for one batch).
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

import open_clip
import torch
from PIL import Image

BATCH = 32
WORKERS = 2


class Photos(torch.utils.data.Dataset[Any]):
    def __init__(self, folder: Path, preprocess: Any) -> None:
        self.paths = sorted(path for path in folder.rglob("*") if path.is_file())
        self.preprocess = preprocess

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, number: int) -> Any:
        return self.preprocess(Image.open(self.paths[number]))


def main() -> None:
    folder, architecture, checkpoint = sys.argv[1:]
    model, _, preprocess = open_clip.create_model_and_transforms(architecture, pretrained=checkpoint)
    model.eval()
    loader = torch.utils.data.DataLoader(Photos(Path(folder), preprocess), batch_size=BATCH, num_workers=WORKERS)
    embeddings, ends = [], []
    with torch.inference_mode():
        for images in loader:
            embeddings.append(torch.nn.functional.normalize(model.encode_image(images), dim=-1).numpy())
            ends.append(time.perf_counter())
    count = sum(map(len, embeddings))
    later = count - len(embeddings[0])
    print(json.dumps({"images": count, "images_per_s": later / (ends[-1] - ends[0]) if later else None}))


if __name__ == "__main__":
    main()
