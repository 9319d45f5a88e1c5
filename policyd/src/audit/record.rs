//! The records' form. Every key is always there; what is not known is `null`.

use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::json::{bounded, decimal, hash, integer, optional, raw, string};
use super::key::Key;
use crate::state::Change;
use crate::telemetry::events::kind_label;
use crate::telemetry::{CallId, Decided, Finished};

/// Appends a `decision` record and its line end. `arguments`: the arguments themselves too.
pub(super) fn decision(out: &mut Vec<u8>, decided: &Decided<'_>, key: &Key, arguments: bool) {
    head(out, "decision", decided.at);
    out.extend_from_slice(b",\"call\":");
    call(out, decided.call);
    identity(out, decided);
    out.extend_from_slice(b",\"grant\":");
    optional(out, decided.grant, string);
    out.extend_from_slice(b",\"server\":");
    string(out, decided.server);
    out.extend_from_slice(b",\"direction\":\"");
    out.extend_from_slice(decided.direction.label().as_bytes());
    out.extend_from_slice(b"\",\"method\":");
    optional(out, decided.method, bounded);
    out.extend_from_slice(b",\"tool\":");
    optional(out, decided.tool, bounded);
    out.extend_from_slice(b",\"decision\":\"");
    out.extend_from_slice(decided.effect.label().as_bytes());
    out.extend_from_slice(b"\",\"rule\":");
    string(out, &decided.rule.pointer);
    out.extend_from_slice(b",\"rule_kind\":");
    string(out, kind_label(decided.rule.kind));
    out.extend_from_slice(b",\"reason\":");
    optional(out, decided.reason, string);
    out.extend_from_slice(b",\"observed\":");
    boolean(out, decided.observed);
    counters(out, decided);
    out.extend_from_slice(b",\"session\":");
    optional(out, decided.session, |out, id| hash(out, &key.session(id.as_bytes()).as_ref()[..16]));
    out.extend_from_slice(b",\"protocol_version\":");
    optional(out, decided.protocol_version, bounded);
    out.extend_from_slice(b",\"arguments_hmac\":");
    optional(out, decided.arguments, |out, text| hash(out, key.arguments(text).as_ref()));
    if arguments {
        out.extend_from_slice(b",\"arguments\":");
        optional(out, decided.arguments, raw);
    }
    out.extend_from_slice(b",\"decision_us\":");
    micros(out, decided.took);
    out.extend_from_slice(b"}\n");
}

/// Appends an `outcome` record and its line end.
pub(super) fn outcome(out: &mut Vec<u8>, finished: &Finished<'_>) {
    head(out, "outcome", finished.at);
    out.extend_from_slice(b",\"call\":");
    call(out, finished.call);
    out.extend_from_slice(b",\"server\":");
    string(out, finished.server);
    out.extend_from_slice(b",\"status\":");
    optional(out, finished.status, |out, status| integer(out, status.into()));
    out.extend_from_slice(b",\"bytes_in\":");
    integer(out, finished.bytes_in);
    out.extend_from_slice(b",\"bytes_out\":");
    integer(out, finished.bytes_out);
    out.extend_from_slice(b",\"latency_us\":");
    micros(out, finished.took);
    out.extend_from_slice(b",\"quota_returned\":");
    boolean(out, finished.returned);
    out.extend_from_slice(b",\"error\":");
    optional(out, finished.error, string);
    out.extend_from_slice(b"}\n");
}

/// How many things somebody changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Count {
    /// The record's `counters`.
    Counters(usize),
    /// The record's `tools`.
    Tools(usize),
}

/// A change that somebody made to the running daemon.
#[derive(Clone, Copy, Debug)]
pub struct Admin<'a> {
    /// When, on the wall clock.
    pub at: SystemTime,
    /// What is done, in a word from a fixed set.
    pub action: &'static str,
    /// To what: JSON.
    pub selector: &'a [u8],
    /// How many of them that are: counters, or tools.
    pub count: Count,
    /// Who asked for it: the user, as the kernel knows it.
    pub uid: u32,
    /// And the process, if the kernel knows it in this namespace.
    pub pid: Option<i32>,
}

/// Appends an `admin` record and its line end.
pub(super) fn admin(out: &mut Vec<u8>, admin: &Admin<'_>) {
    head(out, "admin", admin.at);
    out.extend_from_slice(b",\"action\":");
    string(out, admin.action);
    out.extend_from_slice(b",\"selector\":");
    raw(out, admin.selector);
    let (key, count) = match admin.count {
        Count::Counters(count) => ("counters", count),
        Count::Tools(count) => ("tools", count),
    };
    out.push(b',');
    string(out, key);
    out.push(b':');
    integer(out, count as u64);
    out.extend_from_slice(b",\"uid\":");
    integer(out, admin.uid.into());
    out.extend_from_slice(b",\"pid\":");
    optional(out, admin.pid, |out, pid| integer(out, pid.unsigned_abs().into()));
    out.extend_from_slice(b"}\n");
}

