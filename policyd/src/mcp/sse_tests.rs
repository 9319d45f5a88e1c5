use proptest::prelude::*;

use super::*;

/// The events of a stream that arrives in these chunks, and what is left.
fn decode(chunks: &[&[u8]]) -> (Vec<Event>, Option<Event>) {
    let mut decoder = Decoder::new(1 << 20);
    let mut events = Vec::new();
    for chunk in chunks {
        decoder.push(Bytes::copy_from_slice(chunk));
        while let Some(event) = decoder.next_event().unwrap() {
            events.push(event);
        }
    }
    (events, decoder.finish())
}

/// What readers get out of the events: type, data, id, retry of each with data.
type Seen = Vec<(Vec<u8>, Vec<u8>, Option<Vec<u8>>, Option<Vec<u8>>)>;

fn seen(events: &[Event]) -> Seen {
    let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
    let read = |e: &Event| Some((e.kind().to_vec(), e.data()?.into_owned(), owned(e.id()), owned(e.retry())));
    events.iter().filter_map(read).collect()
}

fn datas(stream: &[u8]) -> Vec<String> {
    seen(&decode(&[stream]).0).into_iter().map(|e| String::from_utf8(e.1).unwrap()).collect()
}

#[test]
fn reads_every_line_end_and_field() {
    for (stream, expected) in [
        ("data: a\n\ndata:b\n\n", &["a", "b"][..]),
        ("data: a\r\n\r\ndata: b\r\n\r\n", &["a", "b"]),
        ("data: a\r\rdata: b\r\r", &["a", "b"]),
        ("data: a\r\n\ndata: b\n\r\n", &["a", "b"]),
        ("data: a\ndata: b\ndata\n\n", &["a\nb\n"]),
        ("data:  a\n\n", &[" a"]),
        ("\u{feff}data: a\n\n\u{feff}data: b\n\n", &["a"]),
        (": ping\ndata: a\n: pong\ndata: b\n\n", &["a\nb"]),
        ("\n\n\ndata: a\n\n\n", &["a"]),
        ("datax: a\nDATA: b\n data: c\n\n", &[]),
        ("data: a", &[]),
        ("data: a\n", &[]),
    ] {
        assert_eq!(datas(stream.as_bytes()), expected, "{stream:?}");
    }
    let (events, rest) = decode(&[b"event: x\nid: 1\nid: 2\nretry: 5\nretry: x\ndata: d\n\ndata: rest\n"]);
    assert_eq!(seen(&events), [(b"x".to_vec(), b"d".to_vec(), Some(b"2".to_vec()), Some(b"5".to_vec()))]);
    assert_eq!(rest.unwrap().raw(), &b"data: rest\n"[..]);
}

#[test]
fn an_event_leaves_as_soon_as_it_is_whole() {
    let mut decoder = Decoder::new(100);
    decoder.push(Bytes::from_static(b"data: a\r\r"));
    assert_eq!(decoder.next_event().unwrap().unwrap().data().as_deref(), Some(&b"a"[..]));
    // The LF of the last CR; and a comment that keeps the connection alive, which no blank line follows.
    decoder.push(Bytes::from_static(b"\n:\r\n"));
    assert_eq!(decoder.next_event().unwrap().unwrap().raw(), &b"\n:\r\n"[..]);
    assert_eq!(decoder.next_event(), Ok(None));
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn an_event_within_one_chunk_is_not_copied() {
    let chunk = Bytes::from_static(b"data: a\n\ndata: b\n\n");
    let mut decoder = Decoder::new(100);
    decoder.push(chunk.clone());
    decoder.next_event().unwrap();
    let second = decoder.next_event().unwrap().unwrap().into_raw();
    assert_eq!(second.as_ptr(), chunk[9..].as_ptr());
}

#[test]
fn bounds_an_event() {
    for chunks in [&[&b"data: 45678\n\n"[..]][..], &[b"data: 4567", b"8\n\n"], &[b"data: 4567890"], &[b": 34567890123"]]
    {
        let mut decoder = Decoder::new(12);
        let result = chunks.iter().find_map(|chunk| {
            decoder.push(Bytes::copy_from_slice(chunk));
            decoder.next_event().err()
        });
        assert_eq!(result, Some(TooLarge { limit: 12 }), "{chunks:?}");
    }
    assert_eq!(datas(b"data: 4567\n\n"), ["4567"]);
}

#[test]
fn serializes_a_changed_event() {
    let (events, _) = decode(&[b"id: 7\r\nevent: message\r\nretry: 100\r\ndata: {\r\ndata: }\r\n\r\n"]);
    assert_eq!(&events[0].with_data("{\"a\":\n1}")[..], b"event: message\nid: 7\nretry: 100\ndata: {\"a\": 1}\n\n");
    assert_eq!(&Event { raw: Bytes::new(), first: true }.with_data("{}")[..], b"event: message\ndata: {}\n\n");
}

#[test]
fn keeps_what_resumption_needs_of_an_event_that_is_left_out() {
    for (event, left) in [
        ("id: 7\nevent: message\nretry: 100\ndata: {}\n\n", Some("id: 7\nretry: 100\ndata:\n\n")),
        ("retry: 100\rdata: {}\r\r", Some("retry: 100\n\n")),
        ("id\ndata: {}\n\n", Some("id: \ndata:\n\n")),
        ("event: message\ndata: {}\n\n", None),
    ] {
        assert_eq!(decode(&[event.as_bytes()]).0[0].without_data().as_deref(), left.map(str::as_bytes), "{event:?}");
    }
}

#[test]
fn sees_lines_that_only_some_readers_see() {
    for (stream, ambiguous) in [
        ("event: x\u{2028}data: {}\n\n", true),
        ("data: {}\u{b}data: {}\n\n", true),
        ("id: \u{85}data\n\n", true),
        ("data: \"a\u{2028}b\"\n\n", false),
        ("data: data\n\n", false),
    ] {
        assert_eq!(decode(&[stream.as_bytes()]).0[0].is_ambiguous(), ambiguous, "{stream:?}");
    }
}

proptest! {
    #[test]
    fn any_chunking_gives_the_same_events(
        stream in "(\u{feff})?(data|id|event|retry|:|: ?|a|1|\r|\n|\r\n|\n\n|\r\r|data: x\n\n|é|\u{2028}){0,40}",
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..12),
    ) {
        let bytes = stream.as_bytes();
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).chain([0, bytes.len()]).collect();
        places.sort_unstable();
        let chunks: Vec<&[u8]> = places.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect();
        let (whole, cut) = (decode(&[bytes]), decode(&chunks));
        prop_assert_eq!(seen(&whole.0), seen(&cut.0));
        for (events, rest) in [whole, cut] {
            let raw: Vec<u8> = events.iter().chain(&rest).flat_map(|event| event.raw().to_vec()).collect();
            prop_assert_eq!(&raw[..], bytes);
        }
    }
}
