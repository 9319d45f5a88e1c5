//! The events' raw bytes are the stream, whatever its chunks; chunking changes nothing that a reader sees.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use policyd::mcp::sse::{Decoder, Event};

fn decode(stream: &[u8], chunk: usize) -> (Vec<Event>, Vec<u8>) {
    let mut decoder = Decoder::new(usize::MAX);
    let mut events = Vec::new();
    for piece in stream.chunks(chunk) {
        decoder.push(Bytes::copy_from_slice(piece));
        while let Ok(Some(event)) = decoder.next_event() {
            events.push(event);
        }
    }
    let rest = decoder.finish();
    let raw = events.iter().chain(&rest).flat_map(|e| e.raw().to_vec()).collect();
    (events, raw)
}

fuzz_target!(|data: &[u8]| {
    let Some((&size, stream)) = data.split_first() else { return };
    let seen = |events: &[Event]| -> Vec<_> {
        events
            .iter()
            .filter_map(|e| Some((e.kind().to_vec(), e.data()?.into_owned(), e.id().map(<[u8]>::to_vec))))
            .collect()
    };
    let (whole, raw) = decode(stream, stream.len().max(1));
    let (cut, raw_cut) = decode(stream, usize::from(size).max(1));
    assert_eq!(raw, stream);
    assert_eq!(raw_cut, stream);
    assert_eq!(seen(&whole), seen(&cut));
    for event in whole {
        event.is_ambiguous();
        event.with_data("{}");
    }
});
