//! A configuration as a person writes it, good and bad.

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::*;

const POLICY: &str = r#"{"version":"1","default":"deny","tools":{"start_session":{}}}"#;

const GOOD: &str = r#"
[capture]
cgroups = ["/agents.slice"]

[[server]]
name = "promptfax"
url = "https://promptfax.app/mcp"

[[grant]]
name = "office"
who = { user = "root" }
server = "promptfax"
policy = "policies/a.json"
"#;

/// A folder with a policy and this configuration.
fn folder(text: &str) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("policies")).unwrap();
    fs::write(folder.path().join("policies/a.json"), POLICY).unwrap();
    fs::write(folder.path().join("policyd.toml"), text).unwrap();
    folder
}

fn load(text: &str) -> Result<Config, ConfigError> {
    Config::load(&folder(text).path().join("policyd.toml"))
}

/// `line:column message | help` of every problem of the configuration itself.
fn problems(text: &str) -> Vec<String> {
    let error = load(text).unwrap_err();
    let report = &error.reports[0];
    let each = report.diagnostics.iter().map(|problem| {
        let (line, column) = report.line_column(problem);
        let help = problem.help.as_ref().map(|help| format!(" | {help}")).unwrap_or_default();
        format!("{line}:{column} {}{help}", problem.message)
    });
    each.collect()
}

/// The problems of a good configuration with these lines before and after it.
fn with(before: &str, after: &str) -> Vec<String> {
    problems(&format!("{before}{GOOD}{after}"))
}

#[test]
fn defaults_are_what_the_types_say() {
    let folder = folder(GOOD);
    let config = Config::load(&folder.path().join("policyd.toml")).unwrap();
    assert_eq!(config.state_dir, Path::new("/var/lib/policyd"));
    assert_eq!(config.audit.path.as_deref(), Some(Path::new("/var/lib/policyd/audit.jsonl")));
    assert_eq!(config.capture, Capture { cgroups: vec!["/agents.slice".into()], ..Capture::default() });
    assert_eq!((config.limits, config.timeouts, config.admin), Default::default());
    assert_eq!(config.servers[0].path, "/mcp");
    assert_eq!(config.grants[0].who.user.as_deref(), Some("root"));
    let names: Vec<_> = config.files.iter().map(|f| f.strip_prefix(folder.path()).unwrap().to_owned()).collect();
    assert_eq!(names, [Path::new("policyd.toml"), Path::new("policies/a.json")]);
}

#[test]
fn everything_that_can_be_set_is_read() {
    let config = load(
        r#"
state_dir = "state"
[capture]
instance = "blue"
cgroups = ["/", "/system.slice/a.service"]
ports = [8443, 0x1f90]
other = "refuse"
shared = "pass"
[[allow]]
host = "Registry.npmjs.org."
[admin]
listen = ""
socket = "control.sock"
[audit]
path = "audit.jsonl"
arguments = true
[limits]
body = "1MiB"
head = 8192
streams = 7
[timeouts]
drain = "1m30s"
peek = "250ms"
[[server]]
name = "local"
url = "http://[::1]:3000"
upstream = "192.0.2.1:443"
other_paths = "refuse"
"#,
    )
    .unwrap();
    assert!(config.state_dir.is_absolute() && config.state_dir.ends_with("state"));
    assert!(config.audit.path.unwrap().is_absolute());
    assert!(config.audit.arguments);
    assert_eq!(config.capture.ports, [8443, 8080]);
    assert_eq!((config.capture.other, config.capture.shared), (Other::Refuse, Shared::Pass));
    assert_eq!(config.allow, ["registry.npmjs.org"]);
    assert_eq!(config.admin.listen, None);
    assert!(config.admin.socket.is_some_and(|path| path.is_absolute() && path.ends_with("control.sock")));
    assert_eq!((config.limits.body, config.limits.head, config.limits.streams), (1 << 20, 8192, 7));
    assert_eq!((config.timeouts.drain, config.timeouts.peek), (Duration::from_secs(90), Duration::from_millis(250)));
    let server = &config.servers[0];
    assert_eq!((server.port, server.path.as_str(), server.tls), (3000, "/", false));
    assert_eq!(server.upstream.unwrap().port(), 443);
    assert_eq!(server.other_paths, OtherPaths::Refuse);
}

