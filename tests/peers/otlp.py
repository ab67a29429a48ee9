"""An OTLP receiver for logs, over HTTP and gRPC, of Google's and OpenTelemetry's own Python packages.

It stores what it takes and can be told to misbehave. Its HTTP port is the first that it prints, gRPC the second.

  POST /v1/logs     as a receiver
  GET  /received    what is stored: one JSON object for each request, with its headers and its message
  PUT  /behave      {"times": 1, "status": 503, "headers": {}, "message": "…", "rejected": 0,
                     "code": "UNAVAILABLE", "retry_delay": 7}: how the next requests are answered
"""

import argparse
import gzip
import json
import threading
from concurrent import futures
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import grpc
from google.protobuf import any_pb2, descriptor_pb2, descriptor_pool, duration_pb2, message_factory
from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2_grpc as service


def google_rpc():
    """`google.rpc.Status` and `google.rpc.RetryInfo`."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="rpc.proto",
        package="google.rpc",
        syntax="proto3",
        dependency=["google/protobuf/any.proto", "google/protobuf/duration.proto"],
    )
    status = file.message_type.add(name="Status")
    status.field.add(name="code", number=1, type=field.TYPE_INT32, label=field.LABEL_OPTIONAL)
    status.field.add(name="message", number=2, type=field.TYPE_STRING, label=field.LABEL_OPTIONAL)
    status.field.add(
        name="details", number=3, type=field.TYPE_MESSAGE, label=field.LABEL_REPEATED, type_name=".google.protobuf.Any"
    )
    retry = file.message_type.add(name="RetryInfo")
    retry.field.add(
        name="retry_delay",
        number=1,
        type=field.TYPE_MESSAGE,
        label=field.LABEL_OPTIONAL,
        type_name=".google.protobuf.Duration",
    )
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(any_pb2.DESCRIPTOR.serialized_pb)
    pool.AddSerializedFile(duration_pb2.DESCRIPTOR.serialized_pb)
    pool.Add(file)
    return [
        message_factory.GetMessageClass(pool.FindMessageTypeByName(f"google.rpc.{name}")) for name in ("Status", "RetryInfo")
    ]


Status, RetryInfo = google_rpc()


class Receiver:
    def __init__(self):
        self.lock = threading.Lock()
        self.received = []
        self.behaviours = []

    def behave(self, behaviour):
        with self.lock:
            self.behaviours += [behaviour] * behaviour.get("times", 1)

    def next(self):
        with self.lock:
            return self.behaviours.pop(0) if self.behaviours else {}

    def take(self, protocol, headers, request, rejected=0):
        message = MessageToDict(request, preserving_proto_field_name=True)
        with self.lock:
            self.received.append({"protocol": protocol, "headers": headers, "message": message, "rejected": rejected})

    @staticmethod
    def response(behaviour):
        response = logs.ExportLogsServiceResponse()
        if "rejected" in behaviour:
            response.partial_success.rejected_log_records = behaviour["rejected"]
            response.partial_success.error_message = behaviour.get("message", "")
        return response


class Service(service.LogsServiceServicer):
    def __init__(self, receiver):
        self.receiver = receiver

    def Export(self, request, context):
        behaviour = self.receiver.next()
        if "code" in behaviour:
            code = grpc.StatusCode[behaviour["code"]]
            if "retry_delay" in behaviour:
                info = RetryInfo()
                info.retry_delay.seconds = behaviour["retry_delay"]
                status = Status(code=code.value[0], message=behaviour.get("message", ""))
                status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=info.SerializeToString())
                context.set_trailing_metadata([("grpc-status-details-bin", status.SerializeToString())])
            context.abort(code, behaviour.get("message", ""))
        # Text only: JSON has no bytes.
        headers = {name: value for name, value in context.invocation_metadata() if isinstance(value, str)}
        self.receiver.take("grpc", headers, request, behaviour.get("rejected", 0))
        return self.receiver.response(behaviour)


def handler(receiver, options):
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            behaviour = receiver.next()
            if self.path != "/v1/logs":
                return self.answer(404, b"404 page not found\n", {})
            if "status" in behaviour:
                status = Status(message=behaviour.get("message", ""))
                return self.answer(behaviour["status"], status.SerializeToString(), behaviour.get("headers", {}))
            if len(body) > options.max_bytes:
                return self.answer(413, b"too large", {})
            if self.headers.get("Content-Encoding") == "gzip":
                body = gzip.decompress(body)
            if self.headers["Content-Type"] != "application/x-protobuf":
                return self.answer(415, b"unsupported media type", {})
            request = logs.ExportLogsServiceRequest.FromString(body)
            receiver.take("http", {name.lower(): value for name, value in self.headers.items()}, request)
            self.answer(200, receiver.response(behaviour).SerializeToString(), {})

        def do_PUT(self):
            receiver.behave(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.answer(200, b"", {})

        def do_GET(self):
            with receiver.lock:
                self.answer(200, json.dumps(receiver.received).encode(), {})

        def answer(self, status, body, headers):
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Type", "application/x-protobuf")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_):
            pass

    return Handler


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--max-bytes", type=int, default=4 << 20, help="largest request")
    parser.add_argument("--grpc-port", type=int, default=0, help="where gRPC is spoken")
    options = parser.parse_args()
    receiver = Receiver()
    server = grpc.server(
        futures.ThreadPoolExecutor(max_workers=4), options=[("grpc.max_receive_message_length", options.max_bytes)]
    )
    service.add_LogsServiceServicer_to_server(Service(receiver), server)
    port = server.add_insecure_port(f"127.0.0.1:{options.grpc_port}")
    server.start()
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler(receiver, options))
    http.daemon_threads = True
    print(f"listening on {http.server_address[1]}", flush=True)
    print(f"listening on {port}", flush=True)
    http.serve_forever()


main()
