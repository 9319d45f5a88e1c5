//! `policyd ca`: hands out the authority's root, and puts it into the system's trust store.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Args, Subcommand};

use crate::tls::authority::{Authority, AuthorityError};
use crate::tls::trust::Bundle;

/// The authority that inspected connections are certified by.
#[derive(Debug, Args)]
pub struct CaArgs {
    /// Where policyd keeps its state; the authority lies in `ca` below it, and is made if there is none
    #[arg(long, value_name = "DIR", default_value = "/var/lib/policyd", global = true)]
    state_dir: PathBuf,
    /// What to do with it
    #[command(subcommand)]
    command: CaCommand,
}

#[derive(Debug, Subcommand)]
enum CaCommand {
    /// Print the root certificate (PEM)
    Export {
        /// Write it to this file instead
        #[arg(long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Put the root into this system's trust store, for every program that uses it
    Install,
    /// Take the root out of this system's trust store
    Uninstall,
    /// Print what an agent's environment needs: `eval "$(policyd ca env)"`
    ///
    /// Writes the bundle files (this root, the system's roots, and what the environment names already) to `trust` below
    /// the state folder. Node.js and Deno add them to their own roots; everything else gets both in one file; Java gets a
    /// trust store.
    Env {
        /// As a JSON object instead of shell commands
        #[arg(long)]
        json: bool,
    },
}

/// Why a subcommand failed.
#[derive(Debug, thiserror::Error)]
enum CaError {
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    #[error("{} cannot be {doing}: {source}", path.display())]
    File { path: PathBuf, doing: &'static str, source: io::Error },
    #[error(
        "this system has none of the trust stores that policyd knows ({}): install the package `ca-certificates`, or give \
         agents the variables of `policyd ca env`",
        STORES.map(|store| store.folder).join(", ")
    )]
    NoStore,
    #[error("`{program}` failed ({how}): run it by hand to see why; the root is at {}", path.display())]
    Update { program: &'static str, how: String, path: PathBuf },
    #[error("cannot write the output: {0}")]
    Output(io::Error),
}

/// A system's trust store: where roots of one's own go, under which name, and what then makes them known.
#[derive(Clone, Copy, Debug)]
struct Store {
    folder: &'static str,
    file: &'static str,
    program: &'static str,
}

/// Debian, Ubuntu, Alpine; Fedora, RHEL; openSUSE; Arch.
const STORES: [Store; 4] = [
    Store { folder: "/usr/local/share/ca-certificates", file: "policyd.crt", program: "update-ca-certificates" },
    Store { folder: "/etc/pki/ca-trust/source/anchors", file: "policyd.pem", program: "update-ca-trust" },
    Store { folder: "/etc/pki/trust/anchors", file: "policyd.pem", program: "update-ca-certificates" },
    Store { folder: "/etc/ca-certificates/trust-source/anchors", file: "policyd.pem", program: "update-ca-trust" },
];

/// Runs `policyd ca …`; says on standard error what went wrong. Exit codes: 69 if something needed is not there, 73 if
/// output cannot be written, 77 if policyd may not.
pub fn run(args: &CaArgs) -> ExitCode {
    match act(args, &mut io::stdout().lock()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("policyd: {error}");
            ExitCode::from(error.exit_code())
        }
    }
}

