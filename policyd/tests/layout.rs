//! `policyd policy fmt` and `import` as a shell sees them.
#![allow(clippy::unwrap_used, clippy::panic, reason = "tests")]

use std::fs;
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};

fn policyd(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_policyd"));
    command.arg("policy").args(arguments).current_dir(folder).env("NO_COLOR", "1");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    // Who refuses the command line does not read.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

fn told(output: &Output) -> (i32, String, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code().unwrap(), text(&output.stdout), text(&output.stderr))
}

const UGLY: &str = "{\"default\":\"deny\",\"version\":\"1\"}";
const NEAT: &str = "{\n  \"version\": \"1\",\n  \"default\": \"deny\"\n}\n";

#[test]
fn fmt_replaces_what_is_not_laid_out_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    fs::create_dir(at("deep")).unwrap();
    fs::write(at("ugly.json"), UGLY).unwrap();
    fs::write(at("neat.json"), NEAT).unwrap();
    fs::write(at("deep/x.tests.json"), "{\"b\":1,\"a\":2}").unwrap();
    fs::write(at("package.json"), "{\"name\":\"x\"}").unwrap();
    fs::set_permissions(at("ugly.json"), fs::Permissions::from_mode(0o600)).unwrap();
    let neat = fs::metadata(at("neat.json")).unwrap().modified().unwrap();

    let (code, out, err) = told(&policyd(folder.path(), &["fmt", "--check", "."], ""));
    assert_eq!(code, 1, "{err}");
    assert!(
        out.contains("--- ./ugly.json\n+++ ./ugly.json\n@@ -1,1 +1,4 @@\n-{\"default\"")
            && out.contains("x.tests.json"),
        "{out}"
    );
    assert!(!out.contains("neat.json") && err.contains("package.json` is no policy"), "{err}");
    assert_eq!(fs::read_to_string(at("ugly.json")).unwrap(), UGLY);
    let (code, out, _) = told(&policyd(folder.path(), &["fmt", "--check", "--json", "ugly.json", "gone.json"], ""));
    let lines: Vec<serde_json::Value> = out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((code, lines.len()), (66, 2));
    assert_eq!(
        (&lines[0]["code"], &lines[1]["code"], &lines[1]["line"]),
        (&"unreadable".into(), &"layout".into(), &1.into())
    );

    assert_eq!(told(&policyd(folder.path(), &["fmt", "."], "")).0, 0);
    assert_eq!(fs::read_to_string(at("ugly.json")).unwrap(), NEAT);
    assert_eq!(fs::metadata(at("ugly.json")).unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(fs::read_to_string(at("deep/x.tests.json")).unwrap(), "{\n  \"b\": 1,\n  \"a\": 2\n}\n");
    assert_eq!(fs::read_to_string(at("package.json")).unwrap(), "{\"name\":\"x\"}");
    assert_eq!(fs::metadata(at("neat.json")).unwrap().modified().unwrap(), neat);
    let again = told(&policyd(folder.path(), &["fmt", "--check", "."], ""));
    assert_eq!((again.0, again.1.as_str()), (0, ""));
}

#[test]
fn fmt_leaves_alone_what_it_cannot_read() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.json");
    let broken = "{\"version\": \"1\",\n \"version\": \"2\"}";
    fs::write(&file, broken).unwrap();
    let (code, out, err) = told(&policyd(folder.path(), &["fmt", "p.json", "missing.json"], ""));
    assert_eq!((code, out.as_str()), (66, ""));
    assert!(
        err.contains("p.json:2:2") && err.contains("duplicate key `version`") && err.contains("missing.json"),
        "{err}"
    );
    assert_eq!(fs::read_to_string(&file).unwrap(), broken);
    assert_eq!(told(&policyd(folder.path(), &["fmt", "-"], UGLY)), (0, NEAT.to_owned(), String::new()));
    assert_eq!(told(&policyd(folder.path(), &["fmt", "--check", "-"], NEAT)).0, 0);
    assert_eq!(told(&policyd(folder.path(), &["fmt", "-"], "{")).0, 65);
    assert_eq!(told(&policyd(folder.path(), &["fmt"], "")).0, 64);
}

#[test]
fn import_writes_a_policy_or_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let yaml = "version: \"1\"\ntools:\n  send:\n    rules:\n      - { name: few, rate_limit: 5/hour }\n";
    fs::write(at("intercept.yaml"), yaml).unwrap();
    let (code, out, err) = told(&policyd(folder.path(), &["import", "intercept.yaml", "--scope", "grant"], ""));
    assert_eq!(code, 0, "{err}");
    assert!(out.contains("\"send._rate_hour\"") && out.contains("\"scope\": \"grant\""), "{out}");
    assert!(err.contains("note: ") && err.contains("intercept.yaml:5:"), "{err}");
    assert_eq!(policyd(folder.path(), &["fmt", "-"], &out).stdout, out.as_bytes());

    assert_eq!(told(&policyd(folder.path(), &["import", "-", "-o", "p.json"], yaml)).0, 0);
    let written = fs::read_to_string(at("p.json")).unwrap();
    assert!(written.contains("\"scope\": \"server\""), "{written}");
    let (code, _, err) = told(&policyd(folder.path(), &["import", "-", "-o", "p.json"], "version: '1'\n"));
    assert_eq!(code, 73, "a file that is there is not written over: {err}");
    assert!(err.contains("`p.json` cannot be written") && err.contains("; remove it, or name another file"), "{err}");
    assert_eq!(fs::read_to_string(at("p.json")).unwrap(), written);

    let (code, out, err) = told(&policyd(folder.path(), &["import", "-", "-o", "q.json"], "version: 2\ntols: {}\n"));
    assert_eq!((code, out.as_str(), at("q.json").exists()), (65, "", false));
    assert!(
        err.contains("<stdin>:1:10") && err.contains("did you mean `tools`?") && err.contains("2 problems"),
        "{err}"
    );
    let (_, _, err) = told(&policyd(folder.path(), &["import", "--json", "-"], "version: 2\ntols: {}\n"));
    let lines: Vec<serde_json::Value> = err.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((lines.len(), &lines[0]["line"], &lines[0]["column"]), (2, &1.into(), &10.into()));
    assert_eq!(told(&policyd(folder.path(), &["import", "missing.yaml"], "")).0, 66);
}
