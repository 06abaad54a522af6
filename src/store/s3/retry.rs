//! Which answers of an S3 service the SDK tries again, and how often.
//!
//! The SDK's own rules cover the error codes of AWS and some statuses. Other services and proxies
//! answer 408 or 429, a 503 without a code, or a status of their own.

use std::time::Duration;

use aws_runtime::retries::classifiers::{THROTTLING_ERRORS, TRANSIENT_ERRORS};
use aws_sdk_s3::config::retry::{
    ClassifyRetry, RetryAction, RetryConfig, RetryPartition, TokenBucket,
};
use aws_smithy_runtime_api::client::interceptors::context::InterceptorContext;
use aws_smithy_runtime_api::client::retries::classifiers::{RetryReason, SharedRetryClassifier};
use aws_smithy_types::retry::ErrorKind;

/// Attempts of a request. Between them, the SDK pauses with full jitter.
const ATTEMPTS: u32 = 5;

pub(super) fn config() -> RetryConfig {
    RetryConfig::standard().with_max_attempts(ATTEMPTS)
}

/// Returns a quota without a limit. The SDK's default quota is for all requests of the process, so
/// a busy store would use it up, and the next request would have a single attempt.
pub(super) fn quota() -> RetryPartition {
    RetryPartition::custom("ml-cache").token_bucket(TokenBucket::unlimited()).build()
}

/// Returns whether a status says of itself that the failure may pass.
///
/// Source: RFC 9110, section 15; RFC 6585, section 4; RFC 8470, section 5.2. 509 is the answer of
/// hosts whose bandwidth is used up. The block from 520 is Cloudflare's, "Cloudflare 5xx errors".
pub(super) fn passes(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502..=504 | 509 | 520..=530)
}

/// Returns whether an S3 service says by this code that the failure may pass, whatever its status.
pub(super) fn passes_by_code(code: &str) -> bool {
    THROTTLING_ERRORS.contains(&code)
        || TRANSIENT_ERRORS.contains(&code)
        || matches!(code, "InternalError" | "ServiceUnavailable" | "TooManyRequests")
}

/// Returns the rule that retries by status, for other clients of the SDK.
pub fn by_status() -> SharedRetryClassifier {
    SharedRetryClassifier::new(ByStatus)
}

/// Retries the statuses that say of themselves that they pass, after the pause in `retry-after`.
///
/// Source: RFC 9110, sections 10.2.3 and 15.6; RFC 6585, section 4.
#[derive(Debug)]
pub(super) struct ByStatus;

impl ClassifyRetry for ByStatus {
    fn classify_retry(&self, context: &InterceptorContext) -> RetryAction {
        self.classify_retry_v2(context, &RetryAction::NoActionIndicated)
    }

    fn classify_retry_v2(&self, ctx: &InterceptorContext, previous: &RetryAction) -> RetryAction {
        let (Some(Err(_)), Some(answer)) = (ctx.output_or_error(), ctx.response()) else {
            return previous.clone();
        };
        let kind = match answer.status().as_u16() {
            429 => ErrorKind::ThrottlingError,
            status if passes(status) => ErrorKind::ServerError,
            _ => return previous.clone(),
        };
        let retry_after = answer
            .headers()
            .get("retry-after")
            .and_then(|seconds| seconds.parse().ok())
            .map(Duration::from_secs);
        match previous {
            RetryAction::RetryIndicated(RetryReason::RetryableError { .. })
                if retry_after.is_none() =>
            {
                previous.clone()
            }
            _ => RetryAction::RetryIndicated(RetryReason::RetryableError { kind, retry_after }),
        }
    }

    fn name(&self) -> &'static str {
        "ByStatus"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_or_a_code_says_that_the_failure_may_pass() {
        for status in [408, 425, 429, 500, 502, 503, 504, 509, 520, 524, 529, 530] {
            assert!(passes(status), "{status}");
        }
        for status in [200, 304, 400, 403, 404, 409, 412, 413, 501, 505, 507, 508, 511, 531] {
            assert!(!passes(status), "{status}");
        }
        for code in ["RequestTimeout", "SlowDown", "ThrottlingException", "InternalError"] {
            assert!(passes_by_code(code), "{code}");
        }
        for code in ["", "AccessDenied", "NoSuchKey", "QuotaExceeded", "BadDigest"] {
            assert!(!passes_by_code(code), "{code}");
        }
    }
}
