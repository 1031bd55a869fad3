"""rclip, the nearest other program of this kind, run as a whole command (https://github.com/yurijmikhalevich/rclip).

Its model files are made here from random weights: speed does not depend on what they hold. It has no command that only
indexes; a query indexes the current folder first. The query here is a photo of that folder, which costs the least: the
image tower is loaded already, and the text tower is not opened.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import commands
import numpy as np
import random_clip

# Where rclip 3.3 looks for its files below RCLIP_DATADIR (rclip/model_download.py).
_MODEL_FOLDER = "ViT-B-32-256-datacomp_s34b_b86k"
_VOCABULARY = "tokenizer/bpe_simple_vocab_16e6.txt.gz"
_DATABASE = "db.sqlite3"
_DIM = 512

# Its progress bar counts a file when it is handed to the loading threads, which run 3 batches of 8 ahead
# (rclip/main.py): the first batch is through the model when the bar passes this number.
_BATCH = 8
_FIRST_BATCH_DONE = 4 * _BATCH + 1

_PROGRESS = re.compile(r"(\d+)(?:/\d+ |images )\[")


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options that `find` reads."""
    parser.add_argument("--rclip", help="the rclip command (default: the one on the PATH, if any)")
    parser.add_argument("--no-rclip", action="store_true", help="leave rclip out")


def find(arguments: argparse.Namespace) -> Path | None:
    """The rclip command; None where there is none or it is to be left out."""
    if arguments.no_rclip:
        return None
    found = shutil.which(arguments.rclip or "rclip")
    if arguments.rclip and not found:
        raise SystemExit(f"{arguments.rclip} is no command")
    return Path(found) if found else None


def make_data_folder(folder: Path, weights: Path) -> Path:
    """rclip's data directory with all that it would download, made in `folder` where it is missing."""
    from mmsearch.encoders import openclip_tables

    models = folder / _MODEL_FOLDER
    vocabulary = folder / _VOCABULARY
    image, text = models / "visual.onnx", models / "textual.onnx"
    if not (image.exists() and text.exists() and vocabulary.exists()):
        models.mkdir(parents=True, exist_ok=True)
        vocabulary.parent.mkdir(parents=True, exist_ok=True)
        random_clip.export_onnx(weights, image, text)
        shutil.copy(openclip_tables.clip_vocabulary(), vocabulary)
    return folder


def forget(data: Path) -> None:
    """Make the next run index everything anew."""
    for path in data.glob(f"{_DATABASE}*"):
        path.unlink()


def run(rclip: Path, data: Path, folder: Path, query: Path, *, index: bool = True) -> commands.Outcome:
    """`rclip` in `folder`, which indexes what is new and then looks for images like `query`."""
    environment = {
        "RCLIP_DATADIR": str(data),
        "HF_HUB_OFFLINE": "1",
        # Every step of its progress bar, as fine as the sampling here.
        "TQDM_MININTERVAL": "0.05",
        "TQDM_MINITERS": "1",
    }
    options = [] if index else ["--no-indexing"]
    return commands.run([rclip, "--top", "1", *options, query], env=environment, cwd=folder)


def rate(outcome: commands.Outcome) -> float | None:
    """Images a second from the end of the first batch to the end of the last, as its progress bar tells."""
    samples = [(second, int(count)) for second, text in outcome.stderr for count in _PROGRESS.findall(text)]
    begin = next((sample for sample in samples if sample[1] >= _FIRST_BATCH_DONE), None)
    if begin is None or samples[-1][0] <= begin[0]:
        return None
    end, images = samples[-1]  # the bar is closed when the last batch is stored
    return (images - (begin[1] - _FIRST_BATCH_DONE + _BATCH)) / (end - begin[0])


def remember(data: Path, files: Iterable[os.DirEntry[str]]) -> None:
    """Write into a database that rclip has made what it would have written for unchanged `files`, distinct images."""
    rng = np.random.default_rng(0)
    connection = sqlite3.connect(data / _DATABASE)
    with connection:
        connection.executemany(
            "INSERT INTO images (filepath, modified_at, size, vector, hash) VALUES (?, ?, ?, ?, ?)",
            (_row(file, rng) for file in files),
        )
    connection.close()


def _row(file: os.DirEntry[str], rng: np.random.Generator) -> tuple[str, float, int, bytes, str]:
    vector = rng.standard_normal(_DIM).astype(np.float32)
    state = file.stat()
    return file.path, state.st_mtime, state.st_size, (vector / np.linalg.norm(vector)).tobytes(), rng.bytes(32).hex()
