//! One open description of the log file, and what it takes to append whole lines to it.

use std::fs::{File, OpenOptions};
use std::io::{self, Seek, Write};
use std::os::unix::fs::{FileExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{FcntlArg, OFlag, fcntl};

use super::Error;

/// Appends lines to the log. Each worker has its own, so that no two share a file position; the kernel keeps appends of
/// one `write(2)` together.
#[derive(Debug)]
pub(super) struct Sink {
    path: PathBuf,
    file: Option<File>,
    /// The file does not end with a line end: the next record must begin with one.
    torn: bool,
}

/// Lines with room for a line end before them, so that one `write(2)` does for both cases.
#[derive(Debug, Default)]
pub(super) struct Lines {
    bytes: Vec<u8>,
    count: usize,
}

/// Buffers that grew beyond this for one record are given back.
const KEPT: usize = 64 * 1024;

impl Lines {
    /// One more line. `write` appends the record and its line end.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) -> &Lines {
        if self.bytes.is_empty() {
            self.bytes.push(b'\n');
        }
        write(&mut self.bytes);
        self.count += 1;
        self
    }

    /// Lets go of all lines.
    pub fn clear(&mut self) {
        if self.bytes.capacity() > KEPT {
            self.bytes = Vec::new();
        }
        self.bytes.clear();
        self.count = 0;
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.count
    }

    /// Whether they have become so many that they should be written now.
    pub fn is_full(&self) -> bool {
        self.bytes.len() > KEPT / 2
    }
}

impl Sink {
    /// Will open or make the log at `path` with the first line.
    pub fn at(path: &Path) -> Sink {
        Sink { path: path.to_owned(), file: None, torn: false }
    }

    /// Opens or makes the log.
    pub fn open(path: &Path) -> Result<Sink, Error> {
        let mut sink = Sink::at(path);
        match sink.connect() {
            Ok(()) => Ok(sink),
            Err(cause) if cause.kind() == io::ErrorKind::Unsupported => Err(Error::NotAFile { path: path.to_owned() }),
            Err(cause) => Err(Error::Open { path: path.to_owned(), cause }),
        }
    }

    /// Lets go of the file: the next record goes to whatever then lies at the path.
    pub fn reopen(&mut self) {
        self.file = None;
    }

