use super::*;

fn hold(directories: &[&str], path: &str) -> Option<bool> {
    Directories::parse(directories).unwrap().hold(path)
}

/// Dots that climb: not below `/srv/data`, or only to some.
const CLIMBING: &[&str] = &[
    "/srv/data/..",
    "/srv/data/../",
    "/srv/data/../../etc/passwd",
    "/srv/data/a/../../x",
    "/srv/data/./../x",
    "/srv/data//../x",
    "/srv/data/a//../../x",
    "/srv/data/../data/x",
    "/srv/data/a/b/../../../x",
    "/srv/data/../data-private/x",
    "/srv/../srv/data/x",
    "/../srv/data/x",
];

/// None of these is certainly below `/srv/data`, and for none of them is it certain that it is not, where it could be.
/// By class: what got past filters, and where.
const ATTACKS: &[(&str, &[&str])] = &[
    (
        "percent encoding: web servers, proxies, file URLs",
        &[
            "/srv/data/%2e%2e/x",
            "/srv/data/.%2e/x",
            "/srv/data/%2E./x",
            "/srv/data/..%2fx",
            "/srv/data/..%2Fetc%2fpasswd",
            "/srv/data/%2e%2e%2fx",
            "/srv/data/a%2f..%2f..%2fx",
            "/srv/data%2f..%2fx",
            "/%73rv/data/x",
            "/srv%2fdata/x",
            "%2fsrv/data/x",
        ],
    ),
    (
        "encoded twice and more: CVE-2001-0333 (IIS), CVE-2021-42013 (Apache)",
        &[
            "/srv/data/%252e%252e/x",
            "/srv/data/%252e%252e%252fx",
            "/srv/data/.%%32%65/x",
            "/srv/data/%%32%65%%32%65/x",
            "/srv/data/.%2%65/x",
            "/srv/data/%25252e%25252e/x",
            "/srv/data/%252525252e%252525252e/x",
            "/srv/data/％2e％2e/x",
        ],
    ),
    (
        "overlong and broken UTF-8, %u: CVE-2000-0884 (IIS), CVE-2008-2938 (Tomcat)",
        &[
            "/srv/data/%c0%ae%c0%ae/x",
            "/srv/data/..%c0%afx",
            "/srv/data/%e0%80%ae%e0%80%ae/x",
            "/srv/data/..%c1%9cx",
            "/srv/data/%fc%80%80%80%80%ae./x",
            "/srv/data/..%ff/x",
            "/srv/data/%u002e%u002e/x",
            "/srv/data/..%u2215x",
        ],
    ),
    (
        "the other separator",
        &[
            "/srv/data\\..\\x",
            "/srv/data/..\\x",
            "/srv/data/a\\..\\..\\x",
            "/srv/data/..%5cx",
            "/srv/data/..%255cx",
            "/srv/data/.\\./x",
            "\\srv\\data\\x",
        ],
    ),
    (
        "NUL and other control characters, raw and encoded",
        &[
            "/srv/data/..\0/x",
            "/srv/data/x\0.txt",
            "/srv/data/%00../x",
            "/srv/data/..%00/x",
            "/srv/data/..%0d/x",
            "/srv/data/..\n/x",
            "/srv/data/x%0a",
            "/srv/data/.\u{7f}./x",
            "/srv/data/..\u{85}/x",
            "/srv/data/..\u{2028}/x",
            "/srv/data/x\u{2028}y",
        ],
    ),
    (
        "trailing dots and spaces, as Windows cuts them off",
        &[
            "/srv/data/.. /x",
            "/srv/data/.. ./x",
            "/srv/data/. ./x",
            "/srv/data/.../x",
            "/srv/data/..../x",
            "/srv/data/..%20/x",
            "/srv/data/ ../x",
            "/srv/data/..\u{a0}/x",
            "/srv/data/..\u{3000}/x",
            "/srv/data/ /../../x",
            "/srv/data/a/ /../../x",
        ],
    ),
    (
        "parameters, queries and streams behind the dots: Tomcat, Spring, NTFS",
        &[
            "/srv/data/..;/x",
            "/srv/data/..;jsessionid=1/x",
            "/srv/data/..%3b/x",
            "/srv/data/;/../x",
            "/srv/data/..::$INDEX_ALLOCATION/x",
            "/srv/data/..:x/y",
            "/srv/data/..?/x",
            "/srv/data/..#/x",
            "/srv/data/x::$DATA",
        ],
    ),
    (
        "look-alikes: NFKC, best fit (`WorstFit`, 2024), private use, ignorable characters (CVE-2014-9390)",
        &[
            "/srv/data/‥/x",
            "/srv/data/．．/x",
            "/srv/data/․․/x",
            "/srv/data/﹒﹒/x",
            "/srv/data/｡｡/x",
            "/srv/data/︰/x",
            "/srv/data/..／x",
            "/srv/data/..∕x",
            "/srv/data/..⁄x",
            "/srv/data/..＼x",
            "/srv/data/..﹨x",
            "/srv/data/..¥x",
            "/srv/data/..₩x",
            "/srv/data/..\u{f02f}x",
            "/srv/data/..\u{f05c}x",
            "/srv/data/.\u{200b}./x",
            "/srv/data/.\u{200d}.\u{feff}/x",
            "/srv/data/\u{ad}../x",
            "/srv/data/b∕c/‥/‥/x",
            "/srv/data/b∕c/../../x",
            "/srv/data/%ef%bc%8e%ef%bc%8e/x",
            "/srv/ｄata/x",
        ],
    ),
    (
        "what libraries expand: expanduser, expandvars, ExpandEnvironmentStrings, brace expansion",
        &[
            "~",
            "~/x",
            "/srv/data/~/x",
            "/srv/data/~root/x",
            "$HOME/x",
            "/srv/data/$OLDPWD/x",
            "/srv/data/.${x}./x",
            "/srv/data/.$1./x",
            "/srv/data/$(pwd)/x",
            "/srv/data/`pwd`/x",
            "/srv/data/%TEMP%/x",
            "/srv/data/%ProgramFiles(x86)%/x",
            "/srv/data/x{/../../..,}/y",
            "/srv/data/{..,a}/x",
            "/srv/data/&#46;&#46;/x",
            "/srv/data/..&sol;x",
        ],
    ),
    (
        "paths of another kind",
        &[
            "",
            ".",
            "..",
            "x",
            "srv/data/x",
            "./srv/data/x",
            " /srv/data/x",
            "//srv/data/x",
            "///srv/data/x",
            "/%2fsrv/data/x",
            "//server/share/srv/data/x",
            "\\\\server\\share\\x",
            "\\\\?\\C:\\srv\\data\\x",
            "//?/C:/srv/data/x",
            "C:/srv/data/x",
            "/srv/data/C:/x",
            "/srv/data/C|/x",
            "file:///srv/data/x",
            "file:/srv/data/x",
            "php://filter/resource=/srv/data/x",
            "/srv/data/CON",
            "/srv/data/nul.txt",
            "/srv/data/x/COM1 .log",
            "/srv/data/LPT1:",
        ],
    ),
    (
        "links of the kernel",
        &[
            "/srv/data/proc/self/root/etc/passwd",
            "/srv/data/proc/1/cwd/x",
            "/srv/data/proc/self/task/1/root/x",
            "/srv/data/proc/./thread-self/fd/3",
            "/srv/data/proc/x/../self/root/x",
            "/srv/data/proc%2fself%2froot/x",
            "/proc/self/root/srv/data/x",
            "/proc/self/cwd/x",
            "/dev/fd/3",
            "/dev/stdin",
        ],
    ),
    (
        "the same directory to a file system that knows no case, or normalises",
        &["/SRV/data/x", "/srv/Data/x", "/srv./data/x", "/srv /data/x"],
    ),
];

