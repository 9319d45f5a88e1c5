use super::*;

fn hold(hosts: &[&str], url: &str) -> Option<bool> {
    Hosts::parse(hosts).unwrap().hold(url)
}

/// By class: what made a filter see one host and the client connect to another. The filter wants `good.example`, and must
/// not be told that it is there; the client goes, or might go, to `evil.example` or 169.254.169.254, and a filter that
/// forbids these must not be told that they are not.
const ATTACKS: &[(&str, &[&str])] = &[
    (
        "userinfo",
        &[
            "https://good.example@evil.example/",
            "https://good.example:443@evil.example/",
            "https://good.example%40evil.example/",
            "https://good.example%2540evil.example/",
            "https://good.example:pass@evil.example:443/",
            "https://evil.example@good.example/",
            "https://@good.example/",
            "https://:@good.example/",
            "https://evil.example@good.example@evil.example/",
            "https://good.example&@evil.example/",
            "https://good.example;@evil.example/",
            "https://good.example:80@evil.example/",
        ],
    ),
    (
        "a query or fragment where others still see the authority: curl, PHP, Java (Tsai, `A New Era of SSRF`, 2017)",
        &[
            "https://good.example#@evil.example/",
            "https://good.example?@evil.example/",
            "https://evil.example#@good.example/",
            "https://evil.example?@good.example/",
            "https://good.example?.evil.example/",
            "https://good.example#.evil.example",
            "https://evil.example#.good.example/",
            "https://good.example?:80@evil.example/",
            "https://good.example#%40evil.example/",
            "https://good.example?＠evil.example/",
            "https://good.example?@evil/",
            "https://good.example?＠evil/",
        ],
    ),
    (
        "the backslash: a slash to the WHATWG, userinfo to RFC 3986",
        &[
            "https://good.example\\@evil.example/",
            "https://evil.example\\@good.example/",
            "https://good.example\\.evil.example/",
            "https:\\\\evil.example\\good.example/",
            "https:/\\evil.example/",
            "https://evil.example\\good.example/",
            "https://good.example/\\evil.example",
        ],
    ),
    (
        "tabs, line ends, spaces and other controls, which some cut out",
        &[
            "https://good.exa\tmple/",
            "https://good.example\t@evil.example/",
            "https://go\nod.example/",
            "https://good.example\r\n/",
            " https://good.example/",
            "https://good.example/ ",
            "https://good.example @evil.example/",
            "https://good.example/\0",
            "https://good.example\u{7f}/",
            "https://good.example/\u{85}",
            "https://good.example/\u{2028}evil.example",
            "\u{feff}https://good.example/",
            "ht\ttps://good.example/",
            "https://good.example%00.evil.example/",
            "https://good.example%0d%0a.evil.example/",
            "https://good.example%20.evil.example/",
            "https://good.example/\u{a0}",
        ],
    ),
    (
        "not absolute, or not with two slashes",
        &[
            "",
            "good.example",
            "good.example/",
            "//good.example/",
            "/good.example/",
            "///good.example/",
            "https:good.example/",
            "https:/good.example/",
            "https:///good.example/",
            "https:////good.example/",
            "https://",
            "https:///",
            "https://?good.example",
            "https://#good.example",
            "://good.example/",
            "https//good.example/",
            "https::/good.example/",
            "https:@good.example/",
        ],
    ),
    (
        "other schemes",
        &[
            "ftp://good.example/",
            "file://good.example/etc/passwd",
            "gopher://good.example:70/_x",
            "dict://good.example:11211/stat",
            "ldap://good.example/",
            "sftp://good.example/",
            "jar:https://good.example!/",
            "url:https://good.example/",
            "view-source:https://good.example/",
            "blob:https://good.example/x",
            "javascript://good.example/%0aalert(1)",
            "data:text/html,https://good.example/",
            "feed:https://good.example/",
            "netdoc:https://good.example/",
            "httpſ://good.example/",
            "https+unix://good.example/",
            "h%74tps://good.example/",
        ],
    ),
    (
        "169.254.169.254 in decimal, octal, hexadecimal, short, overflowing, with zeros",
        &[
            "http://2852039166/",
            "http://0xa9fea9fe/",
            "http://0xA9.0xFE.0xA9.0xFE/",
            "http://0251.0376.0251.0376/",
            "http://025177524776/",
            "http://169.254.43518/",
            "http://169.16689662/",
            "http://169.254.0xa9.0376/",
            "http://169.254.169.254./",
            "http://169.254.169.0254/",
            "http://0169.254.169.254/",
            "http://425.510.425.510/",
            "http://7147006462/",
            "http://169。254。169。254/",
            "http://①⑥⑨.②⑤④.①⑥⑨.②⑤④/",
            "http://１６９.254.169.254/",
            "http://169.254.169.254%2f@good.example/",
            "http://169.254.169.254:80@good.example/",
            "http://%31%36%39.254.169.254/",
        ],
    ),
    (
        "IPv4 in IPv6, zones",
        &[
            "http://[::ffff:169.254.169.254]/",
            "http://[::ffff:a9fe:a9fe]/",
            "http://[0:0:0:0:0:ffff:169.254.169.254]/",
            "http://[::169.254.169.254]/",
            "http://[64:ff9b::169.254.169.254]/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::]/",
            "http://[::ffff:0:a9fe:a9fe]/",
            "http://[fe80::5efe:a9fe:a9fe]/",
            "http://[fe80::a9fe:a9fe%25eth0]/",
            "http://[fe80::a9fe:a9fe%eth0]/",
            "http://[::1",
            "http://::1/",
            "http://[v1.fe80::a]/",
            "http://[169.254.169.254]/",
            "http://[good.example]/",
            "http://[::1]good.example/",
        ],
    ),
    (
        "dots: at the end, doubled, at the beginning, of another script",
        &[
            "https://good.example./",
            "https://evil.example./",
            "https://evil.example.:443/",
            "https://good.example../",
            "https://good..example/",
            "https://.good.example/",
            "https://good。example/",
            "https://good．example/",
            "https://good｡example/",
            "https://good%2eexample/",
            "https://good․example/",
        ],
    ),
    (
        "names in other scripts, mapped or confusable, and punycode",
        &[
            "https://ｇｏｏｄ.example/",
            "https://gооd.example/",
            "https://ⓖood.example/",
            "https://GOOD.EXAMPLE\u{200b}/",
            "https://go\u{ad}od.example/",
            "https://good.eⅹample/",
            "https://good.exampl℮/",
            "https://good.example／.evil.example/",
            "https://good.example／@evil.example/",
            "https://good.example＠evil.example/",
            "https://good.example？.evil.example/",
            "https://good.example＃.evil.example/",
            "https://good.example℀.evil.example/",
            "https://evil.c℀.good.example/",
            "https://xn--bcher-kvb.example/",
            "https://xn--good-.example/",
            "https://xn--a/",
            "https://faß.example/",
            "https://%67ood.example/",
            "https://good%E3%80%82example/",
        ],
    ),
    (
        "ports",
        &[
            "https://good.example:/",
            "https://good.example:80:443/",
            "https://good.example:443:80/",
            "https://good.example:0443/",
            "https://good.example:+443/",
            "https://good.example:-443/",
            "https://good.example:65979/",
            "https://good.example:4294967739/",
            "https://good.example:0/",
            "https://good.example:0x1bb/",
            "https://good.example:４４３/",
            "https://good.example:22/",
            "https://good.example:80/",
            "http://good.example:443/",
            "https://good.example:443.evil.example/",
            "https://good.example:443evil.example/",
            "https://good.example:a@evil.example/",
            "https://[::1]:/",
            "http://169.254.169.254:8080/",
        ],
    ),
    (
        "characters that no host has",
        &[
            "https://good.example,evil.example/",
            "https://{good.example,evil.example}/",
            "https://good.example|evil.example/",
            "https://good.example<evil.example/",
            "https://good.example\"evil.example/",
            "https://good.example`evil.example/",
            "https://good.example^evil.example/",
            "https://good.example!evil.example/",
            "https://good.example$evil.example/",
            "https://good.example*evil.example/",
            "https://-good.example/",
            "https://good-.example/",
        ],
    ),
];

