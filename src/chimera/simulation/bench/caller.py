"""The client of `bench decide`: a process of its own that posts bodies one after the other on one connection.

Reads a JSON body a line from stdin and writes a line with the JSON list [status, ns, decisions] to stdout for each,
until stdin ends. A batch has several decisions.
"""

import json
import sys
import time
from collections.abc import Iterable
from http.client import HTTPConnection


def call_all(host: str, port: int, path: str, bodies: Iterable[str]) -> None:
    connection = HTTPConnection(host, port)
    connection.connect()
    for body in bodies:
        raw = body.encode()
        began_ns = time.perf_counter_ns()
        connection.request("POST", path, raw, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        took_ns = time.perf_counter_ns() - began_ns
        told = json.loads(answer)
        decisions = [each.get("decision", "") for each in told.get("answers", [told])]
        sys.stdout.write(json.dumps([response.status, took_ns, decisions]) + "\n")
        sys.stdout.flush()
    connection.close()


if __name__ == "__main__":
    call_all(sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.stdin)
