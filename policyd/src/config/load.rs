//! From a path to a configuration, or to everything that is wrong with it.

use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use aws_lc_rs::digest;
use toml::de::DeTable;

use super::grants::{self, RawGrant};
use super::reader::{Problems, Section};
use super::{Config, Tls, sections, servers};
use crate::diagnostic::{Diagnostic, Report};
use crate::policy::{Grant, Policy, Shared};

/// What the process ends with after a configuration was refused (sysexits.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExitCode {
    /// Only policies are bad.
    Data = 65,
    /// The configuration itself is bad.
    Config = 78,
}

/// Everything that is wrong with a configuration and its policies.
#[derive(Clone, Debug)]
pub struct ConfigError {
    /// One report per file: the configuration first, then its policies.
    pub reports: Vec<Report>,
    /// What to end with.
    pub exit_code: ExitCode,
    /// The files that were read or looked for, absolute: a change of any of them may mend it.
    pub files: Vec<PathBuf>,
    /// As [`Config::digest`]: equal digests, equal errors.
    pub digest: [u8; 32],
}

impl ConfigError {
    /// All reports as a person reads them.
    pub fn render(&self, color: bool) -> String {
        self.reports.iter().map(|report| report.render(color)).collect::<Vec<_>>().join("\n")
    }

    /// How many problems there are, over all files.
    pub fn problems(&self) -> usize {
        self.reports.iter().map(|report| report.diagnostics.len()).sum()
    }
}

impl fmt::Display for ConfigError {
    /// One line, for logs: the first problem and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let first = self.reports.iter().find_map(|r| r.diagnostics.first().map(|d| (r, d)));
        let Some((report, diagnostic)) = first else { return f.write_str("the configuration is bad") };
        let line = report.source.get(..diagnostic.span.start).unwrap_or_default().matches('\n').count() + 1;
        write!(f, "{}:{line}: {}", report.file, diagnostic.message)?;
        match self.problems() - 1 {
            0 => Ok(()),
            more => write!(f, " (and {more} more)"),
        }
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Reads the configuration at `path` and every file that it names. Nothing is bound, attached or created.
    ///
    /// Paths in it are relative to its folder.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        let mut files = Files::default();
        let file = path.display().to_string();
        let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let text = match files.read_text(&absolute) {
            Ok(text) => text,
            Err(why) => {
                let problem = Diagnostic::error(0..0, format!("cannot be read: {why}"));
                let report = Report { file, source: String::new(), diagnostics: vec![problem] };
                return Err(files.refuse(vec![report], ExitCode::Config));
            }
        };
        let folder = absolute.parent().unwrap_or(Path::new("/"));
        let (mut config, problems, policies) = read(&text, folder, &mut files);
        let diagnostics = problems.into_sorted();
        let exit_code = if diagnostics.is_empty() { ExitCode::Data } else { ExitCode::Config };
        let mut reports = policies;
        if !diagnostics.is_empty() {
            reports.insert(0, Report { file, source: text, diagnostics });
        }
        if !reports.is_empty() {
            return Err(files.refuse(reports, exit_code));
        }
        (config.files, config.digest) = files.finish();
        Ok(config)
    }
}

/// Reads a configuration's text. What is wrong is in the problems (of this file) and the reports (of the policies); only
/// when both are empty is the configuration good.
fn read(text: &str, folder: &Path, files: &mut Files) -> (Config, Problems, Vec<Report>) {
    let (document, errors) = DeTable::parse_recoverable(text);
    let problems = Problems::of_syntax(&errors);
    let mut root = Section::root(document.get_ref(), &problems);
    let state_dir = match root.string("state_dir") {
        Some(("", span)) => {
            problems.add(span, "`state_dir` is empty");
            PathBuf::new()
        }
        Some((path, _)) => folder.join(path),
        None => PathBuf::from("/var/lib/policyd"),
    };
    let servers::Servers { servers, commands, names } = servers::servers(&mut root);
    let raw = grants::grants(&mut root, &names);
    let capture = sections::capture(&mut root);
    let allow = sections::allow(&mut root);
    let admin = sections::admin(&mut root, folder);
    let audit = sections::audit(&mut root, folder, &state_dir);
    let roots = sections::tls(&mut root, folder);
    let limits = sections::limits(&mut root);
    let timeouts = sections::timeouts(&mut root);
    root.finish_with(&["redis", "store", "kubernetes", "telemetry", "approvals", "unknown_servers", "stdio"], |key| {
        (key == "drain_timeout").then_some("timeouts.drain")
    });
    let (grants, reports) = policies(raw, folder, files, &problems);
    let mut extra_roots = Vec::new();
    for (path, span) in roots {
        match files.read(&path) {
            Ok(bytes) if bytes.windows(27).any(|w| w == b"-----BEGIN CERTIFICATE-----") => extra_roots.push(path),
            Ok(_) => problems.add(span, format!("`{}` holds no PEM certificate", path.display())),
            Err(why) => problems.add(span, format!("`{}` cannot be read: {why}", path.display())),
        }
    }
    let tls = Tls { extra_roots };
    let (files, digest) = (Vec::new(), [0; 32]);
    let config = Config {
        state_dir,
        capture,
        servers,
        commands,
        grants,
        allow,
        admin,
        audit,
        tls,
        limits,
        timeouts,
        files,
        digest,
    };
    (config, problems, reports)
}

