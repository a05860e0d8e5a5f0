"""The snippets people are given, pasted as they stand, against a real server.

Only host and key differ: the host comes from SAYTICS_HOST, the key stands in its place.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from factories import unique

ROOT = Path(__file__).parents[2]

COMMONJS = """
const Saytics = require('@saytics/node');
const saytics = new Saytics('YOUR_SECRET_KEY');
(async () => {
  // Track an event
  await saytics.track({
    userId: 'user_456',
    event: 'Subscription Upgraded',
    properties: {
      plan: 'pro',
      mrr: 49.99,
      billing_cycle: 'monthly'
    }
  });
})();
"""

LAMBDA = """
import Saytics from '@saytics/node';
const saytics = new Saytics('YOUR_SECRET_KEY');

export async function handler(event) {
  await saytics.track({
    userId: event.userId,
    event: 'Order Completed',
    properties: { orderId: event.orderId }
  });

  // Flush before the function exits
  await saytics.flush();
}

await handler({ userId: 'user_456', orderId: 'order_1' });
process.kill(process.pid, 'SIGKILL');  // what is not flushed by now is lost
"""

PYTHON = """
from saytics import Saytics
saytics = Saytics("YOUR_SECRET_KEY")
saytics.track(user_id="user_456", event="Subscription Upgraded",
              properties={"plan": "pro", "mrr": 49.99})
saytics.flush()
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    """A Node project that has installed the SDK from its folder."""
    folder = tmp_path_factory.mktemp("project")
    (folder / "package.json").write_text('{"name": "customer", "private": true}')
    run(["npm", "install", "--silent", "--no-audit", "--no-fund", ROOT / "sdks/node"], folder)
    return folder


def run(command, folder, host="", *, killed=False):
    """Run a program in a folder; it must end well, or by the kill it is written to make."""
    environment = os.environ | {
        "SAYTICS_HOST": host,
        "PYTHONPATH": str(ROOT / "sdks/python/src"),
    }
    ran = subprocess.run(
        [str(word) for word in command],
        check=False,
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ran.returncode == (-9 if killed else 0), ran.stderr


def pasted(snippet, name, server):
    """Return a snippet with the key and an event name of this test in their places."""
    event = unique("Seed")
    return event, snippet.replace("YOUR_SECRET_KEY", server.secret_key).replace(name, event)


def arrived(server, event):
    """Return the one event of that name, as the API gives it."""
    server.wait_visible()
    found = server.events(event=event)
    assert len(found) == 1
    return found[0]


def test_the_node_snippet_runs_from_commonjs(project, server):
    """`require`, constructor and `await track` deliver the event by the end of the program."""
    event, program = pasted(COMMONJS, "Subscription Upgraded", server)
    (project / "seed.cjs").write_text(program)
    run(["node", "seed.cjs"], project, server.address)
    properties = arrived(server, event)["properties"]
    assert properties == {"plan": "pro", "mrr": 49.99, "billing_cycle": "monthly"}


def test_the_lambda_handler_has_sent_when_it_returns(project, server):
    """`await flush` at the end of the handler suffices: the process is killed right after."""
    event, program = pasted(LAMBDA, "Order Completed", server)
    (project / "seed.mjs").write_text(program)
    run(["node", "seed.mjs"], project, server.address, killed=True)
    assert arrived(server, event)["properties"] == {"orderId": "order_1"}


def test_the_python_snippet_runs(tmp_path, server):
    """Constructor, `track` and `flush` deliver the event."""
    event, program = pasted(PYTHON, "Subscription Upgraded", server)
    (tmp_path / "seed.py").write_text(program)
    run([sys.executable, "seed.py"], tmp_path, server.address)
    assert arrived(server, event)["properties"] == {"plan": "pro", "mrr": 49.99}


@pytest.mark.parametrize("path", ["/sdk/node.tgz", "/sdk/python.whl"])
def test_the_server_hands_out_its_sdks(server, path):
    """Both packages are there under their stable names."""
    answer = server.client.get(path, follow_redirects=True)
    assert answer.status_code == 200
    assert len(answer.content) > 1000
