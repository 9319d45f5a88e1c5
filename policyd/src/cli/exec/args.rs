//! Arguments of `policyd exec`, and the configuration that they spell.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::cli::exit;
use crate::config::{Admin, Audit, Capture, Config, Limits, OtherPaths, Server, Timeouts, Tls, Url};
use crate::policy::{Grant, Policy, Who};

/// What `--help` says beyond the first line.
pub const LONG: &str = "Run a command under a policy, without any configuration.\n\n\
    Makes a cgroup for COMMAND and hands its connections to policyd, which opens those to the servers given by \
    --server, decides each MCP message, and passes everything else through untouched. One line per decision goes to \
    stderr, and a table at the end. COMMAND trusts policyd's certificates through its environment (NODE_EXTRA_CA_CERTS, \
    SSL_CERT_FILE, CURL_CA_BUNDLE and their like); the authority exists only for this run and only for those servers.\n\n\
    Needs root for the kernel part. COMMAND runs as the user who called sudo, and cannot raise its privileges. The \
    terminal, stdin and signals are COMMAND's.\n\n\
    Without --policy nothing is refused and everything is reported: tools, and the names and types of arguments, never \
    their values.\n\n\
    What leaves COMMAND's cgroup leaves the policy: processes started for it by systemd-run, D-Bus, at, cron, a \
    container runtime, or a tmux server that was running before. Processes that outlive COMMAND are named at the end; \
    their connections to captured ports are refused from then on.";

/// Arguments of `policyd exec`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_long_help = after_help()
)]
pub struct ExecArgs {
    /// The policy; without it nothing is refused and everything is reported
    #[arg(long, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// An MCP server's URL, such as https://promptfax.app/mcp; may be given several times
    #[arg(long = "server", value_name = "URL", value_parser = |text: &str| Url::parse(text))]
    pub servers: Vec<Url>,
    /// Write audit records to this file (JSON Lines, appended)
    #[arg(long, value_name = "FILE", requires = "servers")]
    pub audit: Option<PathBuf>,
    /// At the end, write a policy that allows the tools and methods that were seen; FILE must not exist
    #[arg(long, value_name = "FILE", conflicts_with = "policy", requires = "servers")]
    pub write_policy: Option<PathBuf>,
    /// Let setuid programs such as sudo raise COMMAND's privileges
    #[arg(long)]
    pub allow_setuid: bool,
    /// No line per decision, only the table at the end
    #[arg(long, short)]
    pub quiet: bool,
    /// What to run, after `--`
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

fn after_help() -> String {
    format!(
        "Examples:\n  \
         sudo policyd exec --server https://promptfax.app/mcp -- python agent.py\n  \
         sudo policyd exec --server https://promptfax.app/mcp --write-policy starter.json -- npx my-agent\n  \
         sudo policyd exec --server http://127.0.0.1:3000/mcp --policy policy.json --audit audit.jsonl -- ./agent\n\n{}",
        exit::EXEC_TABLE
    )
}

/// The policy without `--policy`: refuse nothing, report everything, also what servers ask of COMMAND.
pub const OBSERVE: &str = r#"{"version":"1","default":"allow","mode":"observe",
 "methods":{"sampling/createMessage":{},"elicitation/create":{},"roots/list":{}}}"#;

/// What is wrong with the arguments together, if anything.
///
/// # Errors
///
/// A sentence with what to do.
pub fn check(args: &ExecArgs) -> Result<(), String> {
    if args.policy.is_some() && args.servers.is_empty() {
        return Err("--policy needs --server: give the URL of each MCP server that it is for".to_owned());
    }
    for (index, url) in args.servers.iter().enumerate() {
        if args.servers[..index].iter().any(|other| other.host == url.host && other.port == url.port) {
            let authority = url.authority();
            return Err(format!(
                "--server {url}: `{authority}` is given twice; one entry polices every path of the host"
            ));
        }
    }
    Ok(())
}

