"""Rebuilds packets: what scapy thinks that had to be sent.

Every line of the input is a packet (hexadecimal), alone or with what had to become of it: Ethernet destination and
source, IP source, source port, IP destination, destination port, TTL or hop limit. Of a packet in a tunnel it is the inner
one that changes. Every line of the output is the packet that had to come out, with lengths and checksums computed anew, and
the names of the headers that scapy has found in it.
"""
import sys

try:
    from scapy.layers.inet import ICMP, IP, TCP, UDP, IPerror
    from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPerror6, IPv6
    from scapy.layers.l2 import Ether
    from scapy.packet import NoPayload, Packet, Raw, bind_layers
except ImportError:
    sys.exit("scapy is missing: install Debian's python3-scapy.")


class Gue(Packet):
    """GUE's variant 1 has no header of its own: what the UDP header announces is IP."""

    name = "Gue"
    fields_desc = []

    def guess_payload_class(self, payload):
        return {4: IP, 6: IPv6}.get(payload[0] >> 4, Raw)


bind_layers(UDP, Gue, dport=6080)


class Quoted(Raw):
    """What an ICMP message quotes of a packet, which may end in the middle of a header: scapy would add what is missing."""

    name = "Quoted"


def headers(frame):
    """All but those of a packet that an ICMP message quotes: it is as it was."""
    layer = frame
    while not isinstance(layer, (NoPayload, IPerror, IPerror6, Quoted)):
        yield layer
        layer = layer.payload


def change(frame, destination_mac, source_mac, source, sport, destination, dport, ttl):
    frame.dst, frame.src = destination_mac, source_mac
    ip = [layer for layer in headers(frame) if isinstance(layer, (IP, IPv6))][-1]
    ip.src, ip.dst = source, destination
    if isinstance(ip, IP):
        ip.ttl = int(ttl)
    else:
        ip.hlim = int(ttl)
    for transport in headers(ip.payload):
        if isinstance(transport, ICMP):
            transport.type = "echo-reply"
        elif isinstance(transport, ICMPv6EchoRequest):
            reply = ICMPv6EchoReply(id=transport.id, seq=transport.seq, data=transport.data)
            below = transport.underlayer
            below.remove_payload()
            below.add_payload(reply)
        elif isinstance(transport, (TCP, UDP)):
            transport.sport, transport.dport = int(sport), int(dport)
        else:
            continue
        return
    sys.exit("neither ICMP, TCP nor UDP: " + bytes(frame).hex())


def forget_what_can_be_computed(frame):
    for layer in headers(frame):
        if isinstance(layer, IP):
            del layer.chksum, layer.len, layer.ihl
        elif isinstance(layer, IPv6):
            del layer.plen
        elif isinstance(layer, TCP):
            del layer.chksum, layer.dataofs
        elif isinstance(layer, UDP):
            del layer.len
            # None (RFC 768): there is nothing to compute.
            if layer.chksum != 0:
                del layer.chksum
        elif isinstance(layer, ICMP):
            del layer.chksum
            if isinstance(layer.payload, IPerror):
                quoted = Quoted(layer.payload.original)
                layer.remove_payload()
                layer.add_payload(quoted)
        elif hasattr(layer, "cksum"):
            del layer.cksum


for line in sys.stdin:
    packet, *wanted = line.split()
    frame = Ether(bytes.fromhex(packet))
    if wanted:
        change(frame, *wanted)
    forget_what_can_be_computed(frame)
    frame.clear_cache()
    print(bytes(frame).hex(), "/".join(type(layer).__name__ for layer in headers(frame)))
