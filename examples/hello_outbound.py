"""Ask for a greeting.

With `hello_inbound.py` running it prints::

    Hello, Ada!
"""

import trio
from hello_inbound import Greet

from trio_s2s import open_tcp_peer


async def main() -> None:
    async with open_tcp_peer("127.0.0.1", 4520) as peer:
        with trio.fail_after(1):
            greeting = await peer.request(Greet("Ada"))  # mypy and pyright: Greeting
        print(greeting.text)


trio.run(main)
