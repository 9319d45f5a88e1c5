//! Other readers of JSON, asked what they read in the messages that policyd accepts: all must read the same call.
//!
//! What a reader read is written as `METHOD|ID`, and for a `tools/call` `METHOD|ID|NAME|ARGUMENTS`; `-` is for what is not
//! there. Values are `n`, `t`, `f`, `s` and the string's UTF-8 in hex, `[…]`, `{KEY:…}` with the keys in hex and in order.
//! Numbers are compared as each reader can know them: `d` and the bits of a double, rounded from the text; `i` and the digits
//! of an integer where the reader keeps integers exactly (Python any, serde_json those of 64 bits).

use std::io::{BufReader, BufWriter, Read, Write};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bytes::Bytes;
use policyd::mcp::json::{Kind, Parser, Value};
use policyd::mcp::vet;

use crate::messages::Messages;
use crate::systems::repository;

/// Messages that are sent to a reader at once.
const BATCH: usize = 200;

/// What a run has done.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Messages made.
    pub made: u64,
    /// Those that policyd accepted, so that all readers were asked.
    pub accepted: u64,
    /// Those of them that call a tool.
    pub calls: u64,
}

/// How a reader takes numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Numbers {
    /// All as doubles (`JSON.parse`).
    Doubles,
    /// Integers with all their digits, others as doubles (Python).
    Integers,
    /// Integers of 64 bits, others as doubles (serde_json).
    Words,
}

/// A long-lived process that reads.
struct Reader {
    name: &'static str,
    numbers: Numbers,
    child: Child,
    to: BufWriter<ChildStdin>,
    from: BufReader<ChildStdout>,
}

/// All readers.
pub struct Readers(Vec<Reader>);

impl Readers {
    /// Starts them.
    ///
    /// # Errors
    /// When Python or Node is missing.
    pub fn start() -> anyhow::Result<Self> {
        let start = |name, program: &str, script: &str, numbers| -> anyhow::Result<Reader> {
            let mut command = Command::new(program);
            command.arg(repository().join("tests/readers").join(script)).stdin(Stdio::piped()).stdout(Stdio::piped());
            let mut child = command.spawn()?;
            let to = BufWriter::new(child.stdin.take().expect("a pipe"));
            let from = BufReader::new(child.stdout.take().expect("a pipe"));
            Ok(Reader { name, numbers, child, to, from })
        };
        Ok(Self(vec![
            start("Python's json", "python3", "reader.py", Numbers::Integers)?,
            start("Node's JSON.parse", "node", "reader.mjs", Numbers::Doubles)?,
        ]))
    }

    /// What each reader reads in `message`, whether policyd accepts it or not: Python, Node, serde_json.
    ///
    /// # Errors
    /// When a reader died.
    pub fn ask(&mut self, message: &Bytes) -> anyhow::Result<Vec<String>> {
        let mut answers = Vec::new();
        for reader in &mut self.0 {
            answers.extend(reader.ask(std::iter::once(message))?);
        }
        answers.push(by_serde(message));
        Ok(answers)
    }

    /// Makes a batch of messages and compares what is read in those that policyd accepts.
    ///
    /// # Errors
    /// A message that is read in two ways, with what each read; or a reader that died.
    pub fn compare(&mut self, messages: &mut Messages, tally: &mut Tally) -> anyhow::Result<()> {
        let mut accepted = Vec::new();
        for _ in 0..BATCH {
            let message = Bytes::from(messages.next_message());
            tally.made += 1;
            if let Some(read) = by_policyd(&message) {
                tally.accepted += 1;
                tally.calls += u64::from(read.calls);
                let by_serde = by_serde(&message);
                agree(&message, "serde_json", &read.words, &by_serde)?;
                accepted.push((message, read));
            }
        }
        for reader in &mut self.0 {
            let answers = reader.ask(accepted.iter().map(|(message, _)| message))?;
            for ((message, read), answer) in accepted.iter().zip(answers) {
                let ours = if reader.numbers == Numbers::Doubles { &read.doubles } else { &read.integers };
                agree(message, reader.name, ours, &answer)?;
            }
        }
        Ok(())
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        for reader in &mut self.0 {
            reader.child.kill().ok();
            reader.child.wait().ok();
        }
    }
}

impl Reader {
    fn ask<'m>(&mut self, messages: impl Iterator<Item = &'m Bytes> + Send) -> anyhow::Result<Vec<String>> {
        let (to, from) = (&mut self.to, &mut self.from);
        // Both pipes could be full: who writes must not be who reads.
        std::thread::scope(|scope| {
            let (told, tell) = std::sync::mpsc::channel();
            scope.spawn(move || -> std::io::Result<()> {
                for message in messages {
                    let length = u32::try_from(message.len()).expect("a short message");
                    to.write_all(&length.to_be_bytes())?;
                    to.write_all(message)?;
                    told.send(()).ok();
                }
                to.flush()
            });
            let mut answers = Vec::new();
            while tell.recv().is_ok() {
                let mut length = [0; 4];
                from.read_exact(&mut length)?;
                let mut answer = vec![0; u32::from_be_bytes(length) as usize];
                from.read_exact(&mut answer)?;
                answers.push(String::from_utf8(answer)?);
            }
            Ok(answers)
        })
    }
}

