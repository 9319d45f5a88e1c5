//! `cargo xtask setup`: what tests, demo and bench need that cargo does not bring.
//!
//! Debian packages, only those whose programs are missing; the SDKs from PyPI and npm, pinned by `tests/clients/`, into
//! `.cache/`; cargo's own tools. A stamp of all inputs makes the second run a matter of milliseconds.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};

use crate::shell::{cargo, command, quietly, root, works};

/// Programs and the Debian packages that hold them.
const PROGRAMS: [(&str, &str); 15] = [
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("unshare", "util-linux"),
    ("curl", "curl"),
    ("openssl", "openssl"),
    ("git", "git"),
    ("python3", "python3"),
    ("java", "default-jre-headless"),
    ("sudo", "sudo"),
    ("script", "bsdutils"),
    ("nginx", "nginx-light"),
    ("promtool", "prometheus"),
    ("node", "nodejs"),
    ("npm", "npm"),
    ("c++", "g++"),
];

/// Python packages and their versions: each has a virtual environment of this name and its pins in a file of this name.
const PYTHON: [&str; 3] = ["mcp-2.3.0", "mcp-1.30.0", "fastmcp-4.1.2"];

/// What npm installs, by `tests/clients/`.
const NPM: [&str; 4] =
    ["node/package.json", "node/package-lock.json", "node22/package.json", "node22/package-lock.json"];

/// Cargo's subcommands, the crates that hold them and their versions.
const TOOLS: [(&str, &str, &str); 3] =
    [("nextest", "cargo-nextest", "^0.9"), ("deny", "cargo-deny", "^0.20"), ("fuzz", "cargo-fuzz", "^0.13")];

/// Runs the benchmark that counts instructions. It must be of the very version of the library `gungraun` in Cargo.lock.
const RUNNER: (&str, &str) = ("gungraun-runner", "=0.20.0");

/// Raise it when this file installs something else.
const EDITION: u32 = 3;

/// Installs what is missing.
pub fn run() -> Result<()> {
    let cache = root().join(".cache");
    fs::create_dir_all(&cache).context("make .cache")?;
    let stamp = stamp()?;
    let stamp_file = cache.join("setup.stamp");
    if fs::read_to_string(&stamp_file).is_ok_and(|old| old == stamp) {
        return Ok(());
    }
    packages()?;
    for name in PYTHON {
        python(&cache, name)?;
    }
    node(&cache)?;
    node22(&cache)?;
    tools()?;
    fs::write(stamp_file, stamp)?;
    println!("setup: done");
    Ok(())
}

/// A digest of everything that says what to install.
fn stamp() -> Result<String> {
    let mut hasher = DefaultHasher::new();
    (EDITION, TOOLS).hash(&mut hasher);
    let clients = root().join("tests/clients");
    let pins = PYTHON.map(|name| format!("python/{name}.txt"));
    for file in pins.iter().map(String::as_str).chain(NPM) {
        let path = clients.join(file);
        fs::read(&path).with_context(|| format!("read {}", path.display()))?.hash(&mut hasher);
    }
    Ok(format!("{:016x}\n", hasher.finish()))
}

fn say(line: &str) {
    println!("setup: {line}");
}

fn on_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    // A user's PATH often lacks the sbin folders, where ip and nginx lie.
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(Into::into))
        .any(|folder| folder.join(program).is_file())
}

/// Installs what `cargo xtask bench` counts instructions with. No test needs it, so that no test waits for it.
///
/// # Errors
/// When it is missing and cannot be installed.
pub fn valgrind() -> Result<()> {
    if !on_path("valgrind") {
        install(&["valgrind"])?;
    }
    let (runner, version) = RUNNER;
    if !quietly(command(runner, &["--version"]))
        .is_ok_and(|said| said.trim().ends_with(version.trim_start_matches('=')))
    {
        say(&format!("cargo install {runner} (some minutes)"));
        quietly(cargo(&["install", "--locked", "--quiet", "--force", runner, "--version", version]))?;
    }
    Ok(())
}