#[test]
fn no_attack_is_believed() {
    let count: usize = ATTACKS.iter().map(|(_, urls)| urls.len()).sum();
    assert!(count >= 60, "{count}");
    let wanted = ["good.example", "*.good.example", "::1", "ok.good.example:8443"];
    let unwanted = ["evil.example", "*.evil.example", "169.254.169.254", "good.example:1"];
    for (class, urls) in ATTACKS {
        for url in *urls {
            assert_ne!(hold(&wanted, url), Some(true), "{class}: {url:?}");
            assert_ne!(hold(&unwanted, url), Some(false), "{class}: {url:?}");
        }
    }
}

const HOSTS: &[&str] = &[
    "good.example",
    "*.wild.example",
    "api.example:8443",
    "xn--bcher-kva.example",
    "my_service",
    "localhost:3000",
    "192.0.2.1",
    "192.0.2.2:8080",
    "2001:db8::1",
    "[2001:db8::2]:8443",
    "::1",
];

#[test]
fn ordinary_urls_of_these_hosts_hold() {
    for url in [
        "https://good.example",
        "https://good.example/",
        "http://good.example/path/to?query=1&b=2#part",
        "HTTPS://Good.Example/",
        "wss://good.example/socket",
        "ws://good.example",
        "https://good.example:443/",
        "http://good.example:80/",
        "https://good.example/@user/post",
        "https://good.example/?mail=ann@evil.example",
        "https://good.example/?next=https://evil.example/",
        "https://good.example/a%20b/%2e%2e/c",
        "https://good.example?page=2",
        "https://good.example#top",
        "https://good.example/größe/資料?q=ü",
        "https://good.example/a:b;c,d!$&'()*+=~|{}[]",
        "https://good.example//double//slashes",
        "https://a.wild.example/",
        "https://a.b.c.wild.example/",
        "https://api.example:8443/v1",
        "https://xn--bcher-kva.example/",
        "http://my_service/health",
        "http://localhost:3000/",
        "http://192.0.2.1/",
        "http://192.0.2.2:8080/",
        "http://[2001:db8::1]/",
        "http://[2001:DB8:0:0:0:0:0:1]/",
        "https://[2001:db8::2]:8443/",
        "http://[::1]/",
    ] {
        assert_eq!(hold(HOSTS, url), Some(true), "{url}");
    }
}

