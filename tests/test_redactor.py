from __future__ import annotations

import json
import multiprocessing
import pickle
import random
import re
import string
import threading
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import orjson
import pytest
import re2
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from analytics.errors import ConfigError
from analytics.local_key import load_or_create_key
from analytics.redactor import SCANNER_BYTES, Redactor, _respect_tags
from analytics.secret_rules import RULES_FILE, engine_options, read_rules
from analytics.secret_scanner import SecretScanner

if TYPE_CHECKING:
    from pathlib import Path

KEY = bytes(range(32))
REDACTOR = Redactor.load(None, KEY)
RULES = read_rules(RULES_FILE)
CLASSES = {
    "alnum": string.ascii_letters + string.digits,
    "hex": "0123456789abcdef",
    "upper": string.ascii_uppercase + "234567",
    "digit": string.digits,
    "b64": string.ascii_letters + string.digits + "+/",
    "url": string.ascii_letters + string.digits + "_",
    "word": string.ascii_lowercase,
}
EXAMPLES = [
    pytest.param(rule.name, template, id=f"{rule.name}-{number}")
    for rule in RULES
    for number, template in enumerate(rule.examples)
]


def expand_example(template: str, seed: int = 1) -> tuple[str, list[str]]:
    """The example with random characters filled in, and the filled pieces that must vanish."""
    chance = random.Random(f"{template}{seed}")
    pieces: list[str] = []

    def fill(match: re.Match[str]) -> str:
        piece = "".join(chance.choices(CLASSES[match[1]], k=int(match[2])))
        pieces.append(piece)
        return piece

    text = re.sub(r"\{(\w+):(\d+)\}", fill, template)
    return text, [piece for piece in pieces if len(piece) >= 8]


def to_line(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SORT_KEYS)


def places_of(secret: str) -> dict[str, Any]:
    nested = json.dumps({"args": f"run {secret} now", "deeper": json.dumps({"text": f"({secret})"})})
    return {
        "prompt": {"type": "user", "message": {"role": "user", "content": f"please use {secret} for it\nthanks"}},
        "after_line_break": {"message": {"content": f"here it is:\n{secret}\n"}},
        "tool_input": {"message": {"content": [{"type": "tool_use", "input": {"command": f"run '{secret}'"}}]}},
        "result": {"toolUseResult": {"stdout": f"\x1b[32m{secret}\x1b[0m\tok"}},
        "path": {"cwd": f"/home/u/{secret}/x"},
        "patch": {"toolUseResult": {"structuredPatch": [{"lines": [f"+{secret}", f"-{secret}"]}]}},
        "nested": {"content": nested},
        "key": {"env": {secret: 1}},
        "utf_16": {"toolUseResult": {"stdout": "\0".join(secret)}},
        "nested_utf_16": {"content": json.dumps({"stdout": "\0".join(secret)})},
    }


@pytest.mark.parametrize("place", list(places_of("")))
@pytest.mark.parametrize(("name", "template"), EXAMPLES)
def test_redact_json_removes_every_example_from_every_place(name: str, template: str, place: str) -> None:
    secret, pieces = expand_example(template)
    line = to_line(places_of(secret)[place])
    redacted = REDACTOR.redact_json(line)
    assert REDACTOR.find_spans(line), "the extractor would not have looked at this line"
    assert not [piece for piece in pieces if piece.encode() in re.sub(rb"\\+u0000", b"", redacted)]
    assert b"[REDACTED:" in redacted
    orjson.loads(redacted)
    assert REDACTOR.redact_json(redacted) == redacted


@pytest.mark.parametrize(
    "template", [example for rule in RULES if rule.kind in ("token", "personal") for example in rule.examples]
)
def test_what_shows_itself_goes_from_between_underscores(template: str) -> None:
    """Five rules wanted a border behind it, and "_" is none: the token of `mcp__<token>__go` was published."""
    secret, pieces = expand_example(template)
    redacted = REDACTOR.redact_text(f"mcp__{secret}__go")
    assert not [piece for piece in pieces if piece in redacted]


@pytest.mark.parametrize(("name", "template"), EXAMPLES)
def test_redact_text_and_bytes_remove_every_example(name: str, template: str) -> None:
    secret, pieces = expand_example(template)
    for text in (secret, f"error: cannot open {secret}: no such file", f"a\n{secret}\nb"):
        assert not [piece for piece in pieces if piece in REDACTOR.redact_text(text)]
        raw = text.encode() + b"\xff\xfe{"
        assert not [piece for piece in pieces if piece.encode() in REDACTOR.redact_bytes(raw)]
        assert not [piece for piece in pieces if piece.encode() in REDACTOR.redact_bytes(text.encode("utf-16-le"))]


