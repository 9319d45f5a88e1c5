//! `cargo xtask ebpf`: compiles the kernel programs to `policyd-ebpf/prebuilt/policyd.bpf.o`, reproducibly.
//!
//! Equal sources give equal bytes in any directory: paths are remapped, debug information is dropped (BTF stays), the
//! profile is spelled out here and the compiler and linker are pinned.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, bail, ensure};

const LINKER: &str = "bpf-linker";
const LINKER_VERSION: &str = "0.13.0";
const LLVM: &str = "/usr/lib/llvm-22";
const TARGET: &str = "bpfel-unknown-none";
const PREBUILT: &str = "policyd-ebpf/prebuilt/policyd.bpf.o";

/// What to do with the result.
#[derive(clap::Args)]
pub struct Args {
    /// Compare with the committed object instead of replacing it
    #[arg(long)]
    check: bool,
}

/// Builds the object, and writes or compares it.
pub fn run(args: &Args) -> Result<()> {
    let root = root()?;
    toolchain()?;
    let built = build(&root)?;
    let prebuilt = root.join(PREBUILT);
    if args.check {
        let committed = fs::read(&prebuilt).with_context(|| format!("read {}", prebuilt.display()))?;
        ensure!(
            committed == built,
            "{PREBUILT} is not what its sources give ({} bytes committed, {} built): run `cargo xtask ebpf` and commit it",
            committed.len(),
            built.len(),
        );
        println!("{PREBUILT} is what its sources give");
    } else {
        fs::create_dir_all(prebuilt.parent().unwrap_or(&root))?;
        fs::write(&prebuilt, &built)?;
        println!("{PREBUILT}: {} bytes", built.len());
    }
    Ok(())
}

/// Compiles, links and strips.
fn build(root: &Path) -> Result<Vec<u8>> {
    let target_dir = root.join("target/ebpf");
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(env::home_dir()?.join(".cargo")));
    let cargo_home = cargo_home.context("neither CARGO_HOME nor HOME is set")?;
    let sysroot = PathBuf::from(output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(root))?.trim());
    let flags = [
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        "-Cembed-bitcode=yes".to_owned(),
        remap(&sysroot, "/rust"),
        remap(&cargo_home, "/cargo"),
        remap(root, "/policyd"),
    ];
    let mut cargo = Command::new("cargo");
    cargo
        .current_dir(root)
        .args(["build", "--locked", "--release", "--package", "policyd-ebpf", "--bin", "policyd-ebpf"])
        .args(["--features", "program", "--target", TARGET, "-Zbuild-std=core"])
        .arg("--target-dir")
        .arg(&target_dir)
        // The pinned stable compiler, allowed to build `core` for a target that has no std.
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env_remove("RUSTFLAGS")
        // The object must not change with the daemon's own release profile.
        .env("CARGO_PROFILE_RELEASE_LTO", "fat")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_DEBUG", "2")
        .env("CARGO_PROFILE_RELEASE_PANIC", "abort")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false");
    step(&mut cargo)?;

    let linked = target_dir.join(TARGET).join("release/policyd-ebpf");
    let stripped = target_dir.join("policyd.bpf.o");
    step(Command::new(Path::new(LLVM).join("bin/llvm-objcopy")).arg("--strip-debug").arg(&linked).arg(&stripped))?;
    fs::read(&stripped).with_context(|| format!("read {}", stripped.display()))
}

fn remap(from: &Path, to: &str) -> String {
    format!("--remap-path-prefix={}={to}", from.display())
}

/// Installs what is missing: the standard library's source, LLVM's libraries, the linker.
fn toolchain() -> Result<()> {
    let root = root()?;
    let sysroot = output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(&root))?;
    if !Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core").is_dir() {
        step(Command::new("rustup").args(["component", "add", "rust-src"]).current_dir(&root))?;
    }
    if !Path::new(LLVM).join("bin/llvm-objcopy").exists() || linker_version().is_none() {
        llvm()?;
    }
    if linker_version().as_deref() != Some(LINKER_VERSION) {
        // `LLVM_PREFIX`, or its build looks for the wrong library and fails at -lLLVM.
        step(
            Command::new("cargo")
                .args(["install", LINKER, "--version", LINKER_VERSION, "--locked", "--force"])
                .args(["--no-default-features", "--features", "llvm-22"])
                .env("LLVM_PREFIX", LLVM)
                .current_dir(env::temp_dir()),
        )?;
    }
    Ok(())
}

/// LLVM 22 from the distribution, or from apt.llvm.org where the distribution is older.
fn llvm() -> Result<()> {
    let packages = ["llvm-22", "llvm-22-dev", "libpolly-22-dev", "libzstd-dev", "zlib1g-dev"];
    ensure!(
        Command::new("apt-get").arg("--version").output().is_ok(),
        "LLVM 22 is missing at {LLVM} and there is no apt-get: install it with its development files, then run this again",
    );
    let mut known = Command::new("apt-cache");
    if !output(known.args(["policy", "llvm-22"]))?.contains("Candidate:") {
        let release = fs::read_to_string("/etc/os-release")?;
        let codename = release
            .lines()
            .find_map(|line| line.strip_prefix("VERSION_CODENAME="))
            .context("no VERSION_CODENAME in /etc/os-release")?;
        step(Command::new("apt-get").args(["install", "-y", "ca-certificates", "curl"]))?;
        let key = "/etc/apt/trusted.gpg.d/apt.llvm.org.asc";
        step(Command::new("curl").args(["-fsSL", "-o", key, "https://apt.llvm.org/llvm-snapshot.gpg.key"]))?;
        let source = format!("deb https://apt.llvm.org/{codename}/ llvm-toolchain-{codename}-22 main\n");
        fs::write("/etc/apt/sources.list.d/llvm-22.list", source)?;
    }
    step(Command::new("apt-get").arg("update"))?;
    step(Command::new("apt-get").args(["install", "-y", "--no-install-recommends"]).args(packages))
}

fn linker_version() -> Option<String> {
    let output = Command::new(LINKER).arg("--version").output().ok()?;
    String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1).map(str::to_owned)
}

/// The workspace's root: where this crate was compiled, if it is still there, or where cargo runs it.
fn root() -> Result<PathBuf> {
    let manifest = env::var_os("CARGO_MANIFEST_DIR").context("run it as `cargo xtask ebpf`")?;
    let root = Path::new(&manifest).parent().context("xtask has no parent directory")?;
    root.canonicalize().with_context(|| format!("find {}", root.display()))
}

fn step(command: &mut Command) -> Result<()> {
    let line = line(command);
    eprintln!("+ {line}");
    let status = command.status().with_context(|| format!("run `{line}`"))?;
    if !status.success() {
        bail!("`{line}` failed: {status}");
    }
    Ok(())
}

fn output(command: &mut Command) -> Result<String> {
    let line = line(command);
    let output = command.output().with_context(|| format!("run `{line}`"))?;
    ensure!(output.status.success(), "`{line}` failed: {}", String::from_utf8_lossy(&output.stderr));
    Ok(String::from_utf8(output.stdout)?)
}

fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}
