"""`saytics serve`, with a hand inside: each line on standard input is a JSON string of Python.

Run by `serving.py`. Says `> {"result": …}` or `> {"raised": …}` per line.
"""

from __future__ import annotations

import json
import sys
import threading
import traceback
from typing import Any

from saytics_server import config
from saytics_server.server import Server


def main() -> None:
    """Serve until told to stop."""
    server = Server(config.load())
    parts = server.parts
    names: dict[str, Any] = {
        "server": server,
        "accounts": parts.accounts,
        "log": parts.log,
        "store": parts.store,
        "loader": parts.loader,
        "collector": server.collector,
    }

    def obey() -> None:
        for line in sys.stdin:
            names["result"] = None
            try:
                exec(json.loads(line), names)
                answer = {"result": names["result"]}
            except Exception:
                answer = {"raised": traceback.format_exc()}
            print("> " + json.dumps(answer), flush=True)

    def on_ready() -> None:
        print(f"Saytics is ready at {server.address}", flush=True)
        threading.Thread(target=obey, daemon=True).start()

    server.run(on_ready)


if __name__ == "__main__":
    main()
