"""A proxy in the environment is for programs' HTTP: nodes dial each other themselves."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from coterie.tensorflow.preloading import ignore_proxies
from tests.ratls.net import raw

pytestmark = pytest.mark.long


NOWHERE = "http://127.0.0.1:9"


@pytest.fixture
def port() -> Iterator[int]:
    with ThreadPoolExecutor(1) as pool:
        server = grpc.server(pool)
        bound = server.add_insecure_port("127.0.0.1:0")
        server.start()
        yield bound
        server.stop(None).wait()


def reaches(port: int) -> bool:
    """Whether a gRPC channel with default options, as TensorFlow makes them, gets to a server."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    with grpc.insecure_channel(f"localhost:{port}", options=options) as channel:
        call = channel.unary_unary("/test.S/Unknown", raw, raw).future(
            b"", timeout=5, wait_for_ready=True
        )
        return call.code() is grpc.StatusCode.UNIMPLEMENTED


def test_grpc_takes_no_proxy_and_the_programs_http_keeps_its_own(
    port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", NOWHERE)
    monkeypatch.delenv("grpc_proxy", raising=False)
    assert not reaches(port), "else this shows nothing"
    monkeypatch.setenv("grpc_proxy", "")  # put back at the end, whatever the call does
    monkeypatch.delenv("grpc_proxy")
    ignore_proxies()
    assert reaches(port)
    assert os.environ["http_proxy"] == NOWHERE
