"""Runs OpenStack Swift with its S3 API in one folder: `python swift_launcher.py FOLDER PORT...`.

By the interpreter of `.venv-swift`, not by that of the tests. The ports are those of the proxy and
of the account, container and object servers. The servers end when standard input does, so that
they outlive nobody who started them, however that one ended. Data in the folder stay.
"""

from __future__ import annotations

import getpass
import importlib
import os
import signal
import subprocess
import sys
from pathlib import Path

STOP_LIMIT = 10
STORAGE = ("account", "container", "object")
SWIFT_CONF = """\
[swift-hash]
swift_hash_path_prefix = plait
swift_hash_path_suffix = tests

[storage-policy:0]
name = gold
policy_type = replication
default = yes
"""
SERVER_CONF = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
workers = 0
user = {user}
swift_dir = {etc}
devices = {devices}
mount_check = false
disable_fallocate = true
fallocate_reserve = 0
log_level = WARNING

[pipeline:main]
pipeline = {pipeline}
"""
STORAGE_CONF = """
[app:{name}-server]
use = egg:swift#{name}
"""
# Parts of a kibibyte are allowed, since the contract suites cut small objects.
PROXY_CONF = """
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
allow_account_management = true

[filter:catch_errors]
use = egg:swift#catch_errors

[filter:cache]
paste.filter_factory = swift_cache:filter_factory

[filter:s3api]
use = egg:swift#s3api
s3_acl = false
min_segment_size = 1
location = us-east-1

[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin

[filter:slo]
use = egg:swift#slo
rate_limit_after_segment = 100000

[filter:dlo]
use = egg:swift#dlo
"""


def main(folder: Path, ports: list[int]) -> None:
    """Start the servers and wait for the end of standard input."""
    configs = write_configs(folder, ports)
    bin_folder = Path(sys.executable).parent
    # Where the proxy finds `swift_cache`.
    environ = {**os.environ, "PYTHONPATH": str(Path(__file__).parent)}
    processes = [
        subprocess.Popen(
            [bin_folder / f"swift-{config.stem}", config], stdin=subprocess.DEVNULL, env=environ
        )
        for config in configs
    ]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    try:
        sys.stdin.read()
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            try:
                process.wait(STOP_LIMIT)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def write_configs(folder: Path, ports: list[int]) -> list[Path]:
    """Write what is not there yet, and return the servers' configurations, the proxy's last."""
    etc, devices = folder / "etc", folder / "devices"
    configs = [etc / f"{name}-server.conf" for name in (*STORAGE, "proxy")]
    if etc.exists():
        return configs
    etc.mkdir(parents=True)
    (devices / "d1").mkdir(parents=True)
    (etc / "swift.conf").write_text(SWIFT_CONF)
    proxy_port, *storage_ports = ports
    for name, port in zip(STORAGE, storage_ports, strict=True):
        write_ring(etc / f"{name}.ring.gz", port)
    pipelines = [f"{name}-server" for name in STORAGE]
    pipelines.append("catch_errors cache s3api tempauth slo dlo proxy-server")
    parts = [STORAGE_CONF.format(name=name) for name in STORAGE] + [PROXY_CONF]
    for config, port, pipeline, part in zip(
        configs, [*storage_ports, proxy_port], pipelines, parts, strict=True
    ):
        head = SERVER_CONF.format(
            port=port, user=getpass.getuser(), etc=etc, devices=devices, pipeline=pipeline
        )
        config.write_text(head + part)
    return configs


def write_ring(path: Path, port: int) -> None:
    """Write a ring of one device: 2^6 partitions, one replica."""
    builder = importlib.import_module("swift.common.ring").RingBuilder(6, 1, 1)
    address = {"ip": "127.0.0.1", "port": port}
    replication = {f"replication_{key}": value for key, value in address.items()}
    device = {"region": 1, "zone": 1, "device": "d1", "weight": 1.0, "meta": ""}
    builder.add_dev({**device, **address, **replication})
    builder.rebalance()
    builder.get_ring().save(str(path))


if __name__ == "__main__":
    main(Path(sys.argv[1]), [int(port) for port in sys.argv[2:]])
