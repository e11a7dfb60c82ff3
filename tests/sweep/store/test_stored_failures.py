"""Is what failed before told without what an earlier version kept of it?"""

from datasets_io.storage.files import Files
from sweep.store.report_folder import ReportFolder
from sweep.store.store import ReadStore


def test_a_failure_of_an_earlier_version_is_read_without_them(tmp_path):
    text = b'{"error": "no http://user:hunter22@host", "traceback": "s3://a:b@c"}'
    Files(str(tmp_path)).write("cells/c/failed.json", text)
    assert ReadStore(str(tmp_path)).failure_of("cells/c") == {"error": "no http://***@host", "traceback": "s3://***@c"}


def test_a_failure_with_halves_of_characters_can_be_written(tmp_path):
    text = b'{"error": "\\ud800 surrogate \\u001b]0;pwn\\u0007", "traceback": "one\\ntwo \\udfff"}'
    Files(str(tmp_path)).write("cells/c/failed.json", text)
    found = ReadStore(str(tmp_path)).failure_of("cells/c")
    assert found == {"error": "\\ud800 surrogate \\x1b]0;pwn\\x07", "traceback": "one\ntwo \\udfff"}


def test_no_name_becomes_html_or_stops_a_report(tmp_path):
    folder = ReportFolder(Files(str(tmp_path)))
    text = "a <script>alert(1)</script><!-- x --> p < 0.05 <-> <3 \ud800\n\n      run <x>\n"
    folder.write({"report.md": text, "report.html": "<p>\udfff</p>", "a.csv": "<b>"})
    shown = "a &lt;script>alert(1)&lt;/script>&lt;!-- x --> p < 0.05 <-> <3 \\ud800\n\n      run <x>\n"
    assert folder.read("report.md") == shown.encode()
    assert folder.read("report.html") == b"<p>\\udfff</p>" and folder.read("a.csv") == b"<b>"