#[test]
fn no_attack_is_inside_and_none_is_certainly_outside() {
    let count: usize = ATTACKS.iter().map(|(_, paths)| paths.len()).sum();
    assert!(count >= 60, "{count}");
    for path in CLIMBING {
        assert_ne!(hold(&["/srv/data"], path), Some(true), "{path:?}");
    }
    for (class, paths) in ATTACKS {
        for path in *paths {
            assert_eq!(hold(&["/srv/data"], path), None, "{class}: {path:?}");
        }
    }
}

#[test]
fn what_is_plainly_elsewhere_is_outside() {
    for path in [
        "/",
        "/srv",
        "/srv/",
        "/srv/dat",
        "/srv/database/x",
        "/srv/data2",
        "/srv/data-private/x",
        "/srv/data.bak",
        "/etc/passwd",
        "/srv/x/data/y",
        "/home/ann/100%.txt",
        "/home/ann/a%20b",
        "/home/ann/資料（最終）.txt",
        "/data/srv",
        "/./etc//passwd",
        "/é/x",
        "/home/ann/../bob/x",
        "/srv/data/../other/x",
        "/home/ann/..foo",
    ] {
        assert_eq!(hold(&["/srv/data"], path), Some(false), "{path:?}");
    }
}

#[test]
fn ordinary_names_are_inside() {
    for path in [
        "/srv/data",
        "/srv/data/",
        "/srv/data/.",
        "/srv/data/x",
        "/srv/data/x/y/z.txt",
        "/srv//data///x",
        "/./srv/./data/./x",
        "/srv/data/x/../y",
        "/srv/data/x/..",
        "/srv/data/x/y/../../z",
        "/srv/data/a file with spaces.txt",
        "/srv/data/a%20file.txt",
        "/srv/data/encoded%2520twice.txt",
        "/srv/data/100%.txt",
        "/srv/data/50% of 100%.txt",
        "/srv/data/%C3%A9t%C3%A9.txt",
        "/srv/data/été/größe.txt",
        "/srv/data/資料（最終）.txt",
        "/srv/data/نامه\u{200c}ها.txt",
        "/srv/data/👩\u{200d}💻.md",
        "/srv/data/naïve…text.txt",
        "/srv/data/₩5000.pdf",
        "/srv/data/.hidden",
        "/srv/data/.git/config",
        "/srv/data/..foo",
        "/srv/data/foo..",
        "/srv/data/foo..bar/v1..v2.diff",
        "/srv/data/Acme Inc./x",
        "/srv/data/report.tar.gz",
        "/srv/data/backup~",
        "/srv/data/PROGRA~1/x",
        "/srv/data/C#/[id]/(group)/@slot/page.tsx",
        "/srv/data/{id}.json",
        "/srv/data/2026-01-01T10:00:00.log",
        "/srv/data/a;b,c&d=e+f!g'h.txt",
        "/srv/data/US$.txt",
        "/srv/data/console/auxiliary/com/null.c",
        "/srv/data/proc/root/fd",
        "/srv/data/dev/fd",
        "/srv/data/etc/passwd",
        "/srv/data/-rf",
        "/srv/data/#notes#",
    ] {
        assert_eq!(hold(&["/srv/data"], path), Some(true), "{path:?}");
        assert_eq!(hold(&["/opt", "/srv/data/"], path), Some(true), "{path:?}");
        assert_eq!(hold(&["/"], path), Some(true), "{path:?}");
        assert_eq!(hold(&["/srv/database"], path), Some(false), "{path:?}");
    }
}