def test_zeros_between_texts_hide_no_secret() -> None:
    """A process's environment was read without them, as one text: a name after another's value began nowhere."""
    environment = b"HOME=/home/u\0DB_PASSWORD=hunterhunter\0LANG=C"
    assert b"hunter" not in REDACTOR.redact_bytes(environment)
    line = REDACTOR.redact_json(to_line({"stdout": environment.decode()}))
    assert b"hunter" not in line
    assert orjson.loads(line)["stdout"].endswith("]\0LANG=C")


@pytest.mark.parametrize(("name", "template"), EXAMPLES)
def test_tag_names_the_rule_that_the_example_stands_for(name: str, template: str) -> None:
    secret, _ = expand_example(template)
    assert f"[REDACTED:{name}:" in REDACTOR.redact_text(f"see {secret} there")


def test_every_rule_has_a_description_and_an_example() -> None:
    assert [rule.name for rule in RULES if not rule.description or not rule.examples] == []


def test_same_secret_has_the_same_tag_whatever_holds_it() -> None:
    secret, _ = expand_example("ghp_{alnum:36}")
    pem, _ = expand_example("-----BEGIN PRIVATE KEY-----\n{b64:64}\n{b64:40}\n-----END PRIVATE KEY-----")
    for value in (secret, pem):
        texts = [value, json.dumps([value]), json.dumps({"a": json.dumps([value])}), f"TOKEN={value}"]
        tags = {tag for text in texts for tag in re.findall(r"\[REDACTED:\w+:\w{8}\]", REDACTOR.redact_text(text))}
        assert len(tags) == 1


@pytest.mark.parametrize("ending", [".jsonl", ".meta.json", ".json", "/subagents/agent-1.jsonl", ""])
@pytest.mark.parametrize("secret", ["api_key=k2hbH7sGGa9aPqLm3xZ8vT1", "password=hunter2hunter2", "ghp_" + "a1B2" * 9])
def test_a_secret_in_a_path_goes_and_takes_nothing_along(secret: str, ending: str) -> None:
    """`api_key=<value>.jsonl` passed for code, and a secret folder took the names behind it along."""
    redacted = REDACTOR.redact_path(f"-home-dev-app/{secret}{ending}")
    assert secret.rpartition("=")[2] not in redacted
    assert re.fullmatch(rf"-home-dev-app/.*\[REDACTED:\w+:[0-9a-f]{{8}}\]{re.escape(ending)}", redacted)


def test_a_path_without_a_secret_stays() -> None:
    path = "-home-dev-app/0f9c1d5e-0000-4000-8000-000000000001.jsonl"
    assert REDACTOR.redact_path(path) == path


def test_different_secrets_and_different_keys_have_different_tags() -> None:
    one, two = (expand_example("npm_{alnum:36}", seed)[0] for seed in (1, 2))
    other_machine = Redactor.load(None, b"x" * 32)
    assert len({REDACTOR.redact_text(one), REDACTOR.redact_text(two), other_machine.redact_text(one)}) == 3


@pytest.mark.parametrize(
    "text",
    [
        "token = get_token()",
        "token = response.data.token2",
        "password: str",
        "def login(password: str, token: Optional[str] = None) -> None:",
        "const token = tokens[0]; const secret = process.env.APP_SECRET1;",
        "password = os.environ['DB_PASSWORD']",
        'api_key = os.getenv("API_KEY")',
        'export API_KEY="${API_KEY}"',
        "GITHUB_TOKEN: ${{ secrets.GITHUB_TOKEN }}",
        "API_KEY=<your key> and password=********",
        "input_tokens: 123456789, max_tokens=128000000",
        "the secret: remember everything",
        "secret: /run/secrets/db_password",
        "PWD=/home/demo/project",
        "passwd:x:1000:1000::/home/demo:/bin/bash",
        "docker run -u 1000:1000 image",
        "docker run -d --name mysql -p 3306:3306 mysql; mysql -p shop; redis-cli -p 6379 -a $REDIS_PASSWORD ping",
        "cookie: string; document.cookie = name + value; const cookie = getCookie('sid')",
        "the login form, password reset and machine learning",
        "git clone git@github.com:org/repo.git",
        "Co-Authored-By: Claude <noreply@anthropic.com>",
        "12345+demo@users.noreply.github.com",
        "icon@2x.png lodash@4.17.21 @types/node@20.1.0",
        "import x\n@app.route\n@pytest.fixture",
        "task-force-of-many-people-and-things-in-a-long-branch-name",
        "sk-learn and risk-free-whatever-abcdefghijklmnop",
        "see https://example.org:8080/a?x=1 and user@ alone",
        "-----BEGIN PUBLIC KEY-----",
        "grep -n '-----BEGIN PRIVATE KEY-----' file and more words behind it",
        "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
        "123e4567-e89b-12d3-a456-426614174000 toolu_01ABCDEFGHJKLMNPQRSTUVWX",
    ],
)
def test_text_without_secrets_is_unchanged(text: str) -> None:
    assert REDACTOR.redact_text(text) == text
    line = to_line({"a": text, "b": [text], text: 1})
    assert REDACTOR.redact_json(line) is line


