//! `policyd stdio wrap` and `unwrap`: a client's configuration, edited where it stands.

use std::fs::{self, File, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

use crate::authoring::clients::{self, Done, Edited, Outcome, Wrapper};
use crate::authoring::jsonc;
use crate::cli::{color, exit, print, say};
use crate::diagnostic::{Diagnostic, Report};

/// What `wrap --help` says beyond the first line.
pub const LONG: &str = "Have the servers in a client's configuration run by `policyd stdio`.\n\n\
    CONFIG is the file in which a client names its servers: `mcpServers` (Claude, Cursor, Windsurf and others), `servers` or \
    `mcp.servers` (VS Code), `context_servers` (Zed). Each server that is a command is run by policyd from then on; those \
    with a URL are left as they are, since policyd captures connections without any configuration. Comments, layout and \
    everything else in the file stay as they are, and `unwrap` restores it byte for byte, also when other parts of it were \
    edited meanwhile.\n\n\
    Without --policy the daemon's configuration has to name each server, with `transport = \"stdio\"`.";

/// Arguments of `policyd stdio wrap`.
#[derive(Clone, Debug, clap::Args)]
pub struct WrapArgs {
    /// The client's configuration
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// Use this policy, and no daemon
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// What is done, and how it is told
    #[command(flatten)]
    pub how: How,
}

/// Arguments of `policyd stdio unwrap`.
#[derive(Clone, Debug, clap::Args)]
pub struct UnwrapArgs {
    /// The client's configuration
    #[arg(value_name = "CONFIG")]
    pub config: PathBuf,
    /// What is done, and how it is told
    #[command(flatten)]
    pub how: How,
}

/// What both have in common.
#[derive(Clone, Debug, clap::Args)]
pub struct How {
    /// Only this server; may be given several times
    #[arg(long, value_name = "NAME")]
    pub only: Vec<String>,
    /// Show what would change, and change nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Tell it as JSON
    #[arg(long)]
    pub json: bool,
}

type Failure = (u8, String);

/// Has the servers run by policyd, and gives the exit code.
pub fn wrap(args: &WrapArgs) -> u8 {
    let policyd = std::env::current_exe().map(|path| path.display().to_string());
    let absolute = |path: &PathBuf| std::path::absolute(path).unwrap_or_else(|_| path.clone()).display().to_string();
    let wrapper = Wrapper {
        policyd: policyd.unwrap_or_else(|_| "policyd".to_owned()),
        policy: args.policy.as_ref().map(absolute),
    };
    if let Some(policy) = args.policy.as_ref().filter(|policy| !policy.is_file()) {
        say(format_args!("there is no policy `{}`", policy.display()));
        return exit::NO_INPUT;
    }
    edit(&args.config, &args.how, "wrapped", |text| {
        let edited = clients::wrap(text, &args.how.only, &wrapper)?;
        Ok(edited)
    })
}

/// Has the servers run as before, and gives the exit code.
pub fn unwrap(args: &UnwrapArgs) -> u8 {
    edit(&args.config, &args.how, "unwrapped", |text| clients::unwrap(text, &args.how.only))
}

fn edit(path: &Path, how: &How, done: &str, change: impl Fn(&str) -> Result<Edited, jsonc::Error>) -> u8 {
    let edited = || -> Result<String, Failure> {
        let shown = path.display();
        // Where a link leads: it stays a link.
        let unreadable = |error: io::Error| (exit::NO_INPUT, format!("`{shown}` cannot be read: {error}"));
        let target = fs::canonicalize(path).map_err(unreadable)?;
        let text = fs::read(&target).map_err(unreadable)?;
        let text = String::from_utf8(text).map_err(|_| (exit::DATA, format!("`{shown}` is not UTF-8")))?;
        let (after, outcomes) = change(&text).map_err(|error| (exit::DATA, shown_error(path, &text, &error)))?;
        for name in &how.only {
            if !outcomes.iter().any(|outcome| outcome.client == *name) {
                return Err((exit::USAGE, format!("`{shown}` has no server `{name}`")));
            }
        }
        if after != text && !how.dry_run {
            replace(&target, &after)
                .map_err(|error| (exit::NOT_WRITTEN, format!("`{shown}` cannot be written: {error}")))?;
        }
        Ok(told(path, how, done, &text, &after, &outcomes))
    };
    match edited() {
        Ok(told) => print(&told, exit::OK),
        Err((code, why)) => {
            say(why);
            code
        }
    }
}

fn shown_error(path: &Path, text: &str, error: &jsonc::Error) -> String {
    let at = error.at.min(text.len());
    let diagnostics = vec![Diagnostic::error(at..text.len().min(at + 1), error.message)];
    let report = Report { file: path.display().to_string(), source: text.to_owned(), diagnostics };
    format!("`{}` is not JSON\n{}", path.display(), report.render(color(&std::io::stderr())).trim_end())
}

fn told(path: &Path, how: &How, done: &str, before: &str, after: &str, outcomes: &[Outcome]) -> String {
    if how.json {
        let servers: Vec<_> = outcomes
            .iter()
            .map(|Outcome { client, server, done }| {
                serde_json::json!({"name": client, "server": server, "result": done.word()})
            })
            .collect();
        let written = before != after && !how.dry_run;
        let file = path.display().to_string();
        return format!("{:#}\n", serde_json::json!({"file": file, "written": written, "servers": servers}));
    }
    let mut out = if how.dry_run { diff(path, before, after) } else { String::new() };
    for Outcome { client, server, done: what } in outcomes {
        let client = client.escape_debug();
        let renamed = if client.to_string() == *server { String::new() } else { format!(", as `{server}`") };
        let line = match what {
            Done::Changed if how.dry_run => format!("{client}: would be {done}{renamed}"),
            Done::Changed => format!("{client}: {done}{renamed}"),
            Done::Already => format!("{client}: nothing to do"),
            Done::Url => format!("{client}: left, it has a URL: policyd captures its connections"),
            Done::Unclear => format!("{client}: left, it has no `command` with a list of strings as `args`"),
        };
        out += &line;
        out.push('\n');
    }
    if outcomes.is_empty() {
        out += "no servers are configured there\n";
    }
    out
}

/// The lines that differ. No edit adds or removes a line.
fn diff(path: &Path, before: &str, after: &str) -> String {
    let mut out = String::new();
    for (number, (old, new)) in before.lines().zip(after.lines()).enumerate() {
        if old != new {
            out += &format!("{}:{}\n-{old}\n+{new}\n", path.display(), number + 1);
        }
    }
    out
}

/// Puts another file in the place of `target`, with its mode and owner: at no moment is there half of one.
fn replace(target: &Path, text: &str) -> io::Result<()> {
    let meta = fs::metadata(target)?;
    let name = target.file_name().unwrap_or_default().to_string_lossy();
    let beside = target.with_file_name(format!(".{name}.policyd-{}", std::process::id()));
    let written = || -> io::Result<()> {
        let mut file = File::options().write(true).create_new(true).mode(0o600).open(&beside)?;
        file.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
        if meta.uid() != nix::unistd::geteuid().as_raw() || meta.gid() != nix::unistd::getegid().as_raw() {
            fchown(&file, Some(meta.uid()), Some(meta.gid()))?;
            // A change of owner takes set-id bits away, and may take the mode's group bits for another's.
            file.set_permissions(Permissions::from_mode(meta.mode() & 0o7777))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, target)
    };
    let done = written();
    if done.is_err() {
        // Only what was made here; a file that was there before made `create_new` fail.
        if done.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::AlreadyExists) {
            let _ = fs::remove_file(&beside);
        }
    }
    done
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic, reason = "tests")]
mod tests {
    use super::*;

