"""Archives of object stores: against the same files on disk, and a real S3 server (moto)."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import sprintcache
from sprintcache.errors import ArchiveChangedError, CorruptError, SprintCacheError
from tests.paths import DATA

pytest.importorskip("obstore", reason="obstore is not installed")

from sprintcache._remote.archive import RemoteArchive
from sprintcache._remote.sparse_copy import BLOCK, SparseCopy

PARTS = [DATA / f"features.part{i}.cache" for i in (1, 2, 3)]
VITERBI = DATA / "alignment.viterbi.cache"


def url_of(path: Path) -> str:
    return f"file://{path}"


def remote(*paths: Path) -> RemoteArchive:
    archive = sprintcache.open_archive([url_of(path) for path in paths])
    assert isinstance(archive, RemoteArchive)
    return archive


def large_archive(path: Path, frames: int = 4096) -> sprintcache.Archive:
    """Twenty entries of 2.4 MB."""
    with sprintcache.ArchiveWriter(path) as writer:
        for i in range(20):
            writer.add_features(f"c/{i:02}/1", np.full((frames, 128), i, np.float32))
    return sprintcache.open_archive(path)


def num_present(archive: RemoteArchive) -> int:
    return sum(int(copy._present.sum()) for copy in archive._copy_of.values())


def test_features_like_local() -> None:
    local, far = sprintcache.open_archive(PARTS), remote(*PARTS)
    assert list(far) == list(local)
    names = list(local.segments)
    batch, lengths = far.read_features_batch(names[3:9])
    expected, expected_lengths = local.read_features_batch(names[3:9])
    assert np.array_equal(batch, expected)
    assert np.array_equal(lengths, expected_lengths)
    assert np.array_equal(far.num_frames_all(), local.num_frames_all())
    numbers = far.read_features_batch(np.array([0, 1]))[1]
    assert numbers.tolist() == [local.num_frames(name) for name in names[:2]]
    for (name, x), (other, y) in zip(far.iter_features(), local.iter_features(), strict=True):
        assert name == other
        assert np.array_equal(x, y)
        assert np.array_equal(far.read_times(name), local.read_times(name))
        assert far.read_attributes(name) == local.read_attributes(name)
        assert far.datatype(name) == local.datatype(name)


def test_a_copy_keeps_no_descriptor_but_that_of_its_data(tmp_path: Path) -> None:
    def num_open() -> int:
        return sum("/copies/" in str(fd.resolve()) for fd in Path("/proc/self/fd").iterdir())

    copies = [SparseCopy(url_of(PARTS[i]), str(tmp_path / "copies")) for i in range(3)]
    assert num_open() == 6  # each has a file, and a map of its blocks
    del copies
    assert num_open() == 0


def test_alignments_like_local() -> None:
    local, far = sprintcache.open_archive(VITERBI), remote(VITERBI)
    labeling = sprintcache.AllophoneLabeling(
        "[SILENCE]", DATA / "allophones", state_tying_file=DATA / "state-tying" / "monophone"
    )
    for (name, x), (other, y) in zip(
        far.iter_labels(labeling), local.iter_labels(labeling), strict=True
    ):
        assert name == other
        assert np.array_equal(x, y)
        assert np.array_equal(
            far.read_alignment(name).emission, local.read_alignment(name).emission
        )
    names = list(local.segments)[:4]
    assert np.array_equal(
        far.read_labels_batch(names, labeling)[0], local.read_labels_batch(names, labeling)[0]
    )


def test_only_blocks_in_use_are_fetched(tmp_path: Path) -> None:
    local = large_archive(tmp_path / "large.cache")
    far = remote(tmp_path / "large.cache")
    before = num_present(far)
    assert before <= 6  # header, and the last megabyte with the table
    far.read_features("c/05/1")
    entry = local.entry("c/05/1")
    assert num_present(far) - before <= entry.size // BLOCK + 2
    runs: list[tuple[int, int]] = []
    (copy,) = far._copy_of.values()
    fetch_run = copy._fetch_run

    def recorded(begin: int, end: int) -> None:
        runs.append((begin, end))
        fetch_run(begin, end)

    copy._fetch_run = recorded  # type: ignore[method-assign]
    batch, _ = far.read_features_batch(["c/09/1", "c/07/1", "c/08/1", "c/15/1"])
    assert [int(row[0, 0]) for row in batch] == [9, 7, 8, 15]
    assert len(runs) == 2
    assert far.fetch(["c/08/1"]) == 0


def test_an_object_is_opened_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where there is no index."""
    large_archive(tmp_path / "features.cache", frames=8)
    urls: list[str] = []
    opened = SparseCopy.__init__

    def recorded(copy: SparseCopy, url: str, folder: str) -> None:
        urls.append(url)
        opened(copy, url, folder)

    monkeypatch.setattr(SparseCopy, "__init__", recorded)
    url = url_of(tmp_path / "features.cache")
    assert sprintcache.open_archive(url).read_features("c/03/1")[0, 0] == 3
    assert sorted(urls) == [url, f"{url}.index"]