def test_base64_images_and_signatures_are_unchanged() -> None:
    chance = random.Random(5)
    image = "".join(chance.choices(CLASSES["b64"], k=2_000_000))
    line = to_line({"data": image, "signature": image[:4000] + "=="})
    assert REDACTOR.find_spans(line) == []


def test_only_the_secret_goes_and_what_names_it_stays() -> None:
    secret, _ = expand_example("{alnum:20}1")
    text = f"psql postgres://app:{secret}@db.test:5432/app && curl -H 'Authorization: Bearer {secret}'"
    redacted = REDACTOR.redact_text(text)
    assert re.sub(r"\[REDACTED:\w+:\w+\]", "*", redacted) == (
        "psql postgres://app:*@db.test:5432/app && curl -H 'Authorization: Bearer *'"
    )


@pytest.mark.parametrize(("name", "template"), EXAMPLES)
def test_find_spans_sees_secrets_longer_than_its_window(name: str, template: str) -> None:
    """A <password> of 400 characters was never looked at: its rule is certain at the </ behind it only."""
    for nth in range(len(re.findall(r":\d+\}", template))):
        count = iter(range(99))
        longer = re.sub(r":(\d+)\}", lambda match: f":{3000 if next(count) == nth else match[1]}}}", template)  # noqa: B023
        secret, _ = expand_example(longer)
        for place in places_of(secret).values():
            line = to_line(place)
            assert REDACTOR.redact_json(line) is line or REDACTOR.find_spans(line)


def lines_of(redactor: Redactor, lines: list[bytes]) -> list[int]:
    """Which of the lines, joined, the redactor would have the extractor look at."""
    return redactor.find_touched(b"".join(lines), list(accumulate(map(len, lines), initial=0)))


def both_engines() -> dict[str, Redactor]:
    """By RE2 alone, as over little text, and with Hyperscan first, as over much."""
    scanning = Redactor.load(None, KEY)
    scanning.find_touched(b" " * SCANNER_BYTES, [0, SCANNER_BYTES])
    return {"re2": REDACTOR, "hyperscan": scanning}


ENGINES = both_engines()


@pytest.mark.parametrize("engine", ENGINES)
def test_find_touched_names_the_lines_with_secrets_and_no_others(engine: str) -> None:
    plain = to_line({"message": {"content": "what is left of a token = get_token() is code"}})
    lines = [plain]
    for param in EXAMPLES:
        for value in places_of(expand_example(str(param.values[1]))[0]).values():
            lines += [to_line(value), plain]
    assert lines_of(ENGINES[engine], lines) == [index for index, line in enumerate(lines) if line is not plain]
    assert lines_of(ENGINES[engine], [plain, plain]) == []


def test_a_key_without_end_is_found_and_its_ends_are_not_counted() -> None:
    lines = [b'{"a":1}', to_line({"content": f"sk-ant-{'a' * 2_000_000}"}), b'{"b":1}']
    assert ENGINES["hyperscan"]._scanner.find_last_bytes(b"".join(lines)) is None
    assert lines_of(ENGINES["hyperscan"], lines) == [1]


def test_over_little_text_and_with_a_rule_of_ones_own_there_is_no_scanner(tmp_path: Path) -> None:
    """Making one takes a tenth of a second; and of our rules only is it known that it reads them as RE2 does."""
    own = tmp_path / "rules.toml"
    own.write_text("[[rules]]\nname = 'ours'\npattern = 'zq[0-9]{6}'\n")
    redactor = Redactor.load(own, KEY)
    redactor.find_touched(b" " * SCANNER_BYTES, [0, SCANNER_BYTES])
    assert lines_of(redactor, [b'{"a":"zq123456"}', b'{"a":"zq12"}']) == [0]
    assert redactor._scanner is None
    assert ENGINES["hyperscan"]._scanner is not None
    assert "_scanner" not in vars(ENGINES["re2"])


