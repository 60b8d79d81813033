#!/usr/bin/env python3
"""Datagrams for the test of `evenkeel top`.

    top.py serve PORT               sends back what comes
    top.py ask ADDRESS PORT...      sends to every port, some times a second, and now and then from another port of its own
"""

import socket
import sys
import time


def serve(port):
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
        here.bind(("", port))
        while True:
            datagram, peer = here.recvfrom(2048)
            here.sendto(datagram, peer)


def ask(address, ports):
    while True:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as here:
            for _ in range(10):
                for port in ports:
                    here.sendto(b"x" * 200, (address, port))
                time.sleep(0.02)


if sys.argv[1] == "serve":
    serve(int(sys.argv[2]))
else:
    ask(sys.argv[2], [int(port) for port in sys.argv[3:]])