def test_errors_name_the_object(tmp_path: Path) -> None:
    path = tmp_path / "features.cache"
    with pytest.raises(FileNotFoundError, match="no such object"):
        remote(path)
    large_archive(path, frames=256)
    data = path.read_bytes()
    far = remote(path)
    url = url_of(path)
    assert far.entry("c/00/1").archive_path == url
    with pytest.raises(sprintcache.EntryNotFoundError) as missing:
        far.read_features("c/99/1")
    assert missing.value.path == url
    far.read_features("c/00/1")
    path.write_bytes(data[:-1] + b"\0")
    with pytest.raises(ArchiveChangedError, match="replaced") as changed:
        far.read_features("c/19/1" if num_present(far) < 2 else "c/10/1")
    assert changed.value.path == url
    damaged = bytearray(data)
    at = far.entry("c/10/1").position
    damaged[at + 12 : at + 16] = b"\xff" * 4
    path.write_bytes(damaged)
    with pytest.raises(sprintcache.FormatError) as corrupt:
        remote(path).read_features("c/10/1")
    assert corrupt.value.path == url
    path.write_bytes(data[:8] + b"\0" + data[9:])
    with pytest.raises(CorruptError, match="recover it"):
        remote(path)


def test_copies_are_shared_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "features.cache"
    large_archive(path)
    far = remote(path)
    folder = Path(far.folder)
    assert folder.is_dir()
    far.read_features("c/10/1")
    program = (
        "import pickle, sys\n"
        "archive = pickle.load(sys.stdin.buffer)\n"
        "print(archive.fetch(['c/10/1']), archive.read_features('c/11/1')[0, 0])"
    )
    child = subprocess.run(
        [sys.executable, "-c", program],
        input=pickle.dumps(far),
        capture_output=True,
        timeout=60,
        check=True,
    )
    assert child.stdout.decode().split() == ["0", "11.0"]
    assert far.fetch(["c/11/1"]) == 0
    del far
    assert not folder.exists()
    monkeypatch.setenv("SPRINTCACHE_REMOTE_CACHE", str(tmp_path / "copies"))
    first = remote(path)
    first.read_features("c/03/1")
    del first
    assert remote(path).fetch(["c/03/1"]) == 0


def test_forked_child(tmp_path: Path) -> None:
    """Reads what is there; the rest is an error, since the threads of the store are gone."""
    path = tmp_path / "features.cache"
    large_archive(path)
    far = remote(path)
    far.read_features("c/12/1")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            assert far.read_features("c/12/1")[0, 0] == 12
            far.read_features("c/02/1")
        except SprintCacheError as error:
            status = 0 if "after a fork" in error.reason else 2
        finally:
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert Path(far.folder).is_dir()


def test_bundle(tmp_path: Path) -> None:
    """Paths relative to the bundle, URLs, and files of this machine."""
    for part in PARTS[:2]:
        (tmp_path / part.name).write_bytes(part.read_bytes())
    bundle = tmp_path / "all.bundle"
    bundle.write_text(f"{PARTS[0].name}\n{url_of(tmp_path / PARTS[1].name)}\n")
    far = sprintcache.open_archive(url_of(bundle))
    local = sprintcache.open_archive(PARTS[:2])
    assert list(far.segments) == list(local.segments)
    bundle.write_text(f"{PARTS[0]}\n{tmp_path / PARTS[1].name}\n")
    mapped = sprintcache.open_archive(bundle, path_map={str(DATA): url_of(DATA)})
    assert isinstance(mapped, RemoteArchive)
    assert list(mapped.segments) == list(local.segments)
    name = local.segments[0]
    assert np.array_equal(mapped.read_features(name), local.read_features(name))