fn packages() -> Result<()> {
    let mut missing: Vec<&str> =
        PROGRAMS.iter().filter(|(program, _)| !on_path(program)).map(|(_, package)| *package).collect();
    if !works(command("python3", &["-c", "import ensurepip, venv"])) {
        missing.push("python3-venv");
    }
    if !Path::new("/etc/ssl/certs/ca-certificates.crt").exists() {
        missing.push("ca-certificates");
    }
    missing.sort_unstable();
    missing.dedup();
    if missing.is_empty() { Ok(()) } else { install(&missing) }
}

fn install(missing: &[&str]) -> Result<()> {
    say(&format!("Debian packages: {}", missing.join(" ")));
    ensure!(
        on_path("apt-get"),
        "these are missing, and there is no apt-get to install them with: {}",
        missing.join(" ")
    );
    let apt = |arguments: &[&str]| {
        let mut apt = command("apt-get", arguments);
        apt.env("DEBIAN_FRONTEND", "noninteractive");
        quietly(apt).context("packages can be installed as root only; or install them yourself and call this again")
    };
    // A service that starts on installation would take ports of the host.
    let policy = Path::new("/usr/sbin/policy-rc.d");
    let ours = !policy.exists();
    if ours {
        fs::write(policy, "#!/bin/sh\nexit 101\n").context("packages can be installed as root only")?;
        quietly(command("chmod", &["755", "/usr/sbin/policy-rc.d"]))?;
    }
    let result = apt(&["update", "-q"]).and_then(|_| {
        let mut arguments = vec!["install", "-q", "-y", "--no-install-recommends"];
        arguments.extend(missing);
        apt(&arguments)
    });
    if ours {
        fs::remove_file(policy)?;
    }
    result.map(drop)
}

fn python(cache: &Path, name: &str) -> Result<()> {
    let environment = cache.join(name);
    let python = environment.join("bin/python");
    let pins = root().join(format!("tests/clients/python/{name}.txt"));
    say(&format!("PyPI {name}"));
    if !works(command(&python, &["-m", "pip", "--version"])) {
        if environment.exists() {
            fs::remove_dir_all(&environment)?;
        }
        quietly({
            let mut venv = command("python3", &["-m", "venv"]);
            venv.arg(&environment);
            venv
        })?;
    }
    let mut pip = command(&python, &["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
    pip.arg(&pins);
    quietly(pip).map(drop)
}

fn node(cache: &Path) -> Result<()> {
    let version = quietly(command("node", &["--version"]))?;
    let major = version.trim().trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_none_or(|major| major < 18) {
        bail!("node {} is too old for the MCP SDK: it needs 18 or later", version.trim());
    }
    say("npm @modelcontextprotocol/sdk, server-everything");
    npm(cache, "node")
}

/// Node 22, for what does not run on the system's, and that.
fn node22(cache: &Path) -> Result<()> {
    say("npm node 22, @modelcontextprotocol/conformance, client, inspector");
    npm(cache, "node22")
}

/// Installs what `tests/clients/NAME` pins into `.cache/NAME`.
fn npm(cache: &Path, name: &str) -> Result<()> {
    let folder = cache.join(name);
    fs::create_dir_all(&folder)?;
    for file in ["package.json", "package-lock.json"] {
        fs::copy(root().join("tests/clients").join(name).join(file), folder.join(file))?;
    }
    let mut npm = command("npm", &["ci", "--no-audit", "--no-fund", "--loglevel=error"]);
    npm.current_dir(&folder);
    quietly(npm).map(drop)
}

fn tools() -> Result<()> {
    for (subcommand, package, version) in TOOLS {
        if works(cargo(&[subcommand, "--version"])) {
            continue;
        }
        say(&format!("cargo install {package} (some minutes)"));
        quietly(cargo(&["install", "--locked", "--quiet", package, "--version", version]))?;
    }
    if !works(command("rustup", &["run", "nightly", "rustc", "--version"])) {
        say("a nightly toolchain, for the fuzz targets");
        quietly(command("rustup", &["toolchain", "install", "nightly", "--profile", "minimal"]))?;
    }
    Ok(())
}
