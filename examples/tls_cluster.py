"""TLS between two servers that trust one authority; whoever trusts another is refused.

It prints::

    Hello, Ada!
    TLS_UNTRUSTED: … is not signed by a CA that this side trusts …
    TLS_ERROR: … it may want a certificate of this side, or another one …
"""

import ssl
from functools import partial

import trio
import trustme
from hello_inbound import Greet, Greeter

import trio_s2s as s2s


def for_server(authority: trustme.CA) -> ssl.SSLContext:
    """Show a certificate, and want one of the same authority."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    authority.configure_trust(context)
    context.verify_mode = ssl.CERT_REQUIRED
    return context


def for_dialler(trusted: trustme.CA, own: trustme.CA | None) -> ssl.SSLContext:
    # In earnest: load_verify_locations("ca.pem"), load_cert_chain("gs-1.pem").
    context = ssl.create_default_context()
    trusted.configure_trust(context)
    if own is not None:
        own.issue_cert("gs-1").configure_cert(context)
    return context


async def greet(port: int, context: ssl.SSLContext) -> None:
    try:
        async with s2s.open_tcp_peer("localhost", port, ssl_context=context) as peer:
            print((await peer.request(Greet("Ada"))).text)
    except s2s.ConnectionFailedError as error:
        print(f"{error.reason.name}: {error}")


async def main() -> None:
    ours, theirs = trustme.CA(), trustme.CA()
    serve = partial(s2s.serve_tcp, host="localhost", ssl_context=for_server(ours))
    async with trio.open_nursery() as nursery:
        [listener, *_] = await nursery.start(serve, Greeter, 0)
        port = listener.socket.getsockname()[1]
        await greet(port, for_dialler(ours, own=ours))
        await greet(port, for_dialler(theirs, own=ours))
        await greet(port, for_dialler(ours, own=None))
        nursery.cancel_scope.cancel()


trio.run(main)
