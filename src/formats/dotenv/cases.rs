//! Fifty hand-made files and what npm's `dotenv` 16.6.1 reads from them (measured), and whether
//! dotenvy 0.15.7 differs.

pub(super) struct Case {
    pub name: &'static str,
    pub file: &'static [u8],
    pub npm: &'static [(&'static str, &'static str)],
    pub differs: bool,
}

const fn same(
    name: &'static str,
    file: &'static [u8],
    npm: &'static [(&'static str, &'static str)],
) -> Case {
    Case { name, file, npm, differs: false }
}

const fn differs(
    name: &'static str,
    file: &'static [u8],
    npm: &'static [(&'static str, &'static str)],
) -> Case {
    Case { name, file, npm, differs: true }
}

pub(super) const CASES: &[Case] = &[
    same("plain", b"A=1\n", &[("A", "1")]),
    differs("spaces-unquoted", b"A=hello world\n", &[("A", "hello world")]),
    differs("dollar-in-value", b"DB_PASSWORD=pa$$w0rd\n", &[("DB_PASSWORD", "pa$$w0rd")]),
    differs("dollar-quoted", b"DB_PASSWORD=\"pa$$w0rd\"\n", &[("DB_PASSWORD", "pa$$w0rd")]),
    same("dollar-single", b"DB_PASSWORD='pa$$w0rd'\n", &[("DB_PASSWORD", "pa$$w0rd")]),
    differs(
        "interp-underscore",
        b"DB_HOST=h\nURL=http://$DB_HOST/x\n",
        &[("DB_HOST", "h"), ("URL", "http://$DB_HOST/x")],
    ),
    differs(
        "interp-braces",
        b"DB_HOST=h\nURL=http://${DB_HOST}/x\n",
        &[("DB_HOST", "h"), ("URL", "http://${DB_HOST}/x")],
    ),
    differs("interp-default", b"URL=${NOPE:-dflt}\n", &[("URL", "${NOPE:-dflt}")]),
    differs("interp-env-of-reader", b"X=${HOME}\n", &[("X", "${HOME}")]),
    differs(
        "interp-env-wins",
        b"HOME=/app\nX=${HOME}/y\n",
        &[("HOME", "/app"), ("X", "${HOME}/y")],
    ),
    differs("hash-no-space", b"A=foo#bar\n", &[("A", "foo")]),
    same("hash-space", b"A=foo #bar\n", &[("A", "foo")]),
    same("hash-in-dq", b"A=\"foo#bar\"\n", &[("A", "foo#bar")]),
    same(
        "multiline-dq",
        b"KEY=\"-----BEGIN\nabc=\n-----END\"\nB=2\n",
        &[("KEY", "-----BEGIN\nabc=\n-----END"), ("B", "2")],
    ),
    same("multiline-sq", b"KEY='l1\nl2'\nB=2\n", &[("KEY", "l1\nl2"), ("B", "2")]),
    same(
        "multiline-with-hash",
        b"KEY=\"l1\n# not comment\nl3\"\nB=2\n",
        &[("KEY", "l1\n# not comment\nl3"), ("B", "2")],
    ),
    same("apostrophe-comment", b"# it's\nA=1\nB=2\n", &[("A", "1"), ("B", "2")]),
    same("apostrophe-trailing-comment", b"A=1 # it's\nB=2\n", &[("A", "1"), ("B", "2")]),
    differs(
        "apostrophe-unquoted",
        b"A=it's\nB=2\nC='x'\n",
        &[("A", "it's"), ("B", "2"), ("C", "x")],
    ),
    differs("backtick", b"A=`x \"y\" z`\n", &[("A", "x \"y\" z")]),
    differs("json-unquoted", b"A={\"a\":1}\n", &[("A", "{\"a\":1}")]),
    same("json-sq", b"A='{\"a\":1}'\n", &[("A", "{\"a\":1}")]),
    same("esc-n-dq", b"A=\"a\\nb\"\n", &[("A", "a\nb")]),
    same("esc-n-sq", b"A='a\\nb'\n", &[("A", "a\\nb")]),
    differs("esc-n-unq", b"A=a\\nb\n", &[("A", "a\\nb")]),
    differs("esc-t-dq", b"A=\"a\\tb\"\n", &[("A", "a\\tb")]),
    differs("esc-r-dq", b"A=\"a\\r\\nb\"\n", &[("A", "a\r\nb")]),
    differs("winpath", b"A=C:\\dir\n", &[("A", "C:\\dir")]),
    differs("regex-dq", b"A=\"^\\d+$\"\n", &[("A", "^\\d+$")]),
    same("url-query", b"A=postgres://u:p@h/db?x=1&y=2\n", &[("A", "postgres://u:p@h/db?x=1&y=2")]),
    same("export", b"export A=1\n", &[("A", "1")]),
    differs("colon", b"A: 1\n", &[("A", "1")]),
    differs("dash-key", b"MY-KEY=1\n", &[("MY-KEY", "1")]),
    same("dot-key", b"a.b=1\n", &[("a.b", "1")]),
    differs("digit-key", b"1A=1\n", &[("1A", "1")]),
    same("empty", b"A=\n", &[("A", "")]),
    same("space-around-eq", b"A = 1\n", &[("A", "1")]),
    same("crlf", b"A=1\r\nB=\"x\"\r\n", &[("A", "1"), ("B", "x")]),
    differs("bom", b"\xef\xbb\xbfA=1\n", &[("A", "1")]),
    differs("dup", b"A=1\nA=2\n", &[("A", "2")]),
    differs("bad-line-middle", b"A=1\nnot a line\nB=2\n", &[("A", "1"), ("B", "2")]),
    same("no-final-newline", b"A=1\nB=2", &[("A", "1"), ("B", "2")]),
    same("nul", b"A=a\0b\n", &[("A", "a\0b")]),
    differs("quote-middle", b"A=a\"b\"c\n", &[("A", "a\"b\"c")]),
    differs("trailing-space", b"A=1 ", &[("A", "1")]),
    differs("dq-trailing", b"A=\"1\"x\nB=2\n", &[("A", "\"1\"x"), ("B", "2")]),
    differs("escaped-dollar", b"A=\\$x\n", &[("A", "\\$x")]),
    differs("escaped-quote-dq", b"A=\"x\\\"y\"\n", &[("A", "x\\\"y")]),
    differs("invalid-subst", b"A=${x\nB=2\n", &[("A", "${x"), ("B", "2")]),
    differs("latin1", b"A=caf\xe9\nB=2\n", &[("A", "caf\u{fffd}"), ("B", "2")]),
];
