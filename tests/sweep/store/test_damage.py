"""Can what is said of damage be shown, whatever a storage has put into it?"""

import pytest

from datasets_io.corpus.manifest import Manifest, Shard, corpus_fingerprint
from datasets_io.storage.files import Files
from sweep.store.damage import Damage, data_damage
from sweep.store.shard_checks import damaged_shards, whole_manifest

HOSTILE = "\x1b]0;pwned\x07\x9b31m\u202e"


def test_all_that_is_said_of_damage_is_printable_and_its_folder_is_found():
    damage = Damage(f"clip {HOSTILE}", f"cells/{HOSTILE}", f"it is {HOSTILE}", f"remove {HOSTILE}")
    assert damage.line.isprintable() and damage.sentence.isprintable() and damage.name.isprintable()
    assert damage.line.count("\\x1b]0;pwned\\x07\\x9b31m\\u202e") == 3
    assert damage.folder == f"cells/{HOSTILE}"
    assert data_damage("x", f"data/{HOSTILE}", [HOSTILE]).line.isprintable()


@pytest.mark.parametrize("key", [HOSTILE, "\u202e", "\x9b"])
def test_a_manifest_whose_key_a_terminal_would_obey_is_damaged_in_a_sentence_that_it_does_not(tmp_path, key):
    """Its seal and its fingerprint hold, and it lies in the folder of another build, which its error once quoted."""
    files, shards = Files(str(tmp_path)), (Shard("train/0.parquet", "train", 1, (1,), "a" * 64),)
    manifest = Manifest(
        "x", 1, key, {}, ("a",), False, 4, {}, {"rejects": 0}, shards, {}, (), corpus_fingerprint(key, shards)
    )
    folder = "data/x-0123456789ab"
    files.write(f"{folder}/manifest.json", manifest.to_json().encode())
    with pytest.raises(ValueError, match=r"manifest.json is damaged \(not a manifest") as refused:
        whole_manifest(files, folder)
    assert str(refused.value).isprintable()
    assert Damage("x", folder, str(*damaged_shards(files, folder, shards, False, set())), "").line.isprintable()
