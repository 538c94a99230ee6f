"""A Singer tap of the tests: it reads a JSON file, and behaves as its configuration says.

`data` is a file with `{stream: {"key": […], "cursor": "…" or null, "rows": [{…}]}}`. `behave` is
what it does wrong, or else. `pause` are seconds between two rows. It writes its process id to
`pid_file`, and each start with its arguments to `starts_file`, if they are given.
"""

import json
import os
import signal
import sys
import time

argv = sys.argv[1:]
if "--help" in argv:
    print("usage: tap [--config CONFIG] [--catalog CATALOG] [--state STATE] [--discover]")
    if "old" in os.path.basename(sys.argv[0]):
        print("  --properties PROPERTIES")
    sys.exit()


def argument(name):
    return argv[argv.index(name) + 1] if name in argv else None


config_file = argument("--config")
with open(config_file) as file:
    config = json.load(file)
behave = config.get("behave", "")
if config.get("starts_file"):
    with open(config["starts_file"], "a") as file:
        file.write(json.dumps(argv) + "\n")
if behave == "rotten":
    sys.stderr.write('Traceback (most recent call last):\n  File "tap", line 1\n')
    sys.stderr.write("ModuleNotFoundError: No module named 'pkg_resources'\n")
    sys.exit(1)
if behave == "misconfigured":
    sys.stderr.write("CRITICAL Config is missing required keys: ['start_date']\n")
    sys.exit(1)
with open(config["data"]) as file:
    data = json.load(file, parse_float=str)


def send(message):
    text = json.dumps(message, separators=(",", ":") if config.get("compact") else (", ", ": "))
    for number in config.get("numbers", []):  # as they stand in the file, with all digits
        text = text.replace(json.dumps(f"#{number}"), number)
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def schema_of(stream):
    return {
        "type": "object",
        "properties": stream.get(
            "properties",
            {
                "id": {"type": "integer"},
                "name": {"type": ["null", "string"]},
                "amount": {"type": ["null", "number"]},
                "big": {"type": ["null", "integer"]},
                "at": {"type": ["null", "string"], "format": "date-time"},
                "updated": {"type": "integer"},
                "tags": {"type": ["null", "array"]},
            },
        ),
    }


if "--discover" in argv:
    if behave == "no_catalog":
        print("Hello")
        sys.exit()
    streams = []
    for name, stream in data.items():
        marks = {"inclusion": "available"}
        marks["table-key-properties"] = stream["key"]
        if stream.get("cursor"):
            marks["valid-replication-keys"] = [stream["cursor"]]
            marks["forced-replication-method"] = "INCREMENTAL"
        else:
            marks["forced-replication-method"] = "FULL_TABLE"
        metadata = [{"breadcrumb": [], "metadata": marks}]
        streams.append(
            {
                "tap_stream_id": name,
                "stream": name,
                "key_properties": stream["key"],
                "schema": schema_of(stream),
                "metadata": metadata,
            }
        )
    print(json.dumps({"streams": streams}))
    sys.exit()

if config.get("pid_file"):
    with open(config["pid_file"] + ".new", "w") as file:
        file.write(str(os.getpid()))
    os.replace(config["pid_file"] + ".new", config["pid_file"])
if behave == "ends_well_on_term":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    signal.signal(signal.SIGINT, lambda *_: sys.exit(0))
if "refresh_token" in config:
    if config["refresh_token"] != open(config["token_file"]).read():
        sys.stderr.write("ERROR requests.exceptions.HTTPError: 401 Client Error: Unauthorized\n")
        sys.exit(1)
    config["refresh_token"] += "+"
    with open(config["token_file"], "w") as file:
        file.write(config["refresh_token"])
    with open(config_file, "w") as file:
        json.dump(config, file)
catalog_file = argument("--properties") if behave == "old" else argument("--catalog")
with open(catalog_file) as file:
    catalog = json.load(file)
state = {"bookmarks": {}}
if argument("--state"):
    with open(argument("--state")) as file:
        state = {"bookmarks": {}, **json.load(file)}
if behave == "empty_state_first":
    send({"type": "STATE", "value": {}})
if behave == "silent":
    time.sleep(3600)
if behave == "floods":
    for number in range(20_000):
        sys.stderr.write(f"INFO {number} {'x' * 500}\n")
if behave == "garbage":
    print("Syncing …")
for text, name in (
    ("limited", "429 Client Error: Too Many Requests for url: https://x/?k=v"),
    ("unauthorized", "401 Client Error: Unauthorized"),
    ("down", "503 Server Error"),
):
    if behave == text:
        sys.stderr.write('Traceback (most recent call last):\n  File "x.py", line 3, in y\n')
        sys.stderr.write(f"requests.exceptions.HTTPError: {name} {config.get('password', '')}\n")
        sys.exit(1)
for entry in catalog["streams"]:
    name = entry["tap_stream_id"]
    selected = next(m["metadata"] for m in entry["metadata"] if not m["breadcrumb"])
    if not selected.get("selected"):
        continue
    stream = data[name]
    if behave == "skips" and name == config.get("stream", name):
        continue
    send(
        {
            "type": "SCHEMA",
            "stream": name,
            "schema": schema_of(stream),
            "key_properties": stream["key"],
        }
    )
    cursor = stream.get("cursor")
    low = state["bookmarks"].get(name, {}).get("value")
    if behave == "not_resumable":
        marks = {"progress_markers": {"Note": "Progress is not resumable if interrupted."}}
        send({"type": "STATE", "value": {"bookmarks": {name: marks}}})
    rows = [row for row in stream["rows"] if low is None or not cursor or row[cursor] >= low]
    high = low
    for number, row in enumerate(rows):
        if number == len(rows) // 2 and name == config.get("stream", name):
            if behave == "dies":
                raise RuntimeError("the service hung up " + config.get("password", ""))
            if behave == "is_killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if behave == "stops_early":
                send({"type": "STATE", "value": {**state, "currently_syncing": name}})
                sys.exit(0)
            if behave == "half_a_line":
                sys.stdout.write('{"type": "RECORD", "stream": "' + name + '", "record": {"id"')
                sys.stdout.flush()
                sys.exit(0)
            if behave == "changes_schema":
                stream["properties"] = {
                    **schema_of(stream)["properties"],
                    "name": {"type": "integer"},
                    "new": {"type": "string"},
                }
                send(
                    {
                        "type": "SCHEMA",
                        "stream": name,
                        "schema": schema_of(stream),
                        "key_properties": stream["key"],
                    }
                )
        send({"type": "RECORD", "stream": name, "record": row})
        high = max(filter(None, [high, row.get(cursor)]), default=None) if cursor else None
        if config.get("pause"):
            time.sleep(config["pause"])
    state["bookmarks"][name] = {"value": high} if cursor and high is not None else {}
    send({"type": "STATE", "value": {**state, "currently_syncing": name}})
    if behave == "reports_failure":
        sys.stderr.write(
            'INFO METRIC: {"type": "timer", "metric": "sync_duration", "value": 1, '
            f'"tags": {{"stream": "{name}", "status": "failed"}}}}\n'
        )
if behave == "leaves_markers":
    for name in state["bookmarks"]:
        state["bookmarks"][name] = {"progress_markers": {"value": 3}}
send({"type": "STATE", "value": state})
