"""How do other loaders give the same pictures, shuffled and in batches? Each as its documentation has it. [ray]

A peer that is not installed is left out; all but DataLoader and Ray Data: pip install datasets mosaicml-streaming
webdataset litdata, in an environment beside the project's.
"""

import importlib.util
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch
from torch.utils.data import DataLoader, Dataset

IMAGES_A_FILE = 1024  # as our shards have
Peer = Callable[[int], Iterator[int]]  # epochs -> sizes of the batches


class MappedRows(Dataset):
    """Rows of a mapped file, those of a batch at once."""

    def __init__(self, pixels: np.ndarray):
        self.pixels = pixels

    def __len__(self) -> int:
        return len(self.pixels)

    def __getitems__(self, rows: list[int]) -> torch.Tensor:
        return torch.from_numpy(self.pixels[rows])


def mapped_array(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    np.save(folder / "pixels.npy", pixels)
    rows = MappedRows(np.load(folder / "pixels.npy", mmap_mode="r"))
    loader = DataLoader(rows, batch, shuffle=True, collate_fn=lambda whole: whole)
    return lambda epochs: (len(images) for _ in range(epochs) for images in loader)


def hugging_face(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    import datasets

    values = [image.tobytes() for image in pixels]
    features = datasets.Features({"pixels": datasets.Value("binary")})
    datasets.Dataset.from_dict({"pixels": values}, features=features).save_to_disk(str(folder))
    stored = datasets.load_from_disk(str(folder))
    shape = pixels.shape[1:]

    def to_tensor(rows: list[dict]) -> torch.Tensor:
        return torch.from_numpy(np.stack([np.frombuffer(row["pixels"], np.uint8).reshape(shape) for row in rows]))

    loader = DataLoader(stored, batch, shuffle=True, collate_fn=to_tensor)
    return lambda epochs: (len(images) for _ in range(epochs) for images in loader)


def mosaic(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    from streaming import MDSWriter, StreamingDataset

    side = pixels.shape[1]
    with MDSWriter(out=str(folder), columns={"pixels": f"ndarray:uint8:{side},{side}"}) as writer:
        for image in pixels:
            writer.write({"pixels": image})
    stored = StreamingDataset(local=str(folder), shuffle=True, batch_size=batch)
    loader = DataLoader(stored, batch)
    return lambda epochs: (len(images["pixels"]) for _ in range(epochs) for images in loader)


def web_dataset(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    import webdataset

    with webdataset.ShardWriter(str(folder / "%05d.tar"), maxcount=IMAGES_A_FILE, verbose=0) as writer:
        for number, image in enumerate(pixels):
            writer.write({"__key__": f"{number:08d}", "bin": image.tobytes()})
    tars, shape = sorted(map(str, folder.glob("*.tar"))), pixels.shape[1:]
    stored = (
        webdataset.WebDataset(tars, shardshuffle=len(tars))
        .shuffle(1000)
        .to_tuple("bin")
        .map_tuple(lambda value: np.frombuffer(value, np.uint8).reshape(shape))
        .batched(batch)
    )
    return lambda epochs: (len(images) for _ in range(epochs) for (images,) in stored)


def lit_data(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    import litdata

    # What `optimize` writes, by the writer that it uses, without its processes.
    from litdata.streaming.writer import BinaryWriter

    writer = BinaryWriter(str(folder), chunk_bytes=64 << 20)
    for number, image in enumerate(pixels):
        writer[number] = {"pixels": image}
    writer.done()
    writer.merge()
    loader = litdata.StreamingDataLoader(litdata.StreamingDataset(str(folder), shuffle=True), batch_size=batch)
    return lambda epochs: (len(images["pixels"]) for _ in range(epochs) for images in loader)


def ray_data(pixels: np.ndarray, folder: Path, batch: int) -> Peer:
    logging.getLogger("ray.data").setLevel(logging.ERROR)  # it reports on each epoch
    for number, start in enumerate(range(0, len(pixels), IMAGES_A_FILE)):
        part = pixels[start : start + IMAGES_A_FILE]
        column = pa.FixedShapeTensorArray.from_numpy_ndarray(np.ascontiguousarray(part))
        pq.write_table(pa.table({"pixels": column}), folder / f"{number:05d}.parquet", compression="none")

    def batches(epochs: int) -> Iterator[int]:
        stored = ray.data.read_parquet(str(folder), shuffle="files")
        stored.context.enable_progress_bars = False
        for _ in range(epochs):
            for images in stored.iter_torch_batches(batch_size=batch, local_shuffle_buffer_size=IMAGES_A_FILE):
                yield len(images["pixels"])

    return batches


# Name -> the package that it needs, what makes it, and the share of the epochs of a stream that it is timed over.
PEERS: dict[str, tuple[str, Callable[[np.ndarray, Path, int], Peer], float]] = {
    "mapped array, DataLoader": ("torch", mapped_array, 1),
    "datasets, mapped Arrow": ("datasets", hugging_face, 1),
    "mosaicml-streaming": ("streaming", mosaic, 0.5),
    "webdataset": ("webdataset", web_dataset, 0.5),
    "litdata": ("litdata", lit_data, 0.5),
    "Ray Data, read_parquet": ("ray", ray_data, 0.1),
}


def stream_peers(pixels: np.ndarray, folder: Path, batch: int) -> dict[str, tuple[Peer, float]]:
    """Name -> (a peer whose pictures are stored, share of the epochs), of those that are installed."""
    found = {}
    for name, (package, make, share) in PEERS.items():
        if importlib.util.find_spec(package) is not None:
            place = folder / package
            os.makedirs(place)
            found[name] = (make(pixels, place, batch), share)
    return found
