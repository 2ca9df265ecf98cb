"""A push over plain HTTP, step by step, as a client in another language would send it."""

from __future__ import annotations

from typing import Any

import httpx

from plait import wire
from reference.memory_registry import Version
from reference.registry_drivers import plan_objects
from served.stores import checksum_headers


def begin_push(
    client: httpx.Client,
    url: str,
    version: Version,
    *,
    branch: str = "main",
    expected: str | None = None,
) -> wire.PushPlan:
    """Begin a push of a version to the repository at `url`."""
    ref = wire.PushRef("branch", branch, expected, version.id)
    body = wire.NewPush(ref, wire.StagedCommits([version.commit], [version.manifest]))
    answer = client.post(f"{url}/pushes", json=wire.encode(body))
    assert answer.status_code == 201, answer.text
    return wire.decode(wire.PushPlan, answer.json())


def announce(client: httpx.Client, url: str, plan: wire.PushPlan, version: Version) -> wire.Uploads:
    """Announce the objects that a plan asks for, and send nothing."""
    objects, _ = plan_objects(plan, _contents(version))
    body = wire.encode(wire.UploadRequest(objects))
    answer = client.post(f"{url}/pushes/{plan.push}/uploads", json=body)
    assert answer.status_code == 200, answer.text
    return wire.decode(wire.Uploads, answer.json())


def upload(client: httpx.Client, url: str, plan: wire.PushPlan, version: Version) -> int:
    """Send what a plan asks for, and return how many bytes that were."""
    _, bodies = plan_objects(plan, _contents(version))
    sent = 0
    for item in announce(client, url, plan, version).uploads:
        for part in item.parts:
            assert part.request is not None
            body = bodies[item.sha256][part.offset : part.offset + part.size]
            headers = {**checksum_headers(body), **part.request.headers}
            target = client.base_url.join(part.request.url)
            answer = httpx.put(target, content=body, headers=headers, timeout=30)
            assert answer.status_code in (200, 412), answer.text
            sent += len(body)
    return sent


def complete(client: httpx.Client, url: str, plan: wire.PushPlan) -> httpx.Response:
    """Ask for the end of a push."""
    return client.post(f"{url}/pushes/{plan.push}/complete")


def push_version(
    client: httpx.Client, url: str, version: Version, *, expected: str | None = None
) -> wire.PushResult:
    """Push a version to `main` from begin to complete."""
    plan = begin_push(client, url, version, expected=expected)
    upload(client, url, plan, version)
    answer = complete(client, url, plan)
    assert answer.status_code == 200, answer.text
    return wire.decode(wire.PushResult, answer.json())


def _contents(version: Version) -> dict[str, bytes]:
    return {str(digest): data for digest, data in version.contents.items()}


def download(client: httpx.Client, url: str, digest: str) -> bytes:
    """Return a file's bytes, read as a client reads them."""
    answer = client.post(f"{url}/downloads", json={"files": [digest]})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    (file,) = found["files"]
    data = b""
    for extent in file["extents"]:
        signed = found["objects"][extent["object"]]
        span = f"bytes={extent['offset']}-{extent['offset'] + extent['size'] - 1}"
        headers = {"range": span, **signed["headers"]}
        data += httpx.get(client.base_url.join(signed["url"]), headers=headers, timeout=30).content
    return data
