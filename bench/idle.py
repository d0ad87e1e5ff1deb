"""Opens N idle sessions through a proxy, touches a file when all are logged in, and waits until it is gone."""
import os, socket, struct, sys, time

port, n, flag = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]


def login():
    s = socket.create_connection(("127.0.0.1", port))
    body = struct.pack("!I", 196608) + b"user\0postgres\0database\0postgres\0\0"
    s.sendall(struct.pack("!I", len(body) + 4) + body)
    data = b""
    while not data.endswith(b"Z\0\0\0\x05I"):
        chunk = s.recv(65536)
        if not chunk:
            raise SystemExit(f"closed after {data[-200:]!r}")
        data += chunk
    s.sendall(b"Q\0\0\0\rselect 1\0")
    while True:
        if s.recv(65536).endswith(b"Z\0\0\0\x05I"):
            return s


sessions = [login() for _ in range(n)]
open(flag, "w").close()
while os.path.exists(flag):
    time.sleep(0.1)
