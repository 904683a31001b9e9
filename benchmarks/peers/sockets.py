"""Bytes per CPU second over loopback: a plain socket, TLS 1.3, and gRPC with and without TLS.

Sender and receiver are two processes, and the CPU of both counts. gRPC echoes 2 MB messages, about
what a worker and the parameter server exchange per step; sockets stream one way.
"""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import socket
import ssl
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from multiprocessing.connection import Connection
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from benchmarks.peers.model import say
from coterie.ratls.call_limits import CallLimits

_MESSAGE = 2 << 20
_OPTIONS = (
    ("grpc.max_receive_message_length", 1 << 26),
    ("grpc.max_send_message_length", 1 << 26),
)


def main() -> None:
    """Transfers and prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--mebibytes", type=int, default=512)
    parser.add_argument("--variant", choices=("plain", "tls", "grpc", "grpc-tls"), default="plain")
    options = parser.parse_args()
    total = options.mebibytes << 20
    serve, send = (_grpc_serve, _grpc_send) if "grpc" in options.variant else (_serve, _send)
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) if "tls" in options.variant else None
        if home is not None:
            _write_identity(home)
        near, far = multiprocessing.get_context("spawn").Pipe()
        process = multiprocessing.get_context("spawn").Process(
            target=serve, args=(far, home, total)
        )
        process.start()
        port = int(near.recv())
        before, began = _cpu(), time.monotonic()
        moved = send(port, home, total)
        seconds, cpu = time.monotonic() - began, _cpu() - before
        near.send(None)
        cpu += float(near.recv())
        process.join()
    say(
        {
            "variant": options.variant,
            "bytes": moved,
            "seconds": seconds,
            "cpu_seconds": cpu,
            "gigabytes_per_cpu_second": moved / cpu / 1e9,
            "gigabytes_per_second": moved / seconds / 1e9,
        }
    )


def _serve(pipe: Connection[float | None, float | None], home: Path | None, total: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        pipe.send(listener.getsockname()[1])
        sock, _ = listener.accept()
        before = _cpu()
        if home is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(home / "certificate.pem", home / "key.pem")
            sock = context.wrap_socket(sock, server_side=True)
        buffer, left = bytearray(1 << 20), total
        with sock:
            while left:
                left -= sock.recv_into(buffer)
            sock.sendall(b"k")
    pipe.recv()
    pipe.send(_cpu() - before)


def _send(port: int, home: Path | None, total: int) -> int:
    sock = socket.create_connection(("127.0.0.1", port))
    if home is not None:
        context = ssl.create_default_context(cafile=str(home / "certificate.pem"))
        sock = context.wrap_socket(sock, server_hostname="127.0.0.1")
    piece = bytes(1 << 20)
    with sock:
        for _ in range(total >> 20):
            sock.sendall(piece)
        sock.recv(1)
    return total


def _grpc_serve(
    pipe: Connection[float | None, float | None], home: Path | None, _total: int
) -> None:
    server = grpc.server(ThreadPoolExecutor(2), options=(*_OPTIONS, *CallLimits().server_options()))
    server.add_generic_rpc_handlers(
        (
            grpc.method_handlers_generic_handler(
                "bench.Echo", {"Echo": grpc.unary_unary_rpc_method_handler(_echo)}
            ),
        )
    )
    if home is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        key, certificate = (home / "key.pem").read_bytes(), (home / "certificate.pem").read_bytes()
        credentials = grpc.ssl_server_credentials(
            [(key, certificate)], root_certificates=certificate, require_client_auth=True
        )
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    before = _cpu()
    pipe.send(port)
    pipe.recv()
    pipe.send(_cpu() - before)
    server.stop(None)


def _echo(message: bytes, _context: grpc.ServicerContext) -> bytes:
    return message


def _grpc_send(port: int, home: Path | None, total: int) -> int:
    target, options = f"127.0.0.1:{port}", (*_OPTIONS, *CallLimits().channel_options())
    if home is None:
        channel = grpc.insecure_channel(target, options=options)
    else:
        key, certificate = (home / "key.pem").read_bytes(), (home / "certificate.pem").read_bytes()
        credentials = grpc.ssl_channel_credentials(certificate, key, certificate)
        channel = grpc.secure_channel(target, credentials, options=options)
    call: Callable[[bytes], bytes] = channel.unary_unary("/bench.Echo/Echo", _raw, _raw)
    message, moved = bytes(_MESSAGE), 0
    while moved < total:
        moved += len(message) + len(call(message))
    channel.close()
    return moved


def _raw(octets: bytes) -> bytes:
    return octets


def _write_identity(home: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([])
    now = datetime.now(UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(address, critical=True)
        .sign(key, hashes.SHA256())
    )
    (home / "certificate.pem").write_bytes(certificate.public_bytes(Encoding.PEM))
    octets = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (home / "key.pem").write_bytes(octets)


def _cpu() -> float:
    spent = resource.getrusage(resource.RUSAGE_SELF)
    return spent.ru_utime + spent.ru_stime


if __name__ == "__main__":
    main()
