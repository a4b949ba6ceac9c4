"""Runs a program where nothing but loopback can be reached: unshare --map-root-user --net python apart.py FD PORT REPORT PROGRAM…

What listens on PORT in there is handed through the socket FD to whoever started this; so the program asks an address that a
configuration file names, and is answered from outside. REPORT tells how often it tried to reach something else."""

import fcntl
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
from pathlib import Path

SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def put_up_loopback():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        asked = struct.pack("16sH14x", b"lo", 0)
        flags = struct.unpack("16sH14x", fcntl.ioctl(any_socket, SIOCGIFFLAGS, asked))[1]
        fcntl.ioctl(any_socket, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))


def without_route():
    """Packets and connections that had no way out, since this network is there."""
    names, values = (line.split() for line in Path("/proc/self/net/snmp").read_text().splitlines() if line.startswith("Ip:"))
    six = dict(line.split() for line in Path("/proc/self/net/snmp6").read_text().splitlines())
    return int(dict(zip(names, values))["OutNoRoutes"]) + int(six["Ip6OutNoRoutes"])


def end_with(outside):
    """Nobody is left behind when whoever started this is gone."""
    outside.recv(1)
    os.killpg(0, signal.SIGKILL)


put_up_loopback()
listener = socket.create_server(("127.0.0.1", int(sys.argv[2])))
outside = socket.socket(fileno=int(sys.argv[1]))
socket.send_fds(outside, [b"."], [listener.fileno()])
listener.close()
threading.Thread(target=end_with, args=[outside], daemon=True).start()
with socket.socket() as probe:
    # Where this succeeds, nothing that is said of the program holds.
    if probe.connect_ex(("192.0.2.1", 80)) == 0:
        sys.exit("something beyond loopback can be reached")
before = without_route()
code = subprocess.run(sys.argv[4:], stdin=subprocess.DEVNULL).returncode
Path(sys.argv[3]).write_text(json.dumps({"code": code, "probe": before, "beyond_loopback": without_route() - before}))
