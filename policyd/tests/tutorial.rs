//! The tutorial's files and commands, as a reader would write and run them: what it prints stands in it word for word.
//!
//! A block whose info string ends with a file's name is that file; a `console` block is run, line by line. After a change of
//! what is printed: `TUTORIAL=write cargo nextest run --test tutorial`, and read what changed.

#![allow(clippy::expect_used, clippy::panic, clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::Command;

/// A page, with the output of its commands as they are now.
fn replayed(page: &str, folder: &Path) -> String {
    let mut now = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        now.push_str(line);
        now.push('\n');
        let Some(info) = line.strip_prefix("```").filter(|info| !info.is_empty()) else { continue };
        let block: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
        match info.split_once(' ') {
            Some((_, file)) => {
                let text = block.join("\n") + "\n";
                fs::write(folder.join(file), &text).expect("the folder can be written");
                now.push_str(&text);
            }
            None if info == "console" => {
                for command in block.iter().filter_map(|line| line.strip_prefix("$ ")) {
                    now.push_str(&format!("$ {command}\n{}", output(command, folder)));
                }
            }
            None => now.push_str(&(block.join("\n") + "\n")),
        }
        now.push_str("```\n");
    }
    now
}

/// What a command prints in a shell, where `policyd` is the one that was built.
fn output(command: &str, folder: &Path) -> String {
    let binary = assert_cmd::cargo::cargo_bin!("policyd").parent().expect("it lies in a folder");
    let search = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("sh")
        .args(["-c", &format!("{command} 2>&1")])
        .current_dir(folder)
        .env("PATH", format!("{}:{search}", binary.display()))
        .output()
        .expect("there is a shell");
    String::from_utf8(output.stdout).expect("text").lines().map(|line| format!("{}\n", line.trim_end())).collect()
}

#[test]
fn the_tutorial_prints_what_it_says() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/policy/tutorial.md");
    let page = fs::read_to_string(&path).expect("the tutorial");
    let folder = tempfile::tempdir().expect("a folder");
    let now = replayed(&page, folder.path());
    if std::env::var_os("TUTORIAL").is_some_and(|wish| wish == "write") {
        fs::write(&path, &now).expect("the tutorial can be written");
    }
    assert!(page.matches("\n$ policyd ").count() > 8, "the tutorial has lost its commands");
    if page != now {
        let differs = page.lines().zip(now.lines()).position(|(said, is)| said != is).unwrap_or_default();
        let window = |text: &str| text.lines().skip(differs.saturating_sub(2)).take(12).collect::<Vec<_>>().join("\n");
        panic!("line {}: it says\n\n{}\n\nand it is\n\n{}", differs + 1, window(&page), window(&now));
    }
}
