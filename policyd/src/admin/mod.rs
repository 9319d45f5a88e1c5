//! The HTTP endpoints `/metrics`, `/healthz` and `/readyz`, and the [control socket](control): each on a thread and
//! runtime of its own, so that load on the calls' path cannot starve them.

pub mod control;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::{Semaphore, watch};

use crate::telemetry::{TEXT_FORMAT, Telemetry};

#[cfg(test)]
mod tests;

/// Connections at once; more are closed unanswered.
const CONNECTIONS: usize = 64;
/// A request's head must be there by then, and the answer taken by twice then.
const PATIENCE: Duration = Duration::from_secs(5);

/// Why the endpoints could not be started.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The address cannot be listened on.
    #[error("the admin address `{address}` cannot be listened on: {cause}; choose another as `admin.listen`")]
    Bind {
        /// From the configuration.
        address: SocketAddr,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The control socket, or that of `policyd stdio`, cannot be made.
    #[error("the socket `{path}` cannot be made: {cause}; choose another as `{key}`, or none with \"\"")]
    Socket {
        /// From the configuration.
        path: PathBuf,
        /// The setting that says so.
        key: &'static str,
        /// What the operating system said.
        cause: io::Error,
    },
    /// The thread or its runtime.
    #[error("the admin thread cannot be started: {0}")]
    Start(io::Error),
}

/// The running endpoints. Dropped: requests that run are answered, then the thread ends.
#[derive(Debug)]
pub struct Admin {
    address: SocketAddr,
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl Admin {
    /// Listens on `address` and serves from then on. Port 0 takes any that is free.
    pub fn start(address: SocketAddr, telemetry: Telemetry) -> Result<Admin, Error> {
        let bind = |cause| Error::Bind { address, cause };
        let listener = TcpListener::bind(address).map_err(bind)?;
        listener.set_nonblocking(true).map_err(bind)?;
        let address = listener.local_addr().map_err(bind)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Start)?;
        let listener = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(listener).map_err(bind)?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = thread::Builder::new()
            .name("admin".to_owned())
            .spawn(move || runtime.block_on(serve(listener, telemetry, stopped)))
            .map_err(Error::Start)?;
        Ok(Admin { address, stop, thread: Some(thread) })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Admin {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // Only fails if the thread panicked, and then there is nothing left to wait for.
            let _ = thread.join();
        }
    }
}

/// The endpoints, until they are stopped.
async fn serve(listener: tokio::net::TcpListener, telemetry: Telemetry, stopped: watch::Receiver<bool>) {
    let accept = async move || listener.accept().await.map(|(stream, _)| stream);
    accept_all("admin", CONNECTIONS, accept, stopped, |stream| {
        let telemetry = telemetry.clone();
        async move {
            let service = service_fn(|request| {
                let response = answer(&request, &telemetry);
                async { Ok::<_, Infallible>(response) }
            });
            converse(stream, service).await;
        }
    })
    .await;
}

/// Takes connections until it is stopped, `most` at once, more are closed unanswered; then waits for those that run.
/// `name` is for the log.
async fn accept_all<S, C: Future<Output = ()> + Send + 'static>(
    name: &'static str,
    most: usize,
    accept: impl AsyncFn() -> io::Result<S>,
    mut stopped: watch::Receiver<bool>,
    serve: impl Fn(S) -> C,
) {
    let room = Arc::new(Semaphore::new(most));
    loop {
        let accepted = tokio::select! {
            accepted = accept() => accepted,
            _ = stopped.changed() => break,
        };
        let stream = match accepted {
            Ok(stream) => stream,
            Err(error) => {
                // Out of descriptors, most likely: without a pause this would spin.
                tracing::warn!(%error, "{name} connection not accepted");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&room).try_acquire_owned() else { continue };
        let connection = serve(stream);
        tokio::spawn(async move {
            connection.await;
            drop(permit);
        });
    }
    drop(accept);
    // All permits back: every connection has ended. Each has a time limit, and so has this.
    let _ = tokio::time::timeout(PATIENCE, room.acquire_many(most as u32)).await;
}

/// One request per connection and a limit for all of it: nobody can sit on one.
async fn converse<S>(stream: impl AsyncRead + AsyncWrite + Unpin, service: S)
where
    S: Service<Request<Incoming>, Response = Response<Full<Bytes>>, Error = Infallible>,
{
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(PATIENCE)
        .keep_alive(false)
        .max_buf_size(16 * 1024)
        .serve_connection(TokioIo::new(stream), service);
    let _ = tokio::time::timeout(PATIENCE * 2, connection).await;
}

fn answer(request: &Request<Incoming>, telemetry: &Telemetry) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return response;
    }
    match request.uri().path() {
        "/metrics" => match telemetry.text() {
            Ok(metrics) => respond(StatusCode::OK, TEXT_FORMAT, metrics.into()),
            Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
        },
        "/healthz" => text(StatusCode::OK, "ok\n"),
        "/readyz" => {
            let report = telemetry.health().report();
            let status = if report.ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
            match serde_json::to_vec_pretty(&report) {
                Ok(json) => respond(status, "application/json", json.into()),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
            }
        }
        _ => text(StatusCode::NOT_FOUND, "not found; there are /metrics, /healthz and /readyz\n"),
    }
}

fn text(status: StatusCode, text: impl Into<Bytes>) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", text.into())
}

fn respond(status: StatusCode, media_type: &'static str, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}
