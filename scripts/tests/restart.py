#!/usr/bin/env python3
"""Both ends of connections that must outlive a balancer.

    restart.py serve NAME ADDRESS PORT             echoes lines, each with NAME in front
    restart.py talk ADDRESS PORT COUNT LOG         keeps COUNT connections talking until SIGTERM

Every connection sends numbered lines as fast as they come back, compares every byte, and expects always the same server.
LOG gets a line with the number of exchanges whenever it has grown by a hundred, and a verdict at the end. Exit code: 0 if
not a byte was lost, 1 otherwise.
"""

import asyncio
import signal
import sys

# Longer than anything that a restart may take, shorter than a retransmission timer that has backed off for good.
PATIENCE = 15
PAUSE = 0.02


async def serve(name, address, port):
    async def echo(reader, writer):
        try:
            while line := await reader.readline():
                writer.write(name.encode() + b" " + line)
                await writer.drain()
            writer.close()
        except OSError:
            # The client complains, if it has reason to.
            pass

    server = await asyncio.start_server(echo, address, int(port))
    await server.serve_forever()


class Talk:
    def __init__(self, address, port, count, log):
        self.address, self.port, self.count = address, int(port), int(count)
        self.log = open(log, "a", buffering=1, encoding="ascii")
        self.exchanges = 0
        self.failures = []
        self.servers = set()
        self.stop = asyncio.Event()

    async def one(self, number):
        reader, writer = await asyncio.open_connection(self.address, self.port)
        home = None
        sequence = 0
        while not self.stop.is_set():
            line = b"connection %d line %d %s\n" % (number, sequence, b"x" * (sequence % 900))
            writer.write(line)
            answer = await asyncio.wait_for(reader.readline(), PATIENCE)
            server, _, echoed = answer.partition(b" ")
            if echoed != line:
                raise ValueError(f"line {sequence} came back as {answer[:80]!r}")
            if home not in (None, server):
                raise ValueError(f"line {sequence} was answered by {server!r}, the ones before by {home!r}")
            home = server
            sequence += 1
            self.exchanges += 1
            if self.exchanges % 100 == 0:
                print(self.exchanges, file=self.log)
            await asyncio.sleep(PAUSE)
        self.servers.add(home.decode())
        writer.close()

    async def guarded(self, number):
        try:
            await self.one(number)
        except (OSError, ValueError, asyncio.TimeoutError) as error:
            self.failures.append(f"connection {number}: {error or type(error).__name__}")
            print(self.failures[-1], file=self.log)

    async def run(self):
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, self.stop.set)
        await asyncio.gather(*(self.guarded(number) for number in range(self.count)))
        verdict = f"{len(self.failures)} of {self.count} lost" if self.failures else "nothing lost"
        print(f"{self.exchanges} exchanges with {', '.join(sorted(self.servers))}: {verdict}", file=self.log)
        return 1 if self.failures else 0


async def talk(*arguments):
    return await Talk(*arguments).run()


if __name__ == "__main__":
    role = {"serve": serve, "talk": talk}[sys.argv[1]]
    sys.exit(asyncio.run(role(*sys.argv[2:])))