#[test]
fn other_hosts_do_not() {
    for url in [
        "https://evil.example/",
        "https://evil.example/good.example",
        "https://evil.example/?good.example",
        "https://evil.example/#good.example",
        "https://good.example.evil.example/",
        "https://evilgood.example/",
        "https://good.exampl/",
        "https://wild.example/",
        "https://evilwild.example/",
        "https://a.good.example/",
        "https://xn--good.example/",
        "https://xn--80ak6aa92e.example/",
        "http://192.0.2.3/",
        "http://[2001:db8::3]/",
        "http://127.0.0.1/",
        "http://0.0.0.0/",
        "http://192.0.2.1.evil.example/",
    ] {
        assert_eq!(hold(HOSTS, url), Some(false), "{url}");
    }
    for url in ["https://api.example/", "http://localhost/", "http://192.0.2.2/", "http://192.0.2.1:81/"] {
        assert_eq!(hold(HOSTS, url), None, "{url}: another port was neither allowed nor excluded");
    }
}

#[test]
fn hosts_must_be_written_as_they_are_compared() {
    let refused = |text: &str| {
        let bad = Hosts::parse(&["ok.example", text]).expect_err(text);
        assert_eq!(bad.index, 1);
        format!("{} ({})", bad.message, bad.help.unwrap_or_default())
    };
    let labels = "labels of letters, digits, `-` and `_`, with dots between them";
    let alone = "write the host alone, such as `example.com`, or `example.com:8443`";
    for (text, expected) in [
        ("https://Example.com/x", "`https://Example.com/x` is a URL, not a host (write its host, `example.com`)".to_owned()),
        ("example.com/x", format!("the host `example.com/x` has a path in it ({alone})")),
        ("10.0.0.0/8", format!("the host `10.0.0.0/8` has a network in it ({alone})")),
        ("u@example.com", format!("the host `u@example.com` has a character that no host has ({alone})")),
        ("example.com\n", format!("the host `example.com\\n` has a character that no host has ({alone})")),
        ("Example.com", "the host `Example.com` must be written in lower case (write `example.com`)".to_owned()),
        (
            "*.Bücher.example:80",
            "the host `*.Bücher.example:80` must be written in its ASCII form (write `*.xn--bcher-kva.example:80`)".to_owned(),
        ),
        ("example.com.", "the host `example.com.` has an empty label (write `example.com`)".to_owned()),
        (".example.com", "the host `.example.com` has an empty label ()".to_owned()),
        (
            "a.*.com",
            "the host `a.*.com` has a `*` that is not its first label (a `*` stands for whole labels at the beginning, as in \
             `*.example.com`)"
                .to_owned(),
        ),
        ("0x7f.1", "`0x7f.1` is an address in an odd notation (write `127.0.0.1`)".to_owned()),
        ("2130706433", "`2130706433` is an address in an odd notation (write `127.0.0.1`)".to_owned()),
        ("1.2.3.256", format!("`1.2.3.256` is no host's name ({labels})")),
        ("::ffff:1.2.3.4", "`::ffff:1.2.3.4` is an IPv4 address in an IPv6 one (write `1.2.3.4`)".to_owned()),
        ("[::1", "`[::1` is no IPv6 address (such as `[2001:db8::1]:8443`)".to_owned()),
        ("example.com:", "`` in `example.com:` is no port (a number from 1 to 65535, or no colon)".to_owned()),
        ("example.com:080", "`080` in `example.com:080` is no port (a number from 1 to 65535, or no colon)".to_owned()),
        ("example.com:65536", "`65536` in `example.com:65536` is no port (a number from 1 to 65535, or no colon)".to_owned()),
        ("exa,mple.com", format!("`exa,mple.com` is no host's name ({labels})")),
        ("xn--good-.example", format!("`xn--good-.example` is no host's name ({labels})")),
    ] {
        assert_eq!(refused(text), expected);
    }
    for text in [
        "",
        "*",
        "*.",
        "**.example.com",
        "*example.com",
        "-a.com",
        "a b",
        "[::1%25eth0]",
        "fe80::1%eth0",
        "[a]",
        ":80",
        "*.1.2.3.4",
    ] {
        refused(text);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// The host by the expression of RFC 3986, appendix B, and section 3.2.
    fn by_rfc(url: &str) -> Option<&str> {
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '?', '#']).next()?;
        let host = authority.rsplit('@').next()?;
        Some(if host.starts_with('[') { host.split_inclusive(']').next()? } else { host.split(':').next()? })
    }

    /// The host to those who look for the last `@` before the first slash.
    fn by_habit(url: &str) -> Option<&str> {
        let (_, rest) = url.split_once("://")?;
        let authority = rest.split(['/', '\\']).next()?;
        authority.rsplit('@').next()?.split([':', '?', '#']).next()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        #[test]
        fn what_holds_every_reader_reads_alike(bits in prop::collection::vec(prop::sample::select(vec![
            "good.example", "good.example", "evil.example", "@", ":", "/", "\\", "?", "#", "80", "443", ".", "%40", "%2f", "\t", "＠", "。", "[", "]", "::1", "x",
        ]), 1..7)) {
            let url = format!("https://{}", bits.concat());
            if hold(&["good.example"], &url) == Some(true) {
                prop_assert_eq!(by_rfc(&url), Some("good.example"));
                prop_assert_eq!(by_habit(&url), Some("good.example"));
                let parsed = Url::parse(&url).unwrap();
                prop_assert_eq!(parsed.host_str(), Some("good.example"));
            }
            if hold(&["evil.example"], &url) == Some(false) {
                prop_assert_ne!(by_rfc(&url), Some("evil.example"));
                prop_assert_ne!(by_habit(&url), Some("evil.example"));
                let parsed = Url::parse(&url).unwrap();
                prop_assert_ne!(parsed.host_str(), Some("evil.example"));
            }
        }

        #[test]
        fn no_text_panics(text in ".*", rest in "[\\[\\]:@/?#%.0-9a-fx*-]*") {
            let _ = Hosts::parse(&[&text, &rest]);
            let _ = Hosts::parse(&[&rest]);
            for url in [&text, &format!("https://{text}"), &format!("http://{rest}"), &format!("ws://[{rest}")] {
                hold(&["good.example"], url);
            }
        }
    }
}
