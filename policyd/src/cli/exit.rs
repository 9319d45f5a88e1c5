//! Exit codes (sysexits.h, and env(1) for `exec`), and the table that every `--help` ends with.

/// All went well.
pub const OK: u8 = 0;
/// A test of a policy failed, or a file is not laid out canonically.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 64;
/// A policy is bad.
pub const DATA: u8 = 65;
/// A file cannot be read, or a folder holds nothing to work on.
pub const NO_INPUT: u8 = 66;
/// The kernel or host lacks something.
pub const UNAVAILABLE: u8 = 69;
/// A file cannot be written.
pub const NOT_WRITTEN: u8 = 73;
/// A privilege is missing.
pub const NOT_PERMITTED: u8 = 77;
/// The configuration is bad.
pub const CONFIG: u8 = 78;
/// `exec` itself failed, as in env(1).
pub const EXEC_FAILED: u8 = 125;
/// COMMAND was found and could not be started.
pub const EXEC_NOT_EXECUTABLE: u8 = 126;
/// COMMAND was not found.
pub const EXEC_NOT_FOUND: u8 = 127;

/// For the commands besides `exec`.
pub(super) const TABLE: &str = "\
Exit codes:
  0   all went well
  64  the command line is wrong
  65  a policy is bad
  69  the kernel or host lacks something (`policyd doctor` says what)
  77  a privilege is missing
  78  the configuration is bad";

/// For `counters`.
pub(super) const COUNTERS_TABLE: &str = "\
Exit codes:
  0   all went well
  1   `reset`: no counter is like that
  64  the command line is wrong
  69  no daemon answers, or its store or its audit log fails
  73  stdout cannot be written
  77  a privilege is missing
  78  the configuration is bad";

/// For `tools`.
pub(super) const TOOLS_TABLE: &str = "\
Exit codes:
  0   all went well
  1   the server has not listed such a tool, or another definition than `--hash` says
  64  the command line is wrong
  69  no daemon answers, or its store or its audit log fails
  73  stdout cannot be written
  77  a privilege is missing
  78  the configuration is bad";

/// For the commands below `policy`, each of which has the table of its own codes.
pub(super) const POLICY_TABLE: &str = "\
Exit codes:
  0   all went well
  1   a test failed, a file is not laid out canonically, a decision changes
  64  the command line is wrong
  65  a policy, a test file or a log is bad
  66  a file cannot be read, a folder holds nothing to work on
  69  a server cannot be asked
  73  a file, or stdout, cannot be written";

/// For `exec`.
pub(super) const EXEC_TABLE: &str = "\
Exit codes:
  COMMAND's own, or 128+n if signal n ended it; and as with env(1):
  125  policyd itself failed: command line, policy, kernel, privileges
  126  COMMAND was found and could not be started
  127  COMMAND was not found";

/// For `stdio`.
pub(super) const STDIO_TABLE: &str = "\
Exit codes:
  COMMAND's own, or 128+n if signal n ended it; and of policyd itself:
  64   the command line is wrong
  65   the policy, or the client's configuration, is bad
  66   a file cannot be read
  69   no daemon answers, it does not take the session, or it went away
  73   a file cannot be written
  77   no grant lets the caller use the server
  126  COMMAND was found and could not be started
  127  COMMAND was not found";

/// What a process that ended this way is reported as: its code, or 128+n.
pub(super) fn of_status(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt;
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(EXEC_FAILED),
        (None, Some(signal)) => u8::try_from(128 + (signal & 0x7f)).unwrap_or(EXEC_FAILED),
        (None, None) => EXEC_FAILED,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_status_becomes_what_shells_make_of_it() {
        assert_eq!(of_status(ExitStatus::from_raw(0)), 0);
        assert_eq!(of_status(ExitStatus::from_raw(7 << 8)), 7);
        assert_eq!(of_status(ExitStatus::from_raw(255 << 8)), 255);
        assert_eq!(of_status(ExitStatus::from_raw(15)), 143);
        // A core dump sets the high bit beside the signal.
        assert_eq!(of_status(ExitStatus::from_raw(0x80 | 11)), 139);
    }
}
