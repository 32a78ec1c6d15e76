"""Addresses of live sources: what is accepted, and that no secret leaves them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from auflow.errors import UsageError
from auflow.stages.decode.live import LiveSpec


@pytest.mark.parametrize(
    ("url", "kind", "finite", "redacted"),
    [
        ("rtsp://cam/live", "network", False, "rtsp://cam/live"),
        ("rtsp://u:p@10.0.0.1:554/a/b", "network", False, "rtsp://10.0.0.1:554/a/b"),
        ("RTSPS://u@[::1]:322/a", "network", False, "RTSPS://[::1]:322/a"),
        ("http://cam/video?user=u&pwd=geheim", "network", False, "http://cam/video?…"),
        ("https://cam/v#token=geheim", "network", False, "https://cam/v"),
        ("rtsp://cam/user=admin&password=geheim&channel=1", "network", False, "rtsp://cam/user=…&password=…&channel=1"),
        ("webcam:0", "webcam", False, "webcam:0"),
        ("webcam:/dev/video2", "webcam", False, "webcam:/dev/video2"),
        ("file:/tmp/a.mp4", "file", True, "file:/tmp/a.mp4"),
        ("-", "pipe", True, "-"),
        ("pipe:3", "pipe", True, "pipe:3"),
    ],
)
def test_kinds_and_the_form_that_may_be_seen(url: str, kind: str, finite: bool, redacted: str) -> None:
    spec = LiveSpec("a", url)
    assert (spec.kind, spec.finite, spec.redacted()) == (kind, finite, redacted)
    assert "geheim" not in repr(spec)
    assert spec.address() == url


def test_a_looped_file_never_ends() -> None:
    assert not LiveSpec("a", "file:a.mp4", loop=True).finite


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "name"),
        ({"url": "ftp://u:geheim@cam/x"}, "url: expected rtsp://.*got ftp://cam/x"),
        ({"url": "rtsp:cam"}, "url: expected rtsp://"),
        ({"url": "cam.mp4"}, "url: expected"),
        ({"url": "rtsp:///live"}, "expected a host after"),
        ({"url": "rtsp://u:geheim@cam:99999/x"}, "rtsp://cam:99999/x: expected a host after ://, and a port"),
        ({"url": "rtsp://u:ge/heim@cam/x"}, "write %40 for @"),
        ({"url": "rtsp://u:12?heim@cam"}, "write %40 for @"),
        ({"url": "rtsp://[::1/x"}, "expected a host"),
        ({"url": "rtsp://u:geheim@cam/x", "username": "v"}, "username: the URL names a user"),
        ({"url": "webcam:"}, "expected something after webcam:"),
        ({"url": "file:"}, "expected something after file:"),
        ({"url": "pipe:x"}, "pipe:N"),
        ({"rtsp_transport": "quic"}, "rtsp_transport: expected one of tcp, udp, got 'quic'"),
        ({"hwaccel": "magic"}, "hwaccel: expected one of none, auto"),
        ({"read_timeout_s": 0.0}, "read_timeout_s: expected seconds"),
        ({"open_timeout_s": float("nan")}, "open_timeout_s"),
        ({"loop": True}, "loop: only a file"),
        ({"password_env": "X"}, "needs a username"),
        ({"url": "webcam:0", "username": "u"}, "only for addresses with ://"),
    ],
)
def test_anything_else_is_refused_without_secrets(change: dict[str, object], told: str) -> None:
    with pytest.raises(UsageError, match=told) as caught:
        LiveSpec(**({"name": "a", "url": "rtsp://cam/x"} | change))
    assert "geheim" not in str(caught.value)
    assert "heim" not in str(caught.value)


def test_password_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = LiveSpec("a", "rtsp://cam:554/x", username="us er", password_env="CAM_PASSWORD")
    with pytest.raises(UsageError, match="environment variable CAM_PASSWORD is not set"):
        spec.address()
    monkeypatch.setenv("CAM_PASSWORD", "p@ss/w:rd")
    assert spec.address() == "rtsp://us%20er:p%40ss%2Fw%3Ard@cam:554/x"
    assert (
        spec.scrub("failed with p@ss/w:rd at rtsp://us%20er:p%40ss%2Fw%3Ard@cam:554/x")
        == "failed with … at rtsp://cam:554/x"
    )


# With a mark of its own, so that it is no word of the texts themselves.
PASSWORDS = st.text(st.characters(codec="utf-8", exclude_characters="…", min_codepoint=33), min_size=2).map(
    "zQ{}".format
)


@settings(deadline=None, max_examples=200)
@given(PASSWORDS, st.sampled_from(["{}", "open of {} failed", "'{}'", "{}?x=1"]))
def test_no_text_keeps_the_password(password: str, text: str) -> None:
    try:
        spec = LiveSpec("a", f"rtsp://someone:{password}@127.0.0.1/8")
    except UsageError as error:
        refusal = str(error)
    else:
        refusal = ""
        assert password not in spec.scrub(text.format(spec.address()))
        assert password not in spec.scrub(text.format(password))
        assert password not in spec.redacted() + repr(spec)
    assert password not in refusal