/// Loads the policies of the grants, each file once.
fn policies(
    raw: Vec<RawGrant>,
    folder: &Path,
    files: &mut Files,
    problems: &Problems,
) -> (Vec<Arc<Grant>>, Vec<Report>) {
    let mut loaded: HashMap<PathBuf, Option<Policy>> = HashMap::new();
    let (mut reports, mut shared) = (Vec::new(), Shared::default());
    for RawGrant { server, policy: (policy_path, span), .. } in &raw {
        let path = folder.join(policy_path);
        let name = path.display().to_string();
        let policy = loaded.entry(path.clone()).or_insert_with(|| {
            match files.read_text(&path).map(|text| Policy::load(&name, &text)) {
                Ok(Ok(policy)) => return Some(policy),
                Ok(Err(report)) => reports.push(report),
                Err(why) => problems.add(span.clone(), format!("the policy `{name}` cannot be read: {why}")),
            }
            None
        });
        if let Some(Err(conflict)) = policy.as_ref().map(|policy| shared.note(&name, server, policy)) {
            problems.add(span.clone(), format!("the policy `{name}` shares a counter: {conflict}"));
        }
    }
    let told = |(path, policy): (PathBuf, Option<Policy>)| {
        let mut policy = policy?;
        shared.tell(&mut policy);
        Some((path, Arc::new(policy)))
    };
    let policies: HashMap<PathBuf, Arc<Policy>> = loaded.into_iter().filter_map(told).collect();
    let grant = |RawGrant { name, who, server, policy: (policy_path, _) }| {
        let policy = policies.get(&folder.join(&policy_path))?.clone();
        Some(Arc::new(Grant { name, who, server, policy_path, policy }))
    };
    (raw.into_iter().filter_map(grant).collect(), reports)
}

/// The files that a configuration consists of, as they were read.
struct Files {
    paths: Vec<PathBuf>,
    digest: digest::Context,
}

impl Default for Files {
    fn default() -> Self {
        Self { paths: Vec::new(), digest: digest::Context::new(&digest::SHA256) }
    }
}

impl Files {
    /// No configuration, policy or bundle of roots is larger; a path to a device or log must not fill the memory.
    const MOST: u64 = 16 << 20;

    fn read(&mut self, path: &Path) -> Result<Vec<u8>, String> {
        use std::io::Read;
        self.paths.push(path.to_owned());
        let name = path.as_os_str().as_encoded_bytes();
        let mut bytes = Vec::new();
        let read = std::fs::File::open(path).and_then(|file| file.take(Self::MOST + 1).read_to_end(&mut bytes));
        // Lengths before contents, so that no two sets of files give the same stream.
        for part in [name, if read.is_ok() { &bytes } else { &[] }] {
            self.digest.update(&(part.len() as u64).to_be_bytes());
            self.digest.update(part);
        }
        self.digest.update(&[u8::from(read.is_ok())]);
        match read {
            Ok(_) if bytes.len() as u64 > Self::MOST => Err(format!("it is larger than {} bytes", Self::MOST)),
            Ok(_) => Ok(bytes),
            Err(error) => Err(plain(&error)),
        }
    }

    fn read_text(&mut self, path: &Path) -> Result<String, String> {
        String::from_utf8(self.read(path)?)
            .map_err(|e| format!("it is not UTF-8 (byte {})", e.utf8_error().valid_up_to()))
    }

    fn finish(self) -> (Vec<PathBuf>, [u8; 32]) {
        let mut digest = [0; 32];
        digest.copy_from_slice(self.digest.finish().as_ref());
        (self.paths, digest)
    }

    fn refuse(self, reports: Vec<Report>, exit_code: ExitCode) -> ConfigError {
        let (files, digest) = self.finish();
        ConfigError { reports, exit_code, files, digest }
    }
}

/// An I/O error without the number that only programmers read.
fn plain(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::NotFound => "there is no such file".to_owned(),
        std::io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}
