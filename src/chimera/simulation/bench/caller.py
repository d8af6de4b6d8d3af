"""The client of `bench decide`: a process of its own that posts bodies one after the other on one connection.

Reads one JSON list of bodies from stdin, writes one JSON list of [status, ns, decisions] to stdout. A
batch has several.
"""

import json
import sys
import time
from http.client import HTTPConnection


def call_all(host: str, port: int, path: str, bodies: list[dict[str, object]]) -> list[tuple[int, int, list[str]]]:
    connection = HTTPConnection(host, port)
    connection.connect()
    answers = []
    for body in bodies:
        raw = json.dumps(body).encode()
        began_ns = time.perf_counter_ns()
        connection.request("POST", path, raw, {"content-type": "application/json"})
        response = connection.getresponse()
        answer = response.read()
        took_ns = time.perf_counter_ns() - began_ns
        told = json.loads(answer)
        answers.append((response.status, took_ns, [each.get("decision", "") for each in told.get("answers", [told])]))
    connection.close()
    return answers


if __name__ == "__main__":
    answered = call_all(sys.argv[1], int(sys.argv[2]), sys.argv[3], json.load(sys.stdin))
    json.dump(answered, sys.stdout)
