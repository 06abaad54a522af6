//! Recognizes a web page in place of an answer of S3.
//!
//! The console of a service, a login page or a firewall answers with HTML, often with status 200.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextRef;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// The error of a request that got a web page.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with a web page (status {0}), so it is no S3 service")]
pub(super) struct WebPage(u16);

/// Refuses web pages. A 429 or a 5xx is no such page: a proxy before the service may word it in
/// HTML, and it may pass.
#[derive(Debug)]
pub(super) struct NoWebPage;

impl Intercept for NoWebPage {
    fn name(&self) -> &'static str {
        "NoWebPage"
    }

    fn read_before_deserialization(
        &self,
        context: &BeforeDeserializationInterceptorContextRef<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response();
        let kind = answer.headers().get("content-type").unwrap_or_default();
        match answer.status().as_u16() {
            429 | 500..=599 => Ok(()),
            // No object of ours is a page.
            status if kind.trim_start().to_ascii_lowercase().starts_with("text/html") => {
                Err(WebPage(status).into())
            }
            _ => Ok(()),
        }
    }
}