/// A definition of a tool that is another one than before.
#[derive(Clone, Copy, Debug)]
pub struct Definition<'a> {
    /// When, on the wall clock.
    pub at: SystemTime,
    /// The server's name.
    pub server: &'a str,
    /// What of it.
    pub change: &'a Change,
    /// How many such records of the server were left out before this one.
    pub left_out: u64,
}

/// Appends a `definition` record and its line end.
pub(super) fn definition(out: &mut Vec<u8>, definition: &Definition<'_>) {
    let Definition { at, server, change, left_out } = *definition;
    head(out, "definition", at);
    out.extend_from_slice(b",\"server\":");
    string(out, server);
    out.extend_from_slice(b",\"tool\":");
    bounded(out, &change.tool);
    out.extend_from_slice(b",\"change\":");
    string(out, change.kind.label());
    out.extend_from_slice(b",\"old\":");
    optional(out, change.old.as_deref(), string);
    out.extend_from_slice(b",\"new\":");
    string(out, &change.new);
    out.extend_from_slice(b",\"fields\":");
    optional(out, change.fields.as_deref(), |out, fields| {
        out.push(b'[');
        for (index, field) in fields.iter().enumerate() {
            if index > 0 {
                out.push(b',');
            }
            bounded(out, field);
        }
        out.push(b']');
    });
    out.extend_from_slice(b",\"first_seen\":\"");
    out.extend_from_slice(&rfc3339(UNIX_EPOCH + Duration::from_millis(change.first_seen)));
    out.extend_from_slice(b"\",\"left_out\":");
    integer(out, left_out);
    out.extend_from_slice(b"}\n");
}

/// Appends a `gap` record and its line end: `missed` records before it could not be written.
pub(super) fn gap(out: &mut Vec<u8>, at: SystemTime, missed: u64) {
    head(out, "gap", at);
    out.extend_from_slice(b",\"missed\":");
    integer(out, missed);
    out.extend_from_slice(b"}\n");
}

fn head(out: &mut Vec<u8>, record: &str, at: SystemTime) {
    out.extend_from_slice(b"{\"record\":\"");
    out.extend_from_slice(record.as_bytes());
    out.extend_from_slice(b"\",\"time\":\"");
    out.extend_from_slice(&rfc3339(at));
    out.push(b'"');
}

fn call(out: &mut Vec<u8>, call: CallId) {
    out.push(b'"');
    out.extend_from_slice(&call.digits());
    out.push(b'"');
}

fn identity(out: &mut Vec<u8>, decided: &Decided<'_>) {
    let identity = decided.identity;
    out.extend_from_slice(b",\"identity\":{\"pid\":");
    integer(out, identity.pid.into());
    out.extend_from_slice(b",\"uid\":");
    integer(out, identity.uid.into());
    out.extend_from_slice(b",\"user\":");
    optional(out, identity.user.as_deref(), string);
    out.extend_from_slice(b",\"exe\":");
    optional(out, identity.exe.as_deref().map(Path::to_string_lossy), |out, exe| bounded(out, &exe));
    out.extend_from_slice(b",\"cgroup\":");
    bounded(out, &identity.cgroup);
    out.extend_from_slice(b",\"unit\":");
    optional(out, identity.unit.as_deref(), string);
    out.push(b'}');
}

fn counters(out: &mut Vec<u8>, decided: &Decided<'_>) {
    out.extend_from_slice(b",\"counters\":[");
    for (index, state) in decided.counters.iter().enumerate() {
        out.extend_from_slice(if index == 0 { b"{\"counter\":" } else { b",{\"counter\":" });
        string(out, &state.counter);
        out.extend_from_slice(b",\"used\":");
        decimal(out, &state.used);
        out.extend_from_slice(b",\"max\":");
        decimal(out, &state.max);
        out.push(b'}');
    }
    out.push(b']');
}

fn boolean(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

/// Microseconds, to three places.
fn micros(out: &mut Vec<u8>, took: Duration) {
    let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
    integer(out, nanos / 1_000);
    let places = nanos % 1_000;
    if places != 0 {
        let digit = |value: u64| b'0' + (value % 10) as u8;
        out.extend_from_slice(&[b'.', digit(places / 100), digit(places / 10), digit(places)]);
    }
}

/// `YYYY-MM-DDThh:mm:ss.ffffffZ` (RFC 3339, UTC). The date by Hinnant's `civil_from_days`.
pub(super) fn rfc3339(at: SystemTime) -> [u8; 27] {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Years begin in March here, so that the leap day is the last; an era is 400 years.
    let shifted = days + 719_468;
    let (era, day_of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);

    let mut text = *b"0000-00-00T00:00:00.000000Z";
    let mut put = |range: std::ops::Range<usize>, mut value: u64| {
        for place in text[range].iter_mut().rev() {
            *place = b'0' + (value % 10) as u8;
            value /= 10;
        }
    };
    put(0..4, year);
    put(5..7, month);
    put(8..10, day);
    put(11..13, second / 3_600);
    put(14..16, second / 60 % 60);
    put(17..19, second % 60);
    put(20..26, since.subsec_micros().into());
    text
}
