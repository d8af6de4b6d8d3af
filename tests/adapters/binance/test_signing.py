import base64
from decimal import Decimal
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from chimera.adapters.binance.signing import (
    BadSecret,
    Ed25519Signer,
    HmacSigner,
    encoded,
    signed,
    signer_of,
    ws_signed,
)

FUTURES_SECRET = "2b5eb11e18796d12d88f13dc27dbbd02c2cc51ff7059765ed9821957d82bb4d9"
SPOT_SECRET = "NhqPtmdSJYdKjVHjA7PZj4Mge3R5YNiP1e3UZjInClVN65XAbvqqM6A7H5fATj0j"


def pem_of(key: Ed25519PrivateKey) -> str:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


@pytest.mark.parametrize(
    ("secret", "payload", "signature"),
    [
        pytest.param(
            FUTURES_SECRET,
            "symbol=BTCUSDT&side=BUY&type=LIMIT&quantity=1&price=9000&timeInForce=GTC&recvWindow=5000"
            "&timestamp=1591702613943",
            "3c661234138461fcc7a7d8746c6558c9842d4e10870d2ecbedf7777cad694af9",
            id="futures",
        ),
        pytest.param(
            SPOT_SECRET,
            "symbol=LTCBTC&side=BUY&type=LIMIT&timeInForce=GTC&quantity=1&price=0.1&recvWindow=5000"
            "&timestamp=1499827319559",
            "c8db56825ae71d6d79447849e617115f4a920fa2acdcab2b053c4b2838bd6b71",
            id="spot",
        ),
        pytest.param(
            SPOT_SECRET,
            "symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY&type=LIMIT&timeInForce=GTC"
            "&quantity=1&price=0.1&recvWindow=5000&timestamp=1499827319559",
            "e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3",
            id="spot-not-ascii",
        ),
    ],
)
def test_hmac_signs_as_the_documents_say(secret: str, payload: str, signature: str) -> None:
    assert HmacSigner("key", secret).sign(payload) == signature


def test_a_request_is_encoded_signed_and_ends_with_its_signature() -> None:
    params = {
        "symbol": "１２３４５６",
        "side": "BUY",
        "type": "LIMIT",
        "timeInForce": "GTC",
        "quantity": Decimal(1),
        "price": Decimal("0.1"),
    }

    query = signed(params, HmacSigner("key", SPOT_SECRET), timestamp_ms=1499827319559, recv_window_ms=5000)

    assert query.startswith("symbol=%EF%BC%91%EF%BC%92%EF%BC%93%EF%BC%94%EF%BC%95%EF%BC%96&side=BUY")
    assert query.endswith("&signature=e1353ec6b14d888f1164ae9af8228a3dbd508bc82eb867db8ab6046442f33ef3")


def test_an_ed25519_signature_is_believed_by_the_public_key() -> None:
    private = Ed25519PrivateKey.generate()
    signer = Ed25519Signer("key", pem_of(private))

    signature = base64.b64decode(signer.sign("symbol=BTCUSDT&timestamp=1"))

    private.public_key().verify(signature, b"symbol=BTCUSDT&timestamp=1")


def test_a_base64_signature_is_encoded_in_a_query() -> None:
    class Plus:
        key = "key"

        def sign(self, payload: str) -> str:
            return "a+b/c="

    assert signed({}, Plus(), timestamp_ms=1, recv_window_ms=2).endswith("&signature=a%2Bb%2Fc%3D")


def test_websocket_requests_are_signed_in_alphabetical_order_unencoded() -> None:
    asked: list[str] = []

    class Listening:
        key = "vmPU"

        def sign(self, payload: str) -> str:
            asked.append(payload)
            return "sig"

    params = ws_signed(
        {"symbol": "BTCUSDT", "price": Decimal("52000.00"), "side": "SELL"},
        Listening(),
        timestamp_ms=1645423376532,
        recv_window_ms=100,
    )

    assert asked == ["apiKey=vmPU&price=52000&recvWindow=100&side=SELL&symbol=BTCUSDT&timestamp=1645423376532"]
    assert params["signature"] == "sig"
    assert params["timestamp"] == 1645423376532


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(Decimal("7.0E-4"), "v=0.0007", id="no exponent"),
        pytest.param(Decimal("1E+3"), "v=1000", id="no exponent upwards"),
        pytest.param(Decimal("0.010"), "v=0.01", id="no more places than it has"),
        pytest.param(Decimal("0E-8"), "v=0", id="nothing"),
        pytest.param(True, "v=true", id="true"),
        pytest.param("a b&c", "v=a%20b%26c", id="reserved letters"),
    ],
)
def test_values_are_written_as_the_exchange_reads_them(value: Decimal | bool | str, text: str) -> None:
    assert encoded({"v": value}) == text


def test_no_secret_shows() -> None:
    pem = pem_of(Ed25519PrivateKey.generate())

    for signer in (HmacSigner("the-key", "the-secret"), Ed25519Signer("the-key", pem)):
        assert "the" not in repr(signer)


def test_a_secret_is_known_by_its_looks(tmp_path: Path) -> None:
    pem = pem_of(Ed25519PrivateKey.generate())
    file = tmp_path / "key.pem"
    file.write_text(pem)

    assert isinstance(signer_of("k", "0123456789abcdef"), HmacSigner)
    assert isinstance(signer_of("k", pem), Ed25519Signer)
    assert isinstance(signer_of("k", "", str(file)), Ed25519Signer)


@pytest.mark.parametrize(
    ("secret", "said"),
    [
        pytest.param("", "empty", id="nothing"),
        pytest.param("-----BEGIN PRIVATE KEY-----\nhello\n-----END PRIVATE KEY-----", "PEM", id="no key inside"),
        pytest.param(
            generate_private_key(65537, 2048).private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
            "ed25519",
            id="RSA",
        ),
    ],
)
def test_what_cannot_sign_says_how_it_should_look_and_not_what_it_is(secret: str, said: str) -> None:
    with pytest.raises(BadSecret, match=said) as caught:
        signer_of("k", secret)

    assert "hello" not in str(caught.value)
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_key_file_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    binary = tmp_path / "key.der"
    binary.write_bytes(b"\xff\xfe")

    for path in (tmp_path / "missing.pem", binary):
        with pytest.raises(BadSecret, match=f"the key file {path} cannot be read"):
            signer_of("k", "", str(path))
