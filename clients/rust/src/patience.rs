// SPDX-License-Identifier: Apache-2.0

//! Waits for a server that is away. Safe for every call made here: `request_id` makes it so for CreateJob,
//! `after_sequence` for WatchJob, and reading changes nothing.

use std::time::Duration;

use tonic::{Code, Response, Status};
use tonic_types::StatusExt;

/// Half a minute of failures in a row.
const MOST_FAILURES: u32 = 12;

#[derive(Default)]
pub struct Patience {
    failures: u32,
}

impl Patience {
    /// Makes a call, as often as it takes.
    pub async fn call<T>(
        mut self,
        mut rpc: impl AsyncFnMut() -> Result<Response<T>, Status>,
    ) -> Result<T, Status> {
        loop {
            match rpc().await {
                Ok(response) => return Ok(response.into_inner()),
                Err(status) => self.wait_after(status).await?,
            }
        }
    }

    /// Forgets earlier failures.
    pub fn renew(&mut self) {
        self.failures = 0;
    }

    /// Waits longer after each consecutive failure; returns errors that a retry cannot resolve.
    pub async fn wait_after(&mut self, status: Status) -> Result<(), Status> {
        self.failures += 1;
        if !is_away(&status) || self.failures > MOST_FAILURES {
            return Err(status);
        }
        let pause = Duration::from_millis(100 << self.failures.min(5)); // 0.2 s, 0.4 s ... 3.2 s
        eprintln!("trying again in {pause:?}: {}", crate::describe(&status));
        tokio::time::sleep(pause).await;
        Ok(())
    }
}

/// Whether the server is unavailable: by its status, or by a broken connection, which tonic reports as Unknown. The server's own
/// errors have a reason.
fn is_away(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Cancelled | Code::Internal => {
            status.get_details_error_info().is_none()
        }
        _ => false,
    }
}
