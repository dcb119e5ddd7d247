"""Attacks on the live page, and what its doors let in."""

from __future__ import annotations

import base64
import json
import socket as sockets
import ssl
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import httpx
import pytest
from argon2 import PasswordHasher
from pieces import Run
from web_case import ANY_PORT, CHANGE, Case, closing_code, next_frame, serving
from websockets.exceptions import InvalidStatus

from stream.config_load import load_config
from stream.errors import UsageError
from stream.redact import redact
from stream.web import sessions, users
from stream.web.gate import Gate, TooManyTries
from stream.web.options import settings_of
from stream.web.security import MOST_BODY_BYTES, known_hosts
from stream.web.server import PageServer, listen
from stream.web.sessions import LOGIN_TRIES, TryLimit
from stream.web.settings import ServeSettings
from stream.web.users import Users, add_user, read_users, remove_user

TOKEN = "a-long-enough-token"
PASSWORD = "correct horse"


@pytest.fixture(autouse=True)
def quick_hashes(monkeypatch: pytest.MonkeyPatch) -> None:
    """A password is hashed in no time; what it costs to guess one is argon2's own matter."""
    monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=64))


@pytest.fixture
def users_file(tmp_path: Path) -> Path:
    file = tmp_path / "users"
    add_user(file, "anna", "operator", PASSWORD)
    add_user(file, "vera", "viewer", PASSWORD)
    return file


def guarded(users_file: Path | None = None) -> ServeSettings:
    return ServeSettings(address=ANY_PORT, token=TOKEN, users=users_file)


def basic(user: str, password: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()}


# ── who gets in ──


def test_without_a_login_nothing_is_shown(tmp_path: Path) -> None:
    with serving(tmp_path, settings=guarded()) as case, case.client() as client:
        paths = ["/api/cameras", "/api/cameras/door", "/api/metrics", "/api/recordings"]
        paths += ["/api/events", "/stream/door.mjpg", "/api/cameras/door/snapshot.jpg"]
        paths += ["/docs", "/openapi.json", "/anything", "/api/recordings/x/video"]
        assert {path: client.get(path).status_code for path in paths} == dict.fromkeys(paths, 401)
        assert client.patch("/api/cameras/door/settings", json={}).status_code == 401
        for path in ("/ws/live/door", "/ws/status"):
            with pytest.raises(InvalidStatus) as refused:
                case.socket(path).__enter__()
            assert refused.value.response.status_code == 403
        session = {"user": None, "role": None, "needs_login": True}
        assert client.get("/api/session").json().items() >= session.items()
        assert client.get("/healthz").json() == {"alive": True}
        players = client.get("/stream/door.mjpg").headers["www-authenticate"]
        assert players.startswith("Basic")
        assert "www-authenticate" not in client.get("/api/cameras").headers


def test_token_by_cookie_bearer_and_basic(tmp_path: Path) -> None:
    with serving(tmp_path, settings=guarded()) as case, case.client() as client:
        answer = client.post("/api/login", json={"token": TOKEN})
        assert answer.json()["role"] == "operator"
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "samesite=strict" in cookie.lower()
        assert TOKEN not in cookie
        assert len(client.get("/api/cameras").json()) == 1
        session = f"rcnn_live_session={client.cookies['rcnn_live_session']}"
        others = {"Cookie": f'a={{"b":1}}; c d=e; {session}'}  # of other programs on this host
        assert httpx.get(f"{case.url}/api/cameras", headers=others).status_code == 200
        with case.socket("/ws/live/door", additional_headers={"Cookie": session}) as socket:
            next_frame(socket)
            client.post("/api/logout")
            client.cookies.clear()
            assert closing_code(socket) == 4401
        assert client.get("/api/cameras").status_code == 401
        assert client.get("/api/cameras", headers={"Cookie": session}).status_code == 401
        for headers in ({"Authorization": f"Bearer {TOKEN}"}, basic("any", TOKEN)):
            assert client.get("/api/cameras", headers=headers).status_code == 200