def test_a_key_in_a_patch_s_lines_goes_and_the_line_stays_json() -> None:
    """A list of lines, as an edit of a key file leaves, kept the key."""
    key = ["".join(random.Random(number).choices(CLASSES["b64"], k=64)) for number in range(3)]
    lines = [
        "+-----BEGIN RSA PRIVATE KEY-----",
        *(f"+{part}" for part in key),
        "+-----END RSA PRIVATE KEY-----",
        "+next",
    ]
    redacted = REDACTOR.redact_json(to_line({"toolUseResult": {"structuredPatch": [{"lines": lines}]}}))
    (kept,) = orjson.loads(redacted)["toolUseResult"]["structuredPatch"]
    assert not [part for part in key if part.encode() in redacted]
    assert kept["lines"][-1] == "+next"


class CountingList(list[tuple[int, int]]):
    read_count = 0

    def __getitem__(self, index: Any) -> Any:
        self.read_count += 1
        return super().__getitem__(index)


def test_what_is_beside_a_thousand_tags_looks_at_few_of_them() -> None:
    """Each match looked through all tags: a line of a megabyte took minutes."""
    tags = CountingList((position, position + 20) for position in range(0, 100_000, 100))
    for place in range(0, 100_000, 100):
        assert _respect_tags(tags, place + 15, place + 30) == (place + 20, place + 30)
        assert _respect_tags(tags, place + 2, place + 10) == (place + 20, place + 20)
        assert _respect_tags(tags, place + 30, place + 110) == (
            place + 30,
            place + 110 if place == 99_900 else place + 120,
        )
    assert tags.read_count < 3 * 1_000 * 20


def test_values_are_redacted_when_the_line_would_break(tmp_path: Path) -> None:
    """A user's rule may take quotes or a bare number with it; the line must parse all the same."""
    rules = tmp_path / "rules.toml"
    rules.write_text(
        '[[rules]]\nname = "pin"\nkind = "context"\npattern = \'pin":([0-9]{6})\'\n'
        '[[rules]]\nname = "greedy"\nkind = "context"\npattern = \'start(.*)stop\'\n'
    )
    redactor = Redactor.load(rules, KEY)
    secret, _ = expand_example("ghp_{alnum:36}")
    word, _ = expand_example("{word:12}")
    line = to_line({"pin": 123456, "a": f"start {secret}", "b": ["x stop"], "password": word, secret: {"k": secret}})
    redacted = orjson.loads(redactor.redact_json(line))
    assert secret not in str(redacted)
    assert word not in str(redacted)
    assert redacted["pin"] == 123456
    assert redacted["b"] == ["x stop"]
    assert redactor.redact_json(to_line(redacted)) == to_line(redacted)


def test_number_after_a_secret_word_leaves_valid_json() -> None:
    line = to_line({"token": 1234567890, "text": 'say "password": 1234567890'})
    assert orjson.loads(REDACTOR.redact_json(line))["token"] == 1234567890


def test_user_rule_replaces_the_builtin_of_the_same_name(tmp_path: Path) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text('[[rules]]\nname = "email"\npattern = "staff-[0-9]{5}"\n')
    redactor = Redactor.load(rules, KEY)
    assert redactor.redact_text("someone@mail.test staff-12345").startswith("someone@mail.test [REDACTED:email:")


@pytest.mark.parametrize(
    ("body", "named"),
    [
        ("[[rules]]\nname = 'broken_one'\npattern = '(unclosed'", "broken_one"),
        ("[[rules]]\nname = 'look_behind'\npattern = '(?<=x)y'", "look_behind"),
        ("[[rules]]\nname = 'two_groups'\npattern = '(a)(b)'", "two_groups"),
        ("[[rules]]\nname = 'empty_match'\npattern = 'a*'", "empty_match"),
        ("[[rules]]\nname = 'bad_unless'\npattern = 'abc'\nunless = '['", "bad_unless"),
        ("[[rules]]\nname = 'no_pattern'", "no_pattern"),
        ("[[rules]]\nname = 'odd_kind'\npattern = 'abc'\nkind = 'other'", "odd_kind"),
        ("[[rules]]\nname = 'no_fragment'\npattern = '(?&none)'", "no_fragment"),
        ("[[rules]]\nname = 'mistyped'\npatern = 'abc'", "mistyped"),
        ("[[rules]]\nname = 'twice'\npattern = 'a'\n[[rules]]\nname = 'twice'\npattern = 'b'", "twice"),
        ("[[rules]]\npattern = 'abc'", "number 1"),
        ("[[rules]\n", "rules.toml"),
    ],
)
def test_bad_user_rule_stops_the_start_and_is_named(tmp_path: Path, body: str, named: str) -> None:
    rules = tmp_path / "rules.toml"
    rules.write_text(body)
    with pytest.raises(ConfigError, match=named):
        Redactor.load(rules, KEY)


