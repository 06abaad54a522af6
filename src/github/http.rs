//! The HTTP client for GitHub's services: one TLS provider, proxies from the environment, no
//! redirects, so that a token never follows one to another host.

use std::time::Duration;

use reqwest::redirect::Policy;
use reqwest::{Client, Response};

use crate::error::{Error, Result};

/// A connection that is not there by then is not coming.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const READ_TIMEOUT: Duration = Duration::from_secs(30);

/// Returns a client.
///
/// # Errors
/// No certificate store to be found.
pub fn client() -> Result<Client> {
    // A second call finds the provider installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
    Client::builder()
        .connect_timeout(CONNECT_TIMEOUT)
        .read_timeout(READ_TIMEOUT)
        .redirect(Policy::none())
        .user_agent(concat!("ml-cache-action/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(|error| Error::failed("cannot start an HTTP client").caused_by(error))
}

/// Reads a whole answer of at most `limit` bytes.
///
/// # Errors
/// A larger answer, or one that breaks off.
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

/// Returns what went wrong below HTTP, without the URL: its query may be a credential.
pub fn broken(error: &reqwest::Error) -> Error {
    Error::failed(if error.is_timeout() {
        "no answer in time".to_owned()
    } else {
        root_cause(error)
    })
}

/// Returns the innermost cause, which is the one that says what happened.
pub fn root_cause(error: &dyn std::error::Error) -> String {
    let mut reason = error;
    while let Some(source) = reason.source() {
        reason = source;
    }
    reason.to_string()
}