def test_viewers_look_and_operators_change(tmp_path: Path, users_file: Path) -> None:
    with serving(tmp_path, settings=guarded(users_file)) as case:
        with case.client() as vera:
            answer = vera.post("/api/login", json={"user": "vera", "password": PASSWORD})
            assert answer.json()["role"] == "viewer"
            assert vera.get("/api/cameras").status_code == 200
            refused = [
                vera.patch("/api/cameras/door/settings", json={"score": 0.9}),
                vera.put("/api/cameras/door/zones", json={}),
                vera.post("/api/cameras/door/recording", json={"on": True}),
                vera.delete("/api/recordings/x"),
            ]
            assert [one.status_code for one in refused] == [403] * 4
            assert "operator" in refused[0].json()["detail"]
            assert vera.post("/api/logout").status_code == 200
        with case.client(headers=basic("anna", PASSWORD)) as anna:
            changed = anna.patch("/api/cameras/door/settings", json={"score": 0.9})
            assert changed.json() == {"score": 0.9, "classes": None}
        with case.client(headers=basic("anna", "wrong password")) as wrong:
            assert wrong.get("/api/cameras").status_code == 401


def test_guessing_is_slowed_down_even_with_the_right_token(tmp_path: Path) -> None:
    with serving(tmp_path, settings=guarded()) as case, case.client() as client:
        guesses = [client.post("/api/login", json={"token": f"x{i}"}) for i in range(LOGIN_TRIES)]
        assert {one.status_code for one in guesses} == {401}
        late = client.post("/api/login", json={"token": TOKEN})
        assert late.status_code == 429
        assert 0 < int(late.headers["retry-after"]) <= 60
        bearer = client.get("/api/cameras", headers={"Authorization": f"Bearer {TOKEN}"})
        assert bearer.status_code == 429


def test_a_network_of_addresses_is_one_who_guesses() -> None:
    limit = TryLimit()
    for i in range(LOGIN_TRIES):
        limit.failed(f"2001:db8::{i:x}")
    assert limit.wait_seconds("2001:db8::ffff") > 0
    assert limit.wait_seconds("2001:db8:0:1::1") == limit.wait_seconds("192.0.2.1") == 0


def test_tries_of_so_many_addresses_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sessions, "_MOST_ADDRESSES", 3)
    limit = TryLimit()
    for _ in range(LOGIN_TRIES):
        limit.failed("192.0.2.1")
    for i in range(2, 4):
        limit.failed(f"192.0.2.{i}")
    assert limit.wait_seconds("192.0.2.1") > 0
    limit.failed("192.0.2.4")  # one more: the one that was quiet for longest is forgotten
    assert limit.wait_seconds("192.0.2.1") == 0


def test_a_login_of_one_s_own_is_no_way_to_guess_another_s(
    tmp_path: Path, users_file: Path
) -> None:
    with serving(tmp_path, settings=guarded(users_file)) as case, case.client() as client:
        for i in range(LOGIN_TRIES):
            guess = client.post("/api/login", json={"user": "anna", "password": f"guess {i}"})
            assert guess.status_code == 401
            if i < LOGIN_TRIES - 1:
                own = client.post("/api/login", json={"user": "vera", "password": PASSWORD})
                assert own.status_code == 200
        late = client.post("/api/login", json={"user": "anna", "password": PASSWORD})
        assert late.status_code == 429