def test_missing_user_rules_are_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml"):
        Redactor.load(tmp_path / "none.toml", KEY)


def test_redactor_survives_pickling() -> None:
    secret, _ = expand_example("glpat-{url:20}")
    assert pickle.loads(pickle.dumps(REDACTOR)).redact_text(secret) == REDACTOR.redact_text(secret)


SNIPPETS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(["password", "token", "SECRET_KEY", "=", ": ", '":"', '\\"', "'", "\\n", "\n", "@", "https://", ":",
                     "//", "mail.test", "Bearer ",
                     "[REDACTED:", "[REDACTED:jwt:0123abcd]", "]", "[", "--token ", "-u a:"]),
    st.sampled_from([param.values[1] for param in EXAMPLES]).map(lambda template: expand_example(str(template))[0]),
)  # fmt: skip
TEXTS = st.lists(SNIPPETS, max_size=8).map("".join)
VALUES = st.recursive(
    st.one_of(TEXTS, st.integers(-(2**53), 2**53), st.booleans(), st.none()),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(TEXTS, inner, max_size=3)),
    max_leaves=6,
)


@settings(max_examples=300)
@given(st.dictionaries(TEXTS, VALUES, max_size=4))
def test_redact_json_is_valid_idempotent_and_found(value: dict[str, Any]) -> None:
    try:
        line = to_line(value)
    except TypeError:  # lone surrogates never reach the redactor
        return
    redacted = REDACTOR.redact_json(line)
    orjson.loads(redacted)
    assert REDACTOR.redact_json(redacted) == redacted
    if redacted != line:
        assert REDACTOR.find_spans(line)


@settings(max_examples=100)
@given(st.lists(st.dictionaries(TEXTS, VALUES, max_size=3), max_size=6))
def test_find_touched_misses_no_line_that_redaction_changes(values: list[dict[str, Any]]) -> None:
    try:
        lines = list(map(to_line, values))
    except TypeError:
        return
    touched = [index for index, line in enumerate(lines) if REDACTOR.find_spans(line)]
    assert lines_of(ENGINES["hyperscan"], lines) == touched
    assert set(touched) <= set(lines_of(ENGINES["re2"], lines))


@pytest.mark.parametrize("expression", dict.fromkeys(sought for rule in RULES for sought in rule.sought))
@settings(max_examples=25, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_the_scanner_reads_each_expression_as_re2_does(expression: str, data: st.DataObject) -> None:
    matching = data.draw(st.from_regex(expression.encode()))
    text = matching + data.draw(st.binary(max_size=40))
    text = re.sub(rb"[\0-\x1f]", b" ", text)  # canonical JSON has none
    ends = {match.end() - 1 for match in re2.compile(expression.encode(), engine_options(8 << 20)).finditer(text)}
    assume(ends)
    assert ends <= SecretScanner([expression]).find_last_bytes(text)


@settings(max_examples=300)
@given(st.one_of(TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass")), st.binary(max_size=200)))
def test_redact_bytes_is_idempotent(raw: bytes) -> None:
    redacted = REDACTOR.redact_bytes(raw)
    assert REDACTOR.redact_bytes(redacted) == redacted


@settings(max_examples=200)
@given(st.text(alphabet=st.characters(exclude_characters="@:=-_./[%\\"), max_size=300))
def test_text_without_any_separator_is_unchanged(text: str) -> None:
    assert REDACTOR.redact_text(text) == text


def test_key_is_created_once_and_private(tmp_path: Path) -> None:
    path = tmp_path / "state" / "redaction.key"
    key = load_or_create_key(path)
    assert len(key) == 32
    assert load_or_create_key(path) == key
    assert path.stat().st_mode & 0o777 == 0o600
    assert [entry.name for entry in path.parent.iterdir()] == ["redaction.key"]


def test_key_is_one_when_threads_race(tmp_path: Path) -> None:
    path, keys, barrier = tmp_path / "redaction.key", set(), threading.Barrier(8)

    def race() -> None:
        barrier.wait()
        keys.add(load_or_create_key(path))

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(keys) == 1


def test_key_is_one_when_processes_race(tmp_path: Path) -> None:
    path = tmp_path / "redaction.key"
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        assert len(set(pool.map(load_or_create_key, [path] * 4, chunksize=1))) == 1


def test_key_of_the_wrong_size_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "redaction.key"
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="redaction key"):
        load_or_create_key(path)
