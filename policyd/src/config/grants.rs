//! `[[grant]]`

use std::path::{Path, PathBuf};

use nix::unistd::User;

use super::reader::{Placed, Section};
use super::sections::cgroup_path;
use super::servers::{is_name, not_a_name};
use crate::diagnostic::did_you_mean;
use crate::policy::Who;

/// A `[[grant]]` whose policy is not loaded yet.
#[derive(Debug)]
pub(super) struct RawGrant {
    /// Its name.
    pub(super) name: String,
    /// Who it is for.
    pub(super) who: Who,
    /// The server's name.
    pub(super) server: String,
    /// The policy's path as written, and where.
    pub(super) policy: Placed<PathBuf>,
}

/// All `[[grant]]`, in file order, those that are wrong left out and reported. `servers` are the names of all servers.
pub(super) fn grants(root: &mut Section<'_, '_>, servers: &[&str]) -> Vec<RawGrant> {
    let mut grants: Vec<RawGrant> = Vec::new();
    for mut section in root.sections("grant") {
        let name = section.required("name", "`name` is what counters, metrics and records call it");
        let who = who(&mut section);
        let server = section.required("server", "`server` is the name of a `[[server]]`");
        let policy = section.required("policy", "`policy` is the path of a policy, such as `policies/promptfax.json`");
        let problems = section.problems();
        if let Some((name, span)) = &name
            && !is_name(name)
        {
            not_a_name(&section, name, span.clone());
        }
        if let Some((server, span)) = &server
            && !servers.contains(server)
        {
            let help = match did_you_mean(server, servers.iter().copied()) {
                Some(like) => format!("did you mean `{like}`?"),
                None => "define it with `[[server]]`".to_owned(),
            };
            problems.add_with_help(span.clone(), format!("there is no server `{server}`"), help);
        }
        section.finish(&["expires", "credentials"]);
        let (Some((name, span)), Some(who), Some((server, _)), Some((policy, place))) = (name, who, server, policy)
        else {
            continue;
        };
        if grants.iter().any(|known| known.name == name && known.server == server) {
            // Counters are kept by grant and server: two such grants would use up each other's limits.
            problems.add(span, format!("the grant `{name}` for the server `{server}` is defined twice"));
            continue;
        }
        let policy = (Path::new(policy).to_owned(), place);
        grants.push(RawGrant { name: name.to_owned(), who, server: server.to_owned(), policy });
    }
    grants
}

/// `who = { … }`. It must be written out even for everyone: a forgotten line must not widen a grant.
fn who(section: &mut Section<'_, '_>) -> Option<Who> {
    let place = section.span();
    let problems = section.problems();
    let before = section.any("who").is_some();
    let Some(mut table) = section.section("who") else {
        if !before {
            let help = "name a `unit`, `user`, `uid` or `cgroup`; `who = {}` is everyone who is captured";
            problems.missing(place, "`grant.who` is missing", help);
        }
        return None;
    };
    let mut who = Who::default();
    let mut whole = true;
    if let Some((path, span)) = table.string("cgroup") {
        match cgroup_path(path) {
            Ok(()) => who.cgroup = Some(path.to_owned()),
            Err(message) => {
                whole = false;
                problems.add(span, message);
            }
        }
    }
    if let Some((unit, span)) = table.string("unit") {
        if is_unit(unit) {
            who.unit = Some(unit.to_owned());
        } else {
            whole = false;
            let help = "give the whole name with its type, such as `office-agent.service`; patterns are not units";
            problems.add_with_help(span, format!("`{unit}` is not a systemd unit"), help);
        }
    }
    // 2³² - 1 is "no user" to the kernel (setuid(2)).
    who.uid = table.integer("uid", 0..i64::from(u32::MAX)).and_then(|uid| u32::try_from(uid).ok());
    if let Some((name, span)) = table.string("user") {
        match User::from_name(name) {
            Ok(Some(_)) => who.user = Some(name.to_owned()),
            Ok(None) => {
                whole = false;
                problems.add_with_help(span, format!("there is no user `{name}` on this host"), "see `getent passwd`");
            }
            Err(errno) => {
                whole = false;
                problems.add(span, format!("the user `{name}` cannot be looked up: {}", errno.desc()));
            }
        }
    }
    if let Some((exe, span)) = table.string("exe") {
        let alone = table.any("uid").is_none() && table.any("user").is_none() && table.any("unit").is_none();
        if !Path::new(exe).is_absolute() {
            whole = false;
            problems.add(span, format!("the executable `{exe}` is not an absolute path"));
        } else if alone {
            whole = false;
            let help = "an executable's path can be forged in a namespace of one's own: add `user`, `uid` or `unit`";
            problems.add_with_help(span, "`who.exe` proves nothing alone", help);
        } else {
            who.exe = Some(PathBuf::from(exe));
        }
    }
    table.finish(&["namespace", "service_account", "pod_labels", "pod", "container", "user_unit"]);
    whole.then_some(who)
}

/// systemd.unit(5): a name and a type. Slices and scopes hold processes too.
fn is_unit(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | ':' | '\\' | '@');
    let Some((stem, kind)) = name.rsplit_once('.') else { return false };
    !stem.is_empty() && name.len() <= 255 && name.chars().all(plain) && matches!(kind, "service" | "scope" | "slice")
}
