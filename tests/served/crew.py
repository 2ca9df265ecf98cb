"""A program of several workers that need no database: who answers, and when, is all they know.

    python -m served.crew COUNT [FAILING]

Answers every request with its process's id, after as many seconds as the query says. A file named
FAILING makes workers that start while it exists end with status 3.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from starlette.types import Receive, Scope, Send

from plait_registry.api.serving import Server, bind, url_of
from plait_registry.api.workers import Callbacks, Channels, Supervisor
from plait_registry.settings import Serving

SERVING = Serving(stop_seconds=3)


async def answer(scope: Scope, _receive: Receive, send: Send) -> None:
    await asyncio.sleep(float(scope["query_string"].decode() or 0))
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": str(os.getpid()).encode()})


def main(count: int, failing: Path | None) -> int:
    with bind("127.0.0.1", 0) as bound:

        def work(channels: Channels) -> None:
            channels.become_worker()
            if failing is not None and failing.exists():
                os._exit(3)
            server = Server(answer, SERVING, on_ready=channels.tell_ready, on_stop=lambda: None)
            signal.signal(signal.SIGTERM, server.handle_exit)
            server.run(sockets=[bound])

        callbacks = Callbacks(
            on_ready=lambda: say(f"listening on {url_of(bound)}"),
            on_death=lambda pid: say(f"gone {pid}"),
            on_stop=bound.close,
        )
        return Supervisor(count, lambda c: fork(lambda: work(c)), callbacks, stop_seconds=6).run()


def fork(work: Callable[[], None]) -> int:
    pid = os.fork()
    if pid == 0:
        try:
            work()
        finally:
            os._exit(0)
    return pid


def say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1]), Path(sys.argv[2]) if len(sys.argv) > 2 else None))
