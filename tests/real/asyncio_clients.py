"""Servers and clients of one event loop that talk to each other over TCP and over a unix socket, with timers between: every message is
answered with a checksum of all before it, and each client keeps a log."""

import asyncio
import hashlib
import signal
import sys

ROUNDS, CLIENTS = int(sys.argv[1]), 6


async def serve(reader, writer):
    state = hashlib.sha256()
    while line := await reader.readline():
        state.update(line)
        writer.write(state.hexdigest().encode() + b"\n")
        await writer.drain()
    writer.close()


async def talk(number, connection):
    reader, writer = await connection
    with open(f"client-{number}.log", "w", buffering=1) as log:
        for step in range(ROUNDS):
            writer.write(b"client %d step %d %s\n" % (number, step, b"x" * (step * 37 % 5000)))
            log.write(f"{step} {(await reader.readline()).decode()}")
            if step % 10 == number:
                await asyncio.sleep(0.001)
    writer.close()
    return number


async def main():
    # The event loop learns of signals through a pair of sockets.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, lambda: None)
    tcp = await asyncio.start_server(serve, "127.0.0.1", 0)
    unix = await asyncio.start_unix_server(serve, "socket")
    port = tcp.sockets[0].getsockname()[1]
    connections = [asyncio.open_connection("127.0.0.1", port) if i % 2 else asyncio.open_unix_connection("socket") for i in range(CLIENTS)]
    done = await asyncio.gather(*(talk(i, connection) for i, connection in enumerate(connections)))
    with open("result.txt", "w") as result:
        print("done:", done, file=result)
    tcp.close()
    unix.close()


asyncio.run(main())
sys.exit(19)
