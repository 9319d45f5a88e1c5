//! Tasks stay on the worker that made them.

use std::future::Future;

/// Runs hyper's HTTP/2 tasks on the current worker's runtime.
#[derive(Clone, Copy, Debug)]
pub struct LocalExec;

impl<F: Future<Output = ()> + 'static> hyper::rt::Executor<F> for LocalExec {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}
