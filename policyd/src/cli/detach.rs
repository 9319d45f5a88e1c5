//! `policyd detach`: removes what an instance pinned, so that its agents are let out.

use super::{exit, say};
use crate::capture;
use crate::config::is_instance;

/// What `--help` says beyond the first line.
pub const LONG: &str = "Let the agents out: remove what an instance left in the kernel.\n\n\
    policyd pins its kernel programs, so that enforcement outlives a crash: while no policyd runs, the agents' \
    connections to captured ports are refused, not let out. This command removes those programs. Use it to take \
    policyd off a host, or when `policyd exec` left an enforced cgroup behind. Stop the daemon first: a running \
    one keeps its own hold.\n\n\
    From now on the instance's agents connect without any policy.";

/// Arguments of `policyd detach`.
#[derive(Clone, Debug, clap::Args)]
#[command(
    after_long_help = after_help()
)]
pub struct DetachArgs {
    /// The instance: `capture.instance` of the configuration, or `exec-PID`
    #[arg(long, value_name = "NAME", default_value = "default", value_parser = instance)]
    pub instance: String,
}

fn after_help() -> String {
    format!(
        "Examples:\n  sudo systemctl stop policyd && sudo policyd detach\n  sudo policyd detach --instance exec-4711\n\n{}",
        exit::TABLE
    )
}

fn instance(text: &str) -> Result<String, String> {
    if is_instance(text) { Ok(text.to_owned()) } else { Err("use up to 64 letters, digits, `-` and `_`".to_owned()) }
}

/// Removes the pins and says what was done.
pub fn run(args: &DetachArgs) -> u8 {
    match capture::detach(&args.instance) {
        Ok(()) => {
            say(format_args!("instance `{}` is detached: its agents connect without any policy", args.instance));
            exit::OK
        }
        Err(error) => {
            say(&error);
            error.exit_code()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instance_cannot_name_another_folder() {
        for name in ["", ".", "..", "../x", "a/b", "/", ".hidden", "a.b"] {
            assert!(instance(name).is_err(), "{name}");
        }
        assert!(instance("exec-4711").is_ok());
    }
}