#[test]
fn a_directory_of_processes_is_left_through_their_links() {
    for (directory, path, expected) in [
        ("/", "/proc/self/root/etc/passwd", None),
        ("/", "/proc/cpuinfo", Some(true)),
        ("/", "/dev/fd/0", None),
        ("/proc", "/proc/self/status", Some(true)),
        ("/proc", "/proc/self/root/etc/passwd", None),
        ("/proc", "/proc/self/fd", None),
        ("/proc/self", "/proc/self/cwd/x", None),
        ("/proc/1/root/srv", "/proc/1/root/srv/x", Some(true)),
        ("/proc/1/root/srv", "/proc/1/root/x", None),
        ("/dev", "/dev/shm/x", Some(true)),
        ("/dev", "/dev/./fd/3", None),
        ("/host", "/host/proc/1/root/etc/shadow", None),
        ("/", "/..", None),
        ("/", "/x/..", Some(true)),
    ] {
        assert_eq!(hold(&[directory], path), expected, "{directory}: {path}");
    }
}

/// What a deny list has to see through, and what it leaves alone.
#[test]
fn a_forbidden_directory_is_not_reached_by_another_spelling() {
    for path in [
        "/etc/passwd",
        "/etc",
        "//etc/passwd",
        "/x/../etc/passwd",
        "/%65tc/passwd",
        "/e\u{200b}tc/passwd",
        "/ｅtc/passwd",
        "etc/passwd",
        "../etc/passwd",
        "/ETC/passwd",
        "/proc/self/root/etc/passwd",
        "/etc;/passwd",
        "/etc./passwd",
        "/∕etc/passwd",
        "/\u{2025}/etc/passwd",
        "file:///etc/passwd",
        "/%2565tc/passwd",
        "/e$x/tc",
    ] {
        assert_ne!(hold(&["/etc"], path), Some(false), "{path:?}");
    }
    assert_ne!(hold(&["/donn\u{e9}es"], "/donne\u{301}es/x"), Some(false), "the same name to macOS");
    assert_eq!(hold(&["/donn\u{e9}es"], "/home/x"), Some(false));
}

