"""Two Ray nodes read archives of an object store; they share no file system path but the program.

A server with the interface of S3 starts on this machine (moto), the archives of the repository are
uploaded to it from a folder that is deleted then, and two Ray nodes of one processor each read
them by URL. Needs `pip install 'sprintcache[ray,remote]' 'moto[server]'`:

    python examples/object_store.py
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

DATA = Path(__file__).parent.parent / "tests" / "data"
FILES = [*(f"features.part{i}.cache" for i in (1, 2, 3)), "alignment.viterbi.cache"]


def upload(client: Any, folder: Path) -> None:
    """Puts archives, a bundle of them and its index into the bucket."""
    import sprintcache

    for name in FILES:
        shutil.copy(DATA / name, folder / name)
    bundle = folder / "features.bundle"
    bundle.write_text("".join(f"{name}\n" for name in FILES[:3]))
    sprintcache.write_index(bundle)
    client.create_bucket(Bucket="speech")
    for path in folder.iterdir():
        client.upload_file(str(path), "speech", path.name)


def with_node(batch: dict[str, Any]) -> dict[str, Any]:
    """Frames of each segment, and the node that read them."""
    import ray

    node = ray.get_runtime_context().get_node_id()
    frames = [len(features) for features in batch["features"]]
    return {"frames": frames, "node": [node] * len(frames)}


def main() -> Counter[str]:
    import boto3
    import ray
    from moto.server import ThreadedMotoServer
    from ray.cluster_utils import Cluster

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    os.environ.update(  # the nodes inherit it
        AWS_ACCESS_KEY_ID="key",
        AWS_SECRET_ACCESS_KEY="secret",
        AWS_DEFAULT_REGION="us-east-1",
        AWS_ENDPOINT_URL=f"http://{host}:{port}",
    )
    client = boto3.client("s3", endpoint_url=os.environ["AWS_ENDPOINT_URL"])
    with tempfile.TemporaryDirectory() as folder:
        upload(client, Path(folder))
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
    cluster.add_node(num_cpus=1)
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        from sprintcache.ray import read_archives

        dataset = read_archives("s3://speech/features.bundle", override_num_blocks=8)
        rows = dataset.map_batches(with_node, batch_size=None).take_all()
    finally:
        ray.shutdown()
        cluster.shutdown()
        server.stop()
    frames: Counter[str] = Counter()
    for row in rows:
        frames[row["node"]] += int(row["frames"])
    for number, (_, count) in enumerate(sorted(frames.items()), 1):
        print(f"node {number} read {count} frames")
    print(f"{len(rows)} segments, {sum(frames.values())} frames from the store")
    return frames


if __name__ == "__main__":
    main()
