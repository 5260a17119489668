"""Prints the megabytes that a container has in use, asked of the engine: memory.py SOCKET CONTAINER."""

import json
import socket
import sys

_, path, name = sys.argv
with socket.socket(socket.AF_UNIX) as connection:
    connection.connect(path)
    connection.sendall(
        f"GET /containers/{name}/stats?stream=false&one-shot=true HTTP/1.0\r\nHost: corten\r\n\r\n".encode()
    )
    answer = b"".join(iter(lambda: connection.recv(1 << 16), b""))
usage = json.loads(answer.partition(b"\r\n\r\n")[2])["memory_stats"]
print(f"{(usage['usage'] - usage['stats'].get('total_inactive_file', 0)) / 1e6:.1f}")
