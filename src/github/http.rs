//! The HTTP client for GitHub's services.
//!
//! The client has one TLS provider and takes proxies from the environment. It follows no redirects,
//! so that a token never reaches another host.

use std::time::Duration;

use reqwest::header::HeaderMap;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::error::{Error, Result};

/// The longest wait for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// The longest wait for the next piece of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The longest pause that a service may demand.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// Returns a client.
///
/// # Errors
/// The client cannot start, for example without a certificate store.
pub fn client() -> Result<Client> {
    // A second call finds a provider and fails, which is no error.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("ml-cache-action/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::failed("cannot start an HTTP client").caused_by(error))
}

/// Returns the pause in `retry-after`, at most a minute: a longer pause is no answer to a job.
pub fn demanded_pause(headers: &HeaderMap) -> Option<Duration> {
    let seconds = headers.get("retry-after")?.to_str().ok()?.parse().ok()?;
    Some(Duration::from_secs(seconds).min(LONGEST_PAUSE))
}

/// Reads a whole answer of at most `limit` bytes.
///
/// # Errors
/// - The answer is larger.
/// - The connection breaks off.
pub async fn body(mut response: Response, limit: usize) -> Result<Vec<u8>> {
    let too_large = || Error::failed(format!("the answer has more than {limit} bytes"));
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut bytes = Vec::new();
    while let Some(piece) = response.chunk().await.map_err(|error| broken(&error))? {
        if bytes.len() + piece.len() > limit {
            return Err(too_large());
        }
        bytes.extend_from_slice(&piece);
    }
    Ok(bytes)
}

/// Returns the cause of a failed request. The message leaves out the URL, because its query may be
/// a credential.
pub fn broken(error: &reqwest::Error) -> Error {
    Error::failed(if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        root_cause(error)
    })
}

/// Returns the innermost cause. The errors around it only say that a request failed.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
