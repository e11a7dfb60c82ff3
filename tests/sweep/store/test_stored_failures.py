"""Is what failed before told without what an earlier version kept of it?"""

from datasets_io.storage.files import Files
from sweep.store.store import ReadStore


def test_a_failure_of_an_earlier_version_is_read_without_them(tmp_path):
    text = b'{"error": "no http://user:hunter22@host", "traceback": "s3://a:b@c"}'
    Files(str(tmp_path)).write("cells/c/failed.json", text)
    assert ReadStore(str(tmp_path)).failure_of("cells/c") == {"error": "no http://***@host", "traceback": "s3://***@c"}