    /// Appends lines whole, or fails; then nothing of the first that did not fit stays, or something that spoils no other
    /// line.
    pub fn append(&mut self, lines: &Lines) -> io::Result<()> {
        if self.file.is_none() {
            self.connect()?;
        }
        let Some(mut file) = self.file.as_ref() else { return Err(io::ErrorKind::NotFound.into()) };
        let bytes = if self.torn { &lines.bytes[..] } else { &lines.bytes[1..] };
        let written = loop {
            match file.write(bytes) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        match written {
            Ok(count) if count == bytes.len() => {
                self.torn = false;
                Ok(())
            }
            Ok(count) => {
                // Of several lines the first may stand whole.
                let whole = bytes[..count].iter().rposition(|&byte| byte == b'\n').map_or(0, |end| end + 1);
                let torn = count - whole;
                self.torn = torn > 0 && mend(file, torn).is_err() || self.torn && count == 0;
                Err(io::ErrorKind::StorageFull.into())
            }
            Err(error) => {
                if error.kind() != io::ErrorKind::StorageFull {
                    self.file = None;
                }
                Err(error)
            }
        }
    }

    /// Makes what was written so far survive a power cut. Devices cannot and need not.
    pub fn sync(&self) -> io::Result<()> {
        match &self.file {
            Some(file) if file.metadata()?.is_file() => file.sync_data(),
            _ => Ok(()),
        }
    }

    /// Whether the path leads to this file still. False for a file that was moved, replaced or removed.
    pub fn in_place(&self) -> bool {
        let place = |metadata: std::fs::Metadata| (metadata.dev(), metadata.ino());
        let open = self.file.as_ref().and_then(|file| file.metadata().ok()).map(place);
        open.is_some() && open == std::fs::metadata(&self.path).ok().map(place)
    }

    /// Whether no file is open.
    pub fn is_closed(&self) -> bool {
        self.file.is_none()
    }

    /// Opens or makes the file that the path leads to now, in place of one that was open.
    pub fn connect(&mut self) -> io::Result<()> {
        self.file = None;
        // Not blocking: opening a pipe must fail instead of waiting for its reader.
        let file = OpenOptions::new()
            .read(true)
            .append(true)
            .create(true)
            .mode(0o640)
            .custom_flags(libc::O_NONBLOCK)
            .open(&self.path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() && !metadata.file_type().is_char_device() {
            return Err(io::ErrorKind::Unsupported.into());
        }
        self.torn = metadata.is_file() && metadata.len() > 0 && {
            let mut last = [0];
            file.read_exact_at(&mut last, metadata.len() - 1)?;
            last != *b"\n"
        };
        self.file = Some(file);
        Ok(())
    }
}

/// Makes the `count` bytes of a record that did not fit a line of its own, in place: that takes no space, and they are
/// this writer's alone, wherever other writers have appended since.
fn mend(mut file: &File, count: usize) -> io::Result<()> {
    let end = file.stream_position()?;
    let start = end.checked_sub(count as u64).ok_or(io::ErrorKind::InvalidInput)?;
    // With O_APPEND, Linux appends even what is written at an offset (pwrite(2), BUGS).
    let flags = OFlag::from_bits_truncate(fcntl(file, FcntlArg::F_GETFL)?);
    fcntl(file, FcntlArg::F_SETFL(flags.difference(OFlag::O_APPEND)))?;
    let mended = file.write_all_at(&filler(count), start);
    fcntl(file, FcntlArg::F_SETFL(flags))?;
    mended
}

/// A line of `count` bytes that is a JSON value wherever it can be one.
fn filler(count: usize) -> Vec<u8> {
    let text: &[u8] = match count {
        0..3 => b"",
        3..18 => b"{}",
        _ => b"{\"record\":\"torn\"}",
    };
    let mut line = vec![b' '; count];
    line[..text.len()].copy_from_slice(text);
    if let Some(last) = line.last_mut() {
        *last = b'\n';
    }
    line
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_filler_is_one_line_of_its_length_and_json_from_three_bytes_on() {
        for count in 1..60 {
            let line = String::from_utf8(filler(count)).unwrap();
            assert_eq!((line.len(), line.find('\n')), (count, Some(count - 1)));
            assert_eq!(serde_json::from_str::<serde_json::Value>(&line).is_ok(), count >= 3, "{line:?}");
        }
    }

    #[test]
    fn a_torn_end_found_at_open_is_ended_first() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        fs::write(&path, "{\"half").unwrap();
        let mut sink = Sink::open(&path).unwrap();
        let mut line = Lines::default();
        sink.append(line.push(|out| out.extend_from_slice(b"{}\n"))).unwrap();
        sink.append(&line).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "{\"half\n{}\n{}\n");
    }

    #[test]
    fn mending_keeps_what_others_appended_since() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let (mut torn, mut other) = (Sink::open(&path).unwrap(), Sink::open(&path).unwrap());
        torn.append(Lines::default().push(|out| out.extend_from_slice(b"{\"record\":\"decision\",\"ti"))).unwrap();
        other.append(Lines::default().push(|out| out.extend_from_slice(b"{\"record\":\"outcome\"}\n"))).unwrap();
        mend(torn.file.as_ref().unwrap(), 24).unwrap();
        torn.append(Lines::default().push(|out| out.extend_from_slice(b"{}\n"))).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"record\":\"torn\"}      \n{\"record\":\"outcome\"}\n{}\n");
    }

    #[test]
    fn pipes_and_directories_are_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(matches!(Sink::open(&pipe), Err(Error::NotAFile { .. })));
        assert!(matches!(Sink::open(dir.path()), Err(Error::Open { .. })));
    }
}
