//! An inspected connection: TLS towards the agent, HTTP/1.1 or HTTP/2, one exchange per request.

use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::admission::Place;
use super::agent::Agent;
use super::alpn::H2;
use super::connection::{Connection, Refused};
use super::exchange::{exchange, refuse_head};
use super::exec::LocalExec;
use super::gate::{Gate, Refused as RefusedHead};
use super::prefixed::Prefixed;
use super::worker::{Phase, Worker};
use crate::config::Server;
use crate::mcp::framing;
use crate::telemetry::Route;
use crate::telemetry::events::LeafMinted;
use crate::tls::peek::Peeked;

/// How often an agent's HTTP/2 connection is asked whether it still lives.
const PING_EVERY: Duration = Duration::from_secs(30);

/// Serves an inspected connection until it ends. `read` is what was read of it to classify it.
pub async fn serve(
    worker: &Rc<Worker>,
    captured: Connection,
    read: Bytes,
    server: Arc<Server>,
    peeked: &Peeked,
) -> Result<(), Refused> {
    let _active = worker.shared.telemetry.connection(Route::Inspect);
    let Connection { stream, origin, identity, place } = captured;
    let agent = Agent::new(Rc::clone(worker), Arc::clone(&server), origin, identity);
    let stream = Prefixed::new(read, stream);
    let Peeked::Tls(hello) = peeked else {
        http(agent.into_rc(), stream, false, place).await;
        return Ok(());
    };
    let protocol = agent.negotiate(&hello.alpn).await;
    let snapshot = worker.shared.snapshot.load_full();
    let alpn = protocol.map(|protocol| vec![protocol.to_vec()]).unwrap_or_default();
    let config = worker
        .shared
        .leaves
        .server_config(&server.host, &alpn)
        .map_err(|error| Refused::new("no-certificate", error.to_string()))?;
    tell_minted(worker, &server);
    let accept = TlsAcceptor::from(config).accept(stream);
    let stream = match timeout(snapshot.config.timeouts.handshake, accept).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(rejected(&server, &error)),
        Err(_) => {
            return Err(Refused::new("handshake-timeout", "the client did not finish its TLS handshake"));
        }
    };
    drop(snapshot);
    http(agent.with_h2(protocol == Some(H2)).into_rc(), stream, protocol == Some(H2), place).await;
    Ok(())
}

/// Tells of leaves that were minted since this was last asked, by whichever worker.
fn tell_minted(worker: &Worker, server: &Server) {
    let shared = &worker.shared;
    let now = shared.leaves.minted();
    for _ in shared.minted.fetch_max(now, Ordering::Relaxed)..now {
        shared.telemetry.emit(LeafMinted { server: &server.name });
    }
}

/// A handshake that the client broke off; when it is the certificate that it did not take, says what to do.
fn rejected(server: &Server, error: &std::io::Error) -> Refused {
    use rustls::AlertDescription::{BadCertificate, CertificateUnknown, UnknownCA};
    match error.get_ref().and_then(|error| error.downcast_ref::<rustls::Error>()) {
        Some(rustls::Error::AlertReceived(BadCertificate | CertificateUnknown | UnknownCA)) => Refused::new(
            "certificate-rejected",
            format!(
                "the client does not trust policyd's authority for `{}`; give it the bundle that `policyd ca env` names",
                server.name
            ),
        ),
        _ => Refused::new("handshake-failed", error.to_string()),
    }
}

/// Speaks HTTP with the agent until the connection ends or the daemon drains.
async fn http<S>(agent: Rc<Agent>, stream: S, h2: bool, place: Place)
where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let snapshot = agent.worker.shared.snapshot.load_full();
    let (limits, timeouts) = (&snapshot.config.limits, &snapshot.config.timeouts);
    let mut phase = agent.worker.phase.clone();
    let drained = async move { phase.wait_for(|phase| *phase == Phase::Drain).await.map(|_| ()) };
    let asked = Rc::new(Cell::new(0));
    let service = |refused: RefusedHead| {
        let (agent, asked) = (Rc::clone(&agent), Rc::clone(&asked));
        service_fn(move |request| {
            asked.set(asked.get() + 1);
            let misframed = refused.head(asked.get());
            let agent = Rc::clone(&agent);
            async move {
                Ok::<_, Infallible>(match misframed {
                    Some(why) => refuse_head(&agent, request, why),
                    None => exchange(&agent, request).await,
                })
            }
        })
    };
    // The connection's own errors (resets, parse errors that hyper has answered) end it; there is nobody to tell.
    if h2 {
        let connection = http2::Builder::new(LocalExec)
            .timer(TokioTimer::new())
            .keep_alive_interval(PING_EVERY)
            .keep_alive_timeout(timeouts.handshake)
            .max_concurrent_streams(limits.streams)
            .max_header_list_size(u32::try_from(limits.head).unwrap_or(u32::MAX))
            .auto_date_header(false)
            .serve_connection(TokioIo::new(stream), service(RefusedHead::default()));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            // hyper would wait for the preface of a client that sends none, whatever it is told.
            () = never_asks(&asked, timeouts.idle) => {}
            _ = drained => {
                if asked.get() > 0 {
                    connection.as_mut().graceful_shutdown();
                    let _ = connection.await;
                }
            }
        }
    } else {
        let (gate, refused) = Gate::new(stream, framing::Limits { head: limits.head, fields: limits.headers });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(timeouts.idle)
            .max_headers(limits.headers)
            .max_header_size(limits.head)
            .auto_date_header(false)
            .serve_connection(TokioIo::new(gate), service(refused));
        let mut connection = std::pin::pin!(connection);
        tokio::select! {
            _ = connection.as_mut() => {}
            _ = drained => {
                connection.as_mut().graceful_shutdown();
                let _ = connection.await;
            }
        }
    }
    drop(place);
}

/// Ends when a client has not sent its first request `within`; never, if it has.
async fn never_asks(asked: &Cell<u64>, within: Duration) {
    tokio::time::sleep(within).await;
    if asked.get() > 0 {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    /// The future of a request is kept for as long as its connection lives.
    #[test]
    fn an_idle_connection_holds_no_large_future() {
        fn size<A, B, F>(_: fn(A, B) -> F) -> usize {
            std::mem::size_of::<F>()
        }
        let exchange: fn(&'static Rc<Agent>, _) -> _ = exchange;
        let size = size(exchange);
        assert!(size <= 5 * 1024, "{size} bytes");
    }
}