/// Everything that depends on this run alone.
#[derive(Clone, Debug)]
pub struct Run {
    /// Names the pins: `exec-PID`.
    pub instance: String,
    /// COMMAND's cgroup, below the cgroup2 mount.
    pub cgroup: String,
    /// A folder for this run.
    pub state_dir: PathBuf,
}

/// The configuration: each server under its host's name, one grant per server for whoever is in the cgroup.
pub fn config(args: &ExecArgs, run: Run, policy: &Arc<Policy>) -> Config {
    let servers: Vec<Arc<Server>> = args.servers.iter().map(|url| Arc::new(server(url))).collect();
    let policy_path = args.policy.clone().unwrap_or_else(|| Path::new("(observe)").to_owned());
    let grants = servers.iter().map(|server| {
        Arc::new(Grant {
            name: "exec".to_owned(),
            who: Who::default(),
            server: server.name.clone(),
            policy_path: policy_path.clone(),
            policy: Arc::clone(policy),
        })
    });
    Config {
        grants: grants.collect(),
        servers,
        commands: Vec::new(),
        capture: Capture { instance: run.instance, cgroups: vec![run.cgroup], ..Capture::default() },
        allow: Vec::new(),
        admin: Admin { listen: None, socket: None, stdio: None },
        audit: Audit { path: args.audit.as_deref().map(absolute), arguments: false },
        tls: Tls::default(),
        limits: Limits::default(),
        timeouts: Timeouts::default(),
        state_dir: run.state_dir,
        files: Vec::new(),
        digest: [0; 32],
    }
}

fn server(url: &Url) -> Server {
    Server {
        name: url.authority(),
        tls: url.tls,
        host: url.host.clone(),
        port: url.port,
        path: url.path.clone(),
        upstream: None,
        other_paths: OtherPaths::default(),
    }
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(words: &[&str]) -> Result<ExecArgs, clap::Error> {
        let words = ["policyd", "exec"].iter().chain(words);
        match Cli::try_parse_from(words)?.command {
            Command::Exec(args) => Ok(args),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn options_after_the_dashes_are_the_commands() {
        let args = parse(&["--server", "https://a.example/mcp", "--", "agent", "--server", "x", "--"]).unwrap();
        assert_eq!(args.command, ["agent", "--server", "x", "--"]);
        assert_eq!(args.servers.len(), 1);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for words in [
            &["agent"][..],
            &["--"],
            &["--server", "a.example", "--", "x"],
            &["--write-policy", "f", "--", "x"],
            &["--policy", "p", "--write-policy", "f", "--server", "https://a.example", "--", "x"],
        ] {
            assert!(parse(words).is_err(), "{words:?}");
        }
        let alone = parse(&["--policy", "p", "--", "x"]).unwrap();
        assert!(check(&alone).unwrap_err().contains("--server"));
        let twice = ["--server", "https://a.example/mcp", "--server", "https://A.example:443/sse", "--", "x"];
        assert!(check(&parse(&twice).unwrap()).unwrap_err().contains("given twice"));
    }

    #[test]
    fn each_server_gets_a_grant_of_its_own() {
        let args =
            parse(&["--server", "https://a.example/mcp", "--server", "http://127.0.0.1:3000/mcp", "--", "x"]).unwrap();
        let run = Run { instance: "exec-1".into(), cgroup: "/policyd-exec-1".into(), state_dir: "/run/x".into() };
        let policy = Arc::new(Policy::load("(observe)", OBSERVE).unwrap());
        let config = config(&args, run, &policy);
        let grants: Vec<_> = config.grants.iter().map(|g| (g.name.as_str(), g.server.as_str())).collect();
        assert_eq!(grants, [("exec", "a.example"), ("exec", "127.0.0.1:3000")]);
        assert_eq!(config.audit.path, None);
        assert_eq!(config.admin.listen, None);
    }
}
