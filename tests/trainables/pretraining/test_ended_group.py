"""A process group that ends under its workers, as when a host is lost, is no failure of the pretraining."""

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from small_pretraining import recipe_of
from worker_processes import run_workers

from datasets_io.storage.files import Files
from trainables.pretraining import worker_group
from trainables.pretraining.encoder_job import EncoderJob, last_error
from trainables.recipe import Resources

JOB = EncoderJob("simclr-p0", "key", "encoders/simclr-p0", recipe_of("simclr"), 0, "data")


def _worker(rank: int, folder: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)

    def group_ends(*given: object) -> None:
        dist.destroy_process_group()
        dist.get_rank()  # raises ValueError, as a step of the training does

    group = worker_group.WorkerGroup("group", (JOB,), None, f"{folder}/storage", Resources(), None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker_group, "open_corpus", lambda *given: None)
        patch.setattr(worker_group, "run_pretraining", group_ends)
        with pytest.raises(ValueError, match="Default process group has not been initialized"):
            worker_group._one_job(JOB, group, torch.device("cpu"), lambda progress: None)
    Path(folder, f"raised-{rank}").touch()


def test_the_group_starts_again_and_the_run_has_not_failed(tmp_path):
    run_workers(_worker, (str(tmp_path),), 2)
    files = Files(str(tmp_path / "storage"))
    assert (tmp_path / "raised-0").exists() and (tmp_path / "raised-1").exists()
    assert not [path for path in files.list("encoders") if path.endswith("failed.json")]
    assert "Default process group" in last_error(files, JOB)
