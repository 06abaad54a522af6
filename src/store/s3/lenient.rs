//! Accepts headers as services and proxies really send them.
//!
//! The SDK refuses an answer if it cannot read one of its headers, whether anybody needs it or not.

use aws_sdk_s3::config::interceptors::BeforeDeserializationInterceptorContextMut;
use aws_sdk_s3::config::{ConfigBag, Intercept, RuntimeComponents};
use aws_sdk_s3::error::BoxError;

/// Headers that nothing here uses, and that some services write in a way of their own.
const UNUSED: [&str; 5] = [
    "last-modified",
    "x-amz-missing-meta",
    "x-amz-mp-parts-count",
    "x-amz-object-lock-retain-until-date",
    "x-amz-tagging-count",
];

/// Removes unused headers, and repetitions of the entity tag.
#[derive(Debug)]
pub(super) struct Lenient;

impl Intercept for Lenient {
    fn name(&self) -> &'static str {
        "Lenient"
    }

    fn modify_before_deserialization(
        &self,
        context: &mut BeforeDeserializationInterceptorContextMut<'_>,
        _components: &RuntimeComponents,
        _bag: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let headers = context.response_mut().headers_mut();
        for name in UNUSED {
            headers.remove(name);
        }
        let tags: Vec<_> = headers.get_all("etag").map(str::to_owned).collect();
        if let [first, others @ ..] = &*tags
            && others.iter().all(|tag| tag == first)
        {
            headers.insert("etag", first.clone());
        }
        Ok(())
    }
}