#[test]
fn a_directory_must_be_written_plainly() {
    let refused = |text: &str| {
        let bad = Directories::parse(&["/ok", text]).expect_err(text);
        assert_eq!(bad.index, 1);
        format!("{} ({})", bad.message, bad.help.unwrap_or_default())
    };
    for (text, expected) in [
        ("srv", "the directory `srv` must be absolute (write it plainly, such as `/srv/data`)"),
        ("/srv/../data/", "the directory `/srv/../data/` must be written without `//`, `.` and `..` (write `/data`)"),
        ("/srv//data", "the directory `/srv//data` must be written without `//`, `.` and `..` (write `/srv/data`)"),
        ("//srv", "the directory `//srv` must be written without `//`, `.` and `..` (write `/srv`)"),
        ("/..", "the directory `/..` must be written without `//`, `.` and `..` ()"),
        (
            "/a%20b",
            "the directory `/a%20b` has encoded characters or look-alikes in it (write it plainly, such as `/srv/data`)",
        ),
        (
            "/srv/$USER",
            "the directory `/srv/$USER` is not read alike by everybody: it has what some programs expand, such as `$HOME`, \
             `%TEMP%` or `{a,b}` (write it plainly, such as `/srv/data`)",
        ),
    ] {
        assert_eq!(refused(text), expected);
    }
    for text in ["", ".", "~", "~/x", "C:\\x", "/a\\b", "/a\0", "/~/x", "/a//", "/a/.", "/..."] {
        refused(text);
    }
    for text in ["/", "/a", "/a/", "/a b/c", "/été", "/a.b/..c"] {
        assert!(Directories::parse(&[text]).is_ok(), "{text}");
    }
}

/// The work is bounded by the rounds of decoding, whatever the length.
#[test]
fn long_paths_are_read_in_rounds() {
    let nested = format!("/srv/data/{}2e", "%25".repeat(50_000));
    assert_eq!(hold(&["/srv/data"], &nested), Some(true), "one name, full of encoded percent signs");
    let deep = format!("/srv/data/%{}2e", "25".repeat(50_000));
    assert_eq!(hold(&["/srv/data"], &deep), None);
    for unit in ["a/", "../", "./", "/", "%2e", "．", "%", "$", "&a", "{", "a/../", "proc/1/"] {
        let path = format!("/srv/data/{}", unit.repeat(50_000));
        hold(&["/srv/data"], &path);
    }
}

mod properties {
    use proptest::prelude::*;

    use super::*;

    /// Bits of paths, honest ones and others.
    fn path() -> impl Strategy<Value = String> {
        let bit = prop::sample::select(vec![
            "/", "/", "/", "srv", "data", "x", ".", "..", "%2e", "%2f", "%25", "%5c", "\\", "．", "／", "‥",
            "\u{200b}", ";", " ", "~", "$x", "proc", "self", "root", "é", "\0", "a",
        ]);
        prop::collection::vec(bit, 0..14).prop_map(|bits| format!("/srv/data/{}", bits.concat()))
    }

    /// Resolves as POSIX does; `None`: above the root.
    fn normal(path: &str) -> Option<Vec<String>> {
        let mut names: Vec<String> = Vec::new();
        for name in path.split('/') {
            match name {
                "" | "." => {}
                ".." => {
                    names.pop()?;
                }
                name => names.push(name.to_owned()),
            }
        }
        Some(names)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

        /// Whoever decodes some of the characters and not others stays below.
        #[test]
        fn inside_is_inside_for_every_reader(path in path(), choices in any::<u64>(), rounds in 0..4usize) {
            if hold(&["/srv/data"], &path) == Some(true) {
                let mut read = path.clone();
                for round in 0..rounds {
                    for (bit, (from, to)) in [("%2e", "."), ("%2f", "/"), ("%25", "%"), ("．", "."), ("／", "/"), ("‥", ".."), ("\u{200b}", "")].into_iter().enumerate() {
                        if choices >> (round * 8 + bit) & 1 == 1 {
                            read = read.replace(from, to);
                        }
                    }
                }
                let names = normal(&read).unwrap_or_default();
                prop_assert!(names.starts_with(&["srv".to_owned(), "data".to_owned()]), "{path:?} read as {read:?}");
            }
        }

        #[test]
        fn no_path_panics(path in ".*", directory in "/[a-z/.]{0,6}") {
            if let Ok(directories) = Directories::parse(&[&directory, "/é"]) {
                directories.hold(&path);
                directories.hold(&format!("{directory}/{path}"));
            }
        }
    }
}