def test_many_guesses_at_once_are_no_more_than_one_after_the_other(
    users_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(users, "_hasher", PasswordHasher(time_cost=2, memory_cost=8192))
    gate = Gate(guarded(users_file))

    def guess(number: int) -> bool:
        with suppress(TooManyTries):
            gate.log_in("192.0.2.1", user="anna", password=f"guess {number}")
            return True
        return False

    with ThreadPoolExecutor(3 * LOGIN_TRIES) as pool:
        assert sum(pool.map(guess, range(3 * LOGIN_TRIES))) == LOGIN_TRIES


def test_only_what_may_take_long_is_off_the_event_loop(users_file: Path) -> None:
    gate = Gate(guarded(users_file))
    for value in ("Basic", "basic abc", "BASIC "):
        assert gate.asks_to_hash({"authorization": value})
    for value in ("", "Bearer abc", "Basically abc"):
        assert not gate.asks_to_hash({"authorization": value})


def test_a_new_password_ends_the_sessions_of_the_old_one(tmp_path: Path, users_file: Path) -> None:
    with serving(tmp_path, settings=guarded(users_file)) as case, case.client() as client:
        client.post("/api/login", json={"user": "anna", "password": PASSWORD})
        old = basic("anna", PASSWORD)
        assert client.get("/api/session").json()["user"] == "anna"
        assert client.get("/api/cameras", headers=old).status_code == 200
        add_user(users_file, "anna", "operator", "another horse")
        assert client.get("/api/session").json()["user"] is None
        assert client.get("/api/cameras", headers=old).status_code == 401
        new = basic("anna", "another horse")
        assert client.get("/api/cameras", headers=new).status_code == 200


def test_who_is_taken_out_of_the_file_is_out(tmp_path: Path) -> None:
    file = tmp_path / "users"
    add_user(file, "anna", "operator", PASSWORD)
    add_user(file, "bob", "viewer", PASSWORD)
    settings = ServeSettings(address=ANY_PORT, users=file)
    with serving(tmp_path, settings=settings) as case, case.client() as client:
        client.post("/api/login", json={"user": "bob", "password": PASSWORD})
        assert client.get("/api/session").json()["user"] == "bob"
        remove_user(file, "anna")
        assert client.get("/api/session").json()["user"] == "bob"
        remove_user(file, "bob")  # the last one
        assert client.get("/api/session").json()["user"] is None
        assert client.get("/api/cameras").status_code == 401


# ── other sites' pages ──


def test_a_foreign_name_that_means_us_gets_nothing(tmp_path: Path) -> None:
    names = [
        "evil.example",
        "evil.example:80",
        "",
        "127.0.0.1.evil.example",
        "127.0.0.1@evil",
        "[x",
    ]
    with serving(tmp_path) as case, case.client() as client:
        for name in names:
            answer = client.get("/api/cameras", headers={"Host": name})
            assert answer.status_code in (400, 403), name
            assert "door" not in answer.text


def test_hosts_that_are_ours() -> None:
    local = known_hosts(ServeSettings())
    assert all(map(local, ["localhost:8000", "127.0.0.1", "[::1]:8000", "LOCALHOST"]))
    assert not any(map(local, ["192.168.1.5:8000", "cam.example.org", "0.0.0.0"]))
    wide = known_hosts(ServeSettings(address="0.0.0.0:80", token=TOKEN, names=("cam.example.org",)))
    assert all(map(wide, ["192.168.1.5", "cam.example.org:443", sockets.gethostname()]))
    assert not any(map(wide, ["evil.example", "cam.example.org.evil.example"]))


def test_another_site_can_neither_change_nor_watch(tmp_path: Path) -> None:
    with serving(tmp_path) as case, httpx.Client(base_url=case.url) as client:
        place, change = "/api/cameras/door/settings", {"score": 0.9}
        evil = {"Origin": "http://evil.example"}
        near = {"Origin": case.url.rsplit(":", 1)[0] + ":1"}  # same machine, another port
        refused = [
            client.patch(place, json=change),  # as a form of another page would send it
            client.patch(place, json=change, headers=CHANGE | evil),
            client.patch(place, json=change, headers=CHANGE | near),
            client.patch(place, json=change, headers=CHANGE | {"Origin": "null"}),
            client.get("/api/cameras", headers={"Sec-Fetch-Site": "cross-site"}),
            client.get("/stream/door.mjpg", headers={"Sec-Fetch-Site": "same-site"}),
            client.patch(place, json=change, headers=CHANGE | {"Origin": "http://["}),  # no URL
        ]
        assert [one.status_code for one in refused] == [403] * len(refused)
        with pytest.raises(InvalidStatus):
            case.socket("/ws/live/door", origin="http://evil.example").__enter__()
        own = client.patch(place, json=change, headers=CHANGE | {"Origin": case.url})
        assert own.status_code == 200
        with case.socket("/ws/status", origin=case.url) as socket:
            assert "door" in socket.recv(timeout=20)
        visit = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert client.get("/healthz", headers=visit).status_code == 200


def test_every_answer_has_the_headers_that_protect(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        for path in ("/healthz", "/api/cameras", "/nothing", "/docs"):
            headers = client.get(path).headers
            policy = headers["content-security-policy"]
            assert "default-src 'self'" in policy
            assert "frame-ancestors 'none'" in policy
            assert "unsafe-inline" not in policy.split("script-src")[1].split(";")[0]
            assert headers["x-content-type-options"] == "nosniff"
            assert headers["x-frame-options"] == "DENY"
            assert headers["referrer-policy"] == "no-referrer"
            assert "access-control-allow-origin" not in headers
            assert "server" not in headers
        assert client.get("/api/cameras").headers["cache-control"] == "no-store"


# ── what is sent ──


TRAVERSALS = (
    "../users",
    "..%2f..%2fetc%2fpasswd",
    "%2e%2e/%2e%2e/etc/passwd",
    "....//etc/passwd",
    "/etc/passwd",
    "..\\..\\etc\\passwd",
    "%00",
    "~root",
)


def test_no_path_leads_out(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("root: secret")
    with serving(tmp_path) as case:
        targets = [
            *(f"{folder}/{path}" for path in TRAVERSALS for folder in ("/static", "/docs/static")),
            *(f"/api/recordings/{path}/video" for path in TRAVERSALS),
            *(f"/api/events/{path}/thumbnail.jpg" for path in TRAVERSALS),
        ]
        for target in targets:
            status, answer = raw_get(case, target)
            assert status in (400, 404, 422), (target, answer)
            assert b"root:" not in answer


def raw_get(case: Case, target: str) -> tuple[int, bytes]:
    """GET with a target that no client library would send as it is."""
    with sockets.create_connection(("127.0.0.1", case.server.port), timeout=20) as connection:
        request = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
        connection.sendall(request.encode())
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
    return int(answer.split(b" ", 2)[1]), answer


def test_a_link_in_the_recordings_is_none_of_them(tmp_path: Path) -> None:
    secret = tmp_path / "secret.mp4"
    secret.write_text("root: secret")
    with serving(tmp_path) as case, case.client() as client:
        (tmp_path / "recordings" / "door-1.mp4").symlink_to(secret)
        assert client.get("/api/recordings").json() == []


def test_bodies_are_bounded(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.client() as client:
        place = "/api/cameras/door/zones"
        large = b"[" * (MOST_BODY_BYTES + 1)
        assert client.put(place, content=large).status_code == 413
        parts = (b"[" * 65536 for _ in range(10))  # of no declared length
        assert client.put(place, content=parts).status_code == 413
        deep = b"[" * 100_000
        assert client.put(place, content=deep).status_code == 422
        many = {"zones": [{"name": f"z{i}", "polygon": [[0, 0]] * 3} for i in range(100)]}
        assert client.put(place, json=many).status_code == 422
        assert client.get("/healthz", headers={"X-Large": "x" * 100_000}).status_code == 431


def test_large_messages_end_a_socket(tmp_path: Path) -> None:
    with serving(tmp_path) as case, case.socket("/ws/status") as socket:
        socket.send("x" * 100_000)
        assert closing_code(socket) == 1009


# ── at the start ──


def test_what_cannot_be_served_is_one_sentence(rcnn_live: Run, tmp_path: Path) -> None:
    with sockets.create_server(("127.0.0.1", 0)) as taken:
        busy = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(UsageError, match="in use; give another"):
            listen(ServeSettings(address=busy))
    with pytest.raises(UsageError, match="no such host"):
        listen(ServeSettings(address="no.such.host.invalid:80", token=TOKEN))
    for arguments, words in (
        (["--serve", "0.0.0.0:8000"], "add --token"),
        (["--serve", "nonsense::1"], "HOST:PORT"),
        (["--serve", "127.0.0.1:99999"], "no port 99999"),
        (["--serve", "--token", "short"], "12 at least"),
        (["--serve", "--tls-cert", "cert.pem"], "go together"),
        (["--serve", "--users", "nobody"], "cannot be read"),
        (["--serve", "--token-file", "none"], "cannot be read"),
        (["--users", "nobody"], "add --serve"),
        (["--serve", "--serve-name", "cam.example.org"], "add --token"),
    ):
        code, _, err = rcnn_live("run", "lavfi:testsrc2", *arguments)
        assert code == 2, (arguments, err)
        assert words in err, (arguments, err)
        assert "Traceback" not in err
        assert err.count("\n") <= 1


def test_token_files_and_users_files_are_their_owner_s(rcnn_live: Run, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    (tmp_path / "token").chmod(0o644)
    code, _, err = rcnn_live("run", "lavfi:testsrc2", "--serve", "--token-file", "token")
    assert code == 2
    assert "chmod 600" in err
    code, out, _ = rcnn_live("users", "add", "anna", "--role", "operator", "--password", PASSWORD)
    assert (code, "operator" in out) == (0, True)
    file = tmp_path / "users"
    assert file.stat().st_mode & 0o077 == 0
    assert PASSWORD not in file.read_text()
    anna = Users(file).find("anna", PASSWORD)
    assert anna is not None
    assert anna.role == "operator"
    assert Users(file).find("anna", PASSWORD + "x") is None
    assert Users(file).find("nobody", PASSWORD) is None
    assert rcnn_live("users", "list")[1] == "anna  operator\n"
    for arguments, words in (
        (["add", "an:na", "--password", PASSWORD], "not allowed"),
        (["add", "bob", "--password", "short"], "8 to"),
        (["remove", "bob"], "no user 'bob'"),
    ):
        code, _, err = rcnn_live("users", *arguments)
        assert (code, words in err) == (2, True), err
    assert list(read_users(file)) == ["anna"]
    file.write_text("anna:admin:x\n")
    with pytest.raises(UsageError, match="line 1"):
        read_users(file)


def test_tls_serves_https_and_bad_pairs_are_refused(tmp_path: Path) -> None:
    pair = make_certificate(tmp_path, "one")
    other = make_certificate(tmp_path, "two")
    settings = ServeSettings(address=ANY_PORT, token=TOKEN, tls_cert=pair[0], tls_key=pair[1])
    with serving(tmp_path, settings=settings) as case:
        assert case.url.startswith("https://")
        trusted = ssl.create_default_context(cafile=str(pair[0]))
        with case.client(verify=trusted) as client:
            answer = client.post("/api/login", json={"token": TOKEN})
            assert "Secure" in answer.headers["set-cookie"]
        wrong = ServeSettings(address=ANY_PORT, token=TOKEN, tls_cert=pair[0], tls_key=other[1])
        with pytest.raises(UsageError, match="of one pair"):
            PageServer(wrong, case.controls)
        missing = wrong.model_copy(update={"tls_key": tmp_path / "none"})
        with pytest.raises(UsageError, match="cannot be read"):
            PageServer(missing, case.controls)
        locked = make_certificate(tmp_path, "locked", "-passout", "pass:secret", "-aes256")
        with pytest.raises(UsageError, match="locked with a password"):
            PageServer(
                wrong.model_copy(update={"tls_cert": locked[0], "tls_key": locked[1]}),
                case.controls,
            )


def make_certificate(folder: Path, name: str, *options: str) -> tuple[Path, Path]:
    certificate, key = folder / f"{name}.pem", folder / f"{name}.key"
    new = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-days", "2", "-subj", "/CN=localhost"]
    new += ["-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(key), "-out", str(certificate)]
    lock = [] if options else ["-nodes"]
    subprocess.run([*new, *lock, *(one for one in options if one != "-aes256")], check=True,
                   capture_output=True)  # fmt: skip
    return certificate, key


def test_a_token_is_never_told(tmp_path: Path) -> None:
    with pytest.raises(UsageError) as error:
        settings_of(address="0.0.0.0", token="shorty")
    assert "shorty" not in str(error.value)
    with serving(tmp_path, settings=guarded()):
        assert redact(f"the token is {TOKEN}") == "the token is ***"
    assert TOKEN not in repr(guarded())


def test_names_with_line_breaks_and_scripts_stay_what_they_are(tmp_path: Path) -> None:
    name = 'x"\r\nSet-Cookie: a=b<script>'
    with serving(tmp_path, names=(name,)) as case, case.client() as client:
        answer = client.get(f"/api/cameras/{quote(name, safe='')}")
        assert answer.json()["name"] == name
        assert answer.headers["content-type"] == "application/json"
        stream = client.get(f"/api/cameras/{quote(name, safe='')}/snapshot.jpg")
        assert stream.status_code in (200, 409)
        assert "set-cookie" not in stream.headers
        for text in (name, "<script>alert(1)</script>"):
            zone = {"zones": [{"name": text, "polygon": [[0, 0], [1, 0], [1, 1]]}]}
            put = client.put(f"/api/cameras/{quote(name, safe='')}/zones", json=zone)
            assert put.status_code == (422 if "\n" in text else 200)
            assert put.headers["content-type"] == "application/json"
            assert json.loads(put.text)


def test_the_file_of_cameras_says_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PAGE_TOKEN", TOKEN)
    file = tmp_path / "cameras.yaml"
    cameras = "cameras: {door: {source: demo}}\n"
    file.write_text(
        "serve: {address: '0.0.0.0:8000', token: '${PAGE_TOKEN}', users: users}\n" + cameras
    )
    serve = load_config(file).serve
    assert serve is not None
    assert (serve.token, serve.users) == (TOKEN, tmp_path / "users")
    assert TOKEN not in repr(serve)
    file.write_text("serve: 8001\n" + cameras)
    alone = load_config(file).serve
    assert alone is not None
    assert (alone.host, alone.port) == ("127.0.0.1", 8001)
    for mistake, words in (
        ("serve: {address: '0.0.0.0:80'}", "line 1: serve"),
        ("serve: {token: short}", "12 at least"),
        ("serve: {adress: '8000'}", "did you mean 'address'"),
    ):
        file.write_text(f"{mistake}\n{cameras}")
        with pytest.raises(UsageError, match=words) as error:
            load_config(file)
        assert "short" not in str(error.value)