#[test]
fn every_error_is_reported_at_once() {
    let found = problems(
        r#"state_dri = "x"
[capture]
cgroups = ["agents.slice", 7]
other = "refused"
prots = [443]
[admin]
listen = "localhost:9464"
[limits]
body = "4 potatoes"
streams = 0
[timeouts]
drain = 30
[[server]]
name = "promptfax"
url = "https://user:pw@promptfax.app/mcp"
[[server]]
name = "promptfax"
url = "https://other.example/"
[[grant]]
name = "office"
who = { user = "no-such-user-here", exe = "/usr/bin/node" }
server = "promtfax"
policy = "policies/gone.json"
"#,
    );
    let starts = [
        "1:1 unknown key `state_dri` | did you mean `state_dir`?",
        "3:12 the cgroup `agents.slice` does not begin with `/`",
        "3:28 `capture.cgroups` holds strings, not a number",
        "4:9 `refused` is not a value of `capture.other` | did you mean `refuse`?",
        "5:1 unknown key `capture.prots` | did you mean `ports`?",
        "7:10 `localhost:9464` is not an address and port",
        "9:8 `4 potatoes` is not a size",
        "10:11 `limits.streams` must be from 1 to 65535, not 0",
        "12:9 `timeouts.drain` must be a duration, not a number",
        "15:7 a server's URL cannot carry a user or password",
        "17:8 the server `promptfax` is defined twice",
        "21:16 there is no user `no-such-user-here` on this host",
        "22:10 there is no server `promtfax` | did you mean `promptfax`?",
    ];
    assert_eq!(found.len(), starts.len(), "{found:#?}");
    for (found, start) in found.iter().zip(starts) {
        assert!(found.starts_with(start), "{found}\n{start}");
    }
}

#[test]
fn what_a_server_or_grant_cannot_be_is_told() {
    for (text, expected) in [
        ("[[server]]\nname = \"b\"\nurl = \"https://PROMPTFAX.app:443/sse\"\n", "has the host and port of `promptfax`"),
        ("[[server]]\nurl = \"https://b.example\"\n", "`server.name` is missing"),
        ("[[server]]\nname = \"a b\"\nurl = \"https://b.example\"\n", "cannot be a name"),
        ("[[server]]\nname = \"b\"\n", "`server.url` is missing"),
        (
            "[[server]]\nname = \"b\"\nurl = \"https://b.example\"\nupstream = \"b.example:443\"\n",
            "not an address and port",
        ),
        ("[[grant]]\nname = \"g\"\nserver = \"promptfax\"\npolicy = \"policies/a.json\"\n", "`grant.who` is missing"),
        ("[[grant]]\nname = \"g\"\nwho = {}\nserver = \"promptfax\"\n", "`grant.policy` is missing"),
        (
            "[[grant]]\nname = \"office\"\nwho = {}\nserver = \"promptfax\"\npolicy = \"policies/a.json\"\n",
            "defined twice",
        ),
        (
            "[[grant]]\nname = \"g\"\nwho = {}\nserver = \"promptfax\"\npolicy = \"policies/gone.json\"\n",
            "no such file",
        ),
    ] {
        let found = with("", text);
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:#?}");
    }
    for (who, expected) in [
        ("exe = \"/usr/bin/node\"", "proves nothing alone"),
        ("exe = \"node\", uid = 1", "not an absolute path"),
        ("unit = \"office\"", "not a systemd unit"),
        ("unit = \"*.service\"", "not a systemd unit"),
        ("uid = -1", "must be from 0"),
        ("cgroup = \"/a/../b\"", "contains an empty part"),
        ("cgroup = \"/sys/fs/cgroup/a\"", "names the mount"),
        ("users = \"root\"", "unknown key `who.users`"),
    ] {
        let found = problems(&GOOD.replace("user = \"root\"", who));
        assert!(found.len() == 1 && found[0].contains(expected), "{expected}: {found:#?}");
    }
}

