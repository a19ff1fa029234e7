#!/usr/bin/env python3
"""Writes streams.txt: control connections behind AUTH's 234, made by OpenSSL, that are clear again behind CCC.

A connection is a line `= VERSION, who closes`, then what was sent, in order: `>` by the client, `<` by the server, in
hexadecimal digits; `>>` and `<<` is clear text. Needs Python 3 with its ssl module, and the openssl program for a key.
"""

import pathlib
import ssl
import subprocess
import tempfile

CLEAR = [(">", b"PASV\r\n"), ("<", b"227 Entering Passive Mode (10,0,0,200,200,10).\r\n"), (">", b"QUIT\r\n")]


def contexts(version, folder):
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    for context in (client, server):
        if version < ssl.TLSVersion.TLSv1_2:
            context.set_ciphers("ALL:@SECLEVEL=0")
        context.minimum_version = context.maximum_version = version
    return client, server


class End:
    def __init__(self, mark, context, **kind):
        self.mark = mark
        self.into, self.out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self.tls = context.wrap_bio(self.into, self.out, **kind)

    def does(self, what):
        try:
            return what()
        except (ssl.SSLWantReadError, ssl.SSLZeroReturnError):
            return None


def connection(version, closes, folder):
    lines = []
    contexts_of = contexts(version, folder)
    client = End(">", contexts_of[0])
    server = End("<", contexts_of[1], server_side=True)

    def move(source, sink):
        sent = source.out.read()
        if sent:
            lines.append(f"{source.mark} {sent.hex()}")
            sink.into.write(sent)

    for _ in range(4):
        client.does(client.tls.do_handshake)
        move(client, server)
        server.does(server.tls.do_handshake)
        move(server, client)
    for command, reply in [
        (b"USER anonymous\r\n", b"331 go on\r\n"),
        (b"PASS x@\r\n", b"230-" + b"hello " * 200 + b"\r\n230 in\r\n"),
        (b"CCC\r\n", b"200 clear from now on\r\n"),
    ]:
        client.tls.write(command)
        move(client, server)
        server.tls.read(99)
        server.tls.write(reply)
        if not (command.startswith(b"CCC") and "server" in closes):
            move(server, client)
            client.does(lambda: client.tls.read(9999))
    # The 200 and the server's alert leave together.
    for end, peer, name in [(server, client, "server"), (client, server, "client")]:
        if name in closes:
            end.does(lambda: end.tls.read(9999))
            end.does(end.tls.unwrap)
            move(end, peer)
    for mark, text in CLEAR:
        lines.append(f"{mark}{mark} {text.hex()}")
    return lines


def main():
    here = pathlib.Path(__file__).parent
    with tempfile.TemporaryDirectory() as name, open(here / "streams.txt", "w") as file:
        folder = pathlib.Path(name)
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-days", "36500", "-subj", "/CN=ftp.example", "-keyout", folder / "key.pem", "-out", folder / "cert.pem"],
            check=True, capture_output=True)
        for version in (ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            for closes in (["server", "client"], ["server"], ["client"], []):
                print("=", version.name + ",", " and ".join(closes) or "nobody", file=file)
                print(*connection(version, closes, folder), sep="\n", file=file)


main()
