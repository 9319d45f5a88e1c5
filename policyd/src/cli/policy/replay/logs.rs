//! Several audit logs as one, in the order of time: a record of each is in memory, never more.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use super::{Unreadable, files};
use crate::authoring::replay::Record;
use crate::cli::say;
use crate::mcp::json::Parser;
use crate::visible::visible;

/// The longest line that is read. A record with arguments is little longer than the largest message that is judged.
const LONGEST: u64 = 64 << 20;

/// How many lines that cannot be read are told one by one.
const TOLD: u64 = 10;

/// How a compressed file begins (RFC 1952, section 2.3.1).
const GZIP: [u8; 2] = [0x1f, 0x8b];

/// The logs.
pub(super) struct Logs {
    logs: Vec<Log>,
    parser: Parser,
    bad: u64,
    torn: usize,
}

struct Log {
    name: String,
    reader: Box<dyn BufRead>,
    line: Vec<u8>,
    number: u64,
    /// Its next record; `None` at its end.
    next: Option<Record>,
}

/// What a line was.
enum Line {
    Whole,
    /// It has no end: the last one of a log that is being written, or was when the power failed.
    Torn,
    TooLong,
    End,
}

impl Logs {
    /// Opens them.
    pub fn open(paths: &[PathBuf]) -> Result<Logs, Unreadable> {
        let logs: Result<Vec<Log>, Unreadable> = paths.iter().map(|path| Log::open(path)).collect();
        let mut logs = Logs { logs: logs?, parser: Parser::new(), bad: 0, torn: 0 };
        for index in 0..logs.logs.len() {
            logs.advance(index)?;
        }
        Ok(logs)
    }

    /// The earliest record that is left.
    pub fn next(&mut self) -> Result<Option<Record>, Unreadable> {
        let times = self.logs.iter().enumerate().filter_map(|(index, log)| Some((log.next.as_ref()?.time(), index)));
        let Some((_, index)) = times.min() else { return Ok(None) };
        let record = self.logs.get_mut(index).and_then(|log| log.next.take());
        self.advance(index)?;
        Ok(record)
    }

    /// Lines that are no records.
    pub fn bad_lines(&self) -> u64 {
        self.bad
    }

    /// Logs whose last line is not whole.
    pub fn torn_lines(&self) -> usize {
        self.torn
    }

    /// Reads a log's next record.
    fn advance(&mut self, index: usize) -> Result<(), Unreadable> {
        let Some(log) = self.logs.get_mut(index) else { return Ok(()) };
        loop {
            let line = log.read().map_err(|error| unreadable(&log.name, &error))?;
            if log.line.is_empty() && matches!(line, Line::Whole) {
                continue;
            }
            let why = match (line, Record::parse(&mut self.parser, &log.line)) {
                (Line::End, _) => return Ok(()),
                (Line::TooLong, _) => format!("the line is longer than {} MiB", LONGEST >> 20),
                (_, Ok(record)) => {
                    log.next = Some(record);
                    return Ok(());
                }
                (Line::Torn, Err(_)) => {
                    self.torn += 1;
                    return Ok(());
                }
                (Line::Whole, Err(why)) => why,
            };
            self.bad += 1;
            if self.bad <= TOLD {
                // A log holds what agents wrote.
                let why = visible(&why);
                say(format_args!("{}:{}: {why}", log.name, log.number));
            } else if self.bad == TOLD + 1 {
                say("more lines that cannot be read are only counted");
            }
        }
    }
}

impl Log {
    fn open(path: &Path) -> Result<Log, Unreadable> {
        let stdin = path == Path::new("-");
        let name = if stdin { "<stdin>".to_owned() } else { path.display().to_string() };
        let reader: Box<dyn Read> = match stdin {
            true => match files::stdin() {
                Ok(stdin) => Box::new(stdin),
                Err(why) => return Err(Unreadable { name, why }),
            },
            false => Box::new(File::open(path).map_err(|error| unreadable(&name, &error))?),
        };
        let mut reader = BufReader::with_capacity(1 << 16, reader);
        let begins = reader.fill_buf().map_err(|error| unreadable(&name, &error))?;
        if begins.starts_with(&GZIP) {
            let why = "is compressed: `zcat FILE | policyd policy replay POLICY -` reads it".to_owned();
            return Err(Unreadable { name, why });
        }
        Ok(Log { name, reader: Box::new(reader), line: Vec::new(), number: 0, next: None })
    }

    /// Reads a line, without its end.
    fn read(&mut self) -> io::Result<Line> {
        self.line.clear();
        self.number += 1;
        let read = self.reader.by_ref().take(LONGEST).read_until(b'\n', &mut self.line)?;
        if self.line.pop_if(|last| *last == b'\n').is_some() {
            return Ok(Line::Whole);
        }
        match read as u64 {
            0 => Ok(Line::End),
            LONGEST => {
                self.line = Vec::new();
                self.reader.skip_until(b'\n')?;
                Ok(Line::TooLong)
            }
            _ => Ok(Line::Torn),
        }
    }
}

fn unreadable(name: &str, error: &io::Error) -> Unreadable {
    Unreadable { name: name.to_owned(), why: format!("cannot be read: {error}") }
}