#[test]
fn what_comes_later_is_refused_by_name() {
    for (before, after, name) in [
        ("", "[[server]]\nname = \"b\"\nurl = \"https://b.example\"\nclient_cert = \"c.pem\"\n", "server.client_cert"),
        ("unknown_servers = \"deny\"\n", "", "unknown_servers"),
        ("redis = \"x\"\n", "", "redis"),
    ] {
        let found = with(before, after);
        assert!(found.len() == 1 && found[0].ends_with(&format!("`{name}` is not supported yet")), "{found:#?}");
    }
    for (line, name) in
        [("other = \"inspect\"", "capture.other = \"inspect\""), ("proxies = [\"http://p:3128\"]", "capture.proxies")]
    {
        let found = problems(&GOOD.replace("[capture]", &format!("[capture]\n{line}")));
        assert!(found.len() == 1 && found[0].ends_with(&format!("`{name}` is not supported yet")), "{found:#?}");
    }
    let found = problems(&GOOD.replace("user = \"root\"", "namespace = \"agents\""));
    assert!(found.len() == 1 && found[0].ends_with("`who.namespace` is not supported yet"), "{found:#?}");
}

#[test]
fn nothing_to_capture_is_an_error() {
    assert!(problems("")[0].contains("`[capture]` is missing"));
    assert!(problems("[capture]\n")[0].contains("`capture.cgroups` is missing"));
    assert!(problems("[capture]\ncgroups = []\n")[0].contains("is empty"));
}

#[test]
fn syntax_errors_are_all_told_and_do_not_make_others() {
    let found = problems(&GOOD.replace("cgroups = [", "cgroups = = [").replace("name = \"office\"", "name office"));
    assert!(found.len() >= 2, "{found:#?}");
    assert!(found.iter().any(|f| f.starts_with("3:")) && found.iter().any(|f| f.starts_with("10:")), "{found:#?}");
    assert!(!found.iter().any(|f| f.contains("missing:")), "{found:#?}");
    assert!(problems(&GOOD.replace("name = \"office\"", "name = \"a\"\nname = \"b\""))[0].contains("duplicate key"));
}

