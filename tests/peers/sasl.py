"""Asks those who come for a password, as a Kafka broker does (KIP-43, KIP-152), and passes all else on to one that does not.

  sasl.py BROKER USER PASSWORD PORT      prints `listening on PORT`

PLAIN by RFC 4616, SCRAM-SHA-256 and SCRAM-SHA-512 by RFC 5802.
"""

import base64
import hashlib
import hmac
import os
import socket
import struct
import sys
import threading

API_VERSIONS, HANDSHAKE, AUTHENTICATE = 18, 17, 36
MECHANISMS = {"PLAIN": None, "SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}
ITERATIONS = 4096

(host, port), user, password = sys.argv[1].split(":"), sys.argv[2], sys.argv[3].encode()


class Denied(Exception):
    pass


def exactly(stream, count):
    data = b""
    while len(data) < count:
        piece = stream.recv(count - len(data))
        if not piece:
            raise ConnectionError
        data += piece
    return data


def frame(stream):
    return exactly(stream, struct.unpack(">i", exactly(stream, 4))[0])


def send(stream, data):
    stream.sendall(struct.pack(">i", len(data)) + data)


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def scram(digest):
    """Takes what the client sends, gives what the server answers."""
    first = yield
    if not first.startswith(b"n,,"):
        raise Denied("channel binding")
    fields = dict(part.split(b"=", 1) for part in first[3:].split(b","))
    salt = os.urandom(16)
    nonce = fields[b"r"] + base64.b64encode(os.urandom(12))
    challenge = b"r=%s,s=%s,i=%d" % (nonce, base64.b64encode(salt), ITERATIONS)
    final = yield challenge
    without_proof, proof = final.rsplit(b",p=", 1)
    salted = hashlib.pbkdf2_hmac(digest, password, salt, ITERATIONS)
    message = b",".join([first[3:], challenge, without_proof])
    client_key = hmac.digest(salted, b"Client Key", digest)
    signature = hmac.digest(hashlib.new(digest, client_key).digest(), message, digest)
    shown = bytes(a ^ b for a, b in zip(base64.b64decode(proof), signature))
    if fields[b"n"].decode() != user or not hmac.compare_digest(shown, client_key):
        raise Denied("Authentication failed")
    server_key = hmac.digest(salted, b"Server Key", digest)
    yield b"v=" + base64.b64encode(hmac.digest(server_key, message, digest))


def plain():
    token = yield
    if token.split(b"\0")[1:] != [user.encode(), password]:
        raise Denied("Authentication failed")
    yield b""


def authenticate(client, server):
    """Until the client is known, it may ask for versions and say who it is."""
    steps, left = None, 0
    while True:
        request = frame(client)
        key, version, correlation, length = struct.unpack(">hhih", request[:10])
        body = request[10 + max(length, 0) :]
        head = struct.pack(">i", correlation)
        if key == API_VERSIONS:
            send(server, request)
            send(client, frame(server))
        elif key == HANDSHAKE:
            mechanism = body[2:].decode()
            known = mechanism in MECHANISMS
            names = b"".join(string(name) for name in MECHANISMS)
            send(client, head + struct.pack(">hi", 0 if known else 33, len(MECHANISMS)) + names)
            if not known:
                return False
            steps, left = (plain(), 1) if mechanism == "PLAIN" else (scram(MECHANISMS[mechanism]), 2)
            next(steps)
        elif key == AUTHENTICATE and steps and version <= 1:
            try:
                token = steps.send(body[4:])
            except (Denied, KeyError, ValueError) as error:
                text = str(error)
                send(client, head + struct.pack(">h", 58) + string(text) + struct.pack(">i", 0) + bytes(8 * version))
                return False
            answer = struct.pack(">hhi", 0, -1, len(token)) + token
            # The lifetime of the session, of version 1.
            send(client, head + answer + bytes(8 * version))
            left -= 1
            if left:
                # A generator waits at its yield.
                continue
            return True
        else:
            return False


def pump(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
    except OSError:
        pass
    for end in (source, target):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass


def serve(client):
    with client, socket.create_connection((host, int(port))) as server:
        try:
            if not authenticate(client, server):
                return
        except (ConnectionError, struct.error):
            return
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


def main():
    listener = socket.create_server(("127.0.0.1", int(sys.argv[4])))
    print(f"listening on {listener.getsockname()[1]}", flush=True)
    while True:
        client, _ = listener.accept()
        threading.Thread(target=serve, args=(client,), daemon=True).start()


main()
