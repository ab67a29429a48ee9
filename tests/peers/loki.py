"""As much of Loki as takes pushes: its decoding, its checks, its answers, its storage by stream.

Written from the sources of Loki 3 (pkg/loghttp/push, pkg/distributor, pkg/ingester, pkg/validation), with other
libraries than the agent has: cramjam for Snappy, Google's protobuf with descriptors made here.

  POST /loki/api/v1/push   as Loki
  GET  /entries            what is stored, as JSON: [{"tenant", "labels", "entries": [[ns, line, metadata], …]}, …]
  GET  /requests           how many pushes came, and the headers of the last one

With --spool FILE nothing is stored: each entry that was taken becomes a line of the file, [ns, line, metadata] as JSON,
as often as it is pushed.
"""

import argparse
import json
import re
import threading
import time
from datetime import datetime, timezone
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import cramjam
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, timestamp_pb2


def push_request():
    """The messages of pkg/push/push.proto."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="push.proto", package="logproto", syntax="proto3", dependency=["google/protobuf/timestamp.proto"]
    )

    def message(name, *fields):
        made = file.message_type.add(name=name)
        for number, (field_name, kind, label, type_name) in enumerate(fields, 1):
            made.field.add(name=field_name, number=number, type=kind, label=label, type_name=type_name)

    one, many = field.LABEL_OPTIONAL, field.LABEL_REPEATED
    text, nested = field.TYPE_STRING, field.TYPE_MESSAGE
    message("LabelPairAdapter", ("name", text, one, None), ("value", text, one, None))
    pair = ".logproto.LabelPairAdapter"
    message(
        "EntryAdapter",
        ("timestamp", nested, one, ".google.protobuf.Timestamp"),
        ("line", text, one, None),
        ("structuredMetadata", nested, many, pair),
        ("parsed", nested, many, pair),
    )
    message(
        "StreamAdapter",
        ("labels", text, one, None),
        ("entries", nested, many, ".logproto.EntryAdapter"),
        ("hash", field.TYPE_UINT64, one, None),
    )
    message("PushRequest", ("streams", nested, many, ".logproto.StreamAdapter"), ("format", text, one, None))
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(timestamp_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("logproto.PushRequest"))


PushRequest = push_request()

LABEL = re.compile(r'\s*([a-zA-Z_][a-zA-Z0-9_]*)\s*=\s*("(?:[^"\\\n]|\\.)*")\s*(,|$)')


def parse_labels(text):
    """Labels of a selector, with the one that Loki adds; None where it cannot be read."""
    if not (text.startswith("{") and text.endswith("}")):
        return None
    labels, rest = {}, text[1:-1]
    while rest.strip():
        match = LABEL.match(rest)
        if not match or match[1] in labels:
            return None
        labels[match[1]] = json.loads(match[2])
        rest = rest[match.end() :]
    # `discover_service_name`, on by default.
    for source in ("service", "app", "container", "job"):
        if source in labels:
            labels.setdefault("service_name", labels[source])
    return labels


def selector(labels):
    return "{" + ", ".join(f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in sorted(labels.items())) + "}"


def rfc3339(ns):
    return datetime.fromtimestamp(ns // 10**9, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


class Refusal(Exception):
    def __init__(self, status, text):
        self.status, self.text = status, text


class Loki:
    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        # By tenant and selector: entries by (ns, line), and the highest time.
        self.streams = {}
        self.pushes = 0
        self.headers = {}
        self.spool = open(options.spool, "a", encoding="utf-8") if options.spool else None

    def push(self, tenant, body):
        try:
            request = PushRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
        except Exception as error:
            raise Refusal(400, str(error))
        if not request.streams:
            raise Refusal(422, "error at least one valid stream is required for ingestion")
        complaints, accepted = [], []
        for stream in request.streams:
            labels = parse_labels(stream.labels)
            if labels is None:
                complaints.append(f"Error parsing labels '{stream.labels}' with error: 1:2: parse error")
                continue
            if not labels:
                complaints.append("error at least one label pair is required per stream")
                continue
            name = selector(labels)
            entries = []
            for entry in stream.entries:
                complaint = self.validate(name, entry)
                complaints.append(complaint) if complaint else entries.append(entry)
            accepted.append((name, entries))
        error = None
        for name, entries in accepted:
            error = self.store(tenant, name, entries) or error
        if error:
            raise Refusal(400, error)
        if complaints:
            counts = {complaint: complaints.count(complaint) for complaint in complaints}
            is_counted = len(complaints) > 1
            texts = [f"{count} errors like: {text}" if is_counted else text for text, count in counts.items()]
            raise Refusal(400, "; ".join(texts))

    def validate(self, name, entry):
        ns, options = entry.timestamp.ToNanoseconds(), self.options
        oldest = time.time_ns() - options.max_age * 10**9
        if options.max_age and ns < oldest:
            return (
                f"entry for stream '{name}' has timestamp too old: {rfc3339(ns)}, "
                f"oldest acceptable timestamp is: {rfc3339(oldest)}"
            )
        if ns > time.time_ns() + 600 * 10**9:
            return f"entry for stream '{name}' has timestamp too new: {rfc3339(ns)}"
        length = len(entry.line.encode())
        if length > options.max_line:
            return (
                f"Max entry size '{options.max_line}' bytes exceeded for stream '{name}' "
                f"while adding an entry with length '{length}' bytes"
            )
        if entry.structuredMetadata and options.no_metadata:
            return (
                f"stream '{name}' includes structured metadata, but this feature is disallowed. Please see "
                "`limits_config.allow_structured_metadata` or contact your Loki administrator to enable it."
            )
        return None

    def store(self, tenant, name, entries):
        with self.lock:
            stored = self.streams.setdefault((tenant, name), {"entries": {}, "highest": None})
            failed = []
            for entry in entries:
                ns, highest = entry.timestamp.ToNanoseconds(), stored["highest"]
                cutoff = None if highest is None else highest - self.options.window * 10**9
                if cutoff is not None and ns < cutoff:
                    failed.append((ns, cutoff))
                    continue
                # The same time and text is the same entry.
                metadata = {pair.name: pair.value for pair in entry.structuredMetadata}
                if self.spool:
                    print(json.dumps([ns, entry.line, metadata]), file=self.spool)
                else:
                    stored["entries"].setdefault((ns, entry.line), metadata)
                stored["highest"] = ns if highest is None else max(highest, ns)
            if self.spool:
                # Before the push is answered.
                self.spool.flush()
        if not failed:
            return None
        # `max_returned_stream_errors` is 10.
        lines = [
            f"entry with timestamp {datetime.fromtimestamp(ns // 10**9, timezone.utc)} ignored, reason: 'entry too far "
            f"behind, entry timestamp is: {rfc3339(ns)}, oldest acceptable timestamp is: {rfc3339(cutoff)}',\n"
            for ns, cutoff in failed[:10]
        ]
        total = f"user '{tenant}', total ignored: {len(failed)} out of {len(entries)} for stream: {name}"
        return "".join(lines) + total

    def dump(self):
        with self.lock:
            return [
                {
                    "tenant": tenant,
                    "labels": parse_labels(name),
                    "entries": [[ns, line, metadata] for (ns, line), metadata in stored["entries"].items()],
                }
                for (tenant, name), stored in self.streams.items()
            ]


def handler(loki):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path != "/loki/api/v1/push":
                return self.answer(404, "404 page not found\n")
            loki.pushes += 1
            loki.headers = dict(self.headers)
            tenant = self.headers.get("X-Scope-OrgID", "fake" if not loki.options.tenants else None)
            if tenant is None:
                return self.answer(401, "no org id\n")
            if loki.options.token and self.headers.get("Authorization") != loki.options.token:
                return self.answer(401, "Unauthorized\n")
            if len(body) > loki.options.max_body:
                return self.answer(413, "<html><h1>413 Request Entity Too Large</h1></html>")
            try:
                loki.push(tenant, body)
            except Refusal as refusal:
                return self.answer(refusal.status, refusal.text + "\n")
            self.answer(204, "")

        def do_PUT(self):
            loki.options.token = self.rfile.read(int(self.headers["Content-Length"])).decode()
            self.answer(204, "")

        def do_GET(self):
            if self.path == "/entries":
                self.answer(200, json.dumps(loki.dump()))
            elif self.path == "/requests":
                self.answer(200, json.dumps({"pushes": loki.pushes, "headers": loki.headers}))
            else:
                self.answer(404, "404 page not found\n")

        def answer(self, status, text):
            body = text.encode()
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--window", type=int, default=3600, help="half of max_chunk_age, in seconds")
    parser.add_argument("--max-age", type=int, default=7 * 86400, help="reject_old_samples_max_age, in seconds")
    parser.add_argument("--max-line", type=int, default=256 << 10, help="max_line_size, in bytes")
    parser.add_argument("--max-body", type=int, default=1 << 30, help="as a proxy before it has a limit, in bytes")
    parser.add_argument("--no-metadata", action="store_true", help="allow_structured_metadata: false")
    parser.add_argument("--tenants", action="store_true", help="auth_enabled: true")
    parser.add_argument("--spool", metavar="FILE", help="write entries there instead of storing them")
    parser.add_argument("--token", help="what Authorization has to be")
    options = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler(Loki(options)))
    server.daemon_threads = True
    print(f"listening on {server.server_address[1]}", flush=True)
    server.serve_forever()


main()
