"""The client's encrypted connections, and what it says where they do not come about."""

from __future__ import annotations

import asyncio

import grpc
import numpy as np
import pytest

from auricle import errors
from auricle.client import AsyncClient, Client, Pcm, TlsOptions
from certificate import write_certificate
from client_server import RATE_HZ, SEGMENT, Toy, serving

SOUND = Pcm(np.arange(SEGMENT, dtype=np.int16), RATE_HZ)


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    folder = tmp_path_factory.mktemp("tls")
    write_certificate(folder, "DNS:auricle.test")
    return folder


@pytest.fixture(scope="module")
def stranger(tmp_path_factory):
    folder = tmp_path_factory.mktemp("stranger")
    write_certificate(folder, "DNS:auricle.test")
    return folder


def server_credentials(folder, *, mutual=False):
    key, chain = (folder / "key.pem").read_bytes(), (folder / "cert.pem").read_bytes()
    roots = chain if mutual else None
    return grpc.ssl_server_credentials([(key, chain)], root_certificates=roots, require_client_auth=mutual)


@pytest.mark.parametrize("mutual", [False, True])
def test_tls_is_spoken(certificate, mutual):
    key, chain = certificate / "key.pem", certificate / "cert.pem"
    own = {"certificate_file": chain, "key_file": key} if mutual else {}
    tls = TlsOptions(ca_file=chain, server_name="auricle.test", **own)
    with serving(Toy(), server_credentials(certificate, mutual=mutual)) as port:
        target = f"127.0.0.1:{port}"
        with Client(target, tls=tls) as client:
            assert client.embed(SOUND).model == "toy"

        async def asynchronous():
            async with AsyncClient(target, tls=tls) as client:
                return await client.embed(SOUND)

        assert asyncio.run(asynchronous()).model == "toy"


def failure(credentials, tls):
    with (
        serving(Toy(), credentials) as port,
        Client(f"127.0.0.1:{port}", tls=tls, retry=None) as client,
        pytest.raises(errors.UnavailableError) as caught,
    ):
        client.embed(SOUND)
    return caught.value.message


def test_a_certificate_that_is_not_trusted_points_to_the_ca(certificate, stranger):
    tls = TlsOptions(ca_file=stranger / "cert.pem", server_name="auricle.test")
    assert failure(server_credentials(certificate), tls).endswith("the one trusted here (ca_file)?")


def test_a_certificate_of_another_name_points_to_the_name(certificate):
    tls = TlsOptions(ca_file=certificate / "cert.pem")
    assert failure(server_credentials(certificate), tls).endswith("give that as server_name")


def test_a_server_without_tls_is_told_from_none(certificate):
    tls = TlsOptions(ca_file=certificate / "cert.pem", server_name="auricle.test")
    assert failure(None, tls).endswith("not in TLS: is it served without?")


@pytest.mark.parametrize("mutual", [False, True])
def test_a_server_that_hangs_up_may_ask_for_tls_or_a_certificate(certificate, mutual):
    tls = TlsOptions(ca_file=certificate / "cert.pem", server_name="auricle.test") if mutual else None
    assert failure(server_credentials(certificate, mutual=mutual), tls).endswith("ask for TLS, or for a certificate?")