# ---- a server


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """URL of a bucket with the features, on a server in this process."""
    server = pytest.importorskip("moto.server", reason="moto is not installed")
    boto3 = pytest.importorskip("boto3", reason="boto3 is not installed")
    threads = server.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    threads.start()
    host, port = threads.get_host_and_port()
    names = {
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        client = boto3.client("s3", endpoint_url=names["AWS_ENDPOINT_URL"])
        client.create_bucket(Bucket="speech")
        for path in [*PARTS, VITERBI]:
            client.upload_file(str(path), "speech", f"corpus/{path.name}")
        text = "".join(f"{path.name}\n" for path in PARTS)
        client.put_object(Bucket="speech", Key="corpus/features.bundle", Body=text.encode())
        yield "s3://speech/corpus"
    finally:
        threads.stop()
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def test_server(bucket: str) -> None:
    local = sprintcache.open_archive(DATA / "features.bundle")
    far = sprintcache.open_archive(f"{bucket}/features.bundle")
    names = list(local.segments)
    assert list(far.segments) == names
    assert np.array_equal(far.read_features_batch(names)[0], local.read_features_batch(names)[0])
    with pytest.raises(FileNotFoundError, match="no such object"):
        sprintcache.open_archive(f"{bucket}/missing.cache")


def test_dataset(bucket: str) -> None:
    def batches(features: str, alignment: str) -> list[np.ndarray]:
        dataset = sprintcache.SprintCacheDataset(
            {
                "data": {"filename": features},
                "classes": {
                    "filename": alignment,
                    "data_type": "align",
                    "allophone_labeling": {
                        "silence_phone": "[SILENCE]",
                        "allophone_file": str(DATA / "allophones"),
                        "state_tying_file": str(DATA / "state-tying" / "monophone"),
                    },
                },
            }
        )
        dataset.init_seq_order(1)
        batch = dataset.read_batch([3, 1, 2])
        return [*batch["data"], *batch["classes"]]

    far = batches(f"{bucket}/features.bundle", f"{bucket}/alignment.viterbi.cache")
    local = batches(str(DATA / "features.bundle"), str(VITERBI))
    for x, y in zip(far, local, strict=True):
        assert np.array_equal(x, y)


def test_server_replaced_the_object(bucket: str) -> None:
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    client.put_object(Bucket="speech", Key="other.cache", Body=VITERBI.read_bytes())
    far = sprintcache.open_archive("s3://speech/other.cache")
    client.put_object(Bucket="speech", Key="other.cache", Body=VITERBI.read_bytes()[::-1])
    assert isinstance(far, RemoteArchive)
    (copy,) = far._copy_of.values()
    copy._present[:] = 0
    with pytest.raises(ArchiveChangedError, match="replaced"):
        far.read_alignment(far.segments[0])


def test_no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    with pytest.raises(SprintCacheError, match="the object store failed") as error:
        sprintcache.open_archive("s3://speech/features.cache")
    assert error.value.path == "s3://speech/features.cache"


def test_index(bucket: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """An index that was written before the upload is used; a stale one is not."""
    import boto3

    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    local = large_archive(tmp_path / "large.cache", frames=512)
    index = sprintcache.write_index(tmp_path / "large.cache")
    for path in (tmp_path / "large.cache", Path(index)):
        client.upload_file(str(path), "speech", path.name)
    far = sprintcache.open_archive("s3://speech/large.cache")
    assert isinstance(far, RemoteArchive)
    assert far.index_path is not None
    before = num_present(far)
    assert np.array_equal(far.num_frames_all(), local.num_frames_all())
    assert num_present(far) == before
    assert far.num_frames("c/10/1") == 512
    assert far.read_features("c/10/1")[0, 0] == 10
    again = pickle.loads(pickle.dumps(far))
    assert again.index_path == far.index_path
    assert sprintcache.open_archive("s3://speech/large.cache", index=None).index_path is None
    client.upload_file(str(VITERBI), "speech", "large.cache")
    stale = sprintcache.open_archive("s3://speech/large.cache")
    assert stale.index_path is None
    assert "is not used" in caplog.text
    assert len(stale) == len(sprintcache.open_archive(VITERBI))


def test_every_read_fetches() -> None:
    """What the compiled reader reads is overridden."""
    own = set(vars(RemoteArchive))
    reader = {
        name
        for name in vars(sprintcache.Archive.__mro__[1])
        if name.startswith(("read_", "_read_", "num_frames", "feature_dims", "_datatype"))
    }
    assert reader <= own
    assert {name for name in vars(sprintcache.Archive) if name.startswith("iter_")} <= own
