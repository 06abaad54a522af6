//! Recognizes a web page or an error in place of an answer of S3.
//!
//! The console of a service, a login page or a firewall answers with HTML, often with status 200.
//! Some gateways send the document of an error with status 200.

use aws_sdk_s3::config::http::HttpResponse;
use aws_sdk_s3::config::interceptors::{
    BeforeDeserializationInterceptorContextMut, BeforeDeserializationInterceptorContextRef,
};
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

use super::retry;

/// The error of a request that got a web page.
#[derive(Debug, thiserror::Error)]
#[error("the server answered with a web page (status {0}), so it is no S3 service")]
pub(super) struct WebPage(u16);

/// Refuses web pages. A proxy before the service may word a failure of its own in HTML. Its status
/// then says what failed.
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
        match answer.status().as_u16() {
            300..=399 | 407 | 413 | 500..=599 => Ok(()),
            status if retry::passes(status) => Ok(()),
            // No object of ours is a page.
            status if is_of_type(answer, &["text/html", "application/xhtml"]) => {
                Err(WebPage(status).into())
            }
            _ => Ok(()),
        }
    }
}

/// Reads the document of an error as an error, although its status reports a success. It is for
/// requests for an object: every object has an entity tag, and no object of ours is XML.
#[derive(Debug)]
pub(super) struct NoErrorAsObject;

impl Intercept for NoErrorAsObject {
    fn name(&self) -> &'static str {
        "NoErrorAsObject"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let answer = context.response_mut();
        if answer.status().is_success()
            && answer.headers().get("etag").is_none()
            && is_of_type(answer, &["application/xml", "text/xml"])
        {
            *answer.status_mut() = 503.try_into()?;
        }
        Ok(())
    }
}

fn is_of_type(answer: &HttpResponse, types: &[&str]) -> bool {
    let found = answer.headers().get("content-type").unwrap_or_default();
    let found = found.trim_start().to_ascii_lowercase();
    types.iter().any(|kind| found.starts_with(kind))
}