impl CaError {
    fn exit_code(&self) -> u8 {
        match self {
            CaError::Authority(error) if error.is_permission() => 77,
            CaError::File { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => 77,
            CaError::File { .. } | CaError::Output(_) => 73,
            CaError::Authority(_) | CaError::NoStore | CaError::Update { .. } => 69,
        }
    }
}

fn act(args: &CaArgs, out: &mut impl io::Write) -> Result<(), CaError> {
    let authority = || Authority::open(&args.state_dir, &[]);
    match &args.command {
        CaCommand::Export { output: None } => out.write_all(authority()?.root_pem().as_bytes()),
        CaCommand::Export { output: Some(path) } => {
            fs::write(path, authority()?.root_pem()).map_err(file(path, "written"))?;
            Ok(())
        }
        CaCommand::Install => {
            let store = store(Path::new("/"))?;
            let path = install(Path::new("/"), store, authority()?.root_pem())?;
            writeln!(
                out,
                "installed as {}\nprograms with roots of their own (Node.js, Python's certifi, Java) still need `policyd ca env`",
                path.display()
            )
        }
        CaCommand::Uninstall => match uninstall(Path::new("/"), store(Path::new("/"))?)? {
            Some(path) => writeln!(out, "removed {}", path.display()),
            None => writeln!(out, "it was not installed"),
        },
        CaCommand::Env { json } => {
            let bundle = Bundle::write(&args.state_dir.join("trust"), &authority()?, |name| std::env::var_os(name))?;
            for warning in &bundle.warnings {
                eprintln!("policyd: {warning}");
            }
            environment(&bundle, *json, out)
        }
    }
    .and_then(|()| out.flush())
    .map_err(CaError::Output)
}

/// The first store that this system has both the folder and the program of.
fn store(root: &Path) -> Result<Store, CaError> {
    let is_there = |store: &&Store| below(root, store.folder).is_dir() && find(root, store.program).is_some();
    STORES.iter().find(is_there).copied().ok_or(CaError::NoStore)
}

fn find(root: &Path, program: &str) -> Option<PathBuf> {
    ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
        .iter()
        .map(|folder| below(root, folder).join(program))
        .find(|path| path.is_file())
}

fn install(root: &Path, store: Store, pem: &str) -> Result<PathBuf, CaError> {
    let path = below(root, store.folder).join(store.file);
    fs::write(&path, pem).map_err(file(&path, "written"))?;
    // Readable by everyone, whatever the umask.
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(&path, mode).map_err(file(&path, "made readable"))?;
    update(root, store, path)
}

fn uninstall(root: &Path, store: Store) -> Result<Option<PathBuf>, CaError> {
    let path = below(root, store.folder).join(store.file);
    match fs::remove_file(&path) {
        Ok(()) => update(root, store, path).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(file(&path, "removed")(error)),
    }
}

fn update(root: &Path, store: Store, path: PathBuf) -> Result<PathBuf, CaError> {
    let program = find(root, store.program).ok_or(CaError::NoStore)?;
    let how = match Command::new(program).output() {
        Ok(output) if output.status.success() => return Ok(path),
        Ok(output) => format!("{}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => error.to_string(),
    };
    Err(CaError::Update { program: store.program, how, path })
}

fn below(root: &Path, path: &str) -> PathBuf {
    root.join(path.trim_start_matches('/'))
}

fn environment(bundle: &Bundle, json: bool, out: &mut impl io::Write) -> io::Result<()> {
    let variables = bundle.variables();
    if json {
        let object: serde_json::Map<_, _> =
            variables.into_iter().map(|(name, value)| (name.to_owned(), value.into())).collect();
        return writeln!(out, "{:#}", serde_json::Value::Object(object));
    }
    for (name, value) in variables {
        writeln!(out, "export {name}='{}'", value.replace('\'', r"'\''"))?;
    }
    Ok(())
}

fn file(path: &Path, doing: &'static str) -> impl FnOnce(io::Error) -> CaError {
    let path = path.to_owned();
    move |source| CaError::File { path, doing, source }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "tests")]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        ca: CaArgs,
    }

    fn act_as(state: &Path, arguments: &[&str]) -> Result<String, CaError> {
        let state = state.display().to_string();
        let arguments = [&["ca", "--state-dir", &state], arguments].concat();
        let mut out = Vec::new();
        act(&Cli::try_parse_from(arguments).unwrap().ca, &mut out)?;
        Ok(String::from_utf8(out).unwrap())
    }

    #[test]
    fn export_gives_the_same_root_each_time() {
        let state = tempfile::tempdir().unwrap();
        let pem = act_as(state.path(), &["export"]).unwrap();
        assert!(pem.starts_with("-----BEGIN CERTIFICATE-----\n"));
        let output = state.path().join("out.pem");
        assert_eq!(act_as(state.path(), &["export", "--output", &output.display().to_string()]).unwrap(), "");
        assert_eq!(fs::read_to_string(&output).unwrap(), pem);
    }

    #[test]
    fn the_shell_understands_the_environment() {
        let folder = tempfile::tempdir().unwrap();
        let state = folder.path().join("it's here");
        let exports = act_as(&state, &["env"]).unwrap();
        let shell = Command::new("sh").args(["-c", &format!("{exports}\ncat \"$SSL_CERT_FILE\"")]).output().unwrap();
        let root = act_as(&state, &["export"]).unwrap();
        assert!(String::from_utf8(shell.stdout).unwrap().starts_with(&root));
        let json: serde_json::Value = serde_json::from_str(&act_as(&state, &["env", "--json"]).unwrap()).unwrap();
        assert_eq!(json["NODE_EXTRA_CA_CERTS"], state.join("trust/bundle.pem").display().to_string());
    }

    #[test]
    fn a_key_that_others_can_read_is_not_permitted() {
        let state = tempfile::tempdir().unwrap();
        act_as(state.path(), &["export"]).unwrap();
        fs::set_permissions(state.path().join("ca/root.key"), fs::Permissions::from_mode(0o644)).unwrap();
        let error = act_as(state.path(), &["export"]).unwrap_err();
        assert_eq!(error.exit_code(), 77);
        assert!(error.to_string().contains("chmod 600"), "{error}");
    }

    /// A system in a folder whose update program notes that it ran.
    fn system(store: Store, script: &str) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(below(root.path(), store.folder)).unwrap();
        fs::create_dir_all(root.path().join("usr/sbin")).unwrap();
        let program = root.path().join("usr/sbin").join(store.program);
        fs::write(&program, format!("#!/bin/sh\n{script}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        root
    }

    #[test]
    fn every_known_store_is_found_filled_and_emptied() {
        for expected in STORES {
            let root = system(expected, r#"echo ran >> "${0%/*}/log""#);
            let found = store(root.path()).unwrap();
            assert_eq!(found.folder, expected.folder);
            let path = install(root.path(), found, "root").unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "root");
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
            assert_eq!(uninstall(root.path(), found).unwrap(), Some(path.clone()));
            assert!(!path.exists());
            assert_eq!(uninstall(root.path(), found).unwrap(), None);
            assert_eq!(fs::read_to_string(root.path().join("usr/sbin/log")).unwrap(), "ran\nran\n");
        }
    }

    #[test]
    fn a_system_without_a_store_or_with_a_broken_one_is_told() {
        let empty = tempfile::tempdir().unwrap();
        let error = store(empty.path()).unwrap_err();
        assert_eq!(error.exit_code(), 69);
        assert!(error.to_string().contains("policyd ca env"), "{error}");
        let root = system(STORES[0], "echo no space >&2; exit 3");
        let error = install(root.path(), STORES[0], "root").unwrap_err().to_string();
        assert!(error.contains("update-ca-certificates") && error.contains("no space"), "{error}");
    }
}
