"""Rebuilds translated packets: what scapy thinks that the balancer had to send.

Every line of the input is a packet that went in (hexadecimal) and what had to become of it: Ethernet destination and
source, IPv4 source, source port, IPv4 destination, destination port, TTL. Every line of the output is the packet that
had to come out, with lengths and checksums computed anew.
"""
import sys

try:
    from scapy.layers.inet import ICMP, IP, TCP, UDP
    from scapy.layers.l2 import Ether
except ImportError:
    sys.exit("scapy is missing: install Debian's python3-scapy.")

for line in sys.stdin:
    packet, destination_mac, source_mac, source, sport, destination, dport, ttl = line.split()
    frame = Ether(bytes.fromhex(packet))
    frame.dst, frame.src = destination_mac, source_mac
    ip = frame[IP]
    ip.src, ip.dst, ip.ttl = source, destination, int(ttl)
    del ip.chksum, ip.len, ip.ihl
    transport = ip.payload
    if isinstance(transport, ICMP):
        transport.type = "echo-reply"
        del transport.chksum
    elif isinstance(transport, TCP):
        transport.sport, transport.dport = int(sport), int(dport)
        del transport.chksum, transport.dataofs
    elif isinstance(transport, UDP):
        transport.sport, transport.dport = int(sport), int(dport)
        del transport.len
        # None (RFC 768): there is nothing to compute.
        if transport.chksum != 0:
            del transport.chksum
    else:
        sys.exit("neither ICMP, TCP nor UDP: " + packet)
    frame.clear_cache()
    print(bytes(frame).hex())