fn agree(message: &[u8], name: &str, ours: &str, theirs: &str) -> anyhow::Result<()> {
    anyhow::ensure!(
        ours == theirs,
        "{name} reads another message than policyd\n{}\npolicyd: {ours}\n{name}: {theirs}",
        message.escape_ascii()
    );
    Ok(())
}

/// What policyd reads, with numbers as the others know them.
struct Reading {
    doubles: String,
    integers: String,
    words: String,
    calls: bool,
}

fn by_policyd(message: &Bytes) -> Option<Reading> {
    let mut parser = Parser::new();
    let vetted = vet(&mut parser, message).ok()?;
    let write = |numbers| {
        let mut out = vetted.method().map_or_else(|| "-".to_owned(), string);
        out.push('|');
        out += &vetted.id().map_or_else(
            || "-".to_owned(),
            |id| canonical(Parser::new().parse(id.0.as_bytes()).expect("an id"), numbers),
        );
        if let Some(tool) = vetted.tool() {
            let arguments = vetted.arguments().map_or_else(|| "-".to_owned(), |value| canonical(value, numbers));
            out += &format!("|{}|{arguments}", string(tool));
        }
        out
    };
    Some(Reading {
        doubles: write(Numbers::Doubles),
        integers: write(Numbers::Integers),
        words: write(Numbers::Words),
        calls: vetted.tool().is_some(),
    })
}

fn canonical(value: Value<'_>, numbers: Numbers) -> String {
    match value.kind() {
        Kind::Null => "n".to_owned(),
        Kind::Bool => if value.as_bool() == Some(true) { "t" } else { "f" }.to_owned(),
        Kind::Number => number(value.raw(), numbers),
        Kind::String => string(&value.as_str().expect("a string")),
        Kind::Array => {
            let items: Vec<_> = value.items().map(|item| canonical(item, numbers)).collect();
            format!("[{}]", items.join(","))
        }
        Kind::Object => {
            let key = |key: Value<'_>| string(&key.as_str().expect("a key"))[1..].to_owned();
            let mut members: Vec<_> =
                value.entries().map(|(k, v)| format!("{}:{}", key(k), canonical(v, numbers))).collect();
            members.sort_unstable();
            format!("{{{}}}", members.join(","))
        }
    }
}

fn number(text: &str, numbers: Numbers) -> String {
    let integer = !text.contains(['.', 'e', 'E']);
    let exact = match numbers {
        Numbers::Doubles => false,
        Numbers::Integers => integer,
        // What serde_json makes of a minus before a zero is a double.
        Numbers::Words => integer && text != "-0" && (text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok()),
    };
    match exact {
        true if text == "-0" => "i0".to_owned(),
        true => format!("i{text}"),
        false => double(text.parse().expect("a number"), numbers),
    }
}

/// serde_json may be off by one in the last place, as it says: of its doubles it is only compared that they are.
fn double(number: f64, numbers: Numbers) -> String {
    if numbers == Numbers::Words { "d".to_owned() } else { format!("d{:016x}", number.to_bits()) }
}

fn string(text: &str) -> String {
    let mut out = String::from("s");
    out.extend(text.bytes().map(|byte| format!("{byte:02x}")));
    out
}

fn by_serde(message: &[u8]) -> String {
    let Ok(value) = serde_json::from_slice::<serde_json::Value>(message) else { return "error".to_owned() };
    let part = |value: Option<&serde_json::Value>| value.map_or_else(|| "-".to_owned(), serde);
    let mut out = format!("{}|{}", part(value.get("method")), part(value.get("id")));
    if value["method"] == "tools/call" {
        let params = &value["params"];
        out += &format!("|{}|{}", part(params.get("name")), part(params.get("arguments")));
    }
    out
}

fn serde(value: &serde_json::Value) -> String {
    use serde_json::Value::{Array, Bool, Null, Number, Object, String};
    match value {
        Null => "n".to_owned(),
        Bool(true) => "t".to_owned(),
        Bool(false) => "f".to_owned(),
        Number(number) if number.is_f64() => double(number.as_f64().expect("a double"), Numbers::Words),
        Number(number) => format!("i{number}"),
        String(text) => string(text),
        Array(items) => format!("[{}]", items.iter().map(serde).collect::<Vec<_>>().join(",")),
        Object(members) => {
            let mut members: Vec<_> =
                members.iter().map(|(k, v)| format!("{}:{}", &string(k)[1..], serde(v))).collect();
            members.sort_unstable();
            format!("{{{}}}", members.join(","))
        }
    }
}
