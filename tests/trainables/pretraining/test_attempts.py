"""Is why an attempt ended kept for the sentence that gives a run up, and no secret with it?"""

from small_pretraining import recipe_of

from datasets_io.storage.files import Files
from trainables.pretraining.encoder_job import ATTEMPTS, EncoderJob, count_attempt, last_error, note_error

JOB = EncoderJob("simclr-p0", "key", "encoders/simclr-p0", recipe_of("simclr"), 0)


def test_the_error_of_an_attempt_is_kept_without_secrets(tmp_path, monkeypatch):
    monkeypatch.setenv("DB_PASSWORD", "canary-pass-9876")
    files = Files(str(tmp_path))
    assert count_attempt(files, JOB) == 1
    note_error(files, JOB, OSError("no answer from http://u:hunter22@proxy for canary-pass-9876"))
    kept = files.read(f"{JOB.folder}/{ATTEMPTS}")
    assert b"canary" not in kept and b"hunter22" not in kept
    assert (
        last_error(files, JOB) == "OSError: no answer from http://***@proxy for ***" and count_attempt(files, JOB) == 2
    )