#[test]
fn bad_policies_alone_are_bad_data() {
    let folder = folder(GOOD);
    fs::write(folder.path().join("policies/a.json"), r#"{"version":"1","defualt":"deny"}"#).unwrap();
    let error = Config::load(&folder.path().join("policyd.toml")).unwrap_err();
    assert_eq!((error.exit_code, error.reports.len()), (ExitCode::Data, 1));
    assert!(error.reports[0].file.ends_with("policies/a.json"));
    // With a bad configuration besides, both are told, and the configuration decides.
    fs::write(folder.path().join("policyd.toml"), format!("x = 1\n{GOOD}")).unwrap();
    let error = Config::load(&folder.path().join("policyd.toml")).unwrap_err();
    assert_eq!((error.exit_code, error.reports.len()), (ExitCode::Config, 2));
    let rendered = error.render(false);
    assert!(rendered.contains("policyd.toml:1:1") && rendered.contains("policies/a.json:1:"), "{rendered}");
}

#[test]
fn a_missing_configuration_is_told() {
    let error = Config::load(Path::new("/nonexistent/policyd.toml")).unwrap_err();
    assert_eq!(error.exit_code, ExitCode::Config);
    assert!(error.to_string().contains("there is no such file"), "{error}");
}

#[test]
fn grants_that_name_one_file_share_its_policy() {
    let second = GOOD[GOOD.find("[[grant]]").unwrap()..].replace("office", "other");
    let config = load(&format!("{GOOD}{second}")).unwrap();
    assert!(Arc::ptr_eq(&config.grants[0].policy, &config.grants[1].policy));
}

#[test]
fn the_digest_changes_with_what_was_read_and_only_then() {
    let folder = folder(GOOD);
    let path = folder.path().join("policyd.toml");
    let digest = || Config::load(&path).map_or_else(|error| error.digest, |config| config.digest);
    let first = digest();
    assert_eq!(first, digest());
    let policy = folder.path().join("policies/a.json");
    fs::write(&policy, POLICY.replace("start", "stop")).unwrap();
    let second = digest();
    assert_ne!(first, second);
    fs::remove_file(&policy).unwrap();
    let third = digest();
    assert_ne!(second, third);
    fs::write(&policy, "").unwrap();
    assert_ne!(third, digest());
}

#[test]
fn extra_roots_must_hold_certificates() {
    let folder = folder(&format!("{GOOD}[tls]\nextra_roots = [\"policies/a.json\", \"gone.pem\", \"/dev/zero\"]\n"));
    let error = Config::load(&folder.path().join("policyd.toml")).unwrap_err();
    let messages: Vec<_> = error.reports[0].diagnostics.iter().map(|d| d.message.as_str()).collect();
    assert!(messages[0].contains("holds no PEM certificate"), "{messages:?}");
    assert!(messages[1].contains("no such file"), "{messages:?}");
    assert!(messages[2].contains("larger than"), "{messages:?}");
}

/// Two grants of one server, each with its policy.
fn sharing(scope: &str, adds: &str) -> Result<Config, ConfigError> {
    let more = "[[grant]]\nname = \"second\"\nwho = {}\nserver = \"promptfax\"\npolicy = \"policies/b.json\"\n";
    let folder = folder(&format!("{GOOD}{more}"));
    let policy = |tool: &str, rest: &str| {
        format!(
            r#"{{ "version": "1", "default": "deny", "tools": {{ "{tool}": {{ "limits": [
                {{ "counter": "all", "max": 5, "scope": "{scope}", {rest} }} ] }} }} }}"#
        )
    };
    fs::write(folder.path().join("policies/a.json"), policy("a", r#""window": "minute""#)).unwrap();
    fs::write(folder.path().join("policies/b.json"), policy("b", &format!(r#""window": "day"{adds}"#))).unwrap();
    Config::load(&folder.path().join("policyd.toml"))
}

#[test]
fn policies_that_share_a_counter_mean_the_same_by_it() {
    let adds = r#", "increment_from": "args.n""#;
    for scope in ["server", "host", "global"] {
        assert!(sharing(scope, "").is_ok(), "{scope}");
        let error = sharing(scope, adds).unwrap_err();
        let message = &error.reports[0].diagnostics[0].message;
        assert!(message.ends_with("a.json` count calls") && message.contains("add up `args.n`"), "{scope}: {message}");
    }
    for scope in ["grant", "session"] {
        assert!(sharing(scope, adds).is_ok(), "{scope}: each grant has its own");
    }
}

#[test]
fn a_server_may_be_a_command() {
    let text = format!(
        "{GOOD}\n[[server]]\nname = \"axint\"\ntransport = \"stdio\"\n\n[[grant]]\nname = \"office\"\nwho = {{}}\n\
         server = \"axint\"\npolicy = \"policies/a.json\"\n\n[admin]\nstdio = \"s.sock\"\n"
    );
    let folder = folder(&text);
    let config = Config::load(&folder.path().join("policyd.toml")).unwrap();
    assert_eq!(*config.commands, [Arc::new(Server::command("axint"))]);
    assert_eq!((config.servers.len(), config.grants.len()), (1, 2));
    assert_eq!(config.admin.stdio, Some(folder.path().join("s.sock")));
    assert_eq!(load(&text.replace("s.sock", "")).unwrap().admin.stdio, None);
}

#[test]
fn what_a_command_cannot_have_is_told() {
    let server = |lines: &str| with("", &format!("\n[[server]]\nname = \"axint\"\n{lines}\n"));
    let help = "it is a command, which `policyd stdio --server NAME -- COMMAND` runs";
    let found = server("transport = \"stdio\"\nurl = \"https://a.example\"\nupstream = \"192.0.2.1:1\"");
    let expected =
        ["url", "upstream"].map(|key| format!("a server with `transport = \"stdio\"` has no `{key}` | {help}"));
    let messages: Vec<_> = found.iter().filter_map(|line| line.split_once(' ')).map(|(_, message)| message).collect();
    assert_eq!(messages, expected);
    assert_eq!(server("transport = \"stdio\"\nfoo = 1").len(), 1);
    let found = server("transport = \"studio\"\nurl = \"https://a.example\"");
    assert!(found[0].ends_with("`studio` is not a value of `server.transport` | did you mean `stdio`?"), "{found:?}");
    let found = with("", "\n[[server]]\nname = \"promptfax\"\ntransport = \"stdio\"\n");
    assert!(found[0].contains("defined twice"), "{found:?}");
}