    const CONFIG: &str = "{\n  \"mcpServers\": {\n    \"a\": {\"command\": \"npx\"},\n    \"b\": {\"url\": \"https://x.example\"}\n  }\n}\n";

    fn how(dry_run: bool) -> How {
        How { only: Vec::new(), dry_run, json: false }
    }

    #[test]
    fn a_link_stays_and_so_do_mode_and_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, CONFIG).unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o640)).unwrap();
        std::os::unix::fs::symlink("file", &link).unwrap();
        let args = |dry_run| WrapArgs { config: link.clone(), policy: None, how: how(dry_run) };
        assert_eq!(wrap(&args(true)), 0);
        assert_eq!(fs::read_to_string(&file).unwrap(), CONFIG);
        assert_eq!(wrap(&args(false)), 0);
        let wrapped = fs::read_to_string(&file).unwrap();
        assert!(wrapped.contains("--server=a"), "{wrapped}");
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        // Somebody adds a line meanwhile.
        let edited = wrapped.replace("  }\n}", "  },\n  \"theme\": 1\n}");
        fs::write(&file, &edited).unwrap();
        assert_eq!(unwrap(&UnwrapArgs { config: link.clone(), how: how(false) }), 0);
        assert_eq!(fs::read_to_string(&file).unwrap(), CONFIG.replace("  }\n}", "  },\n  \"theme\": 1\n}"));
        assert_eq!(fs::metadata(&file).unwrap().mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "nothing is left beside it");
    }

    #[test]
    fn what_cannot_be_done_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("file");
        let only = |name: &str| UnwrapArgs {
            config: file.clone(),
            how: How { only: vec![name.to_owned()], dry_run: false, json: false },
        };
        assert_eq!(unwrap(&only("a")), exit::NO_INPUT);
        fs::write(&file, "{").unwrap();
        assert_eq!(unwrap(&only("a")), exit::DATA);
        fs::write(&file, CONFIG).unwrap();
        assert_eq!(unwrap(&only("c")), exit::USAGE);
        let policy = Some(folder.path().join("none.json"));
        assert_eq!(wrap(&WrapArgs { config: file.clone(), policy, how: how(false) }), exit::NO_INPUT);
        assert_eq!(fs::read_to_string(&file).unwrap(), CONFIG);
    }

    #[test]
    fn what_is_done_is_told() {
        let wrapper = Wrapper { policyd: "policyd".into(), policy: None };
        let (after, outcomes) = clients::wrap(CONFIG, &[], &wrapper).unwrap();
        let said = told(Path::new("mcp.json"), &how(true), "wrapped", CONFIG, &after, &outcomes);
        let expected = "mcp.json:3\n-    \"a\": {\"command\": \"npx\"},\n+    \"a\": {\"command\": \"policyd\", \"args\": \
             [\"stdio\", \"--server=a\", \"--\", \"npx\"]},\na: would be wrapped\nb: left, it has a URL: policyd captures its \
             connections\n";
        assert_eq!(said, expected);
        let json = How { json: true, ..how(false) };
        let said = told(Path::new("mcp.json"), &json, "wrapped", CONFIG, &after, &outcomes);
        let said: serde_json::Value = serde_json::from_str(&said).unwrap();
        assert_eq!((&said["written"], &said["servers"][1]["result"]), (&true.into(), &"url".into()));
    }
}
