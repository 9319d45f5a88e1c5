//! A crowd of hostile connections, held open: what a daemon must bear while an honest client works on.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use clap::Args;

/// Arguments of `agent flood`.
#[derive(Args)]
pub struct Flood {
    /// Where to connect.
    address: SocketAddr,
    /// How many connections.
    #[arg(long, default_value_t = 5000)]
    connections: usize,
}

/// The beginnings of a conversation that its sender never ends, or ends in nonsense.
fn openings() -> Vec<Vec<u8>> {
    let hello = {
        // A TLS record that announces a ClientHello of 508 bytes and stops in the middle of it.
        let mut bytes = vec![0x16, 0x03, 0x01, 0x02, 0x00, 0x01, 0x00, 0x01, 0xfc, 0x03, 0x03];
        bytes.extend([0x5a; 100]);
        bytes
    };
    let mut endless = b"POST /mcp HTTP/1.1\r\nhost: workbench.example\r\n".to_vec();
    for n in 0..200 {
        endless.extend(format!("x-{n}: {}\r\n", "y".repeat(500)).bytes());
    }
    let mut frames = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    // A SETTINGS frame that says it is 16 MiB long.
    frames.extend([0xff, 0xff, 0xff, 0x04, 0x00, 0x00, 0x00, 0x00, 0x00]);
    let huge = b"POST /mcp HTTP/1.1\r\nhost: workbench.example\r\ncontent-type: application/json\r\n\
        content-length: 9999999999\r\n\r\n{\"jsonrpc\":\"2.0\",\"id\":\""
        .to_vec();
    vec![
        Vec::new(),
        hello[..1].to_vec(),
        hello,
        vec![0x16, 0x03, 0x01, 0xff, 0xff],
        b"GET / HT".to_vec(),
        b"\x00\x01\x02\x03garbage that is neither\n".to_vec(),
        endless,
        frames,
        huge,
    ]
}

impl Flood {
    /// Opens the connections, says `open N`, and closes them when standard input ends.
    ///
    /// # Errors
    /// None of a single connection's: those count as refused, which is a fair answer to a flood.
    pub fn run(self) -> anyhow::Result<()> {
        let openings = openings();
        let mut held = Vec::with_capacity(self.connections);
        for opening in openings.iter().cycle().take(self.connections) {
            let Ok(mut stream) = TcpStream::connect_timeout(&self.address, Duration::from_secs(5)) else { continue };
            stream.set_write_timeout(Some(Duration::from_secs(1)))?;
            stream.write_all(opening).ok();
            held.push(stream);
        }
        println!("open {}", held.len());
        std::io::stdin().read_to_end(&mut Vec::new())?;
        Ok(())
    }
}
